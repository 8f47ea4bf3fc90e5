"""`mrirecon recon`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from mrirecon.cli.choices import (
    CALIBRATION,
    LAYOUT,
    SCAN_ARGUMENT,
    Device,
    MaskChoice,
    choose_device,
    choose_maps,
    parse_slices,
)
from mrirecon.cli.method import add_method, with_choices, with_preview
from mrirecon.cli.outputs import already_done, choose_outputs, completed, summary
from mrirecon.cli.parser import Parser, Settings
from mrirecon.cli.progress import slices_progress
from mrirecon.cli.run import EXPECTED, Command, one_line
from mrirecon.cli.team import Elsewhere, Team
from mrirecon.io import check_output, is_complete, write_volume
from mrirecon.io.cfl import check_apart
from mrirecon.io.files import PathLike
from mrirecon.io.layout import USUAL, Layout
from mrirecon.io.slices import SliceStore
from mrirecon.io.volumes import volume_files
from mrirecon.methods import Calibrated, Request, SliceMethod
from mrirecon.methods.named import is_slow
from mrirecon.scan import Scan, Volume


def recon(
    *,
    scan: list[str],
    output: str,
    method: dict[str, Any],
    mask: str | None = None,
    accel: float | None = None,
    center_fraction: float | None = None,
    mask_seed: int = 0,
    format: Literal["nii.gz", "nii", "h5", "npy", "cfl"] = "nii.gz",
    weights: str | None = None,
    samples: int | None = None,
    seed: int | None = None,
    maps: str = "espirit",
    calibration: Calibrated = Calibrated(),  # noqa: B008
    partial_fourier: Literal["zero", "homodyne", "pocs"] = "zero",
    whiten: bool = True,
    compress_coils: int | None = None,
    compression: Literal["svd", "geometric"] = "svd",
    remove_oversampling: bool = False,
    slices: str | None = None,
    device: Device = "auto",
    report: str | None = None,
    preview: str | None = None,
    overwrite: bool = False,
    layout: Layout = USUAL,
) -> int:
    """Reconstruct scans.

    Beside each output stands OUTPUT.json with every parameter, seed and number. A rerun skips what is complete.

    Args:
        scan: k-space files.
        output: .nii.gz, .nii, .h5, .npy or .cfl; with several scans a folder.
        method: name and options of the method.
        mask: undersample retrospectively with this kind of mask (see mrirecon mask --help) or mask file.
        accel: acceleration of the mask.
        center_fraction: calibration share of the mask; 0.08 up to acceleration 5, else 0.04.
        mask_seed: seed of the mask.
        format: of the files in that folder; h5 is what the fastMRI leaderboard takes.
        weights: of a learned method, a shipped name or a .safetensors file (the same as --method.weights).
        samples: of a diffusion method, draws per slice (the same as --method.samples).
        seed: of a diffusion method's draws (the same as --method.seed).
        maps: espirit, lowres, or a file of coil maps.
        calibration: how maps are estimated.
        partial_fourier: what to do about the side that partial Fourier left out.
        whiten: prewhiten when the scan has a noise measurement.
        compress_coils: combine the coils to this many virtual ones, for speed.
        compression: one matrix for the scan (svd), or one per readout position (geometric).
        remove_oversampling: crop the readout to the reconstruction FOV before reconstructing, for speed.
        slices: A:B reconstructs slices A to B - 1 only.
        device: where to compute; auto takes a GPU where there is one.
        report: also write an HTML report, and beside it a picture of each scan (.png).
        preview: PNG that shows the slices a diffusion method is at, renewed while it works.
        overwrite: replace existing outputs.
        layout: how the arrays of the scans are stored.
    """
    if mask is None and (accel is not None or center_fraction is not None):
        raise ValueError("--accel and --center_fraction belong to a mask: add --mask KIND")
    where = choose_device(device)
    request = Request(
        method=with_choices(method, weights=weights, samples=samples, seed=seed),
        mask=None if mask is None else MaskChoice(mask, accel, center_fraction, mask_seed),
        maps=choose_maps(maps, calibration),
        slices=parse_slices(slices),
        partial_fourier=partial_fourier,
        whiten=whiten,
        compress_coils=compress_coils,
        compression=compression,
        remove_oversampling=remove_oversampling,
        layout=layout,
    )
    picture = with_preview(request.method, preview)
    outputs = choose_outputs(scan, output, format)
    inputs: list[PathLike] = [*scan, *chain.from_iterable(request.files().values())]
    pages: list[PathLike] = [] if preview is None else [preview]
    if report is not None:
        pages += [report, *_pictures(report, scan).values()]
    check_apart(pages, inputs)
    for target in outputs:
        check_apart(volume_files(target), inputs)
    if report is not None:
        from mrirecon.report import check_page

        check_page(report, overwrite or all(map(is_complete, outputs)))
    team, done, skipped = Team.of_environment(), [], []

    def prepared(source: str, target: Path) -> Job:
        check_output(target, overwrite)
        data, made = request.prepared(request.read(source))
        slow = is_slow(request.method) or team.size > 1
        about = request.describe(source)
        keep = SliceStore(target, about) if slow else None
        shown = picture if team.leads else {}
        configured = request.configured(data, device=where, keep=keep, **shown)
        if team.size > 1:
            configured.check_shares()
        return Job(f"{request.method['name']} {Path(source).name}", data, configured, made, about)

    def written(job: Job, target: Path) -> None:
        # What several processes have solved is put together without a progress line.
        line = slices_progress(job.title) if team.size == 1 else nullcontext(None)
        with line as progress:
            volume = replace(job.method, progress=progress)(job.scan)
        chosen = job.scan.select(request.slices)
        volume = completed(volume, chosen, job.mask, job.request)
        write_volume(volume, target, overwrite=overwrite, inputs=inputs)
        if job.method.keep is not None:
            job.method.keep.clear()
        print(summary(target, volume))
        for note in volume.info["notes"]:
            print(f"  note: {note}")
        done.append((chosen, volume))

    failures = 0
    with team.joined():
        for source, target in zip(scan, outputs, strict=True):
            try:
                about = request.describe(source)
                if team.first(partial(_is_done, target, about, overwrite)):
                    skipped.append(Path(source).name)
                    continue
                job = team.each(partial(prepared, source, target))
                if team.size > 1:
                    solve_shares(team, job)
                team.first(partial(written, job, target))
            except (*EXPECTED, Elsewhere) as error:
                if len(scan) == 1:
                    raise
                failures += 1
                if team.leads:
                    text = one_line(error)
                    where_from = "" if source in text else f"{source}: "
                    print(f"mrirecon recon: error: {where_from}{text}", file=sys.stderr)
        if report is not None and team.leads:
            _report(report, done, skipped, failures, overwrite)
    return 1 if failures and team.leads else 0


@dataclass(frozen=True)
class Job:
    """One scan to reconstruct: what it is called, its method, how its mask came about, and what was asked for."""

    title: str
    scan: Scan
    method: SliceMethod
    mask: dict[str, Any] | None
    request: dict[str, Any]


def solve_shares(team: Team, job: Job) -> None:
    """Let every process solve its share of the slices, which are kept beside the output for the first to read.

    Raises:
        ValueError: if the method takes the slices together, or the processes do not share the output's folder.
    """
    keep = job.method.keep
    assert keep is not None
    team.first(keep.open)

    def solve() -> None:
        if not keep.is_open():
            raise ValueError(
                f"{keep.folder} is not there, where the first process made it: all machines must see the folder of "
                "--output"
            )
        title = f"{job.title}, process 0 of {team.size}"
        with slices_progress(title) if team.leads else nullcontext(None) as progress:
            replace(job.method, progress=progress).solve_share(job.scan, team.rank, team.size)

    team.each(solve)


def _is_done(target: Path, request: dict[str, Any], overwrite: bool) -> bool:
    if overwrite or not already_done(target, request):
        return False
    SliceStore(target, request).clear()  # of a run that was killed when all but this was done
    print(f"{target}: complete, skipped")
    return True


def _report(
    path: str,
    done: list[tuple[Scan, Volume]],
    skipped: list[str],
    failures: int,
    overwrite: bool,
) -> None:
    from mrirecon.report import by_scan, comparison, write_png, write_report

    if done:
        note = f"Not in this report, complete before: {', '.join(skipped)}"
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
    elif skipped and not failures and not Path(path).exists():
        print(f"{path}: not written, nothing was reconstructed now (--overwrite does it again)")


def _pictures(page: str, sources: list[str]) -> dict[str, Path]:
    """Where the picture of each scan goes that is in a report."""
    stem = Path(page).with_suffix("")
    names = {source: f"_{Path(source).stem}" if len(sources) > 1 else "" for source in sources}
    return {source: stem.with_name(f"{stem.name}{name}.png") for source, name in names.items()}


def _prepare(parser: Parser, args: list[str], settings: Settings) -> tuple[list[str], Settings]:
    if "scan" in settings and not isinstance(settings["scan"], list):
        settings = {**settings, "scan": [str(settings["scan"])]}
    return add_method(parser, args, settings)


COMMAND = Command(
    "recon",
    recon,
    "SCAN... --output OUTPUT [--method NAME]",
    {"scan": {**SCAN_ARGUMENT, "nargs": "+", "type": str}},
    (
        "scan.h5 --output brain.nii.gz",
        "scan.h5 --mask poisson --accel 6 --method tv --method.iterations 50 --output tv.nii.gz",
        "session/*.h5 --output volumes --report volumes/report.html",
        "multicoil_test/*.h5 --method varnet --weights best.safetensors --format h5 --output leaderboard",
    ),
    CALIBRATION,
    _prepare,
    ("method",),
    flat=LAYOUT,
)
