"""`mrirecon convert`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from mrirecon.cli.outputs import for_each
from mrirecon.cli.run import Command
from mrirecon.cli.shared import LAYOUT, PLACE, SCANS_ARGUMENT
from mrirecon.coverage import achieved_acceleration, coverage_of
from mrirecon.io import SCAN_SUFFIXES, read_scan, write_scan
from mrirecon.io.batch import Inputs
from mrirecon.io.layout import USUAL, Layout
from mrirecon.io.place import NOWHERE, Placement
from mrirecon.options import parse_slices
from mrirecon.recon.request import Request
from mrirecon.recon.undersampling import mask_from, undersample_file
from mrirecon.scan import one_volume


def convert(
    *,
    src: str,
    dst: str,
    undersampling: dict[str, Any],
    mask: str | None = None,
    slices: str | None = None,
    format: Literal["mrd", "h5", "cfl", "npy", "npz"] | None = None,
    overwrite: bool = False,
    layout: Layout = USUAL,
    place: Placement = NOWHERE,
) -> int:
    """Convert k-space between formats, or undersample it.

    The suffix of DST decides: .mrd, .h5 (fastMRI layout), .cfl (BART), .npy or .npz. What was assumed of SRC
    and what that format cannot hold is said. With a mask DST gets only the samples that it keeps, and no reference.

    Args:
        src: k-space file, folder, or pattern.
        dst: k-space file to write; a folder where SRC is one.
        undersampling: further options.
        mask: undersample with this kind of mask (see mrirecon mask --help) or mask file, as recon does.
        slices: A:B takes slices A to B - 1 only.
        format: format of the files in a folder, h5 where none is given.
        overwrite: replace an existing output.
        layout: how the array of SRC is stored.
        place: where its image lies.
    """
    part, volume = parse_slices(slices), undersampling.pop("volume")
    seed = undersampling.pop("mask_seed")
    source = mask_from(mask, **undersampling, seed=seed)
    scans = Inputs.named([src], layout)
    outputs = scans.outputs(dst, format, "h5", SCAN_SUFFIXES)

    def write(path: str, target: Path) -> None:
        scan = place.of(read_scan(path, layout))
        scan = scan if volume is None else one_volume(scan, volume)
        said = ""
        if source is not None:
            covered = coverage_of(scan).acquired
            scan, _ = undersample_file(scan, source)
            reached = achieved_acceleration(scan.mask(scan.middle() or 0), covered).total
            said = f", acceleration {reached:.2f}"
        scan = scan.select(part)
        lost = write_scan(scan, target, overwrite=overwrite)
        shape = " x ".join(map(str, scan.shape))
        print(
            f"{target}: {shape} (slice x coil x readout x phase), {scan.volumes} volume(s), from {scan.format}{said}"
        )
        for note in (*scan.notes, *lost):
            print(f"note: {note}")

    return for_each("convert", scans.paths, outputs, write)


# options of a reconstruction that are those of a file too
SHARED = ("acceleration", "center_fraction", "mask_seed", "volume")
HIDDEN = tuple(one.name for one in fields(Request) if one.name not in SHARED)
COMMAND = Command(
    "convert",
    convert,
    "SRC DST",
    {
        "src": {
            "metavar": "SRC",
            "help": f"{SCANS_ARGUMENT['help']}",
        },
        "dst": {"metavar": "DST", "help": "k-space file to write; a folder where SRC is one"},
    },
    (
        "meas.dat meas.mrd",
        "scan.h5 middle.cfl --slices 1:2",
        "scan.h5 fourfold.h5 --mask poisson --acceleration 4",
        "data/multicoil_val undersampled --mask fastmri_random --acceleration 4",
        "kspace.mat own.mrd --axes readout,phase,coil",
    ),
    flat={"undersampling": (Request, "what of it is kept", HIDDEN), **LAYOUT, **PLACE},
)
