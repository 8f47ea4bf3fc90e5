"""PNG pictures: reconstructions side by side at one window level, with the mask and error maps."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

DPI = 110
ERROR_GAIN = 4  # error maps are so much brighter than the images


def comparison(
    images: Mapping[str, Float[Tensor, "readout phase"]],
    *,
    reference: Float[Tensor, "readout phase"] | None = None,
    mask: Bool[Tensor, "ky kx"] | None = None,
    title: str = "",
) -> bytes:
    """One slice as PNG: a column per method, below each its error where there is a reference.

    The sampling mask stands below the reference, or last where there is none; it may have another size than the images
    (readout oversampling). Everything is shown at the same window, 0 to the 99.5 % quantile of the reference (of the
    last image without one). Rows of the picture are the phase axis, from high to low: a display choice that leaves the
    data alone.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    first = [] if reference is None else [("reference", reference)]
    shown = first + list(images.items())
    top = _window(reference if reference is not None else shown[-1][1])
    rows = len(first) + 1
    columns = len(shown) + (mask is not None and not first)
    height, width = _display(shown[0][1]).shape
    figure = Figure(
        figsize=(2.3 * columns + 0.8, (2.3 * height / width + 0.25) * rows + 0.35),
        dpi=DPI,
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    picture: Any = None
    error: Any = None
    for axis, (name, image) in zip(axes[0], shown, strict=False):
        picture = axis.imshow(_display(image), cmap="gray", vmin=0, vmax=top)
        axis.set_title(name, fontsize=9)
    if reference is not None:
        for axis, (name, image) in zip(axes[1, 1:], images.items(), strict=True):
            difference = _display((image - reference).abs())
            error = axis.imshow(difference, cmap="magma", vmin=0, vmax=top / ERROR_GAIN)
            axis.set_title(f"error of {name}", fontsize=9)
    if mask is not None:
        axis = axes[-1, 0 if first else -1]
        axis.imshow(_display(mask), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        size = " x ".join(map(str, mask.shape))
        axis.set_title(f"samples in k-space ({size})", fontsize=9)
    figure.colorbar(picture, ax=axes[0], shrink=0.8, label="intensity (a.u.)")
    if error is not None:
        figure.colorbar(error, ax=axes[1], shrink=0.8, label="|error| (a.u.)")
    figure.suptitle(title, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _window(image: Tensor) -> float:
    """The bright level; 1 for an empty image, which has none."""
    return float(np.quantile(image.numpy(), 0.995)) or 1.0


def _display(image: Tensor) -> np.ndarray:
    return np.flipud(image.numpy().T)
