"""Pictures of slices, for notebooks and scripts."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Num
from torch import Tensor

from mrirecon.nearest import suggest
from mrirecon.options import parse_slices

LARGEST = 384  # pixels along a side of the picture in a notebook
Slices: TypeAlias = (
    int | str | slice | None
)  # one slice, a run such as "10:16" (":" is all), None for the middle
KINDS = ("image", "kspace", "mask", "reference")  # of pictures of a scan
Window: TypeAlias = tuple[float | int, float | int]  # what is shown black, and what is shown white


def chosen(slices: Slices, count: int) -> list[int]:
    """Numbers of slices, of so many.

    Raises:
        ValueError: if there are no such slices.
    """
    if slices is None:
        return [count // 2]
    if isinstance(slices, int):
        if not -count <= slices < count:
            raise ValueError(f"there is no slice {slices}: give 0 to {count - 1}")
        return [range(count)[slices]]
    found = list(range(count))[parse_slices(slices)]
    if not found:
        raise ValueError(f"slices {slices} lie beyond the {count} there are")
    return found


def check_kind(kind: str) -> None:
    """Raise ValueError for what a scan cannot be shown as."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}: {suggest(kind, KINDS)}")


def plot_slices(
    images: Num[Tensor, "slice readout phase"],
    axes: Any = None,
    window: Window | None = None,
    title: str = "",
) -> Any:
    """Draw the magnitude of slices with matplotlib, several as a montage, the phase axis upwards; gives the axes.

    Args:
        images: the slices.
        axes: of matplotlib, to draw into; by default new ones.
        window: what is black and what is white; by default 0 and a level that half a percent of the pixels exceed.
        title: above it.
    """
    from matplotlib import pyplot

    if axes is None:
        _, axes = pyplot.subplots()
    shown = montage(upright(images))
    low, high = window or (0.0, bright(shown))
    axes.imshow(shown.numpy(), cmap="gray", vmin=low, vmax=high)
    axes.set_axis_off()
    if title:
        axes.set_title(title)
    return axes


def title_of(name: str, numbers: Sequence[int]) -> str:
    """What is shown, and which slices of it."""
    which = f"slice {numbers[0]}"
    if len(numbers) > 1:
        which = f"slices {numbers[0]} to {numbers[-1]}"
    return f"{name}, {which}" if name else which


def html_of(image: Num[Tensor, "readout phase"], facts: Mapping[str, object]) -> str:
    """A slice beside what is known of it, as HTML for notebooks."""
    shown = upright(image)
    step = -(-max(shown.shape) // LARGEST)
    stream = io.BytesIO()
    save_png(stream, shown[::step, ::step], shown)
    picture = base64.b64encode(stream.getvalue()).decode()
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(_told(value))}</td></tr>"
        for name, value in facts.items()
    )
    return (
        f'<div style="display:flex;gap:1em"><img src="data:image/png;base64,{picture}"/>'
        f"<table>{rows}</table></div>"
    )


def _told(value: object) -> str:
    """Numbers with four digits, names with their values."""
    if isinstance(value, Mapping):
        known = {name: one for name, one in value.items() if one is not None}
        return ", ".join(f"{name} {_told(one)}" for name, one in known.items())
    if isinstance(value, (tuple, list)):
        return " x ".join(map(_told, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def upright(image: Num[Tensor, "*slice readout phase"]) -> Float[Tensor, "*slice phase readout"]:
    """Magnitudes with the phase axis upwards, as in the report."""
    return image.abs().cpu().float().mT.flip(-2)


def montage(images: Float[Tensor, "slice y x"]) -> Float[Tensor, "rows columns"]:
    """Slices side by side in rows, the first one at the top left, about as many rows as columns."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    blank = images.new_zeros(rows * columns - len(images), *images.shape[1:])
    tiles = torch.cat([images, blank]).unflatten(0, (rows, columns))
    return tiles.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)


def decibels(level: Float[Tensor, "y x"], range_db: float = 80.0) -> Float[Tensor, "y x"]:
    """Decibels above the bottom of this range, whose top is the largest value; 0 below."""
    top = level.max().clamp(min=torch.finfo(level.dtype).tiny)
    return (range_db + 20 * (level / top).log10()).clamp(min=0)


def save_png(file: Any, picture: Tensor, like: Tensor, about: str = "") -> None:
    """Write a picture in gray, as bright as `like` would be shown; `about` is what the file says of it."""
    from matplotlib.image import imsave

    gray: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": bright(like)}
    metadata = {"Description": about} if about else None
    imsave(file, picture.numpy(), format="png", metadata=metadata, **gray)


def bright(image: Tensor) -> float:
    """A level that half a percent of the pixels exceed."""
    return float(torch.quantile(image.flatten()[:: max(1, image.numel() // 2**20)], 0.995)) or 1.0
