"""Images side by side at one window, with their errors beneath."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from jaxtyping import Num
from torch import Tensor

from mrirecon.io.given import Images, one_volume, pair_of
from mrirecon.metrics import evaluate
from mrirecon.plots import Window, bright, chosen, plot_slices, upright
from mrirecon.volume import Volume

ERROR_GAIN = 5.0  # how much brighter errors are shown
WIDTH, TITLE = 2.4, 0.4  # of a picture, and the height of a line above it, in inches


def show(
    images: Images | Sequence[Images] | Mapping[str, Images],
    reference: Images | None = None,
    *,
    slice: int | None = None,
    window: Window | None = None,
    titles: Sequence[str] | None = None,
    error_gain: float = ERROR_GAIN,
) -> Any:
    """Draw one slice of several images side by side, all at one window; gives the axes, (row, column).

    With a reference it stands first, the title of each image says its PSNR in this slice, and a second row shows the
    absolute errors.

    Args:
        images: one or several of what people have, each a volume, a scan (its reference), an array or a file; or these
            by name, such as `volumes` of what `compare` gives.
        reference: what is true, likewise.
        slice: number of the slice in each of them; by default the middle one.
        window: what is shown black and what white; by default 0 and a bright level of the reference, else of the first.
        titles: of the images; by default method, name of the file, or number.
        error_gain: how much brighter the errors are shown.

    Raises:
        ValueError: if there is no image or no such slice, sizes differ from that of the reference, or the number of
            titles is not that of the images.
        OSError: if there is no such file.

    Example:
        >>> axes = mr.show([volume, mr.run(mr.methods.CGSense(), scan)], scan)
        >>> axes.shape  # the errors stand below the images
        (2, 3)
    """
    given = _listed(images)
    if titles is not None and len(titles) != len(given):
        raise ValueError(f"{len(titles)} titles for {len(given)} images: give one for each")
    names = list(titles or (_name(*one) for one in given.items()))
    shown = [_Shown.of(*one, reference, slice) for one in zip(names, given.values(), strict=True)]
    return _draw(shown, window, error_gain)


@dataclass(frozen=True, eq=False)
class _Shown:
    """One slice to show, and the same one of the reference."""

    name: str
    image: Num[Tensor, "slice readout phase"]
    truth: Num[Tensor, "slice readout phase"] | None

    @classmethod
    def of(cls, name: str, given: Images, reference: Images | None, slice: int | None) -> _Shown:
        if reference is None:
            image, truth = one_volume(given, name), None
        else:
            image, truth = (one for one, _ in pair_of(given, reference))
            if image.shape != truth.shape:
                sizes = (" x ".join(map(str, x.shape)) for x in (image, truth))
                raise ValueError("{} is {}, the reference is {}".format(name, *sizes))
        number = chosen(slice, len(image))
        return cls(name, image[number], None if truth is None else truth[number])

    def title(self) -> str:
        """Its name, and how near it comes to the reference in this slice."""
        if self.truth is None:
            return self.name
        return f"{self.name}\n{evaluate(self.image, self.truth).psnr:.1f} dB"


def _draw(shown: Sequence[_Shown], window: Window | None, error_gain: float) -> Any:
    from matplotlib import pyplot

    truth = shown[0].truth
    first = shown[0].image if truth is None else truth
    low, high = window or (0.0, bright(upright(first)))
    rows, before = (1, 0) if truth is None else (2, 1)
    columns = len(shown) + before
    height = WIDTH * first.shape[-1] / first.shape[-2]  # the phase axis is upright
    _, axes = pyplot.subplots(
        rows,
        columns,
        figsize=(WIDTH * columns, height * rows + TITLE * rows),
        layout="constrained",
        squeeze=False,
    )
    if truth is not None:
        plot_slices(truth, axes[0, 0], (low, high), "reference")
        axes[1, 0].set_axis_off()
        axes[1, 0].text(0.5, 0.5, f"error x {error_gain:g}", ha="center", va="center")
    for one, column in zip(shown, axes.T[before:], strict=True):
        plot_slices(one.image, column[0], (low, high), one.title())
        if one.truth is not None:
            error = one.image.abs().cpu() - one.truth.abs().cpu()
            plot_slices(error, column[1], (0.0, (high - low) / error_gain))
    return axes


def _listed(images: Any) -> dict[Any, Images]:
    """Images by their name, or by their number where they have none."""
    if isinstance(images, Mapping):
        found = dict(images)
    elif isinstance(images, (list, tuple)):
        found = dict(enumerate(images, 1))
    else:
        found = {1: images}
    if not found:
        raise ValueError("there is no image to show: give one or more")
    return found


def _name(key: object, given: Images) -> str:
    if isinstance(key, str):
        return key
    if isinstance(given, Volume):
        return str(given.info.get("method", f"image {key}"))
    if isinstance(given, (str, PathLike)):
        return Path(fspath(given)).name
    return str(getattr(given, "source", f"image {key}"))
