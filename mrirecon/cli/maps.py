"""`mrirecon maps`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch

from mrirecon.cli.run import Command
from mrirecon.cli.shared import CALIBRATION, LAYOUT, SCAN_ARGUMENT
from mrirecon.device import Device, choose_device
from mrirecon.echo import center_echo
from mrirecon.io import MAPS_SUFFIXES, read_scan, write_maps
from mrirecon.io.cfl import check_apart
from mrirecon.io.files import check_target, suffix_of
from mrirecon.io.layout import USUAL, Layout
from mrirecon.options import parse_slices
from mrirecon.progress import slices_progress
from mrirecon.recon import EstimatedMaps
from mrirecon.recon.coil_maps import maps_from
from mrirecon.weights import sha256_of


def maps(
    *,
    scan: str,
    output: str,
    kind: Literal["espirit", "lowres"] = "espirit",
    calibration: EstimatedMaps = EstimatedMaps(),  # noqa: B008
    slices: str | None = None,
    device: Device = "auto",
    overwrite: bool = False,
    layout: Layout = USUAL,
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
        layout: how its array is stored.
    """
    where, part = choose_device(device), parse_slices(slices)
    check_apart([output], [scan])
    check_target(output, overwrite)
    suffix_of(output, MAPS_SUFFIXES)
    data = center_echo(read_scan(scan, layout)).select(part)
    source = maps_from(kind, calibration)
    found = []
    with slices_progress(f"{kind} maps {Path(scan).name}") as progress:
        for index in range(data.shape[0]):
            found.append(source(data, index, where).cpu())
            progress(index + 1, data.shape[0])
    stacked = torch.stack(found)
    stacked = stacked.squeeze(1) if stacked.shape[1] == 1 else stacked
    file = Path(scan) if Path(scan).is_file() else Path(f"{scan}.cfl")
    info = {
        "source": scan,
        "source_sha256": sha256_of(file) if file.is_file() else None,
        "slices": slices,
        "layout": asdict(layout),
        "maps": source.describe(),
        "shape": stacked.shape,
    }
    write_maps(output, stacked, info, overwrite=overwrite)
    print(f"{output}: {kind} maps {' x '.join(map(str, stacked.shape))}")


COMMAND = Command(
    "maps",
    maps,
    "SCAN --output OUTPUT",
    {"scan": SCAN_ARGUMENT},
    ("scan.h5 --output maps.npy --calibration.sets 2", "scan.h5 --output maps.cfl --kind lowres"),
    CALIBRATION,
    flat=LAYOUT,
)
