"""What was sampled of a slice: its k-space and mask as small pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mrirecon.coverage import achieved_acceleration
from mrirecon.io.png import png_bytes
from mrirecon.report.orientation import Plane
from mrirecon.report.template import encoded
from mrirecon.scan import Scan, Volume

DECADES = 4  # of k-space magnitudes, from white to black
LARGEST = 160  # side of the picture of k-space


@dataclass(frozen=True)
class Thumbnail:
    """A small picture that does not change with the slice.

    Attributes:
        title: what it is.
        picture: base64 PNG.
        notes: one line each, below the title.
    """

    title: str
    picture: str
    notes: list[str]


def thumbnails(items: Sequence[tuple[Scan, Volume]], view: Plane, index: int) -> list[Thumbnail]:
    """The distinct masks of one slice, each with the k-space that it left, turned like the images."""
    found: list[Thumbnail] = []
    seen: list[Tensor] = []
    for scan, volume in items:
        mask = scan.mask(index)
        if any(mask.shape == other.shape and torch.equal(mask, other) for other in seen):
            continue
        seen.append(mask)
        if bool(mask.any()):
            found += _sampled(scan, volume, view, index, mask)
    return found


def _sampled(
    scan: Scan, volume: Volume, view: Plane, index: int, mask: Tensor
) -> Iterator[Thumbnail]:
    total, without = achieved_acceleration(mask, scan.acquired)
    kind = dict(volume.info.get("mask", {})).get("kind", "as acquired")
    if kind == "file":
        kind = Path(str(volume.info["mask"]["file"])).name
    number = scan.first_slice + index
    levels = view.shown(_logarithmic(scan.read(0, index)))
    yield Thumbnail(
        "k-space",
        encoded(png_bytes(levels)),
        [f"log magnitude of all coils, {DECADES} decades, slice {number}"],
    )
    yield Thumbnail(
        f"samples: {kind}",
        encoded(png_bytes(view.shown(mask.numpy()).astype(np.uint8) * 255)),
        [
            f"acceleration {total:.2f}, {without:.2f} outside the calibration region",
            f"{mask.shape[0]} x {mask.shape[1]} (readout x phase), slice {number}",
        ],
    )


def _logarithmic(kspace: Float[Tensor, "..."] | Tensor) -> np.ndarray:
    """Root of the sum of squares over coils, the largest of each square of points, as 0 to 255 over the decades."""
    magnitude = torch.linalg.vector_norm(kspace, dim=0).nan_to_num(posinf=0)
    by = -(-max(magnitude.shape) // LARGEST)
    pooled = functional.max_pool2d(magnitude[None, None], by, ceil_mode=True)[0, 0]
    largest = float(pooled.max()) or 1.0
    decades = torch.log10(pooled / largest).clamp(min=-DECADES) / DECADES + 1
    return (255 * decades).round().to(torch.uint8).numpy()
