"""`mrirecon maps`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch

from mrirecon.cli.outputs import for_each
from mrirecon.cli.run import Command
from mrirecon.cli.shared import CALIBRATION, LAYOUT, SCANS_ARGUMENT
from mrirecon.device import Device, choose_device
from mrirecon.echo import center_echo
from mrirecon.io import MAPS_SUFFIXES, read_scan, write_maps
from mrirecon.io.batch import Inputs
from mrirecon.io.cfl import check_apart
from mrirecon.io.files import check_target
from mrirecon.io.layout import USUAL, Layout
from mrirecon.options import parse_slices
from mrirecon.progress import slices_progress
from mrirecon.recon import EstimatedMaps
from mrirecon.recon.coil_maps import maps_from
from mrirecon.weights import sha256_of


def maps(
    *,
    scan: list[str],
    output: str,
    kind: Literal["espirit", "lowres"] = "espirit",
    calibration: EstimatedMaps = EstimatedMaps(),  # noqa: B008
    slices: str | None = None,
    format: Literal["npy", "cfl", "h5"] | None = None,
    device: Device = "auto",
    overwrite: bool = False,
    layout: Layout = USUAL,
) -> int:
    """Estimate the coil maps of scans.

    Args:
        scan: k-space files, folders of them, or patterns.
        output: .npy, .cfl or .h5; a folder for several scans, or with a slash at its end.
        kind: espirit, or lowres images over their RSS.
        calibration: how maps are estimated.
        slices: A:B takes slices A to B - 1 only.
        format: format of the files in that folder, npy where none is given.
        device: where to compute; auto takes a GPU where there is one.
        overwrite: replace an existing output.
        layout: how their arrays are stored.
    """
    where, part = choose_device(device), parse_slices(slices)
    source = maps_from(kind, calibration)
    scans = Inputs.named(scan, layout)
    outputs = scans.outputs(output, format, "npy", MAPS_SUFFIXES)
    check_apart(outputs, scans.paths)

    def estimate(path: str, target: Path) -> None:
        check_target(target, overwrite)
        data = center_echo(read_scan(path, layout)).select(part)
        found = []
        with slices_progress(f"{kind} maps {Path(path).name}") as progress:
            for index in range(data.shape[0]):
                found.append(source(data, index, where).cpu())
                progress(index + 1, data.shape[0])
        stacked = torch.stack(found)
        stacked = stacked.squeeze(1) if stacked.shape[1] == 1 else stacked
        file = Path(path) if Path(path).is_file() else Path(f"{path}.cfl")
        info = {
            "source": path,
            "source_sha256": sha256_of(file) if file.is_file() else None,
            "slices": slices,
            "layout": asdict(layout),
            "maps": source.describe(),
            "shape": stacked.shape,
        }
        write_maps(target, stacked, info, overwrite=overwrite)
        print(f"{target}: {kind} maps {' x '.join(map(str, stacked.shape))}")

    return for_each("maps", scans.paths, outputs, estimate)


COMMAND = Command(
    "maps",
    maps,
    "SCAN... --output OUTPUT",
    {"scan": SCANS_ARGUMENT},
    ("scan.h5 --output maps.npy --calibration.sets 2", "scan.h5 --output maps.cfl --kind lowres"),
    CALIBRATION,
    flat=LAYOUT,
)
