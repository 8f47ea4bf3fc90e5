"""`mrirecon recon`."""

from __future__ import annotations

import json
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from mrirecon.cli.choices import Device, choose_device, choose_maps, choose_mask, choose_slices
from mrirecon.cli.progress import slices_progress
from mrirecon.cli.run import Command, Parser, one_line
from mrirecon.io import check_output, is_complete, read_scan, sidecar, write_volume
from mrirecon.methods import METHODS, Calibrated
from mrirecon.metrics import evaluate
from mrirecon.scan import Scan, Volume

SHARED = {
    "maps",
    "partial_fourier",
    "whiten",
    "device",
    "progress",
}  # options of recon, not of a method
DEFAULT_METHOD = "l1_wavelet"


def recon(
    *,
    scan: list[str],
    output: str,
    method: dict[str, Any],
    mask: str | None = None,
    accel: float | None = None,
    center_fraction: float | None = None,
    mask_seed: int = 0,
    maps: str = "espirit",
    calibration: Calibrated = Calibrated(),  # noqa: B008
    partial_fourier: Literal["zero", "homodyne", "pocs"] = "zero",
    whiten: bool = True,
    slices: str | None = None,
    device: Device = "auto",
    report: str | None = None,
    overwrite: bool = False,
) -> int:
    """Reconstruct scans.

    Args:
        scan: k-space files.
        output: .nii.gz, .nii, .h5, .npy or .cfl; with several scans a folder for NIfTI files.
        method: name and options of the method.
        mask: undersample retrospectively with this kind of mask, or with the mask of a file.
        accel: acceleration of the mask.
        center_fraction: calibration share of the mask; default 0.08 up to acceleration 5, else 0.04.
        mask_seed: seed of the mask.
        maps: espirit, lowres, or a file of coil maps.
        calibration: how maps are estimated.
        partial_fourier: what to do about the side that partial Fourier left out.
        whiten: prewhiten when the scan has a noise measurement.
        slices: A:B reconstructs slices A to B - 1 only.
        device: where to compute; auto takes a GPU where there is one.
        report: also write an HTML report.
        overwrite: replace existing outputs.
    """
    options = {k: v for k, v in method.items() if k != "name"}
    name = method["name"]
    where = choose_device(device)
    request = {
        "method": {"name": name, **options},
        "mask": None if mask is None else [mask, accel, center_fraction, mask_seed],
        "maps": [maps, calibration.describe()],
        "partial_fourier": partial_fourier,
        "whiten": whiten,
        "slices": slices,
    }
    outputs = _outputs(scan, output)
    todo = [
        (source, target)
        for source, target in zip(scan, outputs, strict=True)
        if overwrite or not _already_done(target, {"source": source, **request})
    ]
    failures = 0
    done: list[tuple[Scan, Volume]] = []
    for source, target in todo:
        try:
            check_output(target, overwrite)
            data = choose_slices(read_scan(source), slices)
            made: dict[str, Any] | None = None
            if mask is not None:
                pattern, made = choose_mask(mask, data.shape[2:], accel, center_fraction, mask_seed)
                data = data.undersample(pattern, _intersection_note(data, mask))
            with slices_progress(f"{name} {Path(source).name}") as progress:
                reconstruct = METHODS[name](
                    maps=choose_maps(maps, calibration, slices, data.shape[0]),
                    partial_fourier=partial_fourier,
                    whiten=whiten,
                    device=where,
                    progress=progress,
                    **options,
                )
                volume = reconstruct(data)
            volume = completed(volume, data, made, {"source": source, **request})
            write_volume(volume, target, overwrite=overwrite)
            done.append((data, volume))
            print(summary(target, volume))
        except (ValueError, OSError, MemoryError) as error:
            if len(scan) == 1:
                raise
            failures += 1
            print(f"mrirecon recon: error: {one_line(error)}", file=sys.stderr)
    if report is not None and done:
        from mrirecon.report import write_report

        write_report(report, done, overwrite=overwrite)
        print(f"report: {report}")
    return 1 if failures else 0


