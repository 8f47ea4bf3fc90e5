"""`mrirecon benchmark`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mrirecon.benchmark import Benchmark, Lesions, MaskEntry, Tuning, find_scans, run_benchmark
from mrirecon.benchmark.entries import check_weights, method_entries
from mrirecon.benchmark.sources import chosen_slices, simulated_scans
from mrirecon.cli.config import UsageError
from mrirecon.cli.run import Command
from mrirecon.cli.shared import CALIBRATION
from mrirecon.device import Device, choose_device
from mrirecon.io.files import make_folder
from mrirecon.progress import work_progress
from mrirecon.recon import EstimatedMaps
from mrirecon.recon.team import Team

if TYPE_CHECKING:
    import pandas as pd

Options = dict[str, Any]


def benchmark(
    *,
    output: str,
    masks: list[Options],
    methods: list[Options],
    scans: list[str] | None = None,
    simulated: list[Options] | None = None,
    slices: str | None = None,
    middle: int | None = None,
    limit: int | None = None,
    volume: int | None = None,
    weights: dict[str, str] = {},  # noqa: B006
    calibration: EstimatedMaps = EstimatedMaps(),  # noqa: B008
    tuning: Tuning = Tuning(),  # noqa: B008
    lesions: Lesions = Lesions(),  # noqa: B008
    plan: dict[str, Any],
    device: Device = "auto",
    threads: int | None = None,
    retry: bool = False,
) -> int:
    """Compare methods on the same scans, masks and noise levels: one table.

    OUTPUT gets table.csv, table.jsonl (one row per reconstruction), table.md and table.html (means and plots),
    report.html (images), and one JSON per reconstruction in cells/. A stopped run goes on with what is missing.
    Several processes share the work when `python -m torch.distributed.run --standalone --nproc_per_node N -m mrirecon
    benchmark ...` starts them.

    Args:
        output: folder of this table.
        masks: list of {kind, acceleration, center_fraction or center_size, seed or seeds, name}.
        methods: list of {method, name, options, weights, seeds, tune, if_shipped}; the method samplers is each of them.
        scans: fully sampled k-space files, folders of them, and patterns such as "*.h5".
        simulated: list of {image, name, and options of simulate}; the image embedded is that of the demo.
        slices: A:B takes slices A to B - 1 of each scan only.
        middle: take only so many slices in the middle of each scan.
        limit: take only so many of the scans, evenly spread over them.
        volume: of scans with several volumes take this one, from 0.
        weights: names or files for methods that name none themselves, by method; prior is for every diffusion method.
        calibration: how maps are estimated.
        tuning: how methods with values to tune are tuned.
        lesions: small lesions that are put into the anatomy, or taken out of it, and what becomes of them.
        plan: further options.
        device: where to compute; auto takes a GPU where there is one.
        threads: of this process on the CPU; results are the same to the last digit with the same number only.
        retry: compute again what failed before.
    """
    where = choose_device(device)
    if threads is not None and threads < 1:
        raise UsageError(f"--threads is {threads}: give 1 or more")
    check_weights(weights)
    entries = method_entries(methods, weights)
    part = chosen_slices(slices, middle)
    sources = find_scans(scans or [], part, limit, volume) + simulated_scans(simulated or [], part)
    if not sources:
        raise UsageError("there are no scans: give --scans with files or folders, or simulated")
    made = Benchmark(
        scans=tuple(sources),
        masks=tuple(map(MaskEntry.of, masks)),
        methods=tuple(entry for entry in entries if not entry.is_left_out),
        calibration=calibration,
        tuning=tuning,
        lesions=lesions,
        **plan,
    )
    made.check_files()
    team = Team.of_environment()
    folder = make_folder(Path(output))
    if team.leads:
        for entry in entries:
            if entry.is_left_out:
                print(f"note: {entry.name} is left out: its weights do not come along")
    line = work_progress("hashing scans", "cells", hidden=not team.leads)
    with _on_threads(threads), team.joined(), line as progress:
        table = run_benchmark(made, folder, device=where, team=team, progress=progress, retry=retry)
    return 0 if table is None else _tell(table, folder)


def _tell(table: pd.DataFrame, folder: Path) -> int:
    """Say what failed and what was written; the exit status."""
    failed = table[table["failure"].notna()]
    for row in failed.itertuples():
        place = f"{row.method} on {row.scan}, {row.mask}"
        print(f"mrirecon benchmark: error: {place}: {row.failure}", file=sys.stderr)
    print(
        f"{folder / 'table.html'}: {len(table)} reconstructions, {len(failed)} failed; quality against acceleration, "
        "scan and cost"
    )
    print(f"{folder / 'table.csv'}: one row for each; table.jsonl and table.md: the same as text")
    print(f"{folder / 'report.html'}: images of every method; plots/: the plots as PNG")
    if len(failed):
        print("the same line with --retry computes again what failed")
    return 1 if len(failed) else 0


@contextmanager
def _on_threads(count: int | None) -> Iterator[None]:
    """Compute with so many threads, and as before afterwards: a program may do more than this."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# fields of a benchmark that the command line gives in a way of its own
SPECIAL = ("scans", "masks", "methods", "calibration", "tuning", "lesions")
COMMAND = Command(
    "benchmark",
    benchmark,
    "--config FILE.yaml --output DIR",
    examples=(
        "--config configs/benchmark/small.yaml --scans data/multicoil_val --tuning.scans data/multicoil_train "
        "-o table",
        "--config configs/benchmark/leaderboard_knee.yaml --scans data/multicoil_val --output table --limit 20",
    ),
    groups={
        **CALIBRATION,
        "tuning": (Tuning, "how methods with values to tune are tuned", ()),
        "lesions": (Lesions, "lesions in the anatomy, and what becomes of them", ()),
    },
    flat={"plan": (Benchmark, "how methods are compared", SPECIAL)},
)
