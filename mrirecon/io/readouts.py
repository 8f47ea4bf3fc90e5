"""Cartesian readouts on the k-space grid, one slice (2D) or one volume (3D) at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.io.energy import Load, forward
from mrirecon.io.grid import Axis, readout_range
from mrirecon.tensors import ifft2c

_LINES_AT_ONCE = 1024  # bounds the memory for loaded readouts beside that of a 3D volume


class Readouts:
    """Readouts sorted by volume and slice, placed on the k-space grid when a slice is read.

    May be pickled and forked: `load` opens the file for each call, and the volume that is cached for a 3D scan is not
    pickled.

    Args:
        load: loads the samples of readouts.
        coils: number of coils.
        readout: readout axis.
        encodes: points along both phase encodings.
        is_3d: whether slices are readout positions after an inverse FFT.
    """

    def __init__(
        self, load: Load, coils: int, readout: Axis, encodes: tuple[int, int], is_3d: bool
    ) -> None:
        self.load, self.coils, self.readout, self.encodes = load, coils, readout, encodes
        self.is_3d = is_3d
        self._kept: tuple[int, np.ndarray] | None = None

    def place(
        self, lines: np.ndarray, volume: np.ndarray, index: np.ndarray, point: np.ndarray
    ) -> None:
        """Set the volume, slice and phase-encoding point of each readout (`counters.points`)."""
        start, stop = readout_range(lines, self.readout.size)
        order = np.lexsort((lines["row"], index, volume))
        self._group = np.stack([volume, index], axis=1)[order]
        self._lines, self._point = lines[order], point[order]
        self._start, self._stop = start[order], stop[order]

    def read(self, volume: int, index: int) -> Complex[Tensor, "coil readout phase"]:
        """K-space of one slice; readouts of the same line are averaged, points that were not sampled are zero."""
        if not self.is_3d:
            return torch.from_numpy(self._assemble(self._select(volume, index)))
        if self._kept is None or self._kept[0] != volume:
            self._kept = None  # frees one volume before the next is built
            self._kept = volume, self._assemble(self._select(volume, 0))
        plane = np.ascontiguousarray(self._kept[1][:, index])
        return torch.from_numpy(plane.reshape(self.coils, *self.encodes))

    def sampling(self, volume: int, index: int) -> Bool[Tensor, "readout phase"]:
        """Which points of one slice have a sample."""
        chosen = self._select(volume, 0 if self.is_3d else index)
        if self.is_3d:
            mask = np.zeros(self.encodes, dtype=bool)
            mask.reshape(-1)[self._point[chosen]] = True
            return torch.from_numpy(mask)
        mask = np.zeros((self.readout.size, self.encodes[0]), dtype=bool)
        for i in range(chosen.start, chosen.stop):
            mask[self._start[i] : self._stop[i], self._point[i]] = True
        return torch.from_numpy(mask)

    def _select(self, volume: int, index: int) -> slice:
        inside = np.flatnonzero((self._group == (volume, index)).all(axis=1))
        return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)

    def _assemble(self, chosen: slice) -> np.ndarray:
        """Average of the chosen readouts on the grid, (coil, readout, point); in 3D the readout is an image axis."""
        points = self.encodes[0] * (self.encodes[1] if self.is_3d else 1)
        length = self.readout.window_size if self.is_3d else self.readout.size
        grid = np.zeros((self.coils, length, points), dtype=np.complex64)
        count = np.bincount(self._point[chosen], minlength=points)
        for start in range(chosen.start, chosen.stop, _LINES_AT_ONCE):
            block = slice(start, min(start + _LINES_AT_ONCE, chosen.stop))
            samples = self._load(block)
            if self.is_3d:
                image = ifft2c(torch.from_numpy(samples), dim=(-1,))
                samples = image[..., self.readout.window].numpy()
            if count.max() == 1:
                grid[..., self._point[block]] = np.moveaxis(samples, 0, -1)
                continue
            order = np.argsort(self._point[block], kind="stable")
            unique, first = np.unique(self._point[block][order], return_index=True)
            grid[..., unique] += np.moveaxis(np.add.reduceat(samples[order], first), 0, -1)
        if count.max() > 1:
            grid /= np.maximum(count, 1).astype(np.float32)
        return grid

    def _load(self, block: slice) -> np.ndarray:
        """Readouts in forward order, zero-filled to the readout axis, (line, coil, readout)."""
        lines = self._lines[block]
        out = np.zeros((len(lines), self.coils, self.readout.size), dtype=np.complex64)
        ranges = zip(self._start[block], self._stop[block], strict=True)
        for row, line, samples, (start, stop) in zip(
            out, lines, self.load(lines), ranges, strict=True
        ):
            row[:, start:stop] = forward(line, samples)
        return out

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}
