"""What the converters share: the split by patient, the target, and one file after the other into the fastMRI layout."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mrirecon.io import read_scan, write_scan
from mrirecon.options import EXPECTED, one_line
from mrirecon.scan import Scan
from mrirecon.tensors import ifft2c, rss

PARTS = ("train", "val", "test")


class Place(NamedTuple):
    """Where a file goes."""

    part: str
    patient: str


def add_options(options: argparse.ArgumentParser) -> None:
    """The options that all converters have."""
    add = options.add_argument
    add("inputs", nargs="+", type=Path, metavar="INPUT", help="files, or folders of them")
    add("--output", required=True, type=Path, metavar="DIR", help="folder of the training set")
    add(
        "--split",
        type=Path,
        metavar="FILE.csv",
        help="columns file, part (train, val or test) and, if wanted, patient; without it all files train",
    )
    add(
        "--skip_ends",
        type=int,
        default=0,
        metavar="N",
        help="leave out N slices at either end (default: 0)",
    )
    add("--overwrite", action="store_true", help="convert again what is there already")


def find_files(inputs: Sequence[Path], suffixes: tuple[str, ...]) -> list[Path]:
    """Files given, and files with one of the suffixes below folders given, sorted.

    Raises:
        FileNotFoundError: if an input does not exist.
        ValueError: if there are none, or two of one name.
    """
    found = []
    for given in inputs:
        if not given.exists():
            raise FileNotFoundError(f"{given}: no such file or folder")
        below = sorted(path for path in given.rglob("*") if path.suffix.lower() in suffixes)
        found += [given] if given.is_file() else below
    if not found:
        raise ValueError(f"{', '.join(map(str, inputs))}: no file named {' or '.join(suffixes)}")
    names: dict[str, Path] = {}
    for path in found:
        if names.setdefault(path.stem, path) != path:
            raise ValueError(f"{path} and {names[path.stem]} would become one file: rename one")
    return found


def read_split(
    split: Path | None, files: Sequence[Path], patient: Callable[[Path], str]
) -> list[Place]:
    """Part and patient of each file.

    Args:
        split: CSV; a file is named there with or without its suffix.
        files: to be converted.
        patient: of a file of which the CSV does not say it.

    Raises:
        FileNotFoundError: if there is no such CSV.
        ValueError: if it is not as described, lacks a file, or has one patient in two parts.
    """
    if split is None:
        return [Place("train", patient(file)) for file in files]
    with split.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if not {"file", "part"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{split}: the first line must be file,part or file,part,patient")
        rows = {Path(row["file"] or "").name: row for row in reader}
    parts: dict[str, tuple[str, Path]] = {}
    places = []
    for file in files:
        row = rows.get(file.name) or rows.get(file.stem)
        if row is None:
            raise ValueError(f"{split} does not say to which part {file.name} belongs: add a line")
        if row["part"] not in PARTS:
            raise ValueError(
                f"{split}: part of {file.name} is {row['part']!r}: give train, val or test"
            )
        place = Place(row["part"], row.get("patient") or patient(file))
        part, other = parts.setdefault(place.patient, (place.part, file))
        if part != place.part:
            raise ValueError(
                f"{split}: {place.patient} is in {part} ({other.name}) and in {place.part} "
                f"({file.name}): a patient belongs to one part"
            )
        places.append(place)
    return places


def with_target(scan: Scan, least_sampled: float) -> Scan:
    """The scan with the RSS of its own k-space as target, as in fastMRI.

    Raises:
        ValueError: if less than that share of the covered points was measured.
    """
    middle = scan.mask(scan.shape[0] // 2)
    share = float(middle[scan.acquired].float().mean())
    if share < least_sampled:
        raise ValueError(
            f"{scan.source}: {share:.0%} of the covered k-space points were measured, so that there is no "
            "target: leave the scan out, or give a lower --least_sampled"
        )
    return replace(scan, reference=lambda index: rss(scan.to_output(ifft2c(scan.kspace(index)))))


def convert(
    args: argparse.Namespace,
    files: Sequence[Path],
    places: Sequence[Place],
    read: Callable[[Path], list[tuple[str, Scan]]],
) -> int:
    """Write every scan of every file into its part; a file that fails is named, the others are done.

    Args:
        args: of `add_options`.
        files: to convert.
        places: of each.
        read: a file's scans, each with its name.

    Returns:
        0, or 1 if some failed.
    """
    if args.skip_ends < 0:
        raise ValueError(f"--skip_ends is {args.skip_ends}: give 0 or more")
    failed = 0
    for file, place in zip(files, places, strict=True):
        try:
            for name, scan in read(file):
                kind = "multicoil" if scan.shape[1] > 1 else "singlecoil"
                output = args.output / f"{kind}_{place.part}" / f"{name}.h5"
                output.parent.mkdir(parents=True, exist_ok=True)
                if output.exists() and not args.overwrite:
                    read_scan(output)
                    print(f"{output}: there already")
                    continue
                write_scan(_prepared(scan, place, args.skip_ends), output, overwrite=True)
                size = " x ".join(map(str, read_scan(output).shape))
                print(f"{output}: {size} (slice x coil x readout x phase)", flush=True)
        except EXPECTED as error:
            failed += 1
            print(f"failed: {one_line(error)}", file=sys.stderr)
    print(f"{len(files) - failed} of {len(files)} files converted")
    return 1 if failed else 0


def _prepared(scan: Scan, place: Place, skip: int) -> Scan:
    slices = scan.shape[0]
    if 2 * skip >= slices:
        raise ValueError(f"{scan.source} has {slices} slices: --skip_ends {skip} leaves none")
    kept = scan.select(slice(skip, slices - skip))
    return replace(kept, attributes={**scan.attributes, "patient_id": place.patient})
