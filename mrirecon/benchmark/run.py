"""The run: tune, reconstruct and judge cell after cell, write the tables. What is done already is not done again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from mrirecon.benchmark.cells import Cell, Record, Records, cells_of, key_of
from mrirecon.benchmark.entries import Benchmark
from mrirecon.benchmark.pictures import Pictures, write_figures
from mrirecon.benchmark.pivot import Row
from mrirecon.benchmark.solve import Solver
from mrirecon.benchmark.sources import Source
from mrirecon.benchmark.tables import row_of, write_tables
from mrirecon.benchmark.tuning import choose, trials_of, with_choices
from mrirecon.io.files import clear_partial, replacing, write_json
from mrirecon.recon.team import Team
from mrirecon.weights import sha256_of

Progress = Callable[[str, int, int], object]


def run_benchmark(
    benchmark: Benchmark,
    folder: str | Path,
    *,
    device: str = "cpu",
    team: Team | None = None,
    progress: Progress | None = None,
    retry: bool = False,
) -> list[Row]:
    """Make or complete a table in a folder; gives its rows, one per cell, to the first process and none to others.

    The folder gets `cells/` with one JSON per cell, `tuning/` with one per trial, `scans.json` with the hashes of the
    scans, `tuning.json` with what was chosen, table.csv, table.jsonl, table.md, table.html, report.html and `plots/`. A
    cell whose file is there and answers the very same request is not computed again.

    Args:
        benchmark: what to do.
        folder: where; made where it is missing.
        device: torch device of this process.
        team: the processes that share the work; by default this one alone.
        progress: called with ("tuning" or "cells", done, in all).
        retry: compute again what failed.

    Raises:
        ValueError: if a tuning scan is a scan of the table too.
        OSError: if scans or weights cannot be read, or results not be written.
    """
    team, watch = team or Team(), progress or (lambda *_: None)
    folder = Path(folder)
    cells, tuning = Records(folder / "cells"), Records(folder / "tuning")
    pictures = Pictures(folder / "pictures", benchmark)

    def prepare() -> dict[str, str]:
        for part in (cells, tuning, pictures):
            part.folder.mkdir(parents=True, exist_ok=True)
            clear_partial(part.folder)
        hashes = _hashes(folder, (*benchmark.scans, *benchmark.tuning_scans))
        _refuse_overlap(benchmark, hashes)
        return hashes

    hashes: dict[str, str] = team.first(prepare)
    judged = replace(benchmark, protocols=(benchmark.tuning.protocol,))
    search = _Work(judged, hashes, device, team, watch, retry)
    trials = trials_of(benchmark)
    search.do("tuning", trials, tuning)
    choices = choose(trials, [search.result(trial, tuning)[0] for trial in trials], benchmark)
    table = with_choices(cells_of(benchmark, benchmark.scans, benchmark.methods), choices)
    work = _Work(benchmark, hashes, device, team, watch, retry)
    work.do("cells", table, cells, pictures)
    if not team.leads:
        return []
    results = [(cell, *work.result(cell, cells)) for cell in table]
    rows = [row_of(*result) for result in results]
    write_tables(folder, rows, benchmark, [choice.about for choice in choices.values()])
    write_figures(folder, rows, list(pictures.items(results, benchmark, device)), benchmark)
    return rows


class _Work:
    """Cells to be done by a team."""

    def __init__(
        self,
        benchmark: Benchmark,
        hashes: Mapping[str, str],
        device: str,
        team: Team,
        watch: Progress,
        retry: bool,
    ) -> None:
        self.benchmark, self.hashes, self.device = benchmark, hashes, device
        self.team, self.watch, self.retry = team, watch, retry

    def do(
        self,
        name: str,
        cells: Sequence[Cell],
        records: Records,
        pictures: Pictures | None = None,
    ) -> None:
        """Do all cells that are not done; come back when every process has."""
        if not cells:
            return
        team, total = self.team, len(cells)
        pieces = [list(group) for _, group in groupby(cells, lambda cell: cell.problem)]
        if len(pieces) < 2 * team.size:  # too few to keep every process busy
            pieces = [[cell] for cell in cells]
        solver = Solver(self.benchmark, self.device)
        while (number := team.take(name)) < len(pieces):
            for cell in pieces[number]:
                request = self.request(cell)
                known = records.load(request)
                key, failed = key_of(request), known is not None and "failure" in known
                album = pictures if pictures is not None and pictures.wants(cell) else None
                lacking = album is not None and not failed and not album.has(key)
                if known is None or lacking or (failed and self.retry):
                    record, volume = solver.solve(cell, request)
                    if album is not None and volume is not None:
                        album.save(key, volume)  # first: a record says that all is there
                    if known is None or failed:
                        records.save(request, record)
                self.watch(name, team.done(name), total)
        team.wait(name, total, lambda done: self.watch(name, done, total))

    def request(self, cell: Cell) -> dict[str, Any]:
        """All that the result of a cell depends on."""
        return cell.request(self.benchmark, self.hashes, self.device)

    def result(self, cell: Cell, records: Records) -> tuple[Record, str]:
        """The record of a cell that was done, and its key."""
        request = self.request(cell)
        record = records.load(request)
        if record is None:
            raise OSError(
                f"{records.folder} lost the record of {cell.method.name} on {cell.source.name} during the run: "
                "start it again"
            )
        return record, key_of(request)


def _refuse_overlap(benchmark: Benchmark, hashes: Mapping[str, str]) -> None:
    """Raise ValueError where a tuning scan is, byte for byte, a scan of the table."""
    ours = {
        hashes[source.path]: source.path for source in benchmark.scans if source.simulation is None
    }
    for source in benchmark.tuning_scans:
        if (same := ours.get(hashes[source.path])) is not None:
            raise ValueError(
                f"the tuning scan {source.path} is {same}, a scan of the table: tune on other scans"
            )


def _hashes(folder: Path, sources: Sequence[Source]) -> dict[str, str]:
    """SHA-256 of each source's files by its path; those of files that have not changed are remembered."""
    memory = folder / "scans.json"
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    found: dict[str, str] = {}
    stamps: dict[str, list[Any]] = {}
    for source in sources:
        if source.path in found:
            continue
        status = [part.stat() for part in source.parts]
        stamp = [[s.st_size, s.st_mtime_ns] for s in status]
        old = known.get(source.path) if isinstance(known, dict) else None
        if isinstance(old, list) and len(old) == 2 and old[0] == stamp:
            sha256 = str(old[1])
        else:
            sha256 = sha256_of(*source.parts)
        found[source.path] = sha256
        stamps[source.path] = [stamp, sha256]
    with replacing(memory) as (part,):
        write_json(part, stamps)
    return found
