"""Where reconstructions go, what is done already, and what is said about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mrirecon.io import SCAN_SUFFIXES, VOLUME_SUFFIXES, is_complete, sidecar
from mrirecon.methods.provenance import completed as completed
from mrirecon.scan import Volume

INPUT_SUFFIXES = (*SCAN_SUFFIXES, ".hdf5", ".hdr", ".dat", ".mat")


def choose_outputs(scans: list[str], output: str, kind: str = "nii.gz") -> list[Path]:
    """One output per scan: OUTPUT itself, or for several scans files of a kind in the folder OUTPUT, which is made.

    Raises:
        ValueError: if two scans would have the same output name, or the folder is named like a volume.
        OSError: if the folder cannot be made.
    """
    if not output or (len(scans) == 1 and not Path(output).name):
        raise ValueError(f"--output {output!r} is no name of a file")
    if len(scans) == 1:
        return [Path(output)]
    folder = Path(output)
    if folder.name.lower().endswith(VOLUME_SUFFIXES):
        raise ValueError(f"--output {folder} is named like a file: several scans go to a folder")
    targets: dict[Path, str] = {}
    for scan in scans:
        path = Path(scan)
        stem = path.stem if path.suffix.lower() in INPUT_SUFFIXES else path.name
        target = folder / f"{stem}.{kind}"
        if target in targets:
            raise ValueError(
                f"{targets[target]} and {scan} would both become {target}: "
                "reconstruct them to different folders"
            )
        targets[target] = scan
    make_folder(folder)
    return list(targets)


def make_folder(folder: Path) -> Path:
    """The folder, made where it is missing.

    Raises:
        OSError: if that is not possible, in one sentence.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "is a file" if isinstance(error, FileExistsError) else f"({error.strerror})"
        raise type(error)(f"{folder} cannot be made a folder: it {reason}") from error
    return folder


def already_done(target: Path, request: dict[str, Any]) -> bool:
    """Whether the output is complete and was made by this very request.

    Raises:
        FileExistsError: if it was made otherwise.
    """
    if not is_complete(target):
        return False
    try:
        made = json.loads(sidecar(target).read_text(encoding="utf-8"))
    except ValueError:
        made = None
    if not isinstance(made, dict) or made.get("request") != json.loads(json.dumps(request)):
        raise FileExistsError(
            f"{target} exists and was made with other settings or from other files: "
            "give --overwrite or another --output"
        )
    return True


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
