"""`mrirecon maps`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import torch

from mrirecon.cli.choices import Device, choose_device, choose_maps, choose_slices
from mrirecon.cli.progress import slices_progress
from mrirecon.cli.run import Command
from mrirecon.io import read_scan, write_maps
from mrirecon.methods import Calibrated


def maps(
    *,
    scan: str,
    output: str,
    kind: Literal["espirit", "lowres"] = "espirit",
    calibration: Calibrated = Calibrated(),  # noqa: B008
    slices: str | None = None,
    device: Device = "auto",
    overwrite: bool = False,
) -> None:
    """Estimate the coil maps of a scan.

    Args:
        scan: k-space file.
        output: .npy, .cfl or .h5.
        kind: espirit, or lowres images over their RSS.
        calibration: how maps are estimated.
        slices: A:B takes slices A to B - 1 only.
        device: where to compute; auto takes a GPU where there is one.
        overwrite: replace an existing output.
    """
    where = choose_device(device)
    data = choose_slices(read_scan(scan), slices)
    source = choose_maps(kind, calibration, slices, data.shape[0])
    found = []
    with slices_progress(f"{kind} maps {Path(scan).name}") as progress:
        for index in range(data.shape[0]):
            found.append(source(data, index, where).cpu())
            progress(index + 1, data.shape[0])
    stacked = torch.stack(found)
    stacked = stacked.squeeze(1) if stacked.shape[1] == 1 else stacked
    info = {
        "source": scan,
        "source_sha256": _sha256(Path(scan)),
        "slices": slices,
        "maps": source.describe(),
        "shape": stacked.shape,
    }
    write_maps(output, stacked, info, overwrite=overwrite)
    print(f"{output}: {kind} maps {' x '.join(map(str, stacked.shape))}")


def _sha256(path: Path) -> str | None:
    """Of the file's bytes; None for a scan named by its base, such as a cfl pair."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        return (
            hashlib.file_digest(stream, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else (hashlib.sha256(stream.read()).hexdigest())
        )


COMMAND = Command(
    "maps",
    maps,
    {
        "scan": {
            "metavar": "SCAN",
            "help": "k-space file: fastMRI or MRD HDF5, BART cfl, npy, npz or Siemens twix",
        }
    },
)
