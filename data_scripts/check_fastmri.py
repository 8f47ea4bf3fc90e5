"""Check a fastMRI download: are all files there, whole, unchanged, and do they hold what training needs?

With --manifest, files are compared with a list (CSV or JSON of file, bytes and, if known, sha256); --make writes such a
list of what is there. Every .h5 is opened: k-space, header and target must be there and agree. The exit status is 0 if
all is well and 1 if something was found.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from script import parser, run

from mrirecon.io import read_scan, write_json
from mrirecon.io.files import suffix_of
from mrirecon.options import EXPECTED, one_line


class Entry(NamedTuple):
    """One line of a manifest; what is not known is None."""

    bytes: int | None
    sha256: str | None


def main(args: argparse.Namespace) -> int:
    """Make a manifest, or compare and open."""
    if not args.root.is_dir():
        raise NotADirectoryError(f"{args.root} is not a folder: give the folder of the download")
    if args.make is not None:
        return make(args.root, args.make, args.no_sha256)
    found = files_below(args.root)
    problems = []
    if args.manifest is not None:
        listed = read_manifest(args.manifest)
        problems += list(compare(args.root, found, listed, not args.no_sha256))
    scans = [name for name in found if name.endswith(".h5")]
    for name in scans if not args.no_open else ():
        problems += [f"{name}: {what}" for what in faults(args.root / name, args.deep)]
    for problem in problems:
        print(problem)
    print(f"{len(found)} files, {len(scans)} scans, {len(problems)} problems")
    return 1 if problems else 0


def make(root: Path, manifest: Path, no_sha256: bool) -> int:
    """Write the manifest of what is there, whole or not at all.

    Raises:
        ValueError: if the manifest has another suffix than .csv and .json, before any file is read.
    """
    kind = suffix_of(manifest, (".csv", ".json"))
    rows = [
        {
            "file": name,
            "bytes": (root / name).stat().st_size,
            "sha256": None if no_sha256 else sha256(root / name),
        }
        for name in files_below(root)
        if (root / name).resolve() != manifest.resolve()
    ]
    part = manifest.with_name(f".partial-{manifest.name}")
    try:
        if kind == ".json":
            write_json(part, {"files": rows})
        else:
            with part.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, ["file", "bytes", "sha256"])
                writer.writeheader()
                writer.writerows(rows)
        part.replace(manifest)
    finally:
        part.unlink(missing_ok=True)
    print(f"{manifest}: {len(rows)} files")
    return 0


def files_below(root: Path) -> list[str]:
    """Files in a folder and below, but those that begin with a dot."""
    every = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(p.as_posix() for p in every if not any(w.startswith(".") for w in p.parts))


def read_manifest(path: Path) -> dict[str, Entry]:
    """File -> size and hash.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix.lower() == ".json":
            rows = json.loads(text)
            rows = rows["files"] if isinstance(rows, dict) else rows
        else:
            rows = list(csv.DictReader(text.splitlines()))
        listed = {
            row["file"]: Entry(
                int(row["bytes"]) if row.get("bytes") not in (None, "") else None,
                (row.get("sha256") or "").lower() or None,
            )
            for row in rows
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no manifest: it needs file, and may have bytes and sha256 ({error})"
        ) from error
    if not listed:
        raise ValueError(f"{path} lists no files: nothing can be checked with it")
    return listed


def compare(root: Path, found: list[str], listed: dict[str, Entry], hashes: bool) -> Iterator[str]:
    """What differs from the manifest; a file of a wrong size is not read for its hash."""
    for name, entry in listed.items():
        path = root / name
        if not path.is_file():
            yield f"{name}: missing"
            continue
        size = path.stat().st_size
        if entry.bytes is not None and size != entry.bytes:
            what = "truncated" if size < entry.bytes else "too long"
            yield f"{name}: {what}, {size} of {entry.bytes} bytes"
        elif hashes and entry.sha256 is not None and sha256(path) != entry.sha256:
            yield f"{name}: changed, its sha256 is another"
    for name in found:
        if name not in listed and name.endswith(".h5"):
            yield f"{name}: extra, not in the manifest"


def faults(path: Path, deep: bool) -> Iterator[str]:
    """What training would stumble over in one file: one slice is read, or all of them."""
    try:
        scan = read_scan(path)
        if scan.format != "fastmri":
            yield f"in the {scan.format} format: convert it to the fastMRI layout"
            return
        slices = scan.shape[0]
        for index in range(slices) if deep else (slices // 2,):
            scan.kspace(index)
        if scan.header is None:
            yield "without ismrmrd_header"
        if scan.reference is None:
            if any(word in path.parent.name for word in ("train", "val")):
                yield "without target (reconstruction_rss or reconstruction_esc)"
            return
        largest = max(float(scan.reference(index).max()) for index in range(slices))
        said = scan.attributes.get("max")
        if said is None:
            yield "without the attribute max"
        elif abs(float(said) - largest) > 1e-3 * largest:
            yield f"attribute max is {float(said):.4g}, the target's maximum {largest:.4g}"
    except EXPECTED as error:
        yield one_line(error).removeprefix(f"{path}: ")


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def options() -> argparse.ArgumentParser:
    """The command line."""
    made = parser(__doc__, "python data_scripts/check_fastmri.py fastMRI/ --manifest manifest.csv")
    add = made.add_argument
    add("root", type=Path, metavar="ROOT", help="folder with multicoil_train, multicoil_val, ...")
    add("--manifest", type=Path, metavar="FILE", help="list to compare with, .csv or .json")
    add("--make", type=Path, metavar="FILE", help="write a list of what is there, and stop")
    add(
        "--no_sha256", action="store_true", help="compare sizes only, or make a list without hashes"
    )
    add("--no_open", action="store_true", help="do not open the files")
    add("--deep", action="store_true", help="read every slice, not only the middle one")
    return made


if __name__ == "__main__":
    sys.exit(run(main, options()))
