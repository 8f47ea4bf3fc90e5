"""Make a training set in the fastMRI layout from magnitude images: NIfTI volumes and folders of DICOM slices.

Writes OUTPUT/multicoil_train/*.h5 and OUTPUT/multicoil_val/*.h5 with kspace, reconstruction_rss, ismrmrd_header and the
attributes max, norm, acquisition and patient_id, and OUTPUT/dataset.json, which says how each file was made. Matrix,
coils, noise and phase are drawn for each file. Patients named by --validation are held out, with all their images.
A killed run leaves no half file; run it again to go on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from patients import (
    FOLDERS,
    PATIENT,
    Image,
    find_images,
    normal,
    read_voxels,
    refuse_copies,
    refuse_other_split,
    split,
)
from script import parser, run
from training_volume import ORIENTATIONS, Ranges, acquire, oriented, thinned

from mrirecon.io import read_scan, write_json, write_scan

CONTRASTS = r"(?<![a-z])(FLAIR|T1|T2|PD|SWI|DWI)"
PLANES = {"axial": "AX", "coronal": "COR", "sagittal": "SAG", "stored": ""}


@dataclass(frozen=True)
class Job:
    """One file to write; everything its content depends on, except the image."""

    image: Image
    output: Path
    orientation: str
    ranges: Ranges
    draw: tuple[int, ...]
    spacing_mm: float
    share: float
    most: int
    noisy_target: bool


def main(args: argparse.Namespace) -> int:
    """Plan, check the split, write."""
    images = find_images(args.inputs, args.exclude, args.patient)
    held_out = split(images, args.validation)
    refuse_copies(images, held_out)
    refuse_other_split(args.output, {image.patient for image in images}, held_out)
    jobs = plan(images, held_out, args)
    for job in jobs:
        job.output.parent.mkdir(parents=True, exist_ok=True)
    print(f"{len(images)} images of {len({i.patient for i in images})} patients, {len(jobs)} files")
    records = []
    with ExitStack() as stack:
        results: Iterator[dict[str, Any]] = map(write, jobs)
        if args.workers > 1:
            pool = ProcessPoolExecutor(args.workers, mp_context=get_context("spawn"))
            results = stack.enter_context(pool).map(write, jobs)
        for number, record in enumerate(results, 1):
            records.append(record)
            size = " x ".join(map(str, record["shape"]))
            print(
                f"{number}/{len(jobs)} {record['file']}: {size}, {record['seconds']:.0f} s",
                flush=True,
            )
    seconds = sum(record.pop("seconds") for record in records)
    records = update(args.output / "dataset.json", records)
    for split_name, folder in FOLDERS.items():
        part = [record for record in records if record["file"].startswith(folder)]
        slices = sum(record["shape"][0] for record in part)
        print(f"{split_name}: {len(part)} files, {slices} slices")
    print(f"{seconds:.0f} s of work; {args.output / 'dataset.json'} says how each was made")
    return 0


def update(path: Path, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write the list of files, keeping what earlier runs wrote of files that are still there; the whole list."""
    earlier = json.loads(path.read_text(encoding="utf-8"))["files"] if path.exists() else []
    known = {
        record["file"]: record for record in earlier if (path.parent / record["file"]).exists()
    }
    known |= {record["file"]: record for record in records}
    everything = [known[name] for name in sorted(known)]
    part = path.with_name(path.name + ".partial")
    write_json(part, {"files": everything})
    part.replace(path)
    return everything


