"""Image files, whose they are, and the split by patient: nobody may be in both parts of a training set."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mrirecon.io import read_image
from mrirecon.io.dicom import is_dicom, read_series

PATIENT = r"(?:patient|subject|sub)[-_ ]?[A-Za-z]*\d+"


class Image(NamedTuple):
    """A NIfTI file or a DICOM folder; `name` is its path below the input it was found in."""

    path: Path
    name: str
    patient: str


def find_images(
    inputs: Sequence[Path], exclude: Sequence[str], pattern: str, option: str = "--patient"
) -> list[Image]:
    """NIfTI files and folders of DICOM slices in and below the inputs, sorted; `option` gives the pattern.

    Raises:
        FileNotFoundError: if an input does not exist.
        ValueError: if nothing is found, or the patient cannot be told from a path.
    """
    found = [
        Image(path, name, patient_of(path, pattern, option))
        for path, name in below(inputs, exclude)
        if path.name.lower().endswith((".nii", ".nii.gz")) or _is_series(path)
    ]
    if not found:
        raise ValueError(
            f"{', '.join(map(str, inputs))}: no NIfTI file and no folder of DICOM files"
        )
    return found


def below(inputs: Sequence[Path], exclude: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """The inputs and, sorted, all files and folders in them: the path, and its part below the input.

    Raises:
        FileNotFoundError: if an input does not exist.
    """
    for given in inputs:
        if not given.exists():
            raise FileNotFoundError(f"{given}: no such file or folder")
        for path in [given] if given.is_file() else sorted({given, *given.rglob("*")}):
            name = path.relative_to(given).as_posix() if path != given else path.name
            if not any(fnmatch.fnmatch(name, f"*{part}*") for part in exclude):
                yield path, name


def patient_of(path: Path, pattern: str, option: str = "--patient") -> str:
    """The last match in the path, without case and separators, so that Patient_19 and patient19 are one person.

    Raises:
        ValueError: if nothing matches.
    """
    matches = list(re.finditer(pattern, path.absolute().as_posix(), re.IGNORECASE))
    if not matches:
        raise ValueError(
            f"{path}: no patient in this path by the pattern {pattern!r}: give {option} REGEX"
        )
    return normal(matches[-1][0])


def normal(patient: str) -> str:
    """A patient's name without case and separators."""
    return re.sub(r"[-_ ]", "", patient).lower()


def split(
    images: Iterable[Image], patterns: Sequence[str], option: str = "--validation"
) -> set[str]:
    """The patients held out by the patterns of an option.

    Raises:
        ValueError: if a pattern matches nobody (a typing error would let somebody into training), or all are held out.
    """
    patients = {image.patient for image in images}
    held_out = set()
    for pattern in patterns:
        # The hyphen of [2-4] is none that names differ in.
        outside = re.sub(r"\[.*?\]|[-_ ]", lambda m: m[0] if len(m[0]) > 1 else "", pattern)
        matched = set(fnmatch.filter(patients, outside.lower()))
        if not matched:
            raise ValueError(
                f"{option} {pattern} matches no patient: there are {', '.join(sorted(patients))}"
            )
        held_out |= matched
    if held_out == patients:
        raise ValueError(f"{option} holds out every patient: nobody is left to train with")
    return held_out


def read_voxels(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """One volume and its affine to RAS mm.

    Raises:
        ValueError: if there are several.
    """
    if path.is_dir():
        return read_series(path)
    image, affine = read_image(path)
    if image.ndim == 4:
        raise ValueError(
            f"{path} has {image.shape[3]} volumes: split it, or leave it out with --exclude"
        )
    return image, affine


def _is_series(path: Path) -> bool:
    return path.is_dir() and any(is_dicom(file) for file in sorted(path.iterdir())[:3])
