"""The viewer: NIfTI volumes as one page with three orthogonal planes each, which works offline.

Our own canvas code, most of it shared with the report, and not a library. nilearn's `view_img` resamples an oblique
volume to another grid, names left and right only, and windows a statistical map, not an image. NiiVue (0.69.0, tried)
does more than is needed here: volume rendering, meshes, drawing. Of a file whose sform and qform codes are 0 it still
writes L, A, P and S, and letters that nobody knows to be right are what this page is to prevent. Its header tells the
codes, so that a page could switch its letters off (`isOrientationTextVisible`); but each page would grow by 2.3 MB of
script (0.8 MB gzipped), need WebGL 2 where a canvas does, draw letters where neither a screen reader nor a test can
read them, and have other controls than the report.

Planes follow the volume's own grid, so nothing is resampled; values keep 16 bits.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mrirecon.io.files import PathLike
from mrirecon.io.nifti import ImageFile, axis_codes, obliquity_degrees, read_for_display
from mrirecon.report.orientation import OBLIQUE_DEGREES, described, plane
from mrirecon.report.packed import packed
from mrirecon.report.template import write_page

MOST_VALUES = 2**26  # of all volumes of a page: 128 MiB as 16 bits, before compression
WINDOW = (0.005, 0.995)  # quantiles shown black and white at first
STEPS = 2**16 - 1


def write_viewer(
    path: PathLike,
    volumes: Sequence[PathLike],
    *,
    overlay: PathLike | None = None,
    volume: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        volumes: NIfTI files, side by side.
        overlay: a map on the same grid, laid over each of them.
        volume: of files with several volumes show this one only; a file of one volume is shown as it is.
        overwrite: replace an existing page.

    Raises:
        ValueError: if a file is no NIfTI, the overlay lies on another grid, there is no such volume, or all are
            too large for one page.
        OSError: if a file is missing, or the page cannot be written.
    """
    files = [(Path(file), _chosen(file, volume)) for file in volumes]
    over = None if overlay is None else (Path(overlay), _chosen(overlay, volume))
    shown = [*files, *([] if over is None else [over])]
    size = sum(image.data.size for _, image in shown)
    if size > MOST_VALUES:
        remedy = "give fewer files"
        if any(image.data.shape[3] > 1 for _, image in shown):
            remedy += ", or one volume with --volume N"
        raise ValueError(
            f"{', '.join(file.name for file, _ in shown)}: {size / 1e6:.0f} million voxels, "
            f"a page holds {MOST_VALUES / 1e6:.0f} million: {remedy}"
        )
    for file, image in files:
        if over is not None:
            _check_grid(file, image, *over)
    embedded = [_embedded(file, image) for file, image in files]
    write_page(
        path,
        "viewer.html",
        overwrite,
        volumes=embedded,
        names=names_in(volumes, overlay),
        planes=[
            (str(n), made["name"].capitalize(), f"only {made['name']}")
            for n, made in enumerate(embedded[0]["about"]["planes"])
        ],
        overlay=None if over is None else _embedded(*over),
    )


def names_in(volumes: Sequence[PathLike], overlay: PathLike | None = None) -> str:
    """The names of files as a page says them."""
    return " ".join(Path(file).name for file in [*volumes, *([] if overlay is None else [overlay])])


def shows(page: PathLike, names: str) -> bool:
    """Whether a file is a viewer's page of these files, which can be made again from them."""
    try:
        start = Path(page).read_bytes()[:2000].decode("utf-8", errors="replace")
    except OSError:
        return False
    found = re.search(r'<meta name="mrirecon-view" content="([^"]*)">', start)
    return found is not None and html.unescape(found[1]) == names


def _chosen(path: PathLike, index: int | None) -> ImageFile:
    image = read_for_display(path)
    count = image.data.shape[3]
    if index is None or count == 1:
        return image
    if not 0 <= index < count:
        raise ValueError(f"{path} has volumes 0 to {count - 1}: --volume {index} is none of them")
    notes = (*image.notes, f"volume {index} of 0 to {count - 1}")
    return ImageFile(image.data[..., index : index + 1], image.affine, image.voxel_mm, notes)


def _check_grid(file: Path, image: ImageFile, over: Path, map_: ImageFile) -> None:
    """Refuse an overlay that would lie somewhere else than it seems to."""
    here, there = image.data.shape[:3], map_.data.shape[:3]
    if here != there:
        sizes = [" x ".join(map(str, shape)) for shape in (there, here)]
        raise ValueError(
            f"{over} is {sizes[0]}, {file} is {sizes[1]}: give an overlay on the same grid"
        )
    if map_.data.shape[3] not in (1, image.data.shape[3]):
        raise ValueError(
            f"{over} has {map_.data.shape[3]} volumes, {file} has {image.data.shape[3]}: "
            "give an overlay of one volume, or of as many"
        )
    if image.affine is None or map_.affine is None:
        return  # nothing is known that could disagree
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    corners[:, :3] *= np.asarray(here) - 1
    apart = np.abs(corners @ (image.affine - map_.affine).T).max()
    if apart > 0.5 * min(image.voxel_mm or (1.0,)):
        raise ValueError(
            f"{over} lies up to {apart:.3g} mm from where {file} lies: give an overlay on the same grid"
        )


def _embedded(file: Path, image: ImageFile) -> dict[str, Any]:
    """A volume in the page: what the script needs to know of it, and base64 of the gzipped little-endian uint16."""
    data = image.data
    low, high = float(data.min()), float(data.max())
    span = high - low or 1.0
    steps = np.rint((data - np.float32(low)) * (STEPS / span)).astype(np.uint16)
    window = [float(q) for q in np.quantile(data, WINDOW)]
    if window[0] >= window[1]:
        window = [low, low + span]
    about = {
        "name": file.name,
        "shape": data.shape,
        "low": low,
        "high": low + span,
        "window": window,
        "voxel": image.voxel_mm or (1.0, 1.0, 1.0),
        "isKnown": image.voxel_mm is not None,
        "affine": None if image.affine is None else image.affine.tolist(),
        "planes": [vars(plane(image.affine, normal)) for normal in (2, 1, 0)],
        "facts": _facts(image),
        "warnings": _warnings(image.affine),
    }
    return {"about": about, "data": packed(steps, order="F")}  # the first axis is the fastest


def _facts(image: ImageFile) -> list[tuple[str, str]]:
    sizes, volumes = image.data.shape[:3], image.data.shape[3]
    voxel = image.voxel_mm
    facts = [
        ("matrix", " x ".join(map(str, sizes)) + (f", {volumes} volumes" if volumes > 1 else "")),
        ("voxel", "unknown: shown as cubes" if voxel is None else _in_mm(voxel)),
        ("orientation", described(image.affine).partition(";")[0]),
    ]
    return facts + [("note", note) for note in image.notes]


def _in_mm(sizes: Sequence[float]) -> str:
    return " x ".join(f"{mm:.4g}" for mm in sizes) + " mm"


def _warnings(affine: Float[np.ndarray, "4 4"] | None) -> list[str]:
    """What a reader must know before the letters are believed."""
    if affine is None:
        return ["Orientation unknown: the file claims none (sform and qform codes are 0)"]
    found = []
    angle = obliquity_degrees(affine)
    if angle > OBLIQUE_DEGREES:
        found.append(
            f"Oblique by {angle:.1f} degrees: planes follow the volume's own grid, "
            f"letters name the nearest anatomical direction ({''.join(axis_codes(affine))})"
        )
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > np.sin(np.radians(OBLIQUE_DEGREES)):
        found.append("The axes are not at right angles: planes are shown as if they were")
    return found
