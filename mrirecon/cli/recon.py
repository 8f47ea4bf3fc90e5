"""`mrirecon recon`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from mrirecon.cli.config import Settings, UsageError
from mrirecon.cli.outputs import say_failed, summary
from mrirecon.cli.parser import Parser
from mrirecon.cli.run import Command
from mrirecon.cli.shared import (
    CALIBRATION,
    LAYOUT,
    PLACE,
    SCANS_ARGUMENT,
    add_method,
    preview_file,
    with_choices,
)
from mrirecon.device import Device, choose_device
from mrirecon.io import is_complete
from mrirecon.io.batch import Inputs, outputs_of_methods
from mrirecon.io.bids import NO_BIDS, Bids, sidecar_of, sidecar_path
from mrirecon.io.cfl import check_apart
from mrirecon.io.files import PathLike, check_target
from mrirecon.io.layout import USUAL, Layout
from mrirecon.io.place import NOWHERE, Placement
from mrirecon.io.volumes import volume_files
from mrirecon.options import EXPECTED
from mrirecon.progress import slices_progress
from mrirecon.recon.advice import compression_hint
from mrirecon.recon.coil_maps import EstimatedMaps
from mrirecon.recon.partial_fourier import missing_side
from mrirecon.recon.pipeline import Progress
from mrirecon.recon.request import Request
from mrirecon.recon.session import Session
from mrirecon.recon.team import Elsewhere, Team
from mrirecon.scan import Scan, Volume


def recon(
    *,
    scan: list[str],
    method: dict[str, Any] | list[str],
    request: dict[str, Any],
    output: str | None,
    mask: str | None = None,
    maps: str = "espirit",
    calibration: EstimatedMaps = EstimatedMaps(),  # noqa: B008
    slices: str | None = None,
    format: Literal["nii.gz", "nii", "h5", "npy", "cfl", "dcm", "dicom"] | None = None,
    weights: str | None = None,
    samples: int | None = None,
    seed: int | None = None,
    compile: bool = False,
    device: Device = "auto",
    report: str | None = None,
    preview: str | None = None,
    overwrite: bool = False,
    layout: Layout = USUAL,
    place: Placement = NOWHERE,
    bids: Bids = NO_BIDS,
) -> int:
    """Reconstruct scans.

    Beside each output stands OUTPUT.json with every parameter, seed and number. A rerun skips what is complete.

    Args:
        scan: k-space files, folders of them, or patterns such as "*.h5".
        output: .nii.gz, .nii, .h5, .npy, .cfl, .dcm or .dicom (a folder of single images); a folder for several
            scans, or with a slash at its end. Several methods add their names to it.
        method: name and options of the method, or the names of several.
        request: further options.
        mask: undersample retrospectively with this kind of mask (see mrirecon mask --help) or mask file.
        maps: espirit, lowres, or a file of coil maps.
        calibration: how maps are estimated.
        slices: A:B reconstructs slices A to B - 1 only.
        format: format of the files in that folder, nii.gz where none is given; h5 is what the fastMRI leaderboard
            takes.
        weights: weights of a learned method, a shipped name or a .safetensors file (the same as --method.weights).
        samples: draws per slice of a diffusion method (the same as --method.samples).
        seed: seed of the draws of a diffusion method (the same as --method.seed).
        compile: true compiles a network for the size of the scans, minutes once (the same as --method.compile).
        device: where to compute; auto takes a GPU where there is one.
        report: also write an HTML report, and beside it a picture of each scan (.png).
        preview: PNG that shows the slices a diffusion method is at, renewed while it works.
        overwrite: replace existing outputs.
        layout: how the arrays of the scans are stored.
        place: where their images lie.
        bids: how outputs are named in a BIDS dataset.
    """
    where = choose_device(device)
    choices = {"weights": weights, "samples": samples, "seed": seed, "compile": compile or None}
    asked = [
        Request(
            method=with_choices(one, **choices),
            mask=mask,
            maps=maps,
            calibration=calibration,
            slices=slices,
            layout=layout,
            place=place,
            **request,
        )
        for one in ([{"name": n} for n in method] if isinstance(method, list) else [method])
    ]
    named = Inputs.named(scan, layout)
    scans, names = named.paths, [one.solver.name for one in asked]
    each = _outputs_in_dataset(bids, scans, output, names, overwrite)
    each = each or _outputs(named, output or "", format, names)
    outputs = [*chain.from_iterable(each)]
    inputs: list[PathLike] = [*scans]
    inputs += chain.from_iterable(chain.from_iterable(one.files().values()) for one in asked)
    adapted = asked[0].adapt_save
    beside = _beside(scans, outputs, report, preview, adapted, overwrite)
    check_apart([*beside, *chain.from_iterable(map(volume_files, outputs))], inputs)
    team, metadata = Team.of_environment(), _bids_sidecar if bids.bids is not None else None
    sessions = [
        Session(one, where, Spoken(), overwrite, inputs, picture, metadata, team)
        for one, picture in ((one, preview_file(one.solver, preview)) for one in asked)
    ]
    with team.joined():
        _run(sessions, scans, each)
        if adapted is not None and sessions[0].done:
            print(f"{adapted}: the adapted weights")
        if report is not None and team.leads:
            _report(report, sessions)
    return 1 if any(one.failures for one in sessions) and team.leads else 0


def _bids_sidecar(target: Path, volume: Volume, scan: Scan) -> Mapping[Path, Mapping[str, Any]]:
    """The metadata that BIDS wants beside an image."""
    if len(volume.image) > 1:
        raise ValueError(
            f"{scan.source} has {len(volume.image)} volumes, --bids writes one: give --volume or --output"
        )
    side = missing_side(scan.acquired)
    share = None if side is None else (side[2] - side[1]) / scan.acquired.shape[side[0]]
    return {sidecar_path(target): sidecar_of(volume, share)}


def _beside(
    scans: list[str],
    outputs: list[Path],
    report: str | None,
    preview: str | None,
    adapted: PathLike | None,
    overwrite: bool,
) -> list[PathLike]:
    """Further files that are written, none of which may be there unless it is replaced."""
    replaced = overwrite or all(map(is_complete, outputs))
    files: list[PathLike] = [] if preview is None else [preview]
    if report is not None:
        from mrirecon.report import check_page

        check_page(report, replaced)
        files += [report, *_pictures(report, scans).values()]
    if adapted is not None:
        if len(outputs) > 1:
            raise UsageError("--adapt_save takes the weights of one scan: give one scan and method")
        check_target(adapted, replaced)
        files.append(adapted)
    return files


def _outputs(scans: Inputs, output: str, kind: str | None, methods: list[str]) -> list[list[Path]]:
    """One output per scan, of each method."""
    if len(methods) == 1:
        return [scans.outputs(output, kind)]
    return list(outputs_of_methods(scans, output, methods, kind).values())


def _outputs_in_dataset(
    bids: Bids, scans: list[str], output: str | None, methods: list[str], overwrite: bool
) -> list[list[Path]]:
    """The same in a BIDS dataset; nothing where there is none.

    Raises:
        UsageError: if both a dataset and an output are given.
        ValueError, OSError: as `Bids.targets`.
    """
    if bids.bids is None:
        return []
    if output is not None:
        raise UsageError("--output and --bids both say where images go: leave one out")
    return bids.targets(scans, methods, overwrite)


def _run(sessions: list[Session], scans: list[str], outputs: list[list[Path]]) -> None:
    """Run every session, and say what is faster; one of several that fails keeps no other from its work.

    Raises:
        ValueError, OSError: if the only scan there is cannot be reconstructed by any.
    """
    failed: list[tuple[Session, Exception]] = []
    for session, targets in zip(sessions, outputs, strict=True):
        try:
            session.run(zip(scans, targets, strict=True))
        except (*EXPECTED, Elsewhere) as error:
            if len(sessions) == 1:
                raise
            session.failures += 1
            failed.append((session, error))
    if len(failed) == len(sessions):
        raise failed[0][1]
    for session, reason in failed:
        if session.team.leads:
            session.listener.failed(f"{session.request.solver.name} of {scans[0]}", reason)
    _say_hint(sessions)


class Spoken:
    """Says what happens."""

    def progress(self, title: str) -> AbstractContextManager[Progress]:
        return slices_progress(title)

    def wrote(self, target: Path, volume: Volume) -> None:
        print(summary(target, volume))
        for note in volume.info["notes"]:
            print(f"  note: {note}")

    def skipped(self, target: Path) -> None:
        print(f"{target}: complete, skipped")

    def failed(self, source: str, error: Exception) -> None:
        say_failed("recon", source, error)


def _report(path: str, sessions: list[Session]) -> None:
    from mrirecon.report import by_scan, comparison, write_png, write_report

    done = [*chain.from_iterable(one.done for one in sessions)]
    skipped = _skipped(sessions)
    if done:
        note = f"Not in this report, complete before: {', '.join(skipped)}"
        overwrite = sessions[0].overwrite
        write_report(path, done, notes=[note] if skipped else [], overwrite=overwrite)
        print(f"{path}: the report")
        if skipped:
            print(f"  {note}")
        groups = by_scan(done)
        names = _pictures(path, [items[0][0].source for items in groups])
        for items in groups:
            picture = names[items[0][0].source]
            write_png(comparison(items), picture)
            print(f"{picture}: a picture of the middle slice")
    elif skipped and not any(one.failures for one in sessions) and not Path(path).exists():
        print(f"{path}: not written, nothing was reconstructed now (--overwrite does it again)")


def _say_hint(sessions: list[Session]) -> None:
    """Say what would have made the first reconstruction faster."""
    hints = (
        compression_hint(scan.shape[1], one.request.solver)
        for one in sessions
        for scan, _ in one.done
    )
    if (hint := next((hint for hint in hints if hint is not None), None)) is not None:
        print(f"for speed: {hint}")


def _skipped(sessions: list[Session]) -> list[str]:
    """What was complete before: scans, with their method where there are several."""
    if len(sessions) == 1:
        return sessions[0].complete
    return [f"{name} by {one.request.solver.name}" for one in sessions for name in one.complete]


def _pictures(page: str, sources: list[str]) -> dict[str, Path]:
    """Where the picture of each scan goes that is in a report."""
    stem = Path(page).with_suffix("")
    names = {source: f"_{Path(source).stem}" if len(sources) > 1 else "" for source in sources}
    return {source: stem.with_name(f"{stem.name}{name}.png") for source, name in names.items()}


def prepare(parser: Parser, args: list[str], settings: Settings) -> tuple[list[str], Settings]:
    """Add the options of the method; with `--bids` no output is needed.

    Raises:
        UsageError: as `add_method`.
    """
    into_dataset = "bids" in settings or any(one.partition("=")[0] == "--bids" for one in args)
    parser.require("--output", not into_dataset)
    return add_method(parser, args, settings)


# options of a request that the command line gives in a way of its own
SPECIAL = ("method", "mask", "maps", "calibration", "slices", "layout", "place")
BIDS = {"bids": (Bids, "a BIDS dataset in place of an output", ())}
COMMAND = Command(
    "recon",
    recon,
    "SCAN... (--output OUTPUT | --bids FOLDER) [--method NAME...]",
    {"scan": SCANS_ARGUMENT},
    (
        "scan.h5 --output brain.nii.gz",
        "scan.h5 --mask poisson --acceleration 6 --method tv --method.iterations 50 --output tv.nii.gz",
        "scan.h5 --method tv cg_sense dds --output brain.nii.gz",
        "session --output volumes --report volumes/report.html",
        "data/multicoil_test/*.h5 --method varnet --weights best.safetensors --format h5 --output leaderboard",
    ),
    prepare=prepare,
    prepared=("method",),
    groups=CALIBRATION,
    flat={
        "request": (Request, "the data and how they are prepared", SPECIAL),
        **LAYOUT,
        **PLACE,
        **BIDS,
    },
)
