"""The split of a training set by patient: nobody may be in both of its folders."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from mrirecon.io import read_scan
from mrirecon.training.prior.patients import PATIENT as PATIENT
from mrirecon.training.prior.patients import Image as Image
from mrirecon.training.prior.patients import find_images as find_images
from mrirecon.training.prior.patients import normal as normal
from mrirecon.training.prior.patients import read_voxels as read_voxels
from mrirecon.training.prior.patients import split as split

FOLDERS = {"train": "multicoil_train", "val": "multicoil_val"}


def refuse_copies(images: Sequence[Image], held_out: set[str]) -> None:
    """One image under two patients' names, one of them held out, would leak.

    Raises:
        ValueError: if there is such a pair.
    """
    owners: dict[str, Image] = {}
    for image in sorted(images, key=lambda image: image.patient not in held_out):
        if image.patient not in held_out and not owners:
            return
        voxels, _ = read_voxels(image.path)
        key = hashlib.sha256(voxels.tobytes()).hexdigest()
        other = owners.setdefault(key, image) if image.patient in held_out else owners.get(key)
        if other is not None and image.patient not in held_out:
            raise ValueError(
                f"{image.path} of {image.patient} is the same image as {other.path} of "
                f"{other.patient}, who is held out: remove one or hold out both"
            )


def refuse_other_split(output: Path, patients: set[str], held_out: set[str]) -> None:
    """A patient may not be in the other part already, from an earlier run.

    Raises:
        ValueError: if one is.
    """
    for other, those in (("train", held_out), ("val", patients - held_out)):
        for path in sorted((output / FOLDERS[other]).glob("*.h5")):
            if (patient := read_scan(path).attributes.get("patient_id")) in those:
                raise ValueError(
                    f"{path} is of {patient}, who by --validation belongs to the other part: "
                    "correct --validation, choose another --output, or remove the file"
                )
