"""Which way up a slice is shown: as radiologists look at it, nothing resampled.

The patient's right is at the left of axial and coronal planes, anterior at the left of sagittal ones, anterior
(axial) or superior at the top. Planes follow the axes of the array; of oblique volumes each axis bears the letter of
the anatomical direction nearest to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from mrirecon.io.nifti import axis_codes, obliquity_degrees

OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))
WORDS = {
    w[0].upper(): w for w in ("right", "left", "anterior", "posterior", "superior", "inferior")
}
PLANES = {
    **dict.fromkeys("SI", "axial"),
    **dict.fromkeys("AP", "coronal"),
    **dict.fromkeys("RL", "sagittal"),
}
OBLIQUE_DEGREES = 1.0  # from here on a page says that the planes are oblique


@dataclass(frozen=True)
class Plane:
    """How the slices across one array axis lie on the screen.

    Attributes:
        name: axial, coronal or sagittal; "axis 0" where the orientation is unknown.
        normal: array axis across the plane.
        right: array axis that runs along the screen's rows.
        down: array axis that runs along its columns.
        flip_right: whether `right` grows to the left.
        flip_down: whether `down` grows upwards.
        edges: letters at the left, right, top and bottom edge; empty where unknown.
    """

    name: str
    normal: int
    right: int
    down: int
    flip_right: bool
    flip_down: bool
    edges: tuple[str, str, str, str]

    def shown(self, image: Shaped[np.ndarray, "a b"]) -> Shaped[np.ndarray, "row column"]:
        """A slice, its axes in the order of the array's, as rows and columns of the screen."""
        turned = image if self.down < self.right else image.T
        turned = turned[:, ::-1] if self.flip_right else turned
        return turned[::-1] if self.flip_down else turned


def plane(affine: Float[np.ndarray, "4 4"] | None, normal: int) -> Plane:
    """The plane across an array axis.

    Args:
        affine: from array index to RAS mm; None where the orientation is unknown, and the lower axis is then shown
            from left to right and the higher one from bottom to top.
        normal: array axis, 0 to 2.
    """
    first, second = (axis for axis in range(3) if axis != normal)
    if affine is None:
        return Plane(f"axis {normal}", normal, first, second, False, True, ("", "", "", ""))
    codes = axis_codes(affine)
    # Left-right lies along the rows wherever the plane has it, inferior-superior along the columns.
    right, down = first, second
    if codes[second] in "RL" or codes[first] in "IS":
        right, down = second, first
    at_right = codes[right] if codes[right] in "LP" else OPPOSITE[codes[right]]
    at_bottom = codes[down] if codes[down] in "PI" else OPPOSITE[codes[down]]
    edges = (OPPOSITE[at_right], at_right, OPPOSITE[at_bottom], at_bottom)
    flips = (codes[right] != at_right, codes[down] != at_bottom)
    return Plane(PLANES[codes[normal]], normal, right, down, *flips, edges)


def described(affine: Float[np.ndarray, "4 4"] | None) -> str:
    """The orientation in one line."""
    if affine is None:
        return "orientation unknown"
    codes = axis_codes(affine)
    text = f"{''.join(codes)}: axes grow to {', '.join(WORDS[code] for code in codes)}"
    angle = obliquity_degrees(affine)
    if angle > OBLIQUE_DEGREES:
        text += (
            f"; oblique by {angle:.1f} degrees: planes follow the volume's own grid, "
            "letters name the nearest anatomical direction"
        )
    return text
