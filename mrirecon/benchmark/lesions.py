"""Small lesions put into the anatomy of a scan, or taken out of it, and what a reconstruction makes of them.

The change is a real gain g of every coil image, y = F(g F^-1 y): what a coil sees is the product of its sensitivity and
the object, so that the new k-space is that of the object g x with the same coils, and the noise-free contrast is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mrirecon.benchmark.regions import find_brain
from mrirecon.scan import Scan, Volume
from mrirecon.tensors import fft2c, ifft2c

TRUST = ("std", "null_space")  # maps that may see where an image is wrong
Place = tuple[int, int, int]  # slice, readout, phase


@dataclass(frozen=True, kw_only=True)
class Lesions:
    """Lesions that every scan of a table is reconstructed with besides: is their contrast kept, are others invented?

    Attributes:
        count: lesions in each slice of a brain; 0 leaves the experiment out.
        radius: of each, in pixels.
        contrast: brightness of an inserted one over the tissue there, less 1; negative ones are dark. Half of it is
            the local error from which a place counts as wrong.
        kind: inserted ones are uniform, at random places; removed are the brightest spots of the anatomy, which get
            the mean of their surroundings.
        spread: also ask how far draws, or reconstructions from fewer samples, lie apart there; methods with one image
            take seven times as long.
        seed: of the places.

    Raises:
        ValueError: if a number is out of its range.
    """

    count: int = 0
    radius: float = 2.5
    contrast: float = 0.3
    kind: Literal["inserted", "removed"] = "inserted"
    spread: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.count < 0:
            raise ValueError(f"lesions: count is {self.count}: give 0 or more in each slice")
        if not 1 <= self.radius <= 50:
            raise ValueError(f"lesions: radius is {self.radius}: give 1 to 50 pixels")
        if not (math.isfinite(self.contrast) and self.contrast > -1 and self.contrast != 0):
            raise ValueError(
                f"lesions: contrast is {self.contrast}: give a number above -1 that is not 0, such as 0.3"
            )

    def request(self) -> dict[str, Any]:
        """What a result depends on; nothing where there are none."""
        return {"lesions": asdict(self)} if self.count else {}

    def edit(self, scan: Scan, target: Float[Tensor, "slice y x"]) -> Edit:
        """The scan with its lesions.

        Args:
            scan: fully sampled.
            target: its true magnitudes.

        Raises:
            ValueError: if the scan is not fully sampled, or no slice has a brain with room for a lesion.
        """
        window = tuple(part.stop - part.start for part in scan.crop)
        full = all(bool(scan.mask(index).all()) for index in range(scan.shape[0]))
        if not full or window != scan.matrix:
            raise ValueError(
                f"{scan.source} is not fully sampled on the grid of its image: lesions need a scan that is"
            )
        gain, lesions, others = torch.ones_like(target), [], []
        brains = find_brain(target)
        for index, (image, brain) in enumerate(zip(target, brains, strict=True)):
            chosen, rest = self._places(image, brain, index)
            gain[index] = self._gain(image, chosen)
            lesions += [(index, *place) for place in chosen]
            others += [(index, *place) for place in rest]
        if not lesions:
            raise ValueError(
                f"{scan.source} has no brain with room for a lesion of {self.radius:g} pixels in these slices: give "
                "another part of the scan, or a smaller lesions.radius"
            )
        return Edit(self, multiply(scan, gain), target, target * gain, lesions, others)

    def _places(
        self, image: Tensor, brain: Bool[Tensor, "y x"], index: int
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Where the lesions of a slice are, and other places of a lattice that do not touch them."""
        from scipy.ndimage import distance_transform_edt

        random = np.random.default_rng((self.seed, index))
        step = 2 * math.ceil(self.radius) + 2
        room = distance_transform_edt(brain.numpy()) > self.radius + 2
        start = random.integers(step, size=2)
        lattice = np.argwhere(room[start[0] :: step, start[1] :: step]) * step + start
        if self.kind == "inserted":
            ranked = lattice[random.permutation(len(lattice))]
        else:
            bright = torch.where(torch.from_numpy(room), local_contrast(image, self.radius), 0.0)
            order = bright.flatten().argsort(descending=True)[: int((bright > 0).sum())]
            ranked = np.stack(np.unravel_index(order.numpy(), room.shape), axis=1)
        chosen: list[tuple[int, int]] = []
        for y, x in ranked.tolist():
            if len(chosen) < self.count and _apart((y, x), chosen, step):
                chosen.append((y, x))
        return chosen, [(y, x) for y, x in lattice.tolist() if _apart((y, x), chosen, step)]

    def _gain(self, image: Tensor, places: Sequence[tuple[int, int]]) -> Tensor:
        gain = torch.ones_like(image)
        for place in places:
            disc = disc_at(image.shape, place, self.radius)
            if self.kind == "inserted":
                gain += self.contrast * disc
            else:
                ring = disc_at(image.shape, place, 2 * self.radius + 1) - disc_at(
                    image.shape, place, self.radius + 1
                )
                around = (ring * image).sum() / ring.sum()
                gain += disc * (around / image.clamp_min(1e-3 * around) - 1)
        return gain


