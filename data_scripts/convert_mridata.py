"""Convert fully sampled MRD (ISMRMRD) scans, as from mridata.org, to a training set in the fastMRI layout.

Writes OUTPUT/multicoil_train, _val and _test with kspace, reconstruction_rss (the RSS of the measured k-space, as in
fastMRI) and the header. A 3D scan becomes 2D slices along its readout. Repetitions and echoes become files of their
own. A scan that is there already is skipped.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from conversion import add_options, convert, find_files, read_split, with_target
from script import parser, run

from mrirecon.io import read_scan
from mrirecon.scan import Scan


def main(args: argparse.Namespace) -> int:
    """Find, split, convert."""
    files = find_files(args.inputs, (".h5", ".mrd"))
    places = read_split(args.split, files, lambda file: file.stem)
    return convert(
        args, files, places, lambda file: scans(file, args.acquisition, args.least_sampled)
    )


def scans(file: Path, acquisition: str, least_sampled: float) -> list[tuple[str, Scan]]:
    """Each volume of a file, with a target and a name.

    Raises:
        ValueError: if the file cannot be read or is undersampled.
    """
    whole = read_scan(file)
    whole = replace(whole, attributes={**whole.attributes, "acquisition": acquisition})
    if whole.volumes == 1:
        return [(file.stem, with_target(whole, least_sampled))]
    return [
        (f"{file.stem}_{number}", with_target(one_volume(whole, number), least_sampled))
        for number in range(whole.volumes)
    ]


def one_volume(scan: Scan, number: int) -> Scan:
    """One of a scan's volumes."""

    def pick(function):  # type: ignore[no-untyped-def]
        return None if function is None else lambda volume, index: function(number, index)

    return replace(
        scan,
        volumes=1,
        volume_names=scan.volume_names[number : number + 1],
        read=pick(scan.read),
        sampling=pick(scan.sampling),
        calibration=pick(scan.calibration),
    )


def options() -> argparse.ArgumentParser:
    """The command line."""
    made = parser(
        __doc__,
        "python data_scripts/convert_mridata.py knees --output data --split split.csv --skip_ends 40",
    )
    add_options(made)
    made.add_argument(
        "--acquisition",
        default="",
        metavar="NAME",
        help="what the files say of their contrast, as in CORPDFS",
    )
    made.add_argument(
        "--least_sampled",
        type=float,
        default=0.75,
        metavar="F",
        help="refuse scans with a smaller share of the covered k-space measured; without its corners a "
        "3D scan has 0.79 (default: 0.75)",
    )
    return made


if __name__ == "__main__":
    sys.exit(run(main, options()))
