"""3D k-space whose second phase encoding (partitions) is stored or counted as slices: detection and transform."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.io.energy import Load, forward
from mrirecon.io.kept_volumes import KeptVolumes, SampledVolume
from mrirecon.io.mrd_header import Encoding
from mrirecon.scan import Scan
from mrirecon.tensors import ifft2c, largest_part

SMALLEST = 16  # slices: with fewer nothing can be concluded without a header
# Fraction of the power in the three strongest slices: above 0.8 in k-space of an object that fills a third of the slab.
TOP_THREE = 0.75
TOP_ONE = 0.5  # fraction in the strongest slice, where there are fewer than SMALLEST
# Power a quarter of the way off the middle over the power at the ends; both are noise where the object is thin.
FALLS = 1.2
# Counters that may count partitions in place of kspace_encode_step_2.
COUNTERS = ("slice", "average", "repetition")


def transformed(scan: Scan, said: str = "") -> Scan:
    """The scan after an inverse FFT along its slices, which are partitions; a whole volume is held in memory.

    Args:
        scan: scan whose slices are planes of k-space.
        said: reason for treating them so, added to the note.

    Raises:
        ValueError: on reading, if a sample is not finite or the partitions are sampled differently.
    """
    count = scan.shape[0]

    def whole(volume: int) -> SampledVolume:
        kspace = torch.stack([scan.read(volume, index) for index in range(count)])
        if not bool(torch.isfinite(kspace.sum())) and not bool(torch.isfinite(kspace).all()):
            raise ValueError(
                f"{scan.source}: k-space holds NaN or infinite samples: repair or re-export the file"
            )
        sampled = (kspace != 0).any(dim=1)
        if scan.sampling is not None:
            sampled = torch.stack([scan.sampling(volume, index) for index in range(count)])
        planes = sampled[sampled.any(dim=(1, 2))]  # partial Fourier leaves some empty
        if bool((planes.any(dim=0) != planes.all(dim=0)).any()):
            raise ValueError(
                f"{scan.source}: partitions are sampled differently, so that they cannot be transformed first: name "
                "the fully sampled readout partition, and the two phase encodings readout and phase"
            )
        mask = sampled.any(dim=0)
        return SampledVolume(ifft2c(kspace[..., mask], dim=(0,)), mask)

    volume_of = KeptVolumes(whole)
    note = f"3D{said}: inverse FFT along the {count} partitions, which become the slices; one whole volume in memory"
    return replace(
        scan,
        read=lambda volume, index: volume_of(volume).plane(index),
        sampling=lambda volume, index: volume_of(volume).mask,
        notes=(*scan.notes, note),
    )


def are_partitions(scan: Scan, volume: int = 0, smallest: int = SMALLEST) -> bool:
    """Whether the slices look like planes of k-space, with nearly all power in the middle ones.

    For slices of an object two reads usually suffice: the middle slice and one other.
    """
    count, middle = scan.shape[0], scan.shape[0] // 2
    if count < smallest:
        return False
    power: dict[int, float] = {}

    def of(index: int) -> float:
        if index not in power:
            power[index] = _power(scan.read(volume, index))
        return power[index]

    if count >= SMALLEST:
        for index in (middle + count // 8, middle - count // 8):
            if not 0 < of(index) < 0.1 * of(middle):
                return False
    return is_peaked(torch.tensor([of(index) for index in range(count)], dtype=torch.float64))


def is_peaked(power: Float[Tensor, " n"]) -> bool:
    """Whether the power per slice is that of planes of k-space: largest in the middle, falling towards both ends."""
    count, middle = len(power), len(power) // 2
    if not bool((power > 0).any()) or not bool(torch.isfinite(power).all()):
        return False
    if abs(int(power.argmax()) - middle) > max(1, count // 16):
        return False
    if count < SMALLEST:
        return bool(power.max() > TOP_ONE * power.sum())
    away = (torch.arange(count) - middle).abs()
    beside = power[(away >= count // 8) & (away <= count // 4) & (power > 0)]
    ends = power[(away > 3 * count // 8) & (power > 0)]
    falls = len(ends) == 0 or bool(beside.median() > FALLS * ends.median())
    return falls and bool(power.topk(3).values.sum() > TOP_THREE * power.sum())


def counted(lines: np.ndarray, encoding: Encoding, load: Load, notes: list[str]) -> np.ndarray:
    """Readouts (`LINE`) with `kz` set, where the partitions in the header are counted by another counter.

    That counter must have as many values as the header has partitions, and the power over it must be that of k-space.

    Args:
        lines: imaging readouts.
        encoding: header with the number of partitions.
        load: loads the samples of readouts.
        notes: list to which what was found is appended.
    """
    size = 1 if encoding.encoded_matrix is None else encoding.encoded_matrix[2]
    if size < 4 or len(np.unique(lines["kz"])) > 1:
        return lines
    for counter in COUNTERS:
        values = np.unique(lines[counter])
        others = [name for name in COUNTERS if name != counter]
        if len(values) != size or any(len(np.unique(lines[name])) > 1 for name in others):
            continue
        if counter == "slice" and np.ptp(lines["position"], axis=0).max() > 0:
            continue  # slices that lie elsewhere
        middle = lines[lines[counter] == values[size // 2]]
        rows = np.sort(middle[:: -(-len(middle) // 64)], order="row")
        energies = [_energy(x, line) for x, line in zip(load(rows), rows, strict=True)]
        along = lines[lines["ky"] == rows[int(np.argmax(energies))]["ky"]]
        _, first = np.unique(along[counter], return_index=True)
        if len(first) != size:
            continue
        along = np.sort(along[first], order="row")
        power = np.zeros(size)
        power[np.searchsorted(values, along[counter])] = [
            _energy(x, line) for x, line in zip(load(along), along, strict=True)
        ]
        if is_peaked(torch.from_numpy(power)):
            lines = lines.copy()
            lines["kz"], lines[counter] = lines[counter], values[0]
            notes.append(
                f"the header has {size} partitions, and the power of k-space over the counter {counter} is that of "
                "such: it is taken for kspace_encode_step_2"
            )
            return lines
    return lines


def _energy(samples: np.ndarray, line: np.void) -> float:
    with np.errstate(all="ignore"):  # numbers of a damaged file
        energy = float((np.abs(forward(line, samples).astype(np.complex128)) ** 2).sum())
    return energy if np.isfinite(energy) else 0.0


def _power(kspace: Complex[Tensor, "coil readout phase"]) -> float:
    """Energy of a slice, scaled so that squares neither overflow nor vanish in float32."""
    largest = largest_part(kspace)
    if not 0 < largest < torch.inf:
        return 0.0
    return float((kspace / largest).abs().square().sum(dtype=torch.float64)) * largest**2
