"""What one reconstructed volume is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.geometry import Geometry
from mrirecon.plots import Slices, Window, chosen, html_of, plot_slices, title_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """A reconstruction: complex image, where it lies, and how it was made.

    Attributes:
        image: (volume, slice, readout, phase), in the intensity units of the k-space.
        geometry: where the image grid lies in the patient.
        info: method, parameters, masks, seeds, accelerations, times; written as JSON beside the output.
        extras: further images on the same grid by name, such as `std`, written as NAME_std beside the output.
        acquisition: who and what was scanned, by DICOM keyword, for DICOM and BIDS; it never enters the JSON.

    Example:
        >>> volume
        Volume by zero_filled: 3 x 40 x 32 (slice, readout, phase)
        >>> middle = volume.image[0, 1].abs()
        >>> volume.plot(1).get_title()
        'zero_filled, slice 1'
    """

    image: Complex[Tensor, "volume slice readout phase"]
    geometry: Geometry
    info: Mapping[str, Any] = field(default_factory=dict)
    extras: Mapping[str, Float[Tensor, "volume slice readout phase"]] = field(default_factory=dict)
    acquisition: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.image.shape[1:]))
        volumes = f"{len(self.image)} volumes of " if len(self.image) > 1 else ""
        beside = f", with {', '.join(self.extras)}" if self.extras else ""
        return f"Volume by {self.info.get('method', 'unknown')}: {volumes}{size} (slice, readout, phase){beside}"

    @property
    def first_slice(self) -> int:
        """Number in the scan of the first slice, where only some were reconstructed."""
        return self._run[0] or 0

    @property
    def is_part(self) -> bool:
        """Whether only some slices of the scan were reconstructed."""
        return self._run != [0, None]

    @property
    def _run(self) -> list[int | None]:
        return list(self.info.get("request", {}).get("slices", [0, None]))

    def plot(
        self,
        slices: Slices = None,
        *,
        volume: int = 0,
        extra: str | None = None,
        window: Window | None = None,
        title: str | None = None,
        axes: Any = None,
    ) -> Any:
        """Draw the magnitude of slices with matplotlib; gives the axes.

        Args:
            slices: a slice of the volume; a run such as "10:16", or ":" for all, as a montage; by default the middle.
            volume: which volume, of several.
            extra: name of an image of `extras` to draw in place of the reconstruction, such as std.
            window: what is shown black and what white, such as (0, 500); by default 0 and a bright level.
            title: above it; by default the method and the slices, by their numbers in the scan.
            axes: of matplotlib, to draw into; by default new ones.

        Raises:
            ValueError: if there are no such slices, or no such extra.

        Example:
            volume.plot(":", window=(0, 800))
        """
        if extra is not None and extra not in self.extras:
            there = ", ".join(self.extras) or "none"
            raise ValueError(f"there is no extra {extra!r}: this volume has {there}")
        shown = (self.image if extra is None else self.extras[extra])[volume]
        numbers = chosen(slices, len(shown))
        if title is None:
            name = " ".join(filter(None, [self.info.get("method"), extra]))
            title = title_of(name, [self.first_slice + n for n in numbers])
        return plot_slices(shown[numbers], axes, window, title)

    def _repr_html_(self) -> str:
        names = (
            "method",
            "source",
            "acceleration",
            "data_residual",
            "seconds_per_slice",
            "metrics",
        )
        facts = {name: self.info[name] for name in names if name in self.info}
        middle = self.image.shape[1] // 2
        about = {"volume": repr(self), "slice": self.first_slice + middle, **facts}
        return html_of(self.image[0, middle], about)
