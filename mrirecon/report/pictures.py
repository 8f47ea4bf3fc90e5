"""PNG figures: the reconstructions of one scan side by side at one window level, with their maps and the mask."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from mrirecon.coverage import achieved_acceleration
from mrirecon.io.files import PathLike, printable, replacing
from mrirecon.io.nifti import affine_ras
from mrirecon.report.orientation import Plane, plane
from mrirecon.report.panels import (
    Item,
    Window,
    alone,
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

    Maps that one only of several methods has stand at the right. The sampling mask of the first stands below the
    reference, or last where there is none.
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
    start, last = scan.first_slice, scan.first_slice + scan.shape[0] - 1
    name = printable(Path(scan.source).name).replace("$", r"\$")  # no formula
    title = f"{name}, slice {start + index} of {start} to {last}"
    if scan.volumes > 1:
        title += f", volume 0 of 0 to {scan.volumes - 1}"
    mask = scan.mask(index)
    voxel = first.geometry.voxel_mm or (1.0, 1.0, 1.0)
    figure = _drawn(columns, list(windows.values()), mask, plane(affine, 2), voxel)
    if bool(mask.any()):
        title += f", acceleration {achieved_acceleration(mask, scan.acquired).total:.2f}"
    figure.suptitle(title, fontsize=10)
    return figure


def _drawn(
    columns: Sequence[tuple[str, Mapping[str, Float[np.ndarray, "readout phase"]]]],
    windows: Sequence[Window],
    mask: Bool[Tensor, "ky kx"],
    view: Plane,
    voxel_mm: tuple[float, float, float],
) -> Figure:
    own = alone(windows, [layers for name, layers in columns if name != "reference"])
    rows = [window for window in windows if window.kind not in own]
    maps = [(*c, w) for c in columns for w in windows if w.kind in own and w.kind in c[1]]
    below = columns[0][0] == "reference" and len(rows) > 1  # where the mask has a place
    count, further = len(columns) + (not below), math.ceil(len(maps) / len(rows))
    size = view.shown(columns[0][1]["image"]).shape
    pixel = voxel_mm[view.down] / voxel_mm[view.right]
    height = SIDE_INCHES * size[0] * pixel / size[1]
    width = SIDE_INCHES * (count + further) + 0.8 * (1 + further)
    figure = empty_figure(width, (height + 0.25) * len(rows) + 0.35, "compressed")
    axes = figure.subplots(len(rows), count + further, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")

    def draw(axis: Any, title: str, layers: Mapping[str, np.ndarray], window: Window) -> Any:
        axis.set_title(title, fontsize=9)
        colours = "gray" if window.gray else MAP_COLOURS
        picture = view.shown(layers[window.kind])
        return axis.imshow(picture, cmap=colours, vmin=0, vmax=window.top, aspect=pixel)

    def explain(drawn: Any, places: Sequence[Any], window: Window) -> None:
        label = textwrap.fill(f"{window.title} (a.u.)", 20)  # no longer than the row is high
        share = 1 / len(places)  # sizes are shares of all places
        figure.colorbar(
            drawn, ax=places, label=label, fraction=0.15 * share, pad=0.05 * share, shrink=0.9
        )

    for row, window in zip(axes, rows, strict=True):
        drawn = [
            draw(axis, name if window.kind == "image" else "", layers, window)
            for axis, (name, layers) in zip(row, columns, strict=False)
            if window.kind in layers
        ]
        explain(drawn[-1], list(row[:count]), window)
    for axis, (name, layers, window) in zip(axes[:, count:].T.flat, maps, strict=False):
        explain(draw(axis, name, layers, window), [axis], window)
    axis = axes[1, 0] if below else axes[0, count - 1]
    shown = view.shown(mask.numpy())
    stretched = height / SIDE_INCHES * shown.shape[1] / shown.shape[0]
    axis.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect=stretched)
    axis.set_title(f"samples ({' x '.join(map(str, mask.shape))})", fontsize=9)
    axis.axis("on")  # its frame: a mask of all points is white on white
    axis.set(xticks=[], yticks=[])
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
