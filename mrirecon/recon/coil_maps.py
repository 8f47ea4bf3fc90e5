"""Coil maps of the slices of a scan: estimated, or given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.brief import brief
from mrirecon.calibration import CENTRE, calibration_centre, calibration_data
from mrirecon.io import read_maps
from mrirecon.operators import espirit, low_resolution_maps
from mrirecon.operators.espirit import BLOCK, CROP, KERNEL, THRESHOLD, fitting_kernel
from mrirecon.scan import Scan
from mrirecon.tensors import largest_part, rss

NOTHING = 1e-3  # of the brightest pixel: maps that are fainter are none


@runtime_checkable
class MapSource(Protocol):
    """Gives the maps (set, coil, readout, phase) of one slice, on the grid of the scan's k-space.

    One that estimates them from the scan it is given stays the same when coils are mixed or left out.
    """

    def __call__(self, scan: Scan, index: int, device: str) -> Complex[Tensor, "set coil y x"]: ...

    def whitened(self, matrix: Complex[Tensor, "coil coil"]) -> MapSource:
        """The source for a scan whose coils were mixed by `matrix`."""
        return self

    def without(self, coils: Sequence[int]) -> MapSource:
        """The source for a scan that these coils were left out of."""
        return self

    def describe(self) -> dict[str, Any]:
        """For the JSON beside the output."""
        ...


@dataclass(frozen=True, kw_only=True)
class EstimatedMaps(MapSource):
    """Maps estimated from the calibration region of each slice (`calibration.calibration_data`).

    `espirit` is Uecker et al. 2014. An object is called with (scan, slice, device) and gives maps
    (set, coil, readout, phase); `estimate_maps` is the shorter way.

    Attributes:
        kind: espirit, or lowres (low-resolution images over their RSS; one set).
        size: largest side of the calibration block used, in samples.
        kernel: ESPIRiT kernel side, in samples; at most half the narrower side of the block is used.
        threshold: ESPIRiT singular values below this share of the largest are noise.
        crop: ESPIRiT maps are zero where the eigenvalue is below this.
        sets: number of ESPIRiT map sets.

    Raises:
        ValueError: if a number is out of its range; when it is called, if the centre of k-space is not fully sampled.

    Example:
        volume = mr.reconstruct(scan, method="cg_sense", maps=mr.EstimatedMaps(size=20, crop=0.7))
    """

    kind: Literal["espirit", "lowres"] = "espirit"
    size: int = BLOCK
    kernel: int = KERNEL
    threshold: float = THRESHOLD
    crop: float = CROP
    sets: int = 1

    def __post_init__(self) -> None:
        """Check the numbers before any scan is read.

        Raises:
            ValueError: if one is out of its range.
        """
        for name, lowest in (("size", 2), ("kernel", 2), ("sets", 1)):
            if (value := getattr(self, name)) < lowest:
                raise ValueError(f"calibration {name} is {value}, it must be at least {lowest}")
        for name in ("threshold", "crop"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise ValueError(f"calibration {name} is {value}, it must be from 0 to below 1")

    def __call__(self, scan: Scan, index: int, device: str) -> Complex[Tensor, "set coil y x"]:
        shape = (scan.shape[2], scan.shape[3])
        if scan.shape[1] == 1:  # one coil has nothing to be compared with
            return torch.ones(1, 1, *shape, dtype=torch.complex64, device=device)
        try:
            block = calibration_block(scan, index, self.size, 2 * self.kernel).to(device)
        except ValueError:
            if not _is_empty(scan, index):
                raise
            sets = 1 if self.kind == "lowres" else self.sets
            return torch.zeros(sets, *scan.shape[1:], dtype=torch.complex64, device=device)
        if self.kind == "lowres":
            return low_resolution_maps(block, shape).unsqueeze(0)
        kernel = fitting_kernel(block.shape, self.kernel)
        try:
            return espirit(
                block,
                shape,
                kernel=kernel,
                threshold=self.threshold,
                crop=self.crop,
                sets=self.sets,
            ).maps
        except ValueError as error:
            raise ValueError(f"{scan.source}: slice {index}: {error}") from error

    def describe(self) -> dict[str, Any]:
        if self.kind == "espirit":
            return asdict(self)
        return {"kind": self.kind, "size": self.size}


@dataclass(frozen=True, eq=False)
class GivenMaps(MapSource):
    """Maps at hand or from a file, (slice, coil, readout, phase) or (slice, set, coil, readout, phase).

    Whatever their scale, they are brought to the convention: per set, sum over coils of |s|^2 is 1 on the support and 0
    outside, where they are below NOTHING of their brightest pixel.

    Attributes:
        maps: the maps of all slices of the scan, or of a run of them.
        source: where they come from, for messages.
        whitening: matrix that the coils of the scan were mixed by.
        kind: what the JSON calls them.
        first: slice of the scan that the first maps belong to, where they belong to a run of slices.

    Raises:
        ValueError: when it is called, if their shape is not that of the scan, or they are not finite.

    Example:
        every = torch.stack([mr.estimate_maps(scan, index) for index in range(scan.shape[0])])
        volume = mr.run(mr.methods.CGSense(), scan, maps=mr.GivenMaps(every, "my maps"))
    """

    maps: Complex[Tensor, "slice *set coil readout phase"]
    source: str
    whitening: Complex[Tensor, "channel channel"] | None = None
    kind: str = "file"
    first: int | None = None

    __repr__ = brief

    def __call__(self, scan: Scan, index: int, device: str) -> Complex[Tensor, "set coil y x"]:
        maps = self.maps if self.maps.ndim == 5 else self.maps.unsqueeze(1)
        have, want = (maps.shape[0], *maps.shape[2:]), scan.shape
        if self.first is not None:
            want, index = (have[0], *want[1:]), index - self.first
        if have != want:
            raise ValueError(
                f"maps of {self.source} are {have} (slice, coil, readout, phase), {scan.source} is {want}: "
                "estimate maps for this scan with `mrirecon maps`"
            )
        chosen = maps[index].to(device)
        if not bool(torch.isfinite(chosen.abs()).all()):
            raise ValueError(
                f"maps of {self.source}: those of slice {index} hold NaN or infinite values: estimate them again"
            )
        chosen = _of_usual_scale(chosen)
        if self.whitening is not None:
            chosen = torch.einsum("ij,sjyx->siyx", self.whitening.to(chosen), chosen)
        elif are_normalized(chosen):
            return chosen
        norm = rss(chosen).unsqueeze(-3)
        inside = norm > NOTHING * norm.amax()
        return torch.where(inside, chosen / torch.where(inside, norm, 1), 0)

    def notes(self) -> tuple[str, ...]:
        """What is done to them, as far as the middle slice shows."""
        middle = self.maps[len(self.maps) // 2]
        if are_normalized(middle):
            return ()
        return (f"coil maps of {self.source} are normalized: sum over coils of |s|^2 was not 1",)

    def whitened(self, matrix: Complex[Tensor, "coil coil"]) -> GivenMaps:
        return replace(self, whitening=matrix)

    def without(self, coils: Sequence[int]) -> GivenMaps:
        axis = self.maps.ndim - 3
        kept = [coil for coil in range(self.maps.shape[axis]) if coil not in coils]
        return replace(self, maps=self.maps.index_select(axis, torch.tensor(kept)))

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "source": self.source}


def _of_usual_scale(maps: Complex[Tensor, "*set coil y x"]) -> Complex[Tensor, "*set coil y x"]:
    """Maps so large or small that their squares are no float32, over their largest number."""
    largest = largest_part(maps)
    return maps if largest == 0 or 1e-3 < largest < 1e3 else maps / largest


def _is_empty(scan: Scan, index: int) -> bool:
    """Whether a slice has no samples in any volume."""
    reads = [scan.read] if scan.calibration is None else [scan.read, scan.calibration]
    return not any(bool(read(v, index).any()) for v in range(scan.volumes) for read in reads)


def are_normalized(maps: Complex[Tensor, "*set coil y x"]) -> bool:
    """Whether the sum over coils of |s|^2 is 1 or 0 at each pixel, to 0.1 %."""
    largest = largest_part(maps)
    if largest and not 1e-3 < largest < 1e3:  # their squares may be no float32
        return False
    power = rss(maps).square()
    return bool(((power - 1).abs() < 1e-3).logical_or(power == 0).all())


def without_coils(
    maps: Complex[Tensor, "set coil y x"],
    coils: Sequence[int],
    whitening: Complex[Tensor, "coil coil"] | None,
) -> Complex[Tensor, "set coil y x"]:
    """Maps of a volume in which some coils gave nothing: 0 there, as their k-space is, also after both were mixed."""
    alive = torch.ones(maps.shape[1], dtype=maps.dtype, device=maps.device)
    alive[list(coils)] = 0
    if whitening is None:
        return maps * alive[:, None, None]
    mixed = whitening @ (alive[:, None] * torch.linalg.inv(whitening))
    return torch.einsum("ij,sjyx->siyx", mixed.to(maps), maps)


def calibration_block(
    scan: Scan, index: int, size: int, smallest: int = 1
) -> Complex[Tensor, "coil ky kx"]:
    """The centred, fully sampled block of at most `size` x `size` samples of `calibration.calibration_data`.

    `smallest` is the side from which on the imaging k-space serves itself.

    Raises:
        ValueError: if the centre of k-space is not fully sampled.
    """
    find = calibration_centre if size <= CENTRE else calibration_data
    found = find(scan, index, smallest)
    region = found.region
    if region is None:
        raise ValueError(
            f"{scan.source}: slice {index} has no fully sampled calibration region to estimate coil maps from: "
            "give maps with --maps FILE"
        )
    rows, columns = (
        _centered(part, n // 2, size) for part, n in zip(region, found.mask.shape, strict=True)
    )
    return found.kspace[:, rows, columns]


def _centered(region: slice, center: int, size: int) -> slice:
    """The longest part of `region`, at most `size` long, whose index n // 2 is `center`."""
    n = min(size, 2 * (center - region.start) + 1, 2 * (region.stop - center))
    return slice(center - n // 2, center - n // 2 + n)


def maps_from(
    given: str | PathLike[str] | Tensor | MapSource, estimate: EstimatedMaps
) -> MapSource:
    """`espirit`, `lowres`, the maps of a file, a tensor (slice, coil, readout, phase), or a source as it is.

    Raises:
        ValueError, OSError: if it is neither a kind nor a readable file.
    """
    if isinstance(given, Tensor):
        return GivenMaps(given.to(torch.complex64), "a tensor", kind="given")
    if isinstance(given, MapSource):
        return given
    if given == "espirit":
        return replace(estimate, kind="espirit")
    if given == "lowres":
        return replace(estimate, kind="lowres")
    path = Path(given)
    if not (path.suffix or path.exists() or path.with_name(path.name + ".cfl").exists()):
        raise ValueError(f"maps {fspath(given)} is neither espirit, lowres nor a file of maps")
    return GivenMaps(read_maps(given), fspath(given))


def estimate_maps(
    scan: Scan, index: int = 0, *, device: str = "cpu", **options: Any
) -> Complex[Tensor, "coil y x"] | Complex[Tensor, "set coil y x"]:
    """Coil maps of one slice; with `sets` above 1 they have an axis of sets.

    Args:
        scan: the scan, whose calibration region is used.
        index: number of the slice.
        device: name of the torch device to compute on.
        options: those of `EstimatedMaps`, such as kind, size or sets.

    Raises:
        ValueError: if the centre of k-space is not fully sampled, or an option is impossible.

    Example:
        >>> mr.estimate_maps(scan, 1, size=20).shape
        torch.Size([4, 40, 32])
    """
    maps = EstimatedMaps(**options)(scan, index, device)
    return maps[0] if len(maps) == 1 else maps


def maps_of_slices(maps: MapSource, scan: Scan, part: slice) -> MapSource:
    """Maps for the slices `part` of the scan; a file may hold maps of all slices or of these.

    Raises:
        ValueError: if the slices lie beyond the scan.
    """
    run = scan.run(part)
    if isinstance(maps, GivenMaps) and len(maps.maps) == len(run) != scan.shape[0]:
        return replace(maps, first=run.start)
    return maps
