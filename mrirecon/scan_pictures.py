"""What a scan looks like before it is reconstructed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from mrirecon.geometry import Geometry
from mrirecon.plots import (
    Slices,
    Window,
    check_kind,
    chosen,
    decibels,
    html_of,
    plot_slices,
    title_of,
)
from mrirecon.tensors import ifft2c, rss


class ScanPictures:
    """The pictures of a `Scan`, whose attributes these are."""

    source: str
    shape: tuple[int, int, int, int]
    first_slice: int
    geometry: Geometry
    reference: Callable[[int], Float[Tensor, "readout phase"]] | None

    @abstractmethod
    def measured(
        self, index: int, volume: int = 0
    ) -> tuple[Complex[Tensor, "coil readout phase"], Bool[Tensor, "readout phase"]]:
        """k-space of one slice and which of its points were sampled."""

    @abstractmethod
    def to_output(self, image: Complex[Tensor, "*batch readout phase"]) -> Tensor:
        """Crop an image on the k-space grid to the reconstruction FOV and matrix."""

    def references(self) -> Float[Tensor, "slice readout phase"]:
        """The magnitude targets of all slices.

        Raises:
            ValueError: if the scan has none.
        """
        return torch.stack([self._target(index) for index in range(self.shape[0])])

    def plot(
        self,
        slices: Slices = None,
        *,
        kind: str = "image",
        volume: int = 0,
        window: Window | None = None,
        title: str | None = None,
        axes: Any = None,
    ) -> Any:
        """Draw slices with matplotlib, as they come without reconstruction; gives the axes.

        Args:
            slices: a slice; a run such as "10:16", or ":" for all, as a montage; by default the middle one.
            kind: image (missing samples are zero, root sum of squares of the coils), kspace (root sum of
                squares of the coils in decibels, down to -80), mask (sampled points), or reference.
            volume: which volume, of several.
            window: what is shown black and what white; by default 0 and a bright level.
            title: above it; by default the kind and the slices, by their numbers in the file.
            axes: of matplotlib, to draw into; by default new ones.

        Raises:
            ValueError: if there is no such kind or slice, or no reference.

        Example:
            scan.plot("0:2")
            scan.plot(kind="mask")
        """
        check_kind(kind)
        numbers = chosen(slices, self.shape[0])
        title = title_of(kind, [self.first_slice + n for n in numbers]) if title is None else title
        shown = torch.stack([self._shown(index, volume, kind) for index in numbers])
        return plot_slices(shown, axes, window, title)

    def _shown(self, index: int, volume: int, kind: str) -> Tensor:
        if kind == "reference":
            return self._target(index)
        kspace, mask = self.measured(index, volume)
        if kind == "mask":
            return mask.float()
        return decibels(rss(kspace)) if kind == "kspace" else rss(self.to_output(ifft2c(kspace)))

    def _repr_html_(self) -> str:
        middle = self.shape[0] // 2
        share = float(self._shown(middle, 0, "mask").mean())
        facts = {
            "scan": repr(self),
            "slice": self.first_slice + middle,
            "sampled": f"{100 * share:.0f} % of the grid",
            "voxel (mm)": self.geometry.voxel_mm or "unknown",
            "reference": "yes" if self.reference is not None else "no",
        }
        return html_of(self._shown(middle, 0, "image"), facts)

    def _target(self, index: int) -> Tensor:
        if self.reference is None:
            raise ValueError(
                f"{self.source} has no reference: give what is true as an image or a file"
            )
        return self.reference(index)
