"""Cells of the table: one scan, mask, noise level, method and seed each; what a cell depends on is its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrirecon import __version__
from mrirecon.benchmark.entries import METRICS, Benchmark, MaskEntry, MethodEntry, Options
from mrirecon.benchmark.sources import Source
from mrirecon.io.files import replacing, write_json
from mrirecon.masks import Seed, fastmri_seed

SCHEMA = 2
COST = ("seconds_per_slice", "network_evaluations", "peak_memory_mb")
Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One reconstruction to make and to judge.

    Attributes:
        source: the scan.
        mask: its mask, of which `mask_seed` is one seed.
        mask_seed: of the mask.
        noise: added, over the bright level.
        method: what reconstructs.
        seed: of a method that draws.
        tuned: options that were chosen on the tuning scans, or are being tried there.
        failed: why there is nothing to reconstruct with.
    """

    source: Source
    mask: MaskEntry
    mask_seed: int | str
    noise: float
    method: MethodEntry
    seed: int | None
    tuned: Options
    failed: str | None = None

    @property
    def problem(self) -> tuple[str, str, int | str, float]:
        """What cells share that are reconstructed from the same data."""
        return self.source.name, self.mask.name, self.mask_seed, self.noise

    @property
    def drawn(self) -> Seed:
        """The seed of the mask as `make_mask` takes it."""
        if isinstance(self.mask_seed, str):
            return fastmri_seed(self.source.path)
        return self.mask_seed

    def request(
        self, benchmark: Benchmark, hashes: Mapping[str, str], device: str
    ) -> dict[str, Any]:
        """All that the result depends on, as plain values.

        Raises:
            ValueError, OSError: if the weights cannot be found.
        """
        parameters = self.method.build(self.tuned, self.seed).parameters()
        parameters.pop("weights", None)  # wherever they are: their hash counts
        return {
            "schema": SCHEMA,
            "version": __version__,
            "scan": self.source.identity(hashes[self.source.path]),
            "mask": self.mask.request(self.drawn),
            "noise": [self.noise, benchmark.noise_seed if self.noise else None],
            "method": {"name": self.method.method, **parameters},
            "sha256": self.method.sha256(self.tuned),
            "protocols": list(benchmark.protocols),
            "support": benchmark.support,
            "remove_oversampling": benchmark.remove_oversampling,
            "calibration": benchmark.calibration.describe(),
            "device": device.partition(":")[0],
            "failed": self.failed,
        }


def key_of(request: Mapping[str, Any]) -> str:
    """A name that differs wherever a request does."""
    text = json.dumps(request, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def cells_of(
    benchmark: Benchmark, sources: Iterable[Source], methods: Iterable[MethodEntry]
) -> Iterator[Cell]:
    """Cells in the order of the table, with nothing tuned."""
    methods = list(methods)
    for source in sources:
        for mask in benchmark.masks:
            for mask_seed in mask.seeds:
                for noise in benchmark.noise:
                    for method in methods:
                        for seed in method.seeds or (None,):
                            yield Cell(
                                source=source,
                                mask=mask,
                                mask_seed=mask_seed,
                                noise=noise,
                                method=method,
                                seed=seed,
                                tuned={},
                            )


class Records:
    """The results of cells in a folder, each a file of its own that appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, request: Mapping[str, Any]) -> Record | None:
        """What was written for this request; None where nothing was, or what cannot be used."""
        path = self._path(request)
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        asked = json.loads(json.dumps(request, default=str))
        same = isinstance(record, dict) and record.get("request") == asked
        return record if same and _is_whole(record) else None

    def save(self, request: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Write a result.

        Raises:
            OSError: if that is not possible.
        """
        with replacing(self._path(request)) as (part,):
            write_json(part, {**record, "request": request})

    def _path(self, request: Mapping[str, Any]) -> Path:
        return self.folder / f"{key_of(request)}.json"


def _is_whole(record: Record) -> bool:
    """Whether a record holds what the tables ask of it: why it failed, or the result; others may have edited it."""
    if "failure" in record:
        return isinstance(record["failure"], str)
    metrics, shape = record.get("metrics"), record.get("kspace_shape")
    scores = [
        metrics.get(name) if isinstance(metrics, dict) else None
        for name in record["request"]["protocols"]
    ]
    costs = {name: record.get(name) for name in ("slices", *COST, "data_residual")}
    return (
        all(_holds_numbers(score, METRICS) for score in scores)
        and _holds_numbers(record.get("acceleration"), ["achieved"])
        and _holds_numbers(costs, costs)
        and isinstance(shape, list)
        and len(shape) == 4
        and isinstance(record.get("notes"), list)
        and all(isinstance(note, str) for note in record["notes"])
    )


def _holds_numbers(values: Any, names: Iterable[str]) -> bool:
    """Whether values of these names are numbers, or null as JSON has it for those that are not finite."""
    return isinstance(values, dict) and all(
        name in values and isinstance(values[name], int | float | None) for name in names
    )
