"""The only loop over the slices of a scan: read, solve, finish, keep, record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from mrirecon.device import give_back_memory, synchronize, works_alone
from mrirecon.methods.base import Method, Place, Preview, Problem, Solution
from mrirecon.methods.registry import Solves, as_method
from mrirecon.progress import progress_of, say
from mrirecon.recon.ahead import ahead
from mrirecon.recon.coil_maps import EstimatedMaps, MapSource
from mrirecon.recon.finish import Finish, Result
from mrirecon.recon.left_out.judge import NOTHING, Judged, Judgement, judge
from mrirecon.recon.partial_fourier import missing_side
from mrirecon.recon.problems import Problems
from mrirecon.recon.record import Record, Tally
from mrirecon.recon.slice_store import SliceStore
from mrirecon.scan import Scan, Volume

Progress = Callable[[int | float, int], object]


@dataclass(frozen=True, eq=False, kw_only=True)
class Pipeline:
    """A scan on its way through a method, holding no more k-space than is solved together.

    Attributes:
        method: what solves.
        scan: what was measured.
        maps: where coil maps come from.
        slices: the run of slices to reconstruct; each is what it would be if all were.
        partial_fourier: what to do about the side of k-space that partial Fourier left out; zero leaves it zero.
        whiten: prewhiten when the scan has a noise measurement.
        device: torch device of the computation.
        progress: called with (slices done, slices in all); a sampler counts parts of a slice too.
        preview: called every few levels with what is known of the slices that are sampled, cropped to the output.
        keep: where finished slices are kept, and taken from when they are there; by default nowhere.
        judgement: what samples that are left out decide before.
    """

    method: Method
    scan: Scan
    maps: MapSource = field(default_factory=EstimatedMaps)
    slices: slice = field(default_factory=lambda: slice(None))
    partial_fourier: Literal["zero", "homodyne", "pocs"] = "zero"
    whiten: bool = True
    device: str = "cpu"
    progress: Progress | None = None
    preview: Callable[[Preview], object] | None = None
    keep: SliceStore | None = None
    judgement: Judgement = NOTHING

    def __post_init__(self) -> None:
        """Refuse what the method fills in by itself, and what it cannot be asked for.

        Raises:
            ValueError: if partial Fourier is to be filled in too, or one draw is to be calibrated.
        """
        check_partial_fourier(self.method, self.partial_fourier)
        self.judgement.check(self.method)

    def run(self) -> Volume:
        """The reconstruction of the chosen slices of all volumes.

        Intensities are those of the root sum of squares of the coils, prewhitened or not. Slices without samples stay
        zero, and dead coils are left out; both are noted.

        Raises:
            ValueError: if the scan does not suit the method (no calibration region, other maps, NaN, ...).
        """
        chosen, scan = self.scan.run(self.slices), self.problems.scan
        output, kept = Output(scan, chosen), self._kept()
        work = _Work(self, len(chosen) * scan.volumes, len(kept))
        for place, (result, about) in kept.items():
            output.put(place, result)
            work.tally.slices.append(about)
        for batch in work.batches([p for p in self.problems.places() if p not in kept]):
            for place, result in work.finish(batch, self.solver.solve(batch)):
                output.put(place, result)
        geometry = scan.geometry.select(slice(chosen.start, chosen.stop))
        info = self._record(work.tally).as_json()
        return Volume(
            image=output.image,
            geometry=geometry,
            info=info,
            extras=output.extras,
            acquisition=scan.acquisition,
        )

    def solve_share(self, share: int, shares: int) -> None:
        """Solve every `shares`-th slice from the `share`-th and put it into `keep`, for several processes.

        When all shares are done, `run` with the same `keep` puts them together.

        Raises:
            ValueError: if the method solves the slices of a volume together, or as `run`.
        """
        self.check_shares()
        if self.keep is None:
            raise ValueError("a share of the slices is solved for others to read: give `keep`")
        mine, kept = self.scan.run(self.slices)[share::shares], self._kept()
        places = [place for place in self.problems.places() if place[1] in mine]
        work = _Work(self, len(places), sum(place in kept for place in places))
        for batch in work.batches([place for place in places if place not in kept]):
            work.finish(batch, self.solver.solve(batch))

    def check_shares(self) -> None:
        """Raise ValueError if the method solves the slices of a volume together."""
        if self.method.needs.whole_volume:
            raise ValueError(
                f"{self.method.name} solves the slices of a volume together here (z_smoothness): run it in one process"
            )

    @cached_property
    def problems(self) -> Problems:
        """The slices as the method is given them; the scan is looked at here for the first time.

        Raises:
            ValueError, OSError: if it does not suit the method.
        """
        chosen = self.scan.run(self.slices)
        self.method.check(self.scan, chosen)
        return Problems(self.method, self.scan, self.maps, chosen, self.whiten, self.device)

    @property
    def judges(self) -> bool:
        """Whether left-out samples are asked to decide anything."""
        asked = self.judgement
        return bool(self.method.searches()) or asked.adapt is not None or asked.calibrate

    @cached_property
    def judged(self) -> Judged:
        """The method with everything that left-out samples of the scan decide, found before the first slice is solved.

        Raises:
            ValueError: if they cannot: hardly any was measured outside the calibration centre, or the method does not
                predict k-space.
        """
        return judge(self.method, self.problems, self.judgement, self.progress, self.keep)

    @property
    def solver(self) -> Method:
        """What solves the slices."""
        return self.judged.method

    @cached_property
    def finish(self) -> Finish:
        """What brings solutions to the output."""
        estimated = isinstance(self.maps, EstimatedMaps) and self.maps.kind == "espirit"
        doubts = self.method.fits_data and estimated
        problems = self.problems
        return Finish(problems.scan, problems.whitening, self.partial_fourier, doubts)

    def finished(self, problem: Problem, solution: Solution) -> Result:
        """A slice brought to the output, with calibrated error bars where these are asked for."""
        bars = self.judged.bars
        if bars is None:
            return self.finish(problem, solution)
        return bars.finish(self.finish, self.solver, problem, solution)

    def _kept(self) -> dict[Place, tuple[Result, dict[str, Any]]]:
        """What `keep` has; of slices that were solved together all of them or none."""
        found = [] if self.keep is None else list(self.keep.load())
        places = {place for place, _, _ in found}
        return {
            (volume, index): (Result.of(tensors), about)
            for (volume, index), tensors, about in found
            if places.issuperset((volume, other) for other in about.get("coupled", ()))
        }

    def _record(self, tally: Tally) -> Record:
        tally.check()
        method, problems = self.solver, self.problems
        scan, needs = problems.scan, problems.needs
        about, warnings = method.about(self.scan)
        acceleration, seconds = tally.acceleration_and_seconds()
        figures, notes = tally.means()
        cut = missing_side(scan.acquired) is not None
        return Record(
            method=method.name,
            parameters=method.parameters(),
            source=scan.source,
            format=scan.format,
            kspace_shape=scan.shape,
            volumes=scan.volumes,
            acceleration=acceleration,
            seconds_per_slice=seconds,
            figures=figures,
            maps=problems.source.describe() if needs.maps else {"kind": "none"},
            prewhitened=problems.whitening is not None if needs.maps else None,
            intensity_scale=problems.scales if needs.scale else None,
            noise_std=problems.noise if needs.noise != "no" else None,
            partial_fourier=self.partial_fourier if cut else None,
            about=about,
            left_out=self.judged.info or None,
            notes=[*scan.notes, *notes, *self.judged.notes, *warnings],
        )


class _Work:
    """Slices that are being solved: how far they are, and what stands beside them."""

    def __init__(self, pipeline: Pipeline, total: int, done: int) -> None:
        self.pipeline, self.problems = pipeline, pipeline.problems
        self.tally = Tally(self.problems.scan)
        self.tally.skipped = self.problems.skipped
        before = pipeline.judged.effort
        self.total, self.done = before + total, before + done
        if before:  # counts would be of slices that the scan does not have
            say(pipeline.progress, "reconstructing")

    def batches(self, places: list[Place]) -> Iterator[list[Problem]]:
        """The slices of these places, timed, with what tells how far they are."""
        self.started = time.perf_counter()
        batches = self.problems.batches(places)
        if works_alone(self.pipeline.device):
            batches = ahead(batches)
        for batch in batches:
            yield [replace(problem, tell=self.tell) for problem in batch]
            self.done += len(batch)
            del batch  # before the next slice is read, whose memory it can then be
            give_back_memory()
            self.advance(0)
            self.started = time.perf_counter()

    def finish(
        self, batch: list[Problem], solutions: Sequence[Solution]
    ) -> list[tuple[Place, Result]]:
        """Finish what a method solved, and keep it.

        Raises:
            ValueError: if it is NaN or infinite, before it is kept.
        """
        pipeline = self.pipeline
        results = [pipeline.finished(*pair) for pair in zip(batch, solutions, strict=True)]
        for problem, result in zip(batch, results, strict=True):
            if not bool(torch.isfinite(result.image.abs()).all()):
                raise ValueError(
                    f"{pipeline.method.name} gave NaN or infinite values for {problem.name}: try other options of it, "
                    "or another method"
                )
        synchronize(pipeline.device)
        seconds = (time.perf_counter() - self.started) / len(batch)
        whole = pipeline.method.needs.whole_volume
        coupled = [problem.place[1] for problem in batch] if whole else []
        for problem, result in zip(batch, results, strict=True):
            about = self.tally.add(problem.mask, seconds, result.figures)
            if pipeline.keep is not None:
                pipeline.keep.save(problem.place, result.tensors(), {**about, "coupled": coupled})
        return [(problem.place, result) for problem, result in zip(batch, results, strict=True)]

    def advance(self, more: float | int) -> None:
        """Tell of the progress, with so many slices of the batch done."""
        if self.pipeline.progress is not None:
            self.pipeline.progress(self.done + len(self.problems.skipped) + more, self.total)

    def tell(self, done: float, preview: Callable[[], Preview] | None) -> None:
        """Tell of the progress, and show what there is to be shown."""
        self.advance(done)
        if self.pipeline.preview is not None and preview is not None:
            shown = preview()
            image = self.problems.scan.to_output(shown.image)
            self.pipeline.preview(replace(shown, image=image))


class Output:
    """The images of a reconstruction, put together slice by slice.

    Args:
        scan: what is reconstructed.
        chosen: numbers of its slices that are.
    """

    def __init__(self, scan: Scan, chosen: range) -> None:
        self.first = chosen.start
        self.phases = [scan.echo_phase(volume) for volume in range(scan.volumes)]
        self.image = torch.zeros(scan.volumes, len(chosen), *scan.matrix, dtype=torch.complex64)
        self.extras: dict[str, Tensor] = {}

    def put(self, place: Place, result: Result) -> None:
        """Put a slice where it belongs."""
        at = place[0], place[1] - self.first
        image, phase = result.image.cpu(), self.phases[place[0]]
        self.image[at] = image if phase is None else image * phase
        for name, extra in result.extras.items():
            self.extras.setdefault(name, torch.zeros(self.image.shape))[at] = extra.cpu()


def run(
    method: Method | Solves, scan: Scan, *, progress: Progress | bool | None = None, **options: Any
) -> Volume:
    """Reconstruct a scan with a method as it is: nothing is undersampled or recentred first, as `reconstruct` does.

    Args:
        method: an object with `solve`, such as one of `mr.methods`.
        scan: what was measured.
        progress: as of `reconstruct`.
        options: attributes of `Pipeline`: maps, slices, partial_fourier, whiten, device, preview, keep.

    Raises:
        ValueError: if the scan does not suit the method.

    Example:
        >>> mr.run(mr.methods.TotalVariation(regularization=0.01), scan, slices=slice(0, 1), device="cpu")
        Volume by tv: 1 x 40 x 32 (slice, readout, phase)
    """
    solver = as_method(method)
    with progress_of(progress, solver.name) as told:
        return Pipeline(method=solver, scan=scan, progress=told, **options).run()


def check_partial_fourier(method: Method, partial_fourier: str) -> None:
    """Raise ValueError if partial Fourier is to be filled in after a method that does so by itself."""
    if method.fills_kspace and partial_fourier != "zero":
        raise ValueError(
            f"{method.name} fills in partial Fourier by itself: leave out --partial_fourier {partial_fourier}"
        )
