"""`mrirecon recon`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from mrirecon import prepare
from mrirecon.cli.choices import (
    CALIBRATION,
    SCAN_ARGUMENT,
    Device,
    MaskChoice,
    choose_device,
    choose_maps,
    maps_of_slices,
    parse_slices,
)
from mrirecon.cli.method import add_method, build_method, is_slow, with_choices
from mrirecon.cli.outputs import already_done, choose_outputs, completed, summary
from mrirecon.cli.parser import Parser, Settings
from mrirecon.cli.progress import slices_progress
from mrirecon.cli.run import EXPECTED, Command, one_line
from mrirecon.io import check_output, is_complete, read_scan, write_volume
from mrirecon.io.slices import SliceStore
from mrirecon.methods import Calibrated
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
    overwrite: bool = False,
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
        overwrite: replace existing outputs.
    """
    part, where = parse_slices(slices), choose_device(device)
    source_of_maps = choose_maps(maps, calibration)
    method = with_choices(method, weights=weights, samples=samples, seed=seed)
    build_method(method)  # wrong options are found before any work
    choice = None if mask is None else MaskChoice(mask, accel, center_fraction, mask_seed)
    if choice is None and (accel is not None or center_fraction is not None):
        raise ValueError("--accel and --center_fraction belong to a mask: add --mask KIND")
    outputs = choose_outputs(scan, output, format)
    if report is not None:
        from mrirecon.report import check_page

        check_page(report, overwrite or all(map(is_complete, outputs)))
    settings = {
        "method": method,
        "mask": None if mask is None else [mask, accel, center_fraction, mask_seed],
        "maps": [maps, calibration.describe()],
        "partial_fourier": partial_fourier,
        "whiten": whiten,
        "compress_coils": None if compress_coils is None else [compress_coils, compression],
        "remove_oversampling": remove_oversampling,
        "slices": slices,
    }

    def reconstruct(source: str, target: Path, request: dict[str, Any]) -> tuple[Scan, Volume]:
        check_output(target, overwrite)
        data = read_scan(source).select(part)
        if remove_oversampling:
            data = prepare.remove_oversampling(data)
        made = None
        if choice is not None:
            pattern, made = choice.make(data.shape[2:])
            data = data.undersample(pattern, _intersection_note(data, choice.kind), choice.kind)
        if compress_coils is not None:
            data = prepare.compress_coils(data, compress_coils, compression)
        keep = SliceStore(target, {**request, **stamp_of(source)}) if is_slow(method) else None
        with slices_progress(f"{method['name']} {Path(source).name}") as progress:
            volume = build_method(
                method,
                maps=maps_of_slices(source_of_maps, data, part),
                partial_fourier=partial_fourier,
                whiten=whiten,
                device=where,
                progress=progress,
                keep=keep,
            )(data)
        volume = completed(volume, data, made, request)
        write_volume(volume, target, overwrite=overwrite)
        if keep is not None:
            keep.clear()
        print(summary(target, volume))
        for note in volume.info["notes"]:
            print(f"  note: {note}")
        return data, volume

    done, failures = [], 0
    for source, target in zip(scan, outputs, strict=True):
        request = {"source": source, **settings}
        try:
            if not overwrite and already_done(target, request):
                print(f"{target}: complete, skipped")
            else:
                done.append(reconstruct(source, target, request))
        except EXPECTED as error:
            if len(scan) == 1:
                raise
            failures += 1
            text = one_line(error)
            where_from = "" if source in text else f"{source}: "
            print(f"mrirecon recon: error: {where_from}{text}", file=sys.stderr)
    if report is not None:
        _report(report, done, overwrite)
    return 1 if failures else 0


def _report(path: str, done: list[tuple[Scan, Volume]], overwrite: bool) -> None:
    from mrirecon.report import by_scan, comparison, write_png, write_report

    if done:
        write_report(path, done, overwrite=overwrite)
        print(f"{path}: the report")
        stem = Path(path).with_suffix("")
        groups = by_scan(done)
        for items in groups:
            name = f"_{Path(items[0][0].source).stem}" if len(groups) > 1 else ""
            picture = stem.with_name(f"{stem.name}{name}.png")
            write_png(comparison(items), picture)
            print(f"{picture}: a picture of the middle slice")
    elif not Path(path).exists():
        print(f"{path}: not written, nothing was reconstructed now (--overwrite does it again)")


def stamp_of(source: str) -> dict[str, Any]:
    """What tells that a file is still the same: slices of a run that was stopped belong to it."""
    path = Path(source)
    path = path if path.exists() else path.with_name(path.name + ".cfl")
    if not path.exists():
        return {}
    status = path.stat()
    return {"size": status.st_size, "modified": status.st_mtime_ns}


def _intersection_note(scan: Scan, mask: str) -> str:
    if bool(scan.mask(scan.shape[0] // 2)[scan.acquired].all()):
        return f"undersampled retrospectively ({mask})"
    return f"the scan was undersampled already: its mask is intersected with {mask}"


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
)
