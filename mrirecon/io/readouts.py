"""Cartesian readouts on the k-space grid, one slice (2D) or one volume (3D) at a time."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.io.energy import Load, forward
from mrirecon.io.grid import Axis, readout_range
from mrirecon.io.kept_volumes import KeptVolumes, SampledVolume
from mrirecon.tensors import ifft2c

_LINES_AT_ONCE = 1024  # bounds the memory for loaded readouts beside that of a 3D volume


class Readouts:
    """Readouts sorted by volume and slice, placed on the k-space grid when a slice is read.

    May be pickled and forked: `load` opens the file for each call, and the volumes that are kept of a 3D scan are not
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
        self._volumes = KeptVolumes(self._volume)

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
        if self.is_3d:
            return self._volumes(volume).plane(index)
        chosen = self._select(volume, index)
        return torch.from_numpy(self._assemble(chosen, self._point[chosen], self.encodes[0]))

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

    def _volume(self, volume: int) -> SampledVolume:
        """The samples of a volume of a 3D scan, whose readout is an image axis."""
        chosen = self._select(volume, 0)
        sampled, column = np.unique(self._point[chosen], return_inverse=True)
        grid = self._assemble(chosen, column, len(sampled))
        return SampledVolume(torch.from_numpy(grid).transpose(0, 1), self.sampling(volume, 0))

    def _assemble(self, chosen: slice, column: np.ndarray, columns: int) -> np.ndarray:
        """Average of the chosen readouts, (coil, readout, column), each in its column."""
        length = self.readout.window_size if self.is_3d else self.readout.size
        grid = np.zeros((self.coils, length, columns), dtype=np.complex64)
        count = np.bincount(column, minlength=columns)
        repeated = count.max(initial=0) > 1
        for start in range(chosen.start, chosen.stop, _LINES_AT_ONCE):
            block = slice(start, min(start + _LINES_AT_ONCE, chosen.stop))
            here = column[start - chosen.start : block.stop - chosen.start]
            samples = self._load(block)
            if self.is_3d:
                image = ifft2c(torch.from_numpy(samples), dim=(-1,))
                samples = image[..., self.readout.window].numpy()
            if not repeated:
                grid[..., here] = np.moveaxis(samples, 0, -1)
                continue
            order = np.argsort(here, kind="stable")
            unique, first = np.unique(here[order], return_index=True)
            grid[..., unique] += np.moveaxis(np.add.reduceat(samples[order], first), 0, -1)
        if repeated:
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