def prepare(parser: Parser, args: list[str]) -> list[str]:
    """Add the options of the method that the arguments, or the YAML file, name."""
    args, name = _name_method(args)
    if name not in METHODS:
        near = get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(METHODS)}"
        raise ValueError(f"unknown method {name!r}: {hint}")
    parser.add_argument("--method.name", metavar="NAME", default=name, help=", ".join(METHODS))
    parser.add_class_arguments(METHODS[name], "method", skip=SHARED, instantiate=False)
    return args


def _name_method(args: list[str]) -> tuple[list[str], str]:
    """Arguments with `--method NAME` as `--method.name=NAME`, and the name itself."""
    named, configured = None, None
    out: list[str] = []
    rest = iter(args)
    for arg in rest:
        flag, equals, value = arg.partition("=")
        if flag not in ("--method", "--method.name", "--config"):
            out.append(arg)
            continue
        value = value if equals else next(rest, "")
        if flag == "--config":
            value, configured = _with_named_method(value, configured)
            out.append(f"--config={value}")
        else:
            named = value
            out.append(f"--method.name={value}")
    return out, named or configured or DEFAULT_METHOD


def _with_named_method(path: str, name: str | None) -> tuple[str, str | None]:
    """In YAML `method: NAME` is short for `method: {name: NAME}`: the file (or such text), and the name."""
    settings = yaml.safe_load(Path(path).read_text()) if Path(path).is_file() else None
    if not isinstance(settings, dict):
        return path, name
    method = settings.get("method")
    if isinstance(method, str):
        return yaml.safe_dump({**settings, "method": {"name": method}}), method
    return path, method.get("name", name) if isinstance(method, dict) else name


def _outputs(scans: list[str], output: str) -> list[Path]:
    """One output per scan; several scans go to a folder, which is made.

    Raises:
        ValueError: if two scans would have the same output name.
    """
    if len(scans) == 1:
        return [Path(output)]
    folder = Path(output)
    targets = [folder / f"{Path(scan).name.split('.')[0]}.nii.gz" for scan in scans]
    if len(set(targets)) < len(targets):
        raise ValueError(
            "two of the scans have the same name: reconstruct them to different folders"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return targets


def _already_done(target: Path, request: dict[str, Any]) -> bool:
    """Whether the output is complete and was made by this very request.

    Raises:
        FileExistsError: if it was made otherwise.
    """
    if not is_complete(target):
        return False
    made = json.loads(sidecar(target).read_text()).get("request")
    if made != json.loads(json.dumps(request)):
        raise FileExistsError(
            f"{target} exists and was made with other settings: give --overwrite or another --output"
        )
    print(f"{target}: complete, skipped")
    return True


def _intersection_note(scan: Scan, mask: str) -> str:
    if bool(scan.mask(scan.shape[0] // 2)[scan.acquired].all()):
        return f"undersampled retrospectively ({mask})"
    return f"the scan was undersampled already: its mask is intersected with {mask}"


def completed(
    volume: Volume, scan: Scan, mask: dict[str, Any] | None, request: dict[str, Any]
) -> Volume:
    """The volume with everything its JSON should say."""
    info = {**volume.info, "mask": mask or "as acquired", "request": request}
    if scan.reference is not None and scan.volumes == 1:
        target = torch.stack([scan.reference(i) for i in range(scan.shape[0])])
        info["metrics"] = evaluate(volume.image[0].abs(), target)._asdict()
    return Volume(image=volume.image, geometry=volume.geometry, info=info)


def summary(target: Path, volume: Volume) -> str:
    """One line about a written volume."""
    info = volume.info
    parts = [
        f"{target}: {info['method']}",
        f"acceleration {info['acceleration']['achieved']:.2f}",
        f"{info['seconds_per_slice']:.2f} s/slice",
    ]
    if "data_residual" in info:
        parts.append(f"data residual {100 * info['data_residual']:.1f} %")
    if "metrics" in info:
        m = info["metrics"]
        parts.append(f"PSNR {m['psnr']:.2f} dB, SSIM {m['ssim']:.4f} ({m['protocol']})")
    return ", ".join(parts)


COMMAND = Command(
    "recon",
    recon,
    {
        "scan": {
            "metavar": "SCAN",
            "nargs": "+",
            "help": "k-space file: fastMRI or MRD HDF5, BART cfl, npy, npz or Siemens twix",
        }
    },
    prepare,
    ("method",),
)
