"""Pictures of images for notebooks."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor

LARGEST = 384  # pixels along a side of the picture in a notebook


def plot_image(image: Num[Tensor, "readout phase"], axes: Any = None, title: str = "") -> Any:
    """Draw the magnitude of a slice with matplotlib, the phase axis upwards as in the report; gives the axes.

    Args:
        image: one slice.
        axes: of matplotlib, to draw into; by default new ones.
        title: above it.
    """
    from matplotlib import pyplot

    if axes is None:
        _, axes = pyplot.subplots()
    shown = upright(image)
    axes.imshow(shown.numpy(), cmap="gray", vmin=0, vmax=_bright(shown))
    axes.set_axis_off()
    if title:
        axes.set_title(title)
    return axes


def html_of(image: Num[Tensor, "readout phase"], facts: Mapping[str, object]) -> str:
    """A slice beside what is known of it, as HTML for notebooks."""
    shown = upright(image)
    step = -(-max(shown.shape) // LARGEST)
    stream = io.BytesIO()
    save_png(stream, shown[::step, ::step], shown)
    picture = base64.b64encode(stream.getvalue()).decode()
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in facts.items()
    )
    return (
        f'<div style="display:flex;gap:1em"><img src="data:image/png;base64,{picture}"/>'
        f"<table>{rows}</table></div>"
    )


def upright(image: Num[Tensor, "*slice readout phase"]) -> Float[Tensor, "*slice phase readout"]:
    """Magnitudes with the phase axis upwards, as in the report."""
    return image.abs().cpu().float().mT.flip(-2)


def save_png(file: Any, picture: Tensor, like: Tensor, about: str = "") -> None:
    """Write a picture in gray, as bright as `like` would be shown; `about` is what the file says of it."""
    from matplotlib.image import imsave

    gray: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": _bright(like)}
    metadata = {"Description": about} if about else None
    imsave(file, picture.numpy(), format="png", metadata=metadata, **gray)


def _bright(image: Tensor) -> float:
    return float(torch.quantile(image.flatten()[:: max(1, image.numel() // 2**20)], 0.995)) or 1.0
