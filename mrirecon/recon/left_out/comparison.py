"""Methods on a scan that has no reference: which of them predicts left-out samples best."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from os import PathLike, fspath
from typing import Any

from mrirecon import __version__
from mrirecon.device import choose_device, synchronize
from mrirecon.methods.base import Method, Place
from mrirecon.methods.classical import Adjoint
from mrirecon.methods.trust import null_space_figures
from mrirecon.options import EXPECTED, Count, check_ranges, one_line
from mrirecon.progress import progress_of, say
from mrirecon.recon.left_out.prediction import (
    SLICES,
    LeftOutError,
    Trial,
    left_out_error,
    trials_of,
)
from mrirecon.recon.left_out.ranking import Compared, Ranking
from mrirecon.recon.left_out.spread import noise_of
from mrirecon.recon.pipeline import Pipeline, Progress
from mrirecon.recon.request import Request, request_of
from mrirecon.recon.slice_store import SliceStore
from mrirecon.scan import Scan, Volume

DEFAULTS = ("cg_sense", "l1_wavelet", "tv", "unrolled_prior", "dds")  # they need no download
KEPT = "compared"  # what came of a method, in its store
SETS = 6  # of left-out samples in each slice: more than tuning uses, for an interval


@dataclass(frozen=True, eq=False, kw_only=True)
class Contest:
    """One scan, and the requests that are compared on it; they differ in their methods only.

    Attributes:
        requests: by the name that each result gets.
        scan: as it is reconstructed (`Request.prepare`).
        mask: how its mask came about.
        source: the scan's file, for the JSON.
        device: where to compute.
        seed: of the choice of left-out samples.
        left_out_slices: the most slices, spread over the scan, whose samples are left out and predicted.
        stores: where what comes of each method is kept, and found again; by default nowhere.
    """

    requests: Mapping[str, Request]
    scan: Scan
    mask: Mapping[str, Any] | None = None
    source: str = ""
    device: str = "cpu"
    seed: int = 0
    left_out_slices: Count = SLICES
    stores: Mapping[str, SliceStore] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        requests: Sequence[Request],
        scan: Scan,
        device: str = "cpu",
        seed: int = 0,
        left_out_slices: int = SLICES,
    ) -> Contest:
        """Prepare a scan for requests.

        Raises:
            ValueError, OSError: if the scan does not suit them or is an image, or `left_out_slices` is not 1 or more.
        """
        check_ranges(cls, {"left_out_slices": left_out_slices}, "compare")
        if not requests:
            raise ValueError("there are no methods to compare: name some, such as cg_sense tv dds")
        if scan.is_image:
            raise ValueError(
                f"{scan.source} is an image: no samples of a scanner are there to be left out: compare reconstructions "
                "of a scan, such as one made by the command simulate"
            )
        named: dict[str, Request] = {}
        for request in map(_telling_share, requests):
            name, count = request.solver.name, sum(_is(request, other) for other in named.values())
            named[f"{name}_{count + 1}" if count else name] = request
        data, made = requests[0].prepare(scan)
        return cls(
            requests=named,
            scan=data,
            mask=made,
            source=scan.source,
            device=device,
            seed=seed,
            left_out_slices=left_out_slices,
        )

    def kept_beside(self, files: Mapping[str, PathLike[str]]) -> Contest:
        """The same contest, of which what is done is kept beside the output of each method, by its name."""
        about = {
            "left_out_seed": self.seed,
            "left_out_slices": self.left_out_slices,
            "sets": SETS,
            "version": __version__,
        }
        stores = {
            name: SliceStore(files[name], {**request.describe(self.source), **about})
            for name, request in self.requests.items()
        }
        return replace(self, stores=stores)

    def is_done(self, name: str) -> bool:
        """Whether what comes of a method was kept."""
        return name in self.stores and self.stores[name].get(KEPT) is not None

    def result_of(self, name: str, progress: Progress | None = None) -> Compared:
        """Reconstruct by one of the methods, then judge it; what goes wrong is in the result.

        What was kept is not done again.
        """
        store = self.stores.get(name)
        if store is not None and (kept := store.get(KEPT)) is not None:
            chosen = self.scan.run(self.requests[name].run_of_slices)
            geometry = self.scan.geometry.select(slice(chosen.start, chosen.stop))
            return Compared.of(*kept, geometry)
        found = self._result_of(name, progress)
        if store is not None and found.failure:
            store.clear()
        elif store is not None:
            store.put(KEPT, *found.parts())
        return found

    def _result_of(self, name: str, progress: Progress | None) -> Compared:
        request = self.requests[name]
        work = _Steps(progress)
        try:
            pipeline = self._pipeline(name, work)
            started = time.perf_counter()
            volume = pipeline.run()
            synchronize(self.device)
            seconds = time.perf_counter() - started
        except EXPECTED as error:
            return Compared(name, failure=one_line(error))
        volume = request.complete(volume, self.scan, self.mask, self.source)
        residual, share = (volume.info.get(key) for key in ("data_residual", "null_space_share"))
        found = Compared(name, volume, None, residual, share, seconds)
        try:
            trials = self._trials(pipeline)
            if "null_space_delta" not in volume.info:  # it has not looked at its null space
                found = replace(found, null_space_share=_share(pipeline, trials))
            work.say("predicting left-out samples")
            judged = left_out_error(pipeline.solver, trials, partial(work.judged, len(trials)))
        except EXPECTED as error:
            return replace(found, note=f"left-out samples cannot judge it: {one_line(error)}")
        finally:
            work.say("")
        info = {**volume.info, **_told(volume, judged, found.null_space_share)}
        return replace(found, left_out=judged, volume=replace(volume, info=info))

    def _pipeline(self, name: str, progress: Progress | None = None) -> Pipeline:
        request = self.requests[name]
        slow = request.solver.slow or bool(request.solver.searches())
        keep = self.stores.get(name) if slow else None
        return request.pipeline(self.scan, device=self.device, progress=progress, keep=keep)

    @cached_property
    def combined(self) -> dict[Place, Trial]:
        """The slices in which all methods are judged, with coil maps, prewhitened where there is a noise measurement.

        Raises:
            ValueError, OSError: if no slice has samples that could be left out, or no coil maps.
        """
        first = next(iter(self.requests))
        problems = replace(self._pipeline(first), method=Adjoint()).problems
        return {
            trial.problem.place: replace(trial, whitening=problems.whitening)
            for trial in trials_of(problems, slices=self.left_out_slices, sets=1, seed=self.seed)
        }

    def _trials(self, pipeline: Pipeline) -> list[Trial]:
        """The same left-out samples for every method, compared in the same units.

        Of what a method without coil maps predicts, that counts which one image gives all coils: the others predict
        nothing else, and the root sum of squares hardly sees it.

        Raises:
            ValueError: if a method is adapted to these samples, or cannot be judged by slices that do not follow each
                other; or as `combined`.
        """
        if pipeline.judgement.adapt is not None:
            raise ValueError(
                f"the weights of {pipeline.solver.name} have learned from these samples"
            )
        if pipeline.solver.needs.whole_volume:
            raise ValueError(
                f"{pipeline.solver.name} solves the slices of a volume together (z_smoothness)"
            )
        trials = []
        places, problems = list(self.combined), pipeline.problems
        for trial in trials_of(problems, sets=SETS, seed=self.seed, places=places):
            if trial.problem.maps is None:
                other = self.combined[trial.problem.place]
                trial = replace(trial, whitening=other.whitening, maps=other.problem.maps)
            trials.append(trial)
        return trials


def _is(request: Request, other: Request) -> bool:
    return request.solver.name == other.solver.name


def _telling_share(request: Request) -> Request:
    """The request with the null-space share of methods that tell it when they are asked."""
    solver: Any = request.solver
    if getattr(solver, "trust", None) is not False:
        return request
    return replace(request, method=replace(solver, trust="share"))


def _told(volume: Volume, judged: LeftOutError, share: float | None) -> dict[str, Any]:
    """What the JSON says of it."""
    known = {} if share is None else {"null_space_share": share}
    return {"left_out": {**volume.info.get("left_out", {}), **judged.as_json()}, **known}


def _share(pipeline: Pipeline, trials: Sequence[Trial]) -> float | None:
    """Null-space share of the judged slices, mean; None where the noise is not known, or it did not converge.

    Samplers and networks tell it of each slice by themselves. Here it is that of the image of a method with coil maps.
    """
    if not pipeline.solver.needs.maps:
        return None
    problems = [trial.problem for trial in trials]
    shares = []
    for problem, solution in zip(problems, pipeline.solver.solve(problems), strict=True):
        if solution.image is None or solution.image.ndim > 2:
            return None
        try:
            noise = noise_of(problem)
        except ValueError:
            return None
        told = replace(problem, noise_std=noise)
        figures, _ = null_space_figures(told, solution.image, trust="share")
        shares.append(figures["null_space_share"])
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known and len(known) == len(shares) else None


@dataclass(eq=False)
class _Steps:
    """The progress of a reconstruction, and of the sets of left-out samples after it."""

    progress: Progress | None
    total: int = 0
    further: int = 0

    def __call__(self, done: int | float, total: int) -> None:
        self.total = total
        if self.progress is not None:
            self.progress(done, total)

    def say(self, doing: str) -> None:
        say(self.progress, doing)

    def judged(self, slices: int) -> None:
        self.further += slices
        if self.progress is not None:
            self.progress(self.total + self.further, self.total + SETS * slices)


def compare(
    scan: str | PathLike[str] | Scan,
    methods: Sequence[str | Mapping[str, Any] | Method | type] = DEFAULTS,
    *,
    device: str = "auto",
    progress: bool | None = None,
    left_out_seed: int = 0,
    left_out_slices: int = SLICES,
    **options: Any,
) -> Ranking:
    """Compare methods on a scan without a reference, by how well they predict samples that are left out.

    Every method reconstructs the scan. Then the same sets of measured samples are left out for each of them, in a few
    slices, and predicted from the others. Weights that are `auto` are chosen before.

    Args:
        scan: k-space file, or a scan at hand.
        methods: each as in `reconstruct`: a name, `{"name": NAME, OPTION: VALUE}`, or an object or class with `solve`.
        device: name of a torch device, or auto, which takes a GPU where there is one.
        progress: show a line of progress for each method; as of `reconstruct`.
        left_out_seed: of the choice of samples that are left out.
        left_out_slices: the most slices, spread over the scan, of which samples are left out; a report draws the error
            of each of them.
        options: those of `Request` and `Layout`, for all methods, such as mask, acceleration, maps; `slices` are those
            to reconstruct, left-out samples are of the whole scan.

    Raises:
        ValueError: if a method, an option or a value does not exist, the scan does not suit them, or no method could
            reconstruct it.
        OSError: if a file cannot be read.

    Example:
        >>> found = mr.compare("scan.h5", ["cg_sense", {"name": "tv", "regularization": "auto"}])
        >>> for row in found.rows():
        ...     print(row["method"], found.ranks[row["method"]], row["left_out_error"])
        tv 1 0...
        cg_sense ... 0...
    """
    requests = [request_of(one, options) for one in methods]
    data = scan if isinstance(scan, Scan) else _first(requests).read(fspath(scan))
    contest = Contest.of(requests, data, choose_device(device), left_out_seed, left_out_slices)
    each = run_each(contest, partial(progress_of, progress))
    return finish(contest.scan, [result for _, result in each])


def run_each(
    contest: Contest, line: Callable[[str], AbstractContextManager[Progress | None]]
) -> Iterator[tuple[str, Compared]]:
    """Name and result of each method, one after another."""
    for name in contest.requests:
        with line(name) as progress:
            result = contest.result_of(name, progress)
        yield name, result


def finish(scan: Scan, results: Sequence[Compared]) -> Ranking:
    """The comparison of all results.

    Raises:
        ValueError: if no method gave a reconstruction.
    """
    if all(one.failure for one in results):
        one = results[0]
        said = "" if len(results) == 1 else f"none of {len(results)} methods reconstructed it: "
        raise ValueError(f"{said}{one.method}: {one.failure}")
    return Ranking.of(scan, results)


def _first(requests: Sequence[Request]) -> Request:
    return requests[0] if requests else Request()