def plan(images: Sequence[Image], held_out: set[str], args: argparse.Namespace) -> list[Job]:
    """The files to write; training images `--repeats` times, each time measured in another way."""
    ranges = Ranges(
        args.matrix,
        args.coils,
        args.snr_db,
        args.phase_rad,
        args.correlation,
        args.echo_ms,
        args.spin_echo,
    )
    jobs = []
    for image in images:
        held = image.patient in held_out
        for orientation in args.orientation:
            for repeat in range(1 if held else args.repeats):
                words = [
                    *Path(image.name).with_name(stem(image.path)).parts,
                    orientation,
                    str(repeat),
                ]
                if image.patient not in normal("".join(words)):
                    words.insert(0, image.patient)
                name = re.sub(r"[^\w.-]+", "_", "_".join(words))
                jobs.append(
                    Job(
                        image=image,
                        output=args.output / FOLDERS["val" if held else "train"] / f"{name}.h5",
                        orientation=orientation,
                        ranges=ranges,
                        draw=(args.seed, zlib.crc32(name.encode())),
                        spacing_mm=args.spacing_mm,
                        share=args.share,
                        most=args.slices,
                        noisy_target=args.target == "measured",
                    )
                )
    names = [job.output for job in jobs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two images would become {min(twice)}: give them in separate runs")
    return jobs


def write(job: Job) -> dict[str, Any]:
    """Simulate and write one file, unless it is there; how it was made.

    Raises:
        ValueError: if there is one that was made otherwise.
    """
    torch.set_num_threads(1)
    start = time.monotonic()
    image, affine = read_voxels(job.image.path)
    voxels = hashlib.sha256(image.tobytes()).hexdigest()
    image, affine = oriented(image, affine, job.orientation)
    image, affine, numbers = thinned(image, affine, job.spacing_mm, job.share, job.most)
    how = job.ranges.draw((image.shape[0], image.shape[1]), job.draw)
    made = {
        "source": job.image.name,
        "voxels_sha256": voxels,
        "orientation": job.orientation,
        "slices": numbers,
        "target": "measured" if job.noisy_target else "noise-free",
        **how.described,
    }
    if job.output.exists():
        if read_scan(job.output).attributes.get("simulation") != json.dumps(made):
            raise ValueError(
                f"{job.output} was made with other options or of another image: "
                "remove it, or choose another --output"
            )
    else:
        attributes = {
            "acquisition": PLANES[job.orientation] + contrast(job.image.name),
            "patient_id": job.image.patient,
            "simulation": json.dumps(made),
        }
        scan = acquire(image, affine, how, job.noisy_target)
        write_scan(replace(scan, attributes=attributes), job.output)
    return {
        "file": f"{job.output.parent.name}/{job.output.name}",
        "patient": job.image.patient,
        "shape": [len(numbers), len(how.receivers), *how.matrix],
        **made,
        "seconds": time.monotonic() - start,
    }


def contrast(name: str) -> str:
    """FLAIR, T1, ... if a word of the name begins so, otherwise nothing; patient12 is no T1."""
    match = re.search(CONTRASTS, name, re.IGNORECASE)
    return match[0].upper() if match else ""


def stem(path: Path) -> str:
    """The name without .nii, .nii.gz."""
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def matrix(text: str) -> tuple[int, int]:
    """HxW."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or min(map(int, match.groups())) < 16:
        raise argparse.ArgumentTypeError(f"{text}: give HxW of 16 or more, as in 256x224")
    return int(match[1]), int(match[2])


def count(low: int) -> Callable[[str], int]:
    """A type of argparse: an integer of `low` or more."""

    def parse(text: str) -> int:
        if not text.isdigit() or int(text) < low:
            raise argparse.ArgumentTypeError(f"{text}: give a whole number of {low} or more")
        return int(text)

    return parse


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: give a number from 0 to 1")
    return value


class Range(argparse.Action):
    """LOW HIGH, in this order and within bounds."""

    def __init__(
        self, option_strings: list[str], dest: str, bounds: tuple[float, float], **options: Any
    ) -> None:
        options |= {"nargs": 2, "type": float, "metavar": ("LOW", "HIGH")}
        super().__init__(option_strings, dest, **options)
        self.bounds = bounds

    def __call__(
        self, _: Any, namespace: argparse.Namespace, values: Any, name: Any = None
    ) -> None:
        low, high = values
        if not self.bounds[0] <= low <= high <= self.bounds[1]:
            raise argparse.ArgumentError(
                self, f"{low} {high}: give LOW <= HIGH from {self.bounds[0]} to {self.bounds[1]}"
            )
        setattr(namespace, self.dest, (low, high))


def options() -> argparse.ArgumentParser:
    """The command line."""
    made = parser(
        __doc__,
        "python data_scripts/simulate_training_set.py images --output data "
        "--validation patient19 patient20",
    )
    add = made.add_argument
    add(
        "inputs",
        nargs="+",
        type=Path,
        metavar="INPUT",
        help="NIfTI files, folders of them, DICOM folders",
    )
    add("--output", required=True, type=Path, metavar="DIR", help="folder of the training set")
    add(
        "--validation",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="patients held out, as in patient19 or patient1?",
    )
    add(
        "--patient",
        default=PATIENT,
        metavar="REGEX",
        help="what in a path names the patient (default: %(default)s)",
    )
    add(
        "--exclude",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="leave out images with this in their path, as in mask",
    )
    add(
        "--orientation",
        nargs="+",
        default=["axial"],
        choices=[*ORIENTATIONS, "stored"],
        help="planes; stored: the file's own axes are (readout, phase, slice) (default: axial)",
    )
    add(
        "--matrix",
        nargs="+",
        type=matrix,
        default=[(256, 256), (256, 224), (240, 208), (208, 176)],
        metavar="HxW",
        help="matrix sizes (readout x phase) to draw from (default: 256x256 256x224 240x208 208x176)",
    )
    add(
        "--coils",
        nargs="+",
        type=count(2),
        default=[4, 6, 8, 8, 8, 10, 12],
        metavar="N",
        help="numbers of coils to draw from; repeat a number to have it more often (default: 4 6 8 8 8 10 12)",
    )
    add(
        "--snr_db",
        action=Range,
        bounds=(0, 100),
        default=(20.0, 40.0),
        help="20 log10 of bright tissue over noise (default: 20 40)",
    )
    add(
        "--phase_rad",
        action=Range,
        bounds=(0, 20),
        default=(2.0, 6.0),
        help="bound of the smooth phase (default: 2 6)",
    )
    add(
        "--correlation",
        action=Range,
        bounds=(0, 0.95),
        default=(0.0, 0.4),
        help="noise correlation of neighbouring coils (default: 0 0.4)",
    )
    add(
        "--echo_ms",
        action=Range,
        bounds=(0, 50),
        default=(0.0, 8.0),
        help="echo time of gradient echoes, which turns the phase near air, of fat and of tissue (default: 0 8)",
    )
    add(
        "--spin_echo",
        type=share,
        default=0.4,
        metavar="F",
        help="share of files that are spin echoes, without that phase (default: 0.4)",
    )
    add(
        "--slices",
        type=count(1),
        default=30,
        metavar="N",
        help="at most so many slices of an image, around the middle (default: 30)",
    )
    add(
        "--share",
        type=share,
        default=0.5,
        metavar="F",
        help="a slice is kept if it shows this share of the fullest one's tissue (default: 0.5)",
    )
    add(
        "--spacing_mm",
        type=float,
        default=2.5,
        metavar="MM",
        help="skip slices closer than this (default: 2.5)",
    )
    add(
        "--repeats",
        type=count(1),
        default=1,
        metavar="N",
        help="measure each training image so often, each time otherwise (default: 1)",
    )
    add(
        "--target",
        choices=["noise-free", "measured"],
        default="noise-free",
        help="RSS of k-space without noise, or with it as in fastMRI (default: noise-free)",
    )
    add("--seed", type=count(0), default=0, metavar="N", help="of all that is drawn (default: 0)")
    add("--workers", type=count(1), default=1, metavar="N", help="processes (default: 1)")
    return made


if __name__ == "__main__":
    sys.exit(run(main, options()))
