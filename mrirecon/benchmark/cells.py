"""Cells of the table: one scan, mask, noise level, method and seed each; what a cell depends on is its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from mrirecon import __version__
from mrirecon.benchmark.entries import MaskEntry, MethodEntry, Options
from mrirecon.benchmark.plan import Benchmark
from mrirecon.benchmark.sources import Source
from mrirecon.io.files import replacing, write_json
from mrirecon.masks import Seed, fastmri_seed

SCHEMA = 3  # of the records; those of another one are not read
CHECKSUM = "checksum"
COST = ("seconds_per_slice", "network_evaluations", "peak_memory_mb")
Record = dict[str, Any]


@dataclass(frozen=True)
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
    tuned: Options = field(default_factory=dict)
    failed: str | None = None

    @property
    def problem(self) -> tuple[str, str, int | str, float]:
        """What cells share that are reconstructed from the same data."""
        return self.source.name, self.mask.name, self.mask_seed, self.noise

    @property
    def is_first(self) -> bool:
        """Whether its seeds are the first of its mask and method."""
        return (self.mask_seed, self.seed) == (self.mask.seeds[0], self.method.runs[0])

    @property
    def drawn(self) -> Seed:
        """The seed of the mask as `make_mask` takes it."""
        seed = self.mask_seed
        return fastmri_seed(self.source.path) if isinstance(seed, str) else seed

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
            "method": {"name": self.method.kind, **parameters},
            "sha256": self.method.sha256(self.tuned),
            "protocols": list(benchmark.protocols),
            "support": benchmark.support,
            "remove_oversampling": benchmark.remove_oversampling,
            "calibration": benchmark.calibration.describe(),
            "device": device.partition(":")[0],
            "failed": self.failed,
            **({"error_bars": True} if benchmark.error_bars else {}),
            **benchmark.lesions.request(),
        }


def key_of(request: Any) -> str:
    """A name that differs wherever plain values do, such as a request."""
    text = json.dumps(request, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def cells_of(
    benchmark: Benchmark, sources: Iterable[Source], methods: Sequence[MethodEntry]
) -> Iterator[Cell]:
    """Cells in the order of the table, with nothing tuned."""
    for source, mask in product(sources, benchmark.masks):
        for mask_seed, noise, method in product(mask.seeds, benchmark.noise, methods):
            for seed in method.runs:
                yield Cell(source, mask, mask_seed, noise, method, seed)


class Records:
    """The results of cells in a folder, each a file of its own that appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, request: Mapping[str, Any]) -> Record | None:
        """What was written for this request; None where nothing was, or what somebody changed since."""
        try:
            record = json.loads(self._path(request).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        whole = isinstance(record, dict) and record.pop(CHECKSUM, None) == key_of(record)
        return record if whole and key_of(record.get("request")) == key_of(request) else None

    def save(self, request: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Write a result.

        Raises:
            OSError: if that is not possible.
        """
        with replacing(self._path(request)) as (part,):
            write_json(part, {**record, "request": request})
            written = json.loads(part.read_text(encoding="utf-8"))
            write_json(part, {**written, CHECKSUM: key_of(written)})

    def _path(self, request: Mapping[str, Any]) -> Path:
        return self.folder / f"{key_of(request)}.json"


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
