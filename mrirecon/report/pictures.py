"""PNG pictures: reconstructions side by side at one window level, with the mask and error maps."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

DPI = 110


def comparison(
    images: Mapping[str, Float[Tensor, "readout phase"]],
    *,
    reference: Float[Tensor, "readout phase"] | None = None,
    mask: Bool[Tensor, "readout phase"] | None = None,
    title: str = "",
) -> bytes:
    """One slice as PNG: a column per method; below each its error times 4 where there is a reference.

    Everything is shown at the same window, 0 to the 99.5 % quantile of the reference (of the last image without one).
    Rows of the picture are the phase axis, from high to low: a display choice that leaves the data alone.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = {"reference": reference, **images} if reference is not None else dict(images)
    top = float(
        np.quantile(list(shown.values())[0 if reference is not None else -1].numpy(), 0.995)
    )
    columns = len(shown) + (mask is not None)
    rows = 1 if reference is None else 2
    height, width = _display(next(iter(images.values()))).shape
    figure = Figure(
        figsize=(2.3 * columns, 2.3 * rows * height / width + 0.6), dpi=DPI, layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    picture: Any = None
    error: Any = None
    for column, (name, image) in enumerate(shown.items()):
        picture = axes[0, column].imshow(_display(image), cmap="gray", vmin=0, vmax=top)
        axes[0, column].set_title(name, fontsize=9)
        if reference is not None and name != "reference":
            difference = _display((image - reference).abs())
            error = axes[1, column].imshow(difference, cmap="magma", vmin=0, vmax=top / 4)
    if mask is not None:
        axes[0, -1].imshow(_display(mask), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes[0, -1].set_title("sampling", fontsize=9)
    figure.colorbar(picture, ax=axes[0], shrink=0.8, label="intensity (a.u.)")
    if error is not None:
        figure.colorbar(error, ax=axes[1], shrink=0.8, label="|error| (a.u.)")
    if title:
        figure.suptitle(title, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _display(image: Tensor) -> np.ndarray:
    return np.flipud(image.numpy().T)
