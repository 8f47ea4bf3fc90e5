"""PNG figures: the reconstructions of one scan side by side at one window level, with their maps and the mask."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from mrirecon.coverage import achieved_acceleration
from mrirecon.io.files import PathLike, replacing
from mrirecon.io.nifti import affine_ras
from mrirecon.report.orientation import Plane, plane
from mrirecon.report.panels import (
    Item,
    Window,
    layers_of,
    names_of,
    reference_of,
    windows_of,
)
from mrirecon.report.template import MAP_COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110
SIDE_INCHES = 2.3


def comparison(items: Sequence[Item]) -> Figure:
    """The middle slice of every reconstruction of one scan: a column per method, a row per kind of picture.

    The sampling mask of the first stands below the reference, or last where there is none.
    """
    scan, first = items[0]
    index = first.image.shape[1] // 2
    target = reference_of(scan, index)
    targets = None if target is None else {index: target}
    windows = windows_of(items, targets, [(0, index)])
    columns: list[tuple[str, Mapping[str, np.ndarray]]] = [
        (name, layers_of(volume, targets, (0, index)))
        for name, (_, volume) in zip(names_of(items), items, strict=True)
    ]
    if target is not None:
        columns.insert(0, ("reference", {"image": target.numpy()}))
    affine = affine_ras(first.geometry, scan.matrix) if first.geometry.known else None
    title = f"{Path(scan.source).name}, slice {index} of 0 to {scan.shape[0] - 1}"
    if scan.volumes > 1:
        title += f", volume 0 of 0 to {scan.volumes - 1}"
    mask = scan.mask(index)
    voxel = first.geometry.voxel_mm or (1.0, 1.0, 1.0)
    figure = _drawn(columns, list(windows.values()), mask, plane(affine, 2), voxel)
    figure.suptitle(
        f"{title}, acceleration {achieved_acceleration(mask, scan.acquired).total:.2f}", fontsize=10
    )
    return figure


def _drawn(
    columns: Sequence[tuple[str, Mapping[str, Float[np.ndarray, "readout phase"]]]],
    windows: Sequence[Window],
    mask: Bool[Tensor, "ky kx"],
    view: Plane,
    voxel_mm: tuple[float, float, float],
) -> Figure:
    below = columns[0][0] == "reference" and len(windows) > 1  # where the mask has a place
    count = len(columns) + (not below)
    size = view.shown(columns[0][1]["image"]).shape
    pixel = voxel_mm[view.down] / voxel_mm[view.right]
    height = SIDE_INCHES * size[0] * pixel / size[1]
    figure = empty_figure(
        SIDE_INCHES * count + 0.8, (height + 0.25) * len(windows) + 0.35, "compressed"
    )
    axes = figure.subplots(len(windows), count, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for row, window in zip(axes, windows, strict=True):
        drawn: Any = None
        for axis, (name, layers) in zip(row, columns, strict=False):
            if window.kind in layers:
                colours = "gray" if window.gray else MAP_COLOURS
                picture = view.shown(layers[window.kind])
                drawn = axis.imshow(picture, cmap=colours, vmin=0, vmax=window.top, aspect=pixel)
                axis.set_title(name if window.kind == "image" else "", fontsize=9)
        label = textwrap.fill(f"{window.title} (a.u.)", 20)  # no longer than the row is high
        # sizes are shares of all columns
        figure.colorbar(
            drawn, ax=row, label=label, fraction=0.15 / count, pad=0.05 / count, shrink=0.9
        )
    axis = axes[1, 0] if below else axes[0, -1]
    shown = view.shown(mask.numpy())
    stretched = height / SIDE_INCHES * shown.shape[1] / shown.shape[0]
    axis.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect=stretched)
    axis.set_title(f"samples ({' x '.join(map(str, mask.shape))})", fontsize=9)
    return figure


def empty_figure(width_inches: float, height_inches: float, layout: str = "constrained") -> Figure:
    """A figure that belongs to no window system."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), dpi=DPI, layout=layout)  # type: ignore[arg-type]
    FigureCanvasAgg(figure)
    return figure


def png_of(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
    return buffer.getvalue()


def write_png(figure: Figure, path: PathLike) -> None:
    """Write the figure as PNG, replacing an older one.

    Raises:
        OSError: if the disk is full or the folder cannot be written.
    """
    with replacing(Path(path)) as (part,):
        part.write_bytes(png_of(figure))
