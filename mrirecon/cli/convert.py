"""`mrirecon convert`."""

from __future__ import annotations

from mrirecon.cli.run import Command
from mrirecon.cli.shared import LAYOUT, PLACE, SCAN_ARGUMENT
from mrirecon.io import read_scan, write_scan
from mrirecon.io.layout import USUAL, Layout
from mrirecon.io.place import NOWHERE, Placement
from mrirecon.options import parse_slices


def convert(
    *,
    src: str,
    dst: str,
    slices: str | None = None,
    overwrite: bool = False,
    layout: Layout = USUAL,
    place: Placement = NOWHERE,
) -> None:
    """Convert k-space between formats.

    The suffix of DST decides: .mrd, .h5 (fastMRI layout), .cfl (BART), .npy or .npz. What was assumed of SRC
    and what that format cannot hold is said.

    Args:
        src: k-space file.
        dst: k-space file to write.
        slices: A:B takes slices A to B - 1 only.
        overwrite: replace an existing output.
        layout: how the array of SRC is stored.
        place: where its image lies.
    """
    part = parse_slices(slices)
    scan = place.of(read_scan(src, layout)).select(part)
    lost = write_scan(scan, dst, overwrite=overwrite)
    shape = " x ".join(map(str, scan.shape))
    print(
        f"{dst}: {shape} (slice x coil x readout x phase), {scan.volumes} volume(s), from {scan.format}"
    )
    for note in (*scan.notes, *lost):
        print(f"note: {note}")


COMMAND = Command(
    "convert",
    convert,
    "SRC DST",
    {
        "src": {**SCAN_ARGUMENT, "metavar": "SRC"},
        "dst": {"metavar": "DST", "help": "k-space file to write"},
    },
    (
        "meas.dat scan.mrd",
        "scan.h5 scan.cfl --slices 10:12",
        "kspace.mat scan.h5 --axes readout,phase,coil",
    ),
    flat={**LAYOUT, **PLACE},
)
