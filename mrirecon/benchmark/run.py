"""The run: tune, reconstruct and judge cell after cell, write the tables. What is done already is not done again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrirecon.benchmark.cells import Cell, Record, Records, cells_of, key_of
from mrirecon.benchmark.error_bars import write_error_bars
from mrirecon.benchmark.lesions import Lesions
from mrirecon.benchmark.pictures import Pictures, write_plots
from mrirecon.benchmark.plan import Benchmark
from mrirecon.benchmark.solve import Solver
from mrirecon.benchmark.sources import Source
from mrirecon.benchmark.tables import row_of, write_tables
from mrirecon.benchmark.tuning import choose, trials_of, with_choices
from mrirecon.io.files import clear_partial, replacing, write_json
from mrirecon.recon.team import Team
from mrirecon.report import write_report
from mrirecon.weights import sha256_of

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[str, int, int], object]


def run_benchmark(
    benchmark: Benchmark,
    folder: str | Path,
    *,
    device: str = "cpu",
    team: Team | None = None,
    progress: Progress | None = None,
    retry: bool = False,
) -> pd.DataFrame | None:
    """Make or complete a table in a folder; gives it, as `read_table` does, to the first process and None to others.

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
    team, folder = team or Team(), Path(folder)
    cells, trials = Records(folder / "cells"), Records(folder / "tuning")
    pictures = Pictures(folder / "pictures", benchmark)

    def prepare() -> dict[str, str]:
        for part in (cells, trials, pictures):
            part.folder.mkdir(parents=True, exist_ok=True)
            clear_partial(part.folder)
        hashes = _hashes(folder / "scans.json", (*benchmark.scans, *benchmark.tuning_scans))
        _refuse_overlap(benchmark, hashes)
        return hashes

    hashes: dict[str, str] = team.first(prepare)
    work = _Work(benchmark, hashes, device, team, progress or (lambda *_: None), retry)
    search = replace(
        work,
        benchmark=replace(
            benchmark,
            protocols=(benchmark.tuning.protocol,),
            error_bars=False,
            lesions=Lesions(),
        ),
    )
    tried = search.do("tuning", trials_of(benchmark), trials)
    choices = choose([(cell, record) for cell, record, _ in tried], benchmark)
    table = with_choices(cells_of(benchmark, benchmark.scans, benchmark.methods), choices)
    results = work.do("cells", table, cells, pictures)
    if not team.leads:
        return None
    rows = [row_of(*result) for result in results]
    plots = write_plots(folder, rows, benchmark)
    made = write_tables(folder, rows, benchmark, list(choices.values()), plots)
    if benchmark.error_bars:
        write_error_bars(folder, results)
    shown = list(pictures.items(results, benchmark, device))
    links = {"Tables and plots": "table.html"}
    write_report(folder / "report.html", shown, links=links, overwrite=True)
    return made


@dataclass(frozen=True)
class _Work:
    """Cells to be done by a team."""

    benchmark: Benchmark
    hashes: Mapping[str, str]
    device: str
    team: Team
    watch: Progress
    retry: bool

    def do(
        self,
        name: str,
        cells: Sequence[Cell],
        records: Records,
        pictures: Pictures | None = None,
    ) -> list[tuple[Cell, Record, str]]:
        """Do all cells that are not done; when every process has, give each with its record and its key."""
        team, total = self.team, len(cells)
        pieces = [list(group) for _, group in groupby(cells, lambda cell: cell.problem)]
        if len(pieces) < 2 * team.size:  # too few to keep every process busy
            pieces = [[cell] for cell in cells]
        solver = Solver(self.benchmark, self.device)
        while cells and (number := team.take(name)) < len(pieces):
            for cell in pieces[number]:
                self._complete(cell, solver, records, pictures)
                self.watch(name, team.done(name), total)
        if cells:
            team.wait(name, total, lambda done: self.watch(name, done, total))
        return [self._result(cell, records) for cell in cells]

    def _complete(
        self, cell: Cell, solver: Solver, records: Records, pictures: Pictures | None
    ) -> None:
        """Solve a cell whose record or pictures are not there."""
        request = self._request(cell)
        known, key = records.load(request), key_of(request)
        failed = known is not None and "failure" in known
        album = pictures if pictures is not None and pictures.wants(cell) else None
        lacking = album is not None and not failed and not album.has(key)
        if known is None or lacking or (failed and self.retry):
            record, volume = solver.solve(cell, request)
            if album is not None and volume is not None:
                album.save(key, volume)  # first: a record says that all is there
            if known is None or failed:
                records.save(request, record)

    def _request(self, cell: Cell) -> dict[str, Any]:
        return cell.request(self.benchmark, self.hashes, self.device)

    def _result(self, cell: Cell, records: Records) -> tuple[Cell, Record, str]:
        request = self._request(cell)
        if (record := records.load(request)) is None:
            raise OSError(
                f"{records.folder} lost the record of {cell.method.name} on {cell.source.name} during the run: "
                "start it again"
            )
        return cell, record, key_of(request)


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


def _hashes(memory: Path, sources: Sequence[Source]) -> dict[str, str]:
    """SHA-256 of each source's files by its path; those of files that have not changed are remembered."""
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        known = None
    found: dict[str, str] = {}
    kept: dict[str, str] = {}
    for source in sources:
        stamps = [(part.stat().st_size, part.stat().st_mtime_ns) for part in source.parts]
        place = f"{source.path} {stamps}"
        old = known.get(place) if isinstance(known, dict) else None
        kept[place] = kept.get(place) or (old if isinstance(old, str) else sha256_of(*source.parts))
        found[source.path] = kept[place]
    with replacing(memory) as (part,):
        write_json(part, kept)
    return found
