"""What every method is, and the loop over slices that the slice-by-slice ones share."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.io.slices import SliceStore
from mrirecon.methods.calibrate import Calibrated, MapSource, without_coils
from mrirecon.methods.device import finish
from mrirecon.methods.partial_fourier import PARTIAL_FOURIER, missing_side
from mrirecon.methods.problem import Problem, Result, unwhitened_gain
from mrirecon.methods.summary import UNEXPLAINED, Figures, Report
from mrirecon.methods.surroundings import Surroundings
from mrirecon.noise import (
    dead_coils,
    noise_level,
    outer_noise,
    partly_dead,
    prewhiten,
    scan_whitening,
    silent_coils,
    trusted_noise,
)
from mrirecon.prepare import volume_scale
from mrirecon.scan import Scan, Volume
from mrirecon.tensors import fftshift, ifft2, ifft2c, rss, rss_of_each

Progress = Callable[[int | float, int], object]
Advance = Callable[[int | float], object]  # how many slices of a group are done
COUNTS = (  # options of which 0 would leave out what the method is
    *("iterations", "levels", "samples", "images_at_once"),
    *("cg_steps", "steps_per_level", "jump", "repeats", "join_every"),
)
POSITIVE = ("noise_std", "sigma_max", "sigma_min")  # options that are unset or above 0
OF_THE_LOOP = {"loop": True}  # metadata of a field that is none of the method's parameters
LARGE_RESIDUAL = 0.13  # from which coil maps are doubted
MOSTLY_NOISE = 0.4  # share of noise in the data from which nothing is concluded


class Reconstructor(Protocol):
    """A reconstruction method with its parameters: scan in, volume out."""

    def __call__(self, scan: Scan) -> Volume: ...


@dataclass(frozen=True, kw_only=True)
class SliceMethod(ABC):
    """A method that solves one slice after another, holding no more than one slice's k-space.

    Attributes:
        maps: where coil maps come from.
        partial_fourier: what to do about the side of k-space that partial Fourier left out; zero leaves it zero.
        whiten: prewhiten when the scan has a noise measurement.
        device: torch device of the computation.
        progress: called with (slices done, slices in all); a sampler counts parts of a slice too.
        keep: where finished slices are kept, and taken from when they are there; by default nowhere.
        slices: the run of slices to reconstruct; each is what it would be if all were.
    """

    maps: MapSource = field(default_factory=Calibrated)
    partial_fourier: Literal["zero", "homodyne", "pocs"] = "zero"
    whiten: bool = True
    device: str = "cpu"
    progress: Progress | None = None
    keep: SliceStore | None = None
    slices: slice = field(default_factory=lambda: slice(None))

    name: ClassVar[str]
    uses_maps: ClassVar[bool] = True
    uses_scale: ClassVar[bool] = False
    uses_noise: ClassVar[bool] = False
    fits_data: ClassVar[bool] = (
        False  # as well as its maps can, so that a large residual speaks against these
    )

    def __post_init__(self) -> None:
        """Refuse parameters that no method can use.

        Raises:
            ValueError: if a number is negative, infinite or NaN, a noise level is 0, or a count of steps is.
        """
        for name, value in self.parameters().items():
            if name in COUNTS and value is not None and not value >= 1:
                raise ValueError(f"{self.name}: {name} is {value}: give at least 1")
            if name in POSITIVE and value is not None and not value > 0:
                raise ValueError(f"{self.name}: {name} is {value}: give more than 0")
            if isinstance(value, (int, float)) and not 0 <= value < math.inf:
                raise ValueError(
                    f"{self.name}: {name} is {value}, it must be finite and at least 0"
                )

    def files(self) -> dict[str, tuple[Path, ...]]:
        """What it reads besides the scan and the coil maps: weights, a first image."""
        return {}

    @abstractmethod
    def solve(self, problem: Problem) -> Complex[Tensor, "*set y x"]:
        """The image of one slice on the k-space grid; methods that use no maps give the coils' k-space."""

    def __call__(self, scan: Scan) -> Volume:
        """Reconstruct the chosen slices of all volumes.

        Intensities are those of the root sum of squares of the coils, prewhitened or not. Slices without samples stay
        zero, and dead coils are left out; both are noted.

        Raises:
            ValueError: if the scan does not suit the method (no calibration region, other maps, NaN, ...).
        """
        work, chosen = self._work(scan), self.indices(scan)
        scan = work.scan
        output = torch.zeros(scan.volumes, len(chosen), *scan.matrix, dtype=torch.complex64)
        extras: dict[str, Tensor] = {}

        def put(place: tuple[int, int], result: Result) -> None:
            at = place[0], place[1] - chosen.start
            image, phase = result.image.cpu(), scan.echo_phase(place[0])
            output[at] = image if phase is None else image * phase
            for name, image in result.extras.items():
                extras.setdefault(name, torch.zeros(output.shape))[at] = image.cpu()

        kept = set()
        for place, tensors, about in self._kept():
            put(place, Result.of(tensors))
            work.report.add_kept(about)
            kept.add(place)
        for place, result in self._solve_all(work, kept, chosen):
            put(place, result)
        info = {"method": self.name, "parameters": self.parameters(), **work.report.summary()}
        if self.uses_maps:
            info["maps"] = work.source.describe()
            info["prewhitened"] = work.whitening is not None
        if self.uses_scale:
            info["intensity_scale"] = work.scales
        if self.uses_noise:
            info["noise_std"] = work.noise
        if missing_side(scan.acquired) is not None:
            info["partial_fourier"] = self.partial_fourier
        geometry = scan.geometry.select(slice(chosen.start, chosen.stop))
        return Volume(image=output, geometry=geometry, info=info, extras=extras)

    def indices(self, scan: Scan) -> range:
        """The slices of the scan that are reconstructed.

        Raises:
            ValueError: if there are none, or they lie beyond the scan.
        """
        return scan.run(self.slices)

    def solve_share(self, scan: Scan, share: int, shares: int) -> None:
        """Solve every `shares`-th slice from the `share`-th and put it into `keep`, for several processes.

        When all shares are done, calling the method with the same `keep` puts them together.

        Raises:
            ValueError: if the method solves the slices of a volume together, or as `__call__`.
        """
        self.check_shares()
        if self.keep is None:
            raise ValueError("a share of the slices is solved for others to read: give `keep`")
        kept = {place for place, _, _ in self._kept()}
        for _ in self._solve_all(self._work(scan), kept, self.indices(scan)[share::shares]):
            pass

    def check_shares(self) -> None:
        """Refuse to be shared.

        Raises:
            ValueError: if the method solves the slices of a volume together.
        """
        if self.couples_slices:
            raise ValueError(
                f"{self.name} solves the slices of a volume together here (z_smoothness): run it in one process"
            )

    def _work(self, scan: Scan) -> Work:
        """What all slices have in common, read from the scan."""
        source, whitening, unit = self.maps, None, 1.0
        silent = silent_coils(scan)
        dead, note = dead_coils(scan, silent)
        partly, said = partly_dead(scan, silent, dead)
        if dead:
            scan, source = scan.drop_coils(dead, note), source.without(dead)
        if said:
            scan = replace(scan, notes=(*scan.notes, said))
        scan = trusted_noise(scan)
        if self.uses_maps and self.whiten and scan.noise_covariance is not None:
            whitening, unit = scan_whitening(scan), noise_level(scan)
            whitening = whitening.to(self.device, torch.complex64)
            scan, source = prewhiten(scan), source.whitened(whitening)
        scales, noise = [1.0] * scan.volumes, [0.0] * scan.volumes
        for volume in range(scan.volumes) if self.uses_scale or self.uses_noise else ():
            if scan.middle(volume) is None:
                continue  # a volume without samples, which is left zero
            if self.uses_scale:
                scales[volume] = volume_scale(scan, volume)
            if self.uses_noise:
                noise[volume] = self.noise_of(scan, volume, unit)
        return Work(scan, source, whitening, scales, noise, Report(scan), partly)

    def _kept(self) -> list[tuple[tuple[int, int], dict[str, Tensor], Any]]:
        """What `keep` has; of slices that were solved together all of them or none."""
        found = [] if self.keep is None else list(self.keep.load())
        places = {place for place, _, _ in found}
        return [
            ((volume, index), tensors, about)
            for (volume, index), tensors, about in found
            if places.issuperset((volume, other) for other in about.get("coupled", ()))
        ]

    def _solve_all(
        self, work: Work, kept: set[tuple[int, int]], indices: range
    ) -> Iterator[tuple[tuple[int, int], Result]]:
        """The slices of these indices that are not kept already, solved, reported and kept."""
        done, total = sum(index in indices for _, index in kept), len(indices) * work.scan.volumes

        def advance(slices: int | float) -> None:
            if self.progress is not None:
                self.progress(done + len(work.report.skipped) + slices, total)

        started = time.perf_counter()
        for group in self._groups(work, kept, indices):
            finished = self._finished(group, work, started, advance)
            del group  # before the next slice is read, whose memory it can then be
            yield from finished
            done += len(finished)
            advance(0)
            started = time.perf_counter()

    def _finished(
        self, group: list[Problem], work: Work, started: float, advance: Advance
    ) -> list[tuple[tuple[int, int], Result]]:
        results = self._images(group, work.whitening, work.scan, advance)
        finish(self.device)
        seconds = (time.perf_counter() - started) / len(group)
        coupled = [problem.place[1] for problem in group] if self.couples_slices else []
        for problem, result in zip(group, results, strict=True):
            about = work.report.add_slice(problem.mask, seconds, result.figures)
            if self.keep is not None:
                self.keep.save(problem.place, result.tensors(), {**about, "coupled": coupled})
        return [(problem.place, result) for problem, result in zip(group, results, strict=True)]

    def _groups(
        self, work: Work, kept: set[tuple[int, int]], indices: range
    ) -> Iterator[list[Problem]]:
        """The slices with signal, `slices_at_once` at a time; their k-space is read when it is their turn."""
        scan, report = work.scan, work.report
        group: list[Problem] = []
        for index in indices:
            maps = None
            for volume in range(scan.volumes):
                if (volume, index) in kept:
                    continue
                kspace, mask = (x.to(self.device) for x in scan.measured(index, volume))
                sampled = any(bool(coil.any()) for coil in kspace)  # ends at the first that has
                if sampled and self.uses_maps and maps is None:
                    maps = work.source(scan, index, self.device)
                if not sampled:
                    report.skipped.append(
                        f"volume {volume} slice {index} has no samples: left zero"
                    )
                elif maps is not None and not bool(maps.any()):
                    report.skipped.append(
                        f"slice {index} has no coil maps, no signal found: left zero"
                    )
                else:
                    place, coils = (volume, index), maps
                    if maps is not None and volume in work.silent:
                        coils = without_coils(maps, work.silent[volume], work.whitening)
                    around = Surroundings(scan, volume, index, self.device)
                    known = (work.scales[volume], around, place, work.noise[volume])
                    group.append(Problem(kspace, mask, coils, *known))
                del kspace
                if len(group) >= self.slices_at_once(scan):
                    yield group
                    group = []
        if self.couples_slices:
            yield from _runs(group)
        elif group:
            yield group

    def noise_of(self, scan: Scan, volume: int, unit: float) -> float:
        """Noise of a volume's k-space per real component: the method's option `noise_std`, or read from the scan.

        `unit` is what 1 was before prewhitening: the measured noise level, or 1 without.
        """
        told: float | None = getattr(self, "noise_std", None)
        return noise_level(scan, volume) if told is None else told / unit

    def slices_at_once(self, scan: Scan) -> int:
        """How many slices are solved together."""
        return 1

    @property
    def couples_slices(self) -> bool:
        """Whether the image of a slice depends on those of its neighbours."""
        return False

    def _images(
        self, problems: list[Problem], whitening: Tensor | None, scan: Scan, advance: Advance
    ) -> list[Result]:
        """Slices solved, cropped to the output, in the units of the coils before prewhitening."""
        return [self._image(problem, whitening, scan) for problem in problems]

    def _image(self, problem: Problem, whitening: Tensor | None, scan: Scan) -> Result:
        image, figures = self._solved(problem, whitening, scan)
        return Result(scan.to_output(image), figures)

    def _solved(
        self, problem: Problem, whitening: Tensor | None, scan: Scan
    ) -> tuple[Complex[Tensor, "y x"], Figures]:
        solution = self.solve(problem)
        maps = problem.maps
        acquired = scan.acquired.to(solution.device)
        fill_in = PARTIAL_FOURIER[self.partial_fourier]
        if maps is None:
            if self.partial_fourier == "zero":
                # Magnitudes do not see the phase ramp of an uncentred k-space: shift one image, not every coil.
                return fftshift(rss_of_each(map(ifft2, solution))).to(solution.dtype), {}
            return rss(fill_in(ifft2c(solution), acquired)).to(solution.dtype), {}
        image = solution * problem.operator.support()
        residual = problem.residual(problem.operator(image))
        figures = {"data_residual": residual, **self._unexplained(problem, residual)}
        if whitening is not None:
            gain = unwhitened_gain(maps, whitening)
            image = image * (gain if len(maps) > 1 else gain[0])
        image = fill_in(image, acquired)
        return (_combine_sets(image) if len(maps) > 1 else image), figures

    def _unexplained(self, problem: Problem, residual: float) -> Figures:
        """What one estimated set of maps leaves of the data beyond its noise, where the residual is large."""
        estimated = isinstance(self.maps, Calibrated) and self.maps.kind == "espirit"
        single = problem.maps is not None and problem.maps.shape[:2].numel() == len(problem.kspace)
        if not (self.fits_data and estimated and single and residual > LARGE_RESIDUAL):
            return {}
        numbers = 2 * int(problem.mask.sum()) * len(problem.kspace)
        noise = outer_noise(problem.kspace, problem.mask) * math.sqrt(numbers)
        noise /= float(torch.linalg.vector_norm(problem.kspace))
        if noise > MOSTLY_NOISE:
            return {}
        return {UNEXPLAINED: math.sqrt(max(0.0, residual**2 - noise**2))}

    def parameters(self) -> dict[str, Any]:
        """The method's own parameters, without those of the loop."""
        common = self.loop_fields()
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in common}

    @classmethod
    def loop_fields(cls) -> set[str]:
        """Fields that belong to the loop over slices."""
        own = {f.name for f in fields(cls) if f.metadata.get("loop")}
        return own | {f.name for f in fields(SliceMethod)}


@dataclass(frozen=True, eq=False)
class Work:
    """What the loop over slices knows before it begins.

    Attributes:
        scan: prewhitened where the method prewhitens.
        source: of the coil maps of that scan.
        whitening: matrix it was prewhitened by.
        scales: bright level of each volume.
        noise: of each volume's k-space.
        report: what is collected slice by slice.
        silent: coils that gave nothing in a volume, though they did in others.
    """

    scan: Scan
    source: MapSource
    whitening: Tensor | None
    scales: list[float]
    noise: list[float]
    report: Report
    silent: dict[int, list[int]] = field(default_factory=dict)


def _runs(problems: list[Problem]) -> Iterator[list[Problem]]:
    """Slices of a volume that follow each other: those beyond a slice without signal are no neighbours."""
    ordered = enumerate(sorted(problems, key=lambda problem: problem.place))
    for _, run in groupby(ordered, lambda item: (item[1].place[0], item[1].place[1] - item[0])):
        yield [problem for _, problem in run]


def _combine_sets(image: Complex[Tensor, "set y x"]) -> Complex[Tensor, "y x"]:
    """Magnitude: root of the sum of squares over the sets; phase: that of the first set."""
    return rss(image) * image[0].sgn()
