"""What the samples say of a scan where its header may be wrong: a look at some sixty readouts of one slice.

The energy of k-space is largest at its centre. Neighbouring readouts have similar projections (magnitudes of their
Fourier transform); without phase encoding all are alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mrirecon.io.directions import FEW, alternation

Load = Callable[[np.ndarray], list[np.ndarray]]  # array of LINE -> complex64 (coil, sample) of each

_COARSE = 32  # readouts that are looked at before the neighbourhood of the strongest


@dataclass(frozen=True)
class Profile:
    """Energy along one axis of k-space, coils summed.

    Attributes:
        counters: where it was measured, ascending.
        energy: at these counters.
        spacing: between neighbouring counters of the scan, such as the acceleration.
    """

    counters: np.ndarray
    energy: np.ndarray
    spacing: int = 1

    @property
    def smooth(self) -> np.ndarray:
        """Median over three neighbours, at the ends the smaller of two: a spike in one readout is no centre."""
        return _median_of_three(self.energy)

    @property
    def peak(self) -> int | None:
        """The counter of the largest energy, or None where none stands out."""
        smooth = self.smooth
        if len(smooth) < FEW or smooth.max() <= 10 * np.quantile(smooth, 0.25):
            return None
        near = slice(max(0, int(smooth.argmax()) - 2), int(smooth.argmax()) + 3)
        return int(self.counters[near][self.energy[near].argmax()])

    @property
    def tolerance(self) -> int:
        """How far off the centre the largest energy may be and mean nothing: phase of the object, field, delays."""
        return max(4, int(np.ptp(self.counters)) // 16) + self.spacing - 1

    @property
    def at_edge(self) -> bool:
        """Whether the largest energy is at the very first or last places that were measured."""
        place = int(np.flatnonzero(self.counters == self.peak)[0]) if self.peak is not None else 2
        return place < 2 or place >= len(self.counters) - 2

    def contradicts(self, center: int, doubtful: bool = False) -> bool:
        """Whether the energy is clearly elsewhere; beside it is enough if there are other reasons to doubt `center`.

        A centre that was not measured is judged by the nearest readout: energy grows towards a true one.
        """
        peak = self.peak
        if peak is None:
            return False
        there = self.smooth[np.abs(self.counters - center).argmin()]
        tolerance, factor = (1 + self.spacing, 2) if doubtful else (self.tolerance, 4)
        return abs(peak - center) > tolerance and bool(self.smooth.max() > factor * there)


@dataclass(frozen=True)
class Look:
    """What was seen.

    Attributes:
        ky, kz: profiles along the phase encodings.
        sample: profile along the strongest readout, in forward order.
        strongest: that readout, one row of `LINE`.
        alternates: how every second readout runs backwards, though no flag says so (`directions.alternation`).
        is_sorted: the samples say clearly whether.
        encoded: the readouts differ from each other, as phase encoding makes them.
    """

    ky: Profile
    kz: Profile
    sample: Profile
    strongest: np.void
    alternates: str | None
    is_sorted: bool
    encoded: bool


def look(lines: np.ndarray, load: Load) -> Look:
    """Look at the readouts (`LINE`) of one slice and volume: all if few, else every n-th and those around the peak."""
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
    """The samples of a readout that are to be kept, in the direction of growing k."""
    kept = samples[:, line["discard_pre"] : line["samples"] - line["discard_post"]]
    kept = kept[:, ::-1] if line["reverse"] else kept
    return np.roll(kept, line["roll"], axis=1) if line["roll"] else kept


class Reader:
    """Loads readouts, each once."""

    def __init__(self, load: Load) -> None:
        self.load, self.known = load, dict[int, np.ndarray]()

    def __call__(self, lines: np.ndarray) -> list[np.ndarray]:
        new = np.sort(lines[[int(row) not in self.known for row in lines["row"]]], order="row")
        for line, samples in zip(new, self.load(new) if len(new) else (), strict=True):
            self.known[int(line["row"])] = forward(line, samples)
        return [self.known[int(row)] for row in lines["row"]]

    def profile(self, lines: np.ndarray, axis: str) -> tuple[Profile, int]:
        """Energy along `axis`, and the counter of the largest whether it stands out or not."""
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
    """False if readouts far from the strongest are like it and about as strong, as without a phase-encoding gradient.

    A point object does that too, but has no structure along the readout; a thin one has most energy in the middle.
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
