"""`mrirecon compare`."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from mrirecon.cli.config import UsageError
from mrirecon.cli.outputs import for_each
from mrirecon.cli.run import Command
from mrirecon.cli.shared import CALIBRATION, LAYOUT, PLACE, SCANS_ARGUMENT, known_method
from mrirecon.device import Device, choose_device
from mrirecon.io import check_output, write_volume
from mrirecon.io.batch import Inputs
from mrirecon.io.cfl import check_apart
from mrirecon.io.files import PathLike, check_target, make_folder, replacing
from mrirecon.io.layout import USUAL, Layout
from mrirecon.io.place import NOWHERE, Placement
from mrirecon.methods.classical import Regularized
from mrirecon.methods.registry import METHODS
from mrirecon.options import Count
from mrirecon.progress import slices_progress
from mrirecon.recon.coil_maps import EstimatedMaps
from mrirecon.recon.left_out.comparison import DEFAULTS, Contest, finish, run_each
from mrirecon.recon.left_out.prediction import SLICES
from mrirecon.recon.left_out.ranking import COLUMNS, Ranking
from mrirecon.recon.request import Request


def compare(
    *,
    scan: list[str],
    methods: list[str],
    output: str,
    request: dict[str, Any],
    mask: str | None = None,
    maps: str = "espirit",
    calibration: EstimatedMaps = EstimatedMaps(),  # noqa: B008
    slices: str | None = None,
    tune: bool = False,
    left_out_slices: Count = SLICES,
    device: Device = "auto",
    overwrite: bool = False,
    layout: Layout = USUAL,
    place: Placement = NOWHERE,
) -> int:
    """Compare methods on scans that have no reference.

    Every method reconstructs the scan. Then some measured samples are left out, the same ones for each method, and
    predicted from the others: the method with the least error ranks first, and methods whose errors do not differ
    beyond chance tie. OUTPUT gets METHOD.nii.gz of each with its JSON, table.csv, and report.html with all of them. A
    run that was stopped goes on with what is missing.

    Args:
        scan: k-space file; of several, of a folder or a pattern, each gets a folder in OUTPUT.
        methods: names of methods.
        output: folder.
        request: further options.
        mask: undersample retrospectively with this kind of mask (see mrirecon mask --help) or mask file.
        maps: espirit, lowres, or a file of coil maps.
        calibration: how maps are estimated.
        slices: A:B reconstructs slices A to B - 1 only; samples are left out all over the scan.
        tune: choose the weights of methods that have one first, by left-out samples (their regularization auto).
        left_out_slices: slices, spread over the scan, of which samples are left out; the report draws each one's error.
        device: where to compute; auto takes a GPU where there is one.
        overwrite: replace existing outputs.
        layout: how the array of the scan is stored.
        place: where its image lies.
    """
    where = choose_device(device)
    requests = [
        Request(
            method=_method(name, tune),
            mask=mask,
            maps=maps,
            calibration=calibration,
            slices=slices,
            layout=layout,
            place=place,
            **request,
        )
        for name in _distinct(methods)
    ]
    named = chain.from_iterable(one.files().values() for one in requests)
    others: list[PathLike] = [*chain.from_iterable(named)]
    judging = {"device": where, "left_out_slices": left_out_slices}
    judging["seed"] = request.get("left_out_seed", 0)
    scans = Inputs.named(scan, layout)

    def one(path: str, folder: Path) -> int:
        return _compare(path, requests, Files(folder, overwrite, [path, *others]), judging)

    return for_each("compare", scans.paths, scans.folders(output), one)


def _compare(
    scan: str, requests: Sequence[Request], files: Files, judging: Mapping[str, Any]
) -> int:
    """Compare on one scan; the exit status."""
    contest = Contest.of(requests, requests[0].read(scan), **judging)
    with _folder(files.folder):
        overwrite, inputs = files.overwrite, files.inputs
        contest = contest.kept_beside({name: files.volume(name) for name in contest.requests})
        done = [name for name in contest.requests if contest.is_done(name)]
        if len(done) == len(contest.requests):  # stopped while the pages were written
            files = replace(files, overwrite=True)
        files.check(list(contest.requests), done)
        results = []
        for name, result in run_each(contest, slices_progress):
            if result.volume is not None:
                replaced = overwrite or name in done
                write_volume(result.volume, files.volume(name), overwrite=replaced, inputs=inputs)
            if name in done:
                print(f"{name}: done before")
            results.append(result)
        found = finish(contest.scan, results)
        files.write(found, contest.scan.select(requests[0].run_of_slices))
        for store in contest.stores.values():
            store.clear()
    _tell(found, files)
    return 1 if found.failures else 0


@dataclass(frozen=True)
class Files:
    """What is written of a comparison.

    Attributes:
        folder: where.
        overwrite: replace what is there.
        inputs: files that no output may replace.
    """

    folder: Path
    overwrite: bool
    inputs: Sequence[PathLike]

    def volume(self, name: str) -> Path:
        """Of one method."""
        return self.folder / f"{name}.nii.gz"

    @property
    def table(self) -> Path:
        return self.folder / "table.csv"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    def check(self, names: Sequence[str], done: Sequence[str] = ()) -> None:
        """Raise ValueError or OSError if any of them cannot be written; what a killed run has `done` may be there."""
        check_apart([self.table, self.report], self.inputs)
        for page in (self.table, self.report):
            check_target(page, self.overwrite)
        for name in names:
            check_output(self.volume(name), self.overwrite or name in done, self.inputs)

    def write(self, found: Ranking, scan: Any) -> None:
        """Write the page, then the table."""
        from mrirecon.report import write_report

        notes = [_ranking(found)] if found.ranks else []
        notes += [f"{one.method}: {one.note}" for one in found.results if one.note]
        notes += [f"{name} failed: {failure}" for name, failure in found.failures.items()]
        items = [(scan, volume) for volume in found.volumes.values()]
        write_report(self.report, items, notes=notes, overwrite=self.overwrite)
        with replacing(self.table) as (part,):
            part.write_text(table_text(found), encoding="utf-8")


def table_text(found: Ranking) -> str:
    """The table as CSV, numbers with six digits; what is None is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in found.rows():
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    return text.getvalue()


