"""Image volumes that a prior is trained on, prepared once: bright level 1, k-space combined by coil maps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Num

from mrirecon.coverage import coverage_of
from mrirecon.io.fastmri import read_fastmri
from mrirecon.io.file_array import FileArray
from mrirecon.io.files import existing_file, replacing, write_json
from mrirecon.io.nifti import turned
from mrirecon.io.numpy import open_npy
from mrirecon.prepare import remove_oversampling
from mrirecon.recon.coil_maps import EstimatedMaps
from mrirecon.scale import intensity_scale
from mrirecon.scan import Scan
from mrirecon.tensors import fft2c, ifft2c
from mrirecon.training.end_to_end.index import SUFFIXES
from mrirecon.training.prior.patients import (
    Image,
    below,
    find_images,
    normal,
    patient_of,
    read_voxels,
)

SCHEMA = 1
AXES = "IPL"  # how prepared volumes lie: their axes grow to inferior, posterior, left
PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}  # -> axis across
FOREGROUND = 0.15  # of the bright level: below it lies air
FULL = 0.3  # a slice counts for the bright level if it has this share of the energy of the fullest ones
LOOKED_AT = 32  # slices, for the bright level
Array = Num[np.ndarray, "..."]


@dataclass(frozen=True)
class Prepared:
    """A volume in the cache.

    Attributes:
        path: of the array, float16 magnitudes or complex64, of bright level 1.
        source: the image it was made from.
        name: of that; images of several sources may share one.
        patient: whose it is.
        voxel_mm: of its three axes, where known.
        across: axis along which the slices of the file lie.
        lies: whether the axes are `AXES`, so that planes can be told.
        foreground: of each slice along each axis, the share that is no air.
        sha256: of the voxels: what an image is known by.
    """

    path: Path
    source: Path
    name: str
    patient: str
    voxel_mm: tuple[float, float, float] | None
    across: int
    lies: bool
    foreground: tuple[tuple[float, ...], ...]
    sha256: str

    @cached_property
    def array(self) -> FileArray:
        """The voxels, read where they are asked for."""
        return open_npy(self.path)


@dataclass(frozen=True)
class Slices:
    """Some slices of a volume in one plane."""

    volume: Prepared
    plane: str
    axis: int
    numbers: tuple[int, ...]

    @property
    def name(self) -> str:
        """Of image and plane; no two images have the same."""
        return f"{self.volume.name}:{self.plane}#{self.volume.sha256[:16]}"

    @property
    def key(self) -> tuple[int, int]:
        """Of image and plane, for random streams: what is seen, not what it is called."""
        return int(self.volume.sha256[:16], 16), self.axis

    @property
    def shape(self) -> tuple[int, ...]:
        """For the sampler: how many there are."""
        return (len(self.numbers),)

    @property
    def bucket(self) -> tuple[Any, ...]:
        """Patches of all volumes fit into one batch."""
        return ()

    @property
    def pixel_mm(self) -> tuple[float, float] | None:
        """Size of a pixel (y, x)."""
        size = self.volume.voxel_mm
        y, x = (axis for axis in range(3) if axis != self.axis)
        return None if size is None else (size[y], size[x])

    def image(self, index: int) -> FileArray:
        """Slice `index` of these, not yet read."""
        place: list[Any] = [slice(None)] * 3
        place[self.axis] = self.numbers[index]
        return self.volume.array[tuple(place)]


def find_sources(sources: Sequence[str], exclude: Sequence[str], pattern: str) -> list[Image]:
    """NIfTI files, folders of DICOM slices and fastMRI-layout files in and below the sources.

    The patient of a fastMRI file is its `patient_id`, or in its path, or else the file stands for itself.

    Raises:
        FileNotFoundError: if a source does not exist.
        ValueError: if there is nothing, or the patient of an image is not known.
    """
    found = []
    for source in map(Path, sources):
        scans = [
            Image(path, name, _patient_of_scan(path, pattern))
            for path, name in below([source], exclude)
            if path.suffix.lower() in SUFFIXES
        ]
        if not scans or any(
            p.name.lower().endswith((".nii", ".nii.gz")) for p in source.rglob("*")
        ):
            scans += find_images([source], exclude, pattern, "data.patient")
        found += scans
    return found


def prepare(images: Sequence[Image], cache: Path) -> list[Prepared]:
    """The images from the cache; those that are not there yet, or have changed, are written to it.

    Raises:
        ValueError, OSError: if an image cannot be read or used, or the cache cannot be written.
    """
    cache.mkdir(parents=True, exist_ok=True)
    return [_load(image, _prepared(image, cache)) for image in images]


def refuse_copies(training: Sequence[Prepared], held_out: Sequence[Prepared]) -> None:
    """One image under two patients' names, one of them held out, would leak.

    Raises:
        ValueError: if there is such a pair.
    """
    owners = {volume.sha256: volume for volume in held_out}
    for volume in training:
        if other := owners.get(volume.sha256):
            raise ValueError(
                f"{volume.name} of {volume.patient} is the same image as {other.name} of {other.patient}, "
                "who is held out: remove one or hold out both"
            )


def merge_copies(volumes: Sequence[Prepared]) -> tuple[list[Prepared], list[str]]:
    """Each image once, in the order they had, and a sentence on each copy that was left out."""
    first: dict[str, Prepared] = {}
    notes = []
    for volume in volumes:
        other = first.setdefault(volume.sha256, volume)
        if other is not volume:
            notes.append(f"{volume.source} is the same image as {other.source}: it is used once")
    return list(first.values()), notes


def stacks(
    volumes: Sequence[Prepared], planes: Sequence[str], coarsest_mm: float, share: float
) -> list[Slices]:
    """The slices of volumes in some planes, as far as these lie in the images and their pixels are fine enough.

    Args:
        volumes: what there is.
        planes: axial, coronal, sagittal, or stored, which are the slices of the file. k-space has only these.
        coarsest_mm: largest side of a pixel that is of use.
        share: a slice is left out if it shows less than this share of the fullest one's foreground.
    """
    found = []
    for volume in volumes:
        wanted = {PLANES.get(plane, volume.across): plane for plane in planes}
        if not volume.lies:
            wanted = {volume.across: "stored"}
        for axis, plane in wanted.items():
            area = np.asarray(volume.foreground[axis])
            numbers = np.flatnonzero(area >= max(share * area.max(), 1e-6))
            stack = Slices(volume, plane, axis, tuple(numbers.tolist()))
            if max(stack.pixel_mm or (0.0,)) <= coarsest_mm and stack.numbers:
                found.append(stack)
    return found


def _patient_of_scan(path: Path, pattern: str) -> str:
    patient = read_fastmri(path).attributes.get("patient_id")
    if patient:
        return normal(str(patient))
    try:
        return patient_of(path, pattern)
    except ValueError:
        return normal(path.stem)


def _prepared(image: Image, cache: Path) -> Path:
    """The array of an image in the cache."""
    files = sorted(image.path.iterdir()) if image.path.is_dir() else [existing_file(image.path)]
    stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    key = hashlib.sha256(repr((SCHEMA, str(image.path.absolute()), stamps)).encode()).hexdigest()
    path = cache / f"{image.path.name.partition('.')[0]}-{key[:16]}.npy"
    if path.exists():
        return path
    about: dict[str, Any] = {"source": str(image.path)}
    if image.path.suffix.lower() in SUFFIXES:
        voxels, geometry = _combined(image.path)
        about |= {"voxel_mm": geometry, "across": 0, "lies": False}
    else:
        voxels, affine = read_voxels(image.path)
        if affine is None:
            voxels = np.ascontiguousarray(voxels.transpose(2, 0, 1))
            about |= {"voxel_mm": None, "across": 0, "lies": False}
        else:
            normal_ras = affine[:3, 2]
            voxels, affine = turned(voxels, affine, AXES)
            turned_axes = (
                np.abs(affine[:3, :3].T @ normal_ras) / np.linalg.norm(affine[:3], axis=0)[:3]
            )
            about |= {
                "voxel_mm": np.linalg.norm(affine[:3, :3], axis=0).tolist(),
                "across": int(turned_axes.argmax()),
                "lies": True,
            }
    voxels = voxels / _bright_level(voxels, about["across"], image.path)
    air = np.abs(voxels) <= FOREGROUND
    about["foreground"] = [
        (1 - air.mean(axis=tuple(a for a in range(3) if a != axis))).round(5).tolist()
        for axis in range(3)
    ]
    voxels = voxels.astype(np.complex64 if np.iscomplexobj(voxels) else np.float16)
    about["sha256"] = hashlib.sha256(voxels.tobytes()).hexdigest()
    with replacing(path.with_suffix(".json"), path) as (description, part):
        write_json(description, about)
        with part.open("wb") as stream:
            np.save(stream, voxels)
    return path


def _load(image: Image, path: Path) -> Prepared:
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    size = about["voxel_mm"]
    return Prepared(
        path=path,
        source=image.path,
        name=image.name,
        patient=image.patient,
        voxel_mm=None if size is None else (size[0], size[1], size[2]),
        across=about["across"],
        lies=about["lies"],
        foreground=tuple(map(tuple, about["foreground"])),
        sha256=about["sha256"],
    )


def _combined(path: Path) -> tuple[Array, list[float] | None]:
    """Images of a fully sampled scan, combined by ESPIRiT maps, and the size of their voxels."""
    scan = read_fastmri(path)
    if not coverage_of(scan).complete:
        raise ValueError(f"{path} is undersampled: leave it out with data.exclude")
    scan = remove_oversampling(scan)
    maps = EstimatedMaps()
    images = [
        (maps(scan, index, "cpu")[0].conj() * ifft2c(scan.kspace(index))).sum(dim=0)[scan.crop]
        for index in range(scan.shape[0])
    ]
    return torch.stack(images).numpy(), _voxel_of(scan)


def _voxel_of(scan: Scan) -> list[float] | None:
    voxel = scan.geometry.voxel_mm
    return None if voxel is None else [voxel[2], voxel[0], voxel[1]]


def _bright_level(voxels: Array, across: int, path: Path) -> float:
    """What `scale.volume_scale` would say of a scan of the slices that show something."""
    slices = np.moveaxis(voxels, across, 0)
    peak = np.abs(slices).max()
    if peak == 0:
        raise ValueError(f"{path} is zero everywhere: leave it out with data.exclude")
    energy = np.square(np.abs(slices) / peak).mean(axis=(1, 2))
    numbers = np.flatnonzero(energy >= FULL * np.quantile(energy, 0.9))
    some = numbers[:: -(-len(numbers) // LOOKED_AT)]
    chosen = torch.from_numpy(slices[some].astype(np.complex64))
    mask = torch.ones(chosen.shape[1:], dtype=torch.bool)
    return intensity_scale(fft2c(chosen)[:, None], mask)
