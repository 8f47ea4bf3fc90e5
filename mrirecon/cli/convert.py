"""`mrirecon convert`."""

from __future__ import annotations

from mrirecon.cli.choices import choose_slices
from mrirecon.cli.run import Command
from mrirecon.io import read_scan, write_scan


def convert(*, src: str, dst: str, slices: str | None = None, overwrite: bool = False) -> None:
    """Convert k-space between formats; the suffix of DST chooses .mrd, .h5 (fastMRI layout), .cfl, .npy or .npz.

    Args:
        src: k-space file.
        dst: k-space file to write.
        slices: A:B takes slices A to B - 1 only.
        overwrite: replace an existing output.
    """
    scan = choose_slices(read_scan(src), slices)
    lost = write_scan(scan, dst, overwrite=overwrite)
    shape = " x ".join(map(str, scan.shape))
    print(
        f"{dst}: {shape} (slice x coil x readout x phase), {scan.volumes} volume(s), from {scan.format}"
    )
    for what in lost:
        print(f"note: {what}")


COMMAND = Command(
    "convert",
    convert,
    {
        "src": {"metavar": "SRC", "help": "k-space file to read"},
        "dst": {"metavar": "DST", "help": "k-space file to write"},
    },
)
