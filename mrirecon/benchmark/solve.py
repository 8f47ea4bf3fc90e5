"""One cell: reconstruct, judge, and say everything about it; what goes wrong is a record too."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from mrirecon.benchmark.cells import Cell, Record
from mrirecon.benchmark.error_bars import scores_of
from mrirecon.benchmark.lesions import Edit
from mrirecon.benchmark.plan import Benchmark
from mrirecon.benchmark.regions import find_brain, find_head
from mrirecon.benchmark.sources import Source, add_noise
from mrirecon.coverage import Coverage, coverage_of
from mrirecon.device import PeakMemory
from mrirecon.echo import center_echo
from mrirecon.io.volumes import describe
from mrirecon.methods.base import Method
from mrirecon.methods.classical import ZeroFilled
from mrirecon.metrics import evaluate
from mrirecon.noise import prewhiten
from mrirecon.options import one_line
from mrirecon.prepare import remove_oversampling
from mrirecon.recon import EstimatedMaps, MapSource, run
from mrirecon.recon.left_out.jackknife import NoSpread
from mrirecon.recon.left_out.judge import Judgement
from mrirecon.recon.left_out.reference_widths import PLAIN
from mrirecon.recon.record import describe_mask
from mrirecon.recon.undersampling import DrawnMask, narrow, undersample
from mrirecon.scan import Scan, Volume


class SharedMaps(MapSource):
    """Coil maps of one undersampled scan, estimated once for all methods, and the time that took.

    Every method prewhitens where there is a noise measurement, and leaves the same coils out.
    """

    def __init__(self, source: EstimatedMaps) -> None:
        self.source = source
        self._maps: dict[int, Tensor] = {}
        self.seconds = 0.0

    def __call__(self, scan: Scan, index: int, device: str) -> Complex[Tensor, "set coil y x"]:
        if index not in self._maps:
            started = time.perf_counter()
            self._maps[index] = self.source(scan, index, device).cpu()
            self.seconds += time.perf_counter() - started
        return self._maps[index].to(device)

    def describe(self) -> dict[str, Any]:
        return self.source.describe()

    @property
    def seconds_per_slice(self) -> float:
        """Mean time of those estimated so far."""
        return self.seconds / max(len(self._maps), 1)


@dataclass(frozen=True)
class Truth:
    """What reconstructions of a scan are compared with.

    Attributes:
        scan: fully sampled.
        coverage: of it.
        target: magnitude, (slice, readout, phase).
        support: pixels to judge; None for all.
    """

    scan: Scan
    coverage: Coverage
    target: Float[Tensor, "slice readout phase"]
    support: Bool[Tensor, "slice readout phase"] | None


@dataclass(frozen=True)
class Undersampled:
    """What cells of one scan, mask and noise level share."""

    scan: Scan
    made: Mapping[str, Any]
    noise_std: float
    maps: SharedMaps


class Solver:
    """Does cells; keeps what the last one read for the next."""

    def __init__(self, benchmark: Benchmark, device: str) -> None:
        self.benchmark, self.device = benchmark, device
        self._truth: tuple[Source, Truth] | None = None
        self._undersampled: tuple[Any, Undersampled] | None = None
        self._edited: tuple[Any, Edit, Undersampled] | None = None

    def solve(self, cell: Cell, request: Mapping[str, Any]) -> tuple[Record, Volume | None]:
        """The result of a cell; where it cannot be made, there is no image, and `failure` says why in one sentence."""
        if cell.failed is not None:
            return {"failure": cell.failed}, None
        try:
            return self._solved(cell, request)
        except Exception as error:
            return {"failure": one_line(error)}, None

    def problem(self, cell: Cell) -> tuple[Truth, Undersampled]:
        """What a cell reconstructs, and what the result is compared with.

        Raises:
            ValueError, OSError: if the scan cannot be read or has nothing to compare with.
        """
        if self._truth is None or self._truth[0] != cell.source:
            self._truth = cell.source, self._read(cell.source)
        truth = self._truth[1]
        place = (cell.source, cell.mask, cell.mask_seed, cell.noise)
        if self._undersampled is None or self._undersampled[0] != place:
            self._undersampled = place, self._undersample(cell, truth)
        return truth, self._undersampled[1]

    def _solved(self, cell: Cell, request: Mapping[str, Any]) -> tuple[Record, Volume]:
        truth, problem = self.problem(cell)
        maps = problem.maps
        method = cell.method.build(cell.tuned, cell.seed)
        before, memory = maps.seconds, PeakMemory(self.device)
        volume, scores = self._reconstruct(method, problem, truth)
        seconds = volume.info["seconds_per_slice"]
        if method.needs.maps:  # each is charged for its maps, whoever was first to need them
            seconds += maps.seconds_per_slice - (maps.seconds - before) / problem.scan.shape[0]
        volume = replace(volume, info={**describe_mask(volume, problem.made), "request": request})
        image = volume.image[0].abs()
        metrics = {
            protocol: evaluate(image, truth.target, protocol, support=truth.support)._asdict()
            for protocol in self.benchmark.protocols
        }
        record = {
            **describe(volume),
            "seconds_per_slice": seconds,
            "network_evaluations": _evaluations(volume.info),
            "peak_memory_mb": None if (peak := memory.peak()) is None else peak / 1e6,
            "metrics": metrics,
            "added_noise_std": problem.noise_std,
            "slices": problem.scan.shape[0],
            **({"error_bars": scores} if scores else {}),
            **self._lesions(cell, method, image),
        }
        return record, volume

    def _reconstruct(
        self, method: Method, problem: Undersampled, truth: Truth
    ) -> tuple[Volume, list[float]]:
        """The reconstruction, and the scores of its spread where it has one and they are asked for."""
        if self.benchmark.error_bars:
            if (volume := self._with_spread(method, problem)) is None:
                return self._plain(method, problem), []
            own = {"std"} if hasattr(method, "samples") else set()
            beside = {"std", "low", "high"} - own  # not calibrated, and for the scores only
            extras = {name: x for name, x in volume.extras.items() if name not in beside}
            return replace(volume, extras=extras), scores_of(volume, truth.target)
        return self._plain(method, problem), []

    def _plain(self, method: Method, problem: Undersampled, **options: Any) -> Volume:
        # The table has a line of progress of its own.
        return run(
            method, problem.scan, device=self.device, maps=problem.maps, progress=False, **options
        )

    def _with_spread(self, method: Method, problem: Undersampled) -> Volume | None:
        """The reconstruction with standard deviations, of draws or of fewer samples; None where it has none."""
        try:
            return self._plain(method, problem, judgement=Judgement(bars=PLAIN))
        except NoSpread:
            return None

    def _lesions(self, cell: Cell, method: Method, without: Tensor) -> dict[str, Any]:
        """What the method makes of the scan with lesions, where the table asks for it."""
        lesions = self.benchmark.lesions
        if not lesions.count:
            return {}
        truth, _ = self.problem(cell)
        place = (cell.source, cell.mask, cell.mask_seed, cell.noise)
        if self._edited is None or self._edited[0] != place:
            edit = lesions.edit(truth.scan, truth.target)
            changed = replace(truth, scan=edit.scan)
            self._edited = place, edit, self._undersample(cell, changed)
        _, edit, problem = self._edited
        volume = self._with_spread(method, problem) if lesions.spread else None
        volume = volume or self._plain(method, problem)
        return {"lesions": edit.judge(volume, without)}

    def _read(self, source: Source) -> Truth:
        scan = center_echo(source.read())
        if self.benchmark.remove_oversampling:
            scan = remove_oversampling(scan)
        coverage = coverage_of(scan)
        scan = narrow(scan, coverage)
        target = _target(scan)
        return Truth(scan, coverage, target, self._support(scan, target))

    def _support(self, scan: Scan, target: Tensor) -> Tensor | None:
        where = self.benchmark.support
        if where is False:
            return None
        if where in ("head", "brain"):
            return find_head(target) if where == "head" else find_brain(target)
        white = scan if scan.noise_covariance is None else prewhiten(scan)
        found = []
        for index in range(scan.shape[0]):
            maps = self.benchmark.calibration(white, index, self.device)
            inside = (maps != 0).flatten(0, 1).any(dim=0).to(torch.complex64)
            found.append(scan.to_output(inside).abs().cpu() > 0.5)
        return torch.stack(found)

    def _undersample(self, cell: Cell, truth: Truth) -> Undersampled:
        scan, std = add_noise(truth.scan, cell.noise, self.benchmark.noise_seed)
        scan, made = undersample(scan, truth.coverage, DrawnMask(cell.mask, cell.drawn))
        return Undersampled(scan, made, std, SharedMaps(self.benchmark.calibration))


def _target(scan: Scan) -> Tensor:
    """The reference of the file, or the root sum of squares of the fully sampled coils."""
    slices = range(scan.shape[0])
    if scan.reference is not None:
        return torch.stack([scan.reference(index) for index in slices])
    if not all(bool(scan.mask(index)[scan.acquired].all()) for index in slices):
        raise ValueError(
            f"{scan.source} has no reference and is not fully sampled: there is nothing to compare with"
        )
    return run(ZeroFilled(), scan).image[0].abs()


def _evaluations(info: Mapping[str, Any]) -> float:
    """Evaluations of a network per slice; an unrolled one has as many as cascades or steps."""
    if "network_evaluations" in info:
        return float(info["network_evaluations"])
    config = info.get("weights", {}).get("config")
    return 0.0 if config is None else float(config.get("steps", config.get("num_cascades", 1)))