@dataclass(frozen=True, eq=False)
class Edit:
    """A scan with lesions, and where to look in its reconstruction.

    Attributes:
        asked: what was wanted.
        scan: with the lesions.
        before: true magnitudes without them.
        after: with them.
        lesions: where they are.
        others: places in the brain that were left as they are, a lattice.
    """

    asked: Lesions
    scan: Scan
    before: Float[Tensor, "slice y x"]
    after: Float[Tensor, "slice y x"]
    lesions: Sequence[Place]
    others: Sequence[Place]

    @cached_property
    def lost_at(self) -> Float[Tensor, " place"]:
        """The local contrast that each lesion changed, by which a reconstruction that misses it is wrong."""
        return self._at(self._contrast(self.after - self.before), self.lesions)

    def judge(self, volume: Volume, without: Float[Tensor, "slice y x"]) -> dict[str, Any]:
        """What a reconstruction made of the lesions, for the record.

        `kept` has for each lesion the slope of the difference of both reconstructions on the true one, 1 where it is
        whole. A lesion is `lost` where the local contrast misses more than half of it; at another place one is
        `invented` where the image is brighter (or darker, as the lesions are) than the truth by half the contrast of a
        lesion. `wrong` says of all places whether the local contrast is off by so much either way, and the maps in
        `TRUST` what they show there.

        Args:
            volume: reconstruction of the scan with lesions.
            without: magnitudes of that of the scan without.
        """
        image, radius, sign = volume.image[0].abs().cpu(), self.asked.radius, self._sign
        kept = [self._kept(place, image - without) for place in self.lesions]
        error = self._contrast(image - self.after)
        missed = sign * self._at(error, self.lesions) < -self.lost_at.abs() / 2
        level = abs(self.asked.contrast) / 2 * _means(self.after, radius)
        off = self._at(error / level.clamp_min(1e-9), self.others)
        more = math.copysign(1.0, self.asked.contrast)
        wrong = torch.cat(
            [self._at(error.abs(), self.lesions) > self.lost_at.abs() / 2, off.abs() > 1]
        )
        places = [*self.lesions, *self.others]
        maps = {
            name: self._at(_means(volume.extras[name][0].abs().cpu().float(), radius), places)
            for name in TRUST
            if name in volume.extras
        }
        return {
            "kept": kept,
            "lost": int(missed.sum()),
            "invented": int((more * off > 1).sum()),
            "others": len(self.others),
            "slice": [place[0] for place in places],
            "wrong": wrong.tolist(),
            "trust": {
                name: values.tolist() for name, values in maps.items() if values.isfinite().all()
            },
        }

    @property
    def _sign(self) -> Tensor:
        return self.lost_at.sign()

    def _kept(self, place: Place, difference: Tensor) -> float:
        index, *where = place
        near = disc_at(self.after.shape[1:], (where[0], where[1]), self.asked.radius + 1) > 0
        true = (self.after - self.before)[index][near]
        return float((true * difference[index][near]).sum() / true.square().sum())

    def _contrast(self, images: Tensor) -> Tensor:
        return torch.stack([local_contrast(image, self.asked.radius) for image in images])

    def _at(self, images: Tensor, places: Sequence[Place]) -> Tensor:
        return torch.tensor([float(images[place]) for place in places])


