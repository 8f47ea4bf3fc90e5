"""Evidence from the samples for headers that may be wrong, from some sixty readouts of one slice.

The energy of k-space is largest at its centre. Neighbouring readouts have similar projections (magnitudes of their
Fourier transforms); without phase encoding all projections are alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mrirecon.io.directions import FEW, alternation

Load = Callable[
    [np.ndarray], list[np.ndarray]
]  # array of `grid.LINE` -> complex64 (coil, sample) of each readout

_COARSE = 32  # readouts of the first, coarse search for the strongest one


@dataclass(frozen=True)
class Profile:
    """Energy along one axis of k-space, summed over the coils.

    Attributes:
        counters: positions where it was measured, ascending.
        energy: energy at these positions.
        spacing: distance between neighbouring counters of the scan, such as the acceleration factor.
    """

    counters: np.ndarray
    energy: np.ndarray
    spacing: int = 1

    @property
    def smooth(self) -> np.ndarray:
        """Median over three neighbours (at the ends the smaller of two), so that one spike is not a peak."""
        return _median_of_three(self.energy)

    @property
    def peak(self) -> int | None:
        """The counter with the largest energy, or None where no peak stands out."""
        smooth = self.smooth
        if len(smooth) < FEW or smooth.max() <= 10 * np.quantile(smooth, 0.25):
            return None
        near = slice(max(0, int(smooth.argmax()) - 2), int(smooth.argmax()) + 3)
        return int(self.counters[near][self.energy[near].argmax()])

    @property
    def tolerance(self) -> int:
        """How far the peak may lie off the centre without contradicting it: object phase, field, gradient delays."""
        return max(4, int(np.ptp(self.counters)) // 16) + self.spacing - 1

    @property
    def at_edge(self) -> bool:
        """Whether the peak is at one of the first two or last two measured positions."""
        place = int(np.flatnonzero(self.counters == self.peak)[0]) if self.peak is not None else 2
        return place < 2 or place >= len(self.counters) - 2

    def contradicts(self, center: int, doubtful: bool = False) -> bool:
        """Whether the peak is clearly not at `center`; a smaller distance suffices where the centre is `doubtful`.

        A centre that was not measured is judged by the nearest measured position, since energy grows towards the
        true centre.
        """
        peak = self.peak
        if peak is None:
            return False
        there = self.smooth[np.abs(self.counters - center).argmin()]
        tolerance, factor = (1 + self.spacing, 2) if doubtful else (self.tolerance, 4)
        return abs(peak - center) > tolerance and bool(self.smooth.max() > factor * there)


@dataclass(frozen=True)
class Look:
    """What the readouts of one slice show.

    Attributes:
        ky, kz: energy profiles along the phase encodings.
        sample: energy profile along the strongest readout, in forward order.
        strongest: the strongest readout, one row of `LINE`.
        alternates: "run" or "shot" where every second readout runs backwards without a flag, else None
            (`directions.alternation`).
        is_sorted: whether the samples show clearly that the readouts alternate, or that they do not.
        encoded: whether the readouts differ from each other as under phase encoding.
    """

    ky: Profile
    kz: Profile
    sample: Profile
    strongest: np.void
    alternates: str | None
    is_sorted: bool
    encoded: bool


def look(lines: np.ndarray, load: Load) -> Look:
    """Examine the readouts (`LINE`) of one slice and volume: all if few, else every n-th and those around the peak."""
    read = Reader(load)
    many = np.bincount(lines["ky"] - lines["ky"].min())
    ky = int(
        lines["ky"].min() + np.flatnonzero(many == many.max())[(many == many.max()).sum() // 2]
    )
    kz_profile, kz = read.profile(lines[lines["ky"] == ky], "kz")
    ky_profile, ky = read.profile(lines[lines["kz"] == kz], "ky")
    if len(np.unique(lines["kz"])) > 1:
        kz_profile, kz = read.profile(lines[lines["ky"] == ky], "kz")
    plane = np.sort(lines[lines["kz"] == kz], order="row")
    place = int(np.flatnonzero(plane["ky"] == ky)[0])
    samples = _energy(read(plane[place : place + 1])[0])
    alternates, is_sorted = alternation(plane, ky, read)
    return Look(
        ky=ky_profile,
        kz=kz_profile,
        sample=Profile(np.arange(len(samples)), samples),
        strongest=plane[place],
        alternates=alternates,
        is_sorted=is_sorted,
        encoded=_encoded(plane, place, ky_profile, samples, read),
    )


def forward(line: np.void, samples: np.ndarray) -> np.ndarray:
    """The samples (coil, sample) of a readout without those to be discarded, in the direction of growing k."""
    kept = samples[:, line["discard_pre"] : line["samples"] - line["discard_post"]]
    kept = kept[:, ::-1] if line["reverse"] else kept
    return np.roll(kept, line["roll"], axis=1) if line["roll"] else kept


class Reader:
    """Loads readouts in forward order, each from the file only once."""

    def __init__(self, load: Load) -> None:
        self.load, self.known = load, dict[int, np.ndarray]()

    def __call__(self, lines: np.ndarray) -> list[np.ndarray]:
        new = np.sort(lines[[int(row) not in self.known for row in lines["row"]]], order="row")
        for line, samples in zip(new, self.load(new) if len(new) else (), strict=True):
            self.known[int(line["row"])] = forward(line, samples)
        return [self.known[int(row)] for row in lines["row"]]

    def profile(self, lines: np.ndarray, axis: str) -> tuple[Profile, int]:
        """Energy along `axis`, and the counter of its maximum, even where that does not stand out."""
        counters, first = np.unique(lines[axis], return_index=True)
        lines = lines[first]
        chosen = np.arange(len(lines))
        if len(lines) > 2 * _COARSE:
            chosen = np.unique(np.linspace(0, len(lines) - 1, _COARSE).astype(int))
            rough = _median_of_three(self._energies(lines[chosen]))
            step = -(-len(lines) // _COARSE) + 8  # 8 more for `alternation`
            around = np.arange(chosen[rough.argmax()] - step, chosen[rough.argmax()] + step + 1)
            chosen = np.union1d(chosen, around[(around >= 0) & (around < len(lines))])
        spacing = int(np.median(np.diff(counters))) if len(counters) > 1 else 1
        profile = Profile(counters[chosen], self._energies(lines[chosen]), spacing)
        strongest = profile.peak
        if strongest is None:
            strongest = int(profile.counters[profile.smooth.argmax()])
        return profile, strongest

    def _energies(self, lines: np.ndarray) -> np.ndarray:
        return np.asarray([_energy(samples).sum() for samples in self(lines)])


def _energy(samples: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):  # numbers of a damaged file
        energy = (np.abs(samples.astype(np.complex128)) ** 2).sum(axis=0)
        return np.nan_to_num(energy, posinf=0.0)


def _median_of_three(x: np.ndarray) -> np.ndarray:
    if len(x) < 3:
        return x
    inner = np.median(np.stack([x[:-2], x[1:-1], x[2:]]), axis=0)
    return np.concatenate([[min(x[0], x[1])], inner, [min(x[-2], x[-1])]])


def _encoded(
    plane: np.ndarray, place: int, profile: Profile, samples: np.ndarray, read: Reader
) -> bool:
    """False if readouts far from the strongest resemble it and are about as strong: no phase-encoding gradient.

    A point object looks like that too, but has no structure along the readout, and a thin object has most of its
    energy in the middle: both count as encoded.
    """
    energy = profile.energy
    if len(plane) < FEW or energy.max() > 10 * np.median(energy):
        return True
    outer, middle, last = (third.mean() for third in np.array_split(energy, 3))
    if middle > 1.5 * max(outer, last):
        return True
    if samples.max() < 20 * np.median(samples):
        return True
    order = np.arange(len(plane)) - place
    far = (
        np.isin(plane["ky"], profile.counters)
        & (np.abs(order) > len(plane) // 6)
        & (order % 2 == 0)
    )
    far &= plane["samples"] == plane["samples"][place]
    if far.sum() < 4:
        return True
    strongest = read(plane[place : place + 1])[0]
    others = [x for x in read(plane[far]) if x.shape == strongest.shape]
    alike = [abs(np.vdot(strongest, x)) / _length(strongest) / _length(x) for x in others]
    return bool(np.mean(alike) < 0.8)


def _length(x: np.ndarray) -> float:
    return max(float(np.linalg.norm(x)), float(np.finfo(np.float32).tiny))