def _ranking(found: Ranking) -> str:
    """All ranks in one sentence."""
    places: dict[int, list[str]] = {}
    for name, rank in found.ranks.items():
        places.setdefault(rank, []).append(name)
    each = (f"{rank}. {', '.join(names)}" for rank, names in places.items())
    ties = " (methods of one rank do not differ beyond chance)" * (len(places) < len(found.ranks))
    return f"By the error of left-out samples: {'; '.join(each)}{ties}"


def _tell(found: Ranking, files: Files) -> None:
    width = max(len("method"), *(len(one.method) for one in found.results))
    print(
        f"rank  {'method':<{width}}  left-out error [95 % interval]  data residual  null-space share  seconds"
    )
    ranks = list(found.ranks.values())
    for one in found.results:
        if one.failure:
            continue
        rank = found.ranks.get(one.method)
        place = "-" if rank is None else f"{rank}{'=' if ranks.count(rank) > 1 else ''}"
        error = "-"
        if one.left_out is not None:
            low, high = one.left_out.interval()
            error = f"{one.left_out.mean:.4f} [{low:.4f}, {high:.4f}]"
        residual, share = (_percent(x) for x in (one.data_residual, one.null_space_share))
        print(
            f"{place:>4}  {one.method:<{width}}  {error:<30}  {residual:>13}  {share:>16}  {one.seconds:>7.2f}"
        )
    for one in found.results:
        if one.note:
            print(f"  note: {one.method}: {one.note}")
    for name, failure in found.failures.items():
        print(f"mrirecon compare: error: {name}: {failure}", file=sys.stderr)
    if len(set(ranks)) < len(ranks):
        print("  =: the errors do not differ beyond chance from the best one of that rank")
    print(f"{files.table}: these numbers; {files.report}: all images side by side")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _distinct(methods: Sequence[str]) -> list[str]:
    """The names of methods, whatever their capitals.

    Raises:
        UsageError: if one does not exist, or is given twice.
    """
    names: list[str] = []
    for given in methods:
        try:
            name = known_method(given)
        except UsageError as error:
            raise UsageError(f"--methods: {error}") from error
        if name in names:
            raise UsageError(f"--methods: {name} is given twice")
        names.append(name)
    if not names:
        raise UsageError("--methods: name some, such as cg_sense tv dds")
    return names


def _method(name: str, tune: bool) -> dict[str, Any]:
    auto = tune and issubclass(METHODS[name], Regularized)
    return {"name": name, **({"regularization": "auto"} if auto else {})}


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """The folder, made where it is missing; one that was made and got nothing is removed."""
    new = not path.exists()
    make_folder(path)
    try:
        yield path
    finally:
        if new:
            with suppress(OSError):  # there is something in it
                path.rmdir()


# options of a request that the command line gives in a way of its own, and what is for networks that are adapted
SPECIAL = (
    *("method", "mask", "maps", "calibration", "slices", "layout", "place"),
    *("adapt", "adapt_slices", "adapt_save"),
)
NAMES = {
    "nargs": "+",
    "metavar": "NAME",
    "default": list(DEFAULTS),
    "help": ", ".join(METHODS),
}
COMMAND = Command(
    "compare",
    compare,
    "SCAN... --output FOLDER [--methods NAME...]",
    {"scan": SCANS_ARGUMENT, "--methods": NAMES},
    (
        "scan.h5 --mask poisson --acceleration 3 --output compared",
        "scan.h5 --methods cg_sense l1_wavelet tv --tune true --output compared",
    ),
    groups=CALIBRATION,
    flat={"request": (Request, "the data and how they are prepared", SPECIAL), **LAYOUT, **PLACE},
)