def multiply(scan: Scan, gain: Float[Tensor, "slice y x"]) -> Scan:
    """The scan of an object whose image is multiplied by a real gain, coil by coil; noise is multiplied too."""

    def read(volume: int, index: int) -> Tensor:
        kspace = scan.read(volume, index)
        whole = torch.ones(kspace.shape[-2:])
        whole[scan.crop] = gain[index].float()
        return fft2c(whole * ifft2c(kspace))

    reference = scan.reference
    known = None if reference is None else lambda index: reference(index) * gain[index]
    return replace(scan, read=read, reference=known)


def disc_at(shape: Sequence[int], place: tuple[int, int], radius: float) -> Float[Tensor, "y x"]:
    """A disc of ones whose rim falls to zero over one pixel."""
    y, x = (torch.arange(n) - at for n, at in zip(shape, place, strict=True))
    return (radius + 0.5 - torch.hypot(y[:, None].float(), x[None, :].float())).clamp(0, 1)


def local_contrast(image: Float[Tensor, "y x"], radius: float) -> Float[Tensor, "y x"]:
    """Mean over a disc about each pixel, less that over the ring around it."""
    return _mean(image, radius) - _mean(image, 2 * radius + 1, radius + 1)


Group = tuple[Sequence[bool], Sequence[float]]  # whether places are wrong, and their scores


def area_under_curve(groups: Iterable[Group]) -> float:
    """The probability that a wrong place has a higher score than a right one of its group (Mann & Whitney 1947).

    Ties count half; NaN where no group has both kinds.

    Args:
        groups: whether places are wrong, and their scores; only places of one group are compared.
    """
    won = pairs = 0.0
    for wrong, scores in groups:
        is_wrong, score = (
            torch.tensor(wrong, dtype=torch.bool),
            torch.tensor(scores, dtype=torch.float64),
        )
        difference = score[is_wrong][:, None] - score[~is_wrong][None, :]
        won += float((difference > 0).sum() + 0.5 * (difference == 0).sum())
        pairs += difference.numel()
    return won / pairs if pairs else math.nan


def figures_of(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Figures of what `Edit.judge` gave for some reconstructions; places are compared within one slice only."""
    kept = [value for one in found for value in one["kept"]]
    others = sum(one["others"] for one in found)
    figures = {
        "kept": math.fsum(kept) / len(kept),
        "lost": sum(one["lost"] for one in found) / len(kept),
        "invented": sum(one["invented"] for one in found) / others if others else math.nan,
    }
    for name in TRUST:
        groups = [group for one in found if name in one["trust"] for group in _groups(one, name)]
        figures[f"auc_{name}"] = area_under_curve(groups)
    return figures


def _groups(found: Mapping[str, Any], name: str) -> list[Group]:
    rows = list(zip(found["slice"], found["wrong"], found["trust"][name], strict=True))
    return [
        ([w for s, w, _ in rows if s == index], [t for s, _, t in rows if s == index])
        for index in sorted(set(found["slice"]))
    ]


def _apart(place: tuple[int, int], places: Sequence[tuple[int, int]], distance: int) -> bool:
    return all(math.hypot(place[0] - y, place[1] - x) >= distance for y, x in places)


def _means(images: Float[Tensor, "slice y x"], radius: float) -> Float[Tensor, "slice y x"]:
    return torch.stack([_mean(image, radius) for image in images])


def _mean(image: Tensor, radius: float, without: float | None = None) -> Tensor:
    """Mean over a disc about each pixel, or the ring outside a smaller one; beyond the edge there is nothing."""
    from scipy.ndimage import convolve

    half = math.ceil(radius + 0.5)
    size, middle = (2 * half + 1, 2 * half + 1), (half, half)
    kernel = disc_at(size, middle, radius)
    if without is not None:
        kernel = kernel - disc_at(size, middle, without)
    found = convolve(
        image.double().numpy(), (kernel / kernel.sum()).double().numpy(), mode="constant"
    )
    return torch.from_numpy(found).to(image)
