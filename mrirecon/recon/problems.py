"""From a scan to the problems that a method solves: dead coils, prewhitening, scale, noise, coil maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.device import sent
from mrirecon.methods.base import Method, Neighbours, Place, Problem
from mrirecon.noise import (
    dead_coils,
    noise_level,
    noise_slices,
    outer_level,
    partly_dead,
    prewhiten,
    scan_whitening,
    silent_coils,
    trusted_noise,
)
from mrirecon.operators.sense import varying_axes
from mrirecon.recon.ahead import for_threads
from mrirecon.recon.coil_maps import MapSource, without_coils
from mrirecon.recon.first_image import FirstImage
from mrirecon.scale import VolumeScales
from mrirecon.scan import CoilMix, Scan

REMEMBERED = 256 * 2**20  # bytes of k-space of several volumes of a slice, read last
KEPT_MAPS = 2**31  # bytes of coil maps that the further volumes of a 3D scan find again


class Problems:
    """The slices of a scan as a method is given them.

    Args:
        method: what they are for.
        scan: what was measured.
        maps: where coil maps come from.
        slices: those to solve.
        whiten: prewhiten where there is a noise measurement and the method works with coil maps.
        device: where to compute.

    Attributes:
        scan: as it is solved: prewhitened or not, without dead coils.
        whitening: matrix that it was prewhitened by.
        source: of the coil maps of that scan.
        scales: bright level of each volume.
        noise: of each volume's k-space, per real component.
        silent: coils that gave nothing in a volume, though they did in others.
        skipped: what was left zero, and why.

    Raises:
        ValueError, OSError: if the scan does not suit the method.
    """

    def __init__(
        self, method: Method, scan: Scan, maps: MapSource, slices: range, whiten: bool, device: str
    ) -> None:
        self.method, self.slices, self.device = method, slices, device
        self.needs = needs = method.needs
        self.whitening: Tensor | None = None
        self.source, unit = maps, 1.0
        self.skipped: list[str] = []
        scan = _remembering(scan, method.reach)
        silent, coils_in_all = silent_coils(scan), scan.shape[1]
        dead, note = dead_coils(scan, silent)
        self.silent, said = partly_dead(scan, silent, dead)
        if dead:
            scan, self.source = scan.drop_coils(dead, note), maps.without(dead)
        if said:
            scan = replace(scan, notes=(*scan.notes, said))
        scan = trusted_noise(scan)
        if needs.maps and whiten and scan.noise_covariance is not None:
            whitening, unit = scan_whitening(scan), noise_level(scan)
            self.whitening = whitening.to(device, torch.complex64)
            scan, self.source = prewhiten(scan), self.source.whitened(self.whitening)
        self.scan = scan
        measured = [len(coils) < coils_in_all for coils in silent]
        self.scales, self.noise = [1.0] * scan.volumes, [0.0] * scan.volumes
        if needs.scale or needs.noise != "no":
            self._look([v for v in range(scan.volumes) if measured[v]], unit)
        path = needs.first_image
        self.first_image = None if path is None else FirstImage.read(path, scan, slices)

    def places(self) -> list[Place]:
        """All slices to solve, in the order in which their k-space is best read: 3D scans are read whole."""
        return self._ordered(range(self.scan.volumes), self.slices)

    def _ordered(self, volumes: Iterable[int], slices: range) -> list[Place]:
        if _is_read_whole(self.scan):
            return [(volume, index) for volume in volumes for index in slices]
        return [(volume, index) for index in slices for volume in volumes]

    def batches(self, places: Iterable[Place]) -> Iterator[list[Problem]]:
        """The slices of these places that have signal, as many together as the method takes."""
        pixels = self.scan.shape[2] * self.scan.shape[3]
        batch: list[Problem] = []
        maps_of = self._maps_of()
        for volume, index in places:
            kspace, mask = self.scan.measured(index, volume)
            axes = varying_axes(mask)
            sampled = any(bool(coil.any()) for coil in kspace)  # ends at the first that has
            kspace, mask = sent(kspace, self.device), sent(mask, self.device)
            maps = None
            if sampled and self.needs.maps:
                maps = maps_of(index)
            if not sampled:
                self.skipped.append(f"volume {volume} slice {index} has no samples: left zero")
            elif maps is not None and not bool(maps.any()):
                self.skipped.append(f"slice {index} has no coil maps, no signal found: left zero")
            else:
                problem = self._problem(kspace, mask, maps, (volume, index))
                batch.append(replace(problem, varying=(mask, axes)))
            del kspace
            if not self.needs.whole_volume and len(batch) >= self.method.slices_at_once(
                pixels, self.device
            ):
                yield batch
                batch = []
        if self.needs.whole_volume:
            yield from _runs(batch)
        elif batch:
            yield batch

    def _problem(self, kspace: Tensor, mask: Tensor, maps: Tensor | None, place: Place) -> Problem:
        if maps is not None and self.needs.one_set and len(maps) > 1:
            raise ValueError(
                f"{self.method.name} works with one set of coil maps: leave out --calibration.sets"
            )
        volume, index = place
        if maps is not None and volume in self.silent:
            maps = without_coils(maps, self.silent[volume], self.whitening)
        near = Neighbours(self.scan, volume, index, self.device)
        known = (self.scales[volume], near, place, self.noise[volume])
        problem = Problem(kspace, mask, maps, *known)
        if self.first_image is None:
            return problem
        return replace(problem, first_image=self.first_image.of(problem, self.whitening))

    def _maps_of(self) -> Callable[[int], Complex[Tensor, "set coil y x"]]:
        """Maps by slice, kept from one volume to the next."""
        _, coils, height, width = self.scan.shape
        size = 1
        if _is_read_whole(self.scan) and self.scan.volumes > 1:
            size = max(1, KEPT_MAPS // (8 * coils * height * width))
        return Latest(lambda index: self.source(self.scan, index, self.device), size)

    def _look(self, volumes: Sequence[int], unit: float) -> None:
        """Find scale and noise of these volumes; `unit` is what 1 was before prewhitening.

        Each slice is read once, and its calibration data are kept for its coil maps.
        """
        scan, needs = self.scan, self.needs
        scales, outer = VolumeScales(scan), noise_slices(scan)
        told = needs.noise_std != "auto" or scan.noise_covariance is not None
        if needs.noise == "no" or told:
            outer = []
        slices = range(scan.shape[0])
        for volume, index in self._ordered(volumes, slices):
            if needs.scale:
                scales.look(volume, index)
            if index in outer:
                outer_level(scan, index, volume)
        for volume in volumes:
            if needs.scale:
                self.scales[volume] = scales.of(volume)
            if needs.noise != "no":
                self.noise[volume] = self._noise_of(volume, unit)

    def _noise_of(self, volume: int, unit: float) -> float:
        """Noise per real component."""
        if self.needs.noise_std != "auto":
            return self.needs.noise_std / unit
        try:
            return noise_level(self.scan, volume)
        except ValueError:
            if self.needs.noise == "needed":
                raise
            return 0.0


class Latest:
    """A function that remembers what it gave last, and forgets the oldest of it before it makes more.

    Args:
        function: what is remembered, by its arguments.
        count: how much of it.
    """

    def __init__(self, function: Callable[..., Tensor], count: int) -> None:
        self._function, self._count = function, count
        self._known: dict[
            tuple[int, ...], Tensor
        ] = {}  # the one that was asked for last is the last

    def __call__(self, *place: int) -> Tensor:
        known = self._known
        if place in known:
            known[place] = known.pop(place)
        else:
            while len(known) >= self._count:
                del known[next(iter(known))]
            known[place] = self._function(*place)
        return known[place]


def _remembering(scan: Scan, reach: int) -> Scan:
    """The scan with those slices in memory that are looked at together.

    These are neighbours, and all volumes of a slice as far as they fit; they are kept as they are read, before coils
    are combined.
    """
    read, (_, coils, height, width) = scan.read, scan.shape
    if isinstance(read, CoilMix):
        return replace(scan, read=CoilMix(_remembering(read.before, reach), read.mix))
    volumes = 1 if _is_read_whole(scan) else scan.volumes
    fitting = min(volumes, REMEMBERED // (8 * coils * height * width))
    remembering = replace(scan, read=Latest(read, max(1 + 2 * reach, fitting)))
    remembering.kept.update(scan.kept)
    return for_threads(remembering)


def _is_read_whole(scan: Scan) -> bool:
    """Whether a volume is transformed as a whole before its slices can be taken from it."""
    return scan.is_3d or "partition" in scan.axes


def _runs(problems: list[Problem]) -> Iterator[list[Problem]]:
    """Slices of a volume that follow each other: those beyond a slice without signal are no neighbours."""
    ordered = enumerate(sorted(problems, key=lambda problem: problem.place))
    for _, run in groupby(ordered, lambda item: (item[1].place[0], item[1].place[1] - item[0])):
        yield [problem for _, problem in run]
