"""GRAPPA for regularly undersampled phase encoding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.calibration import Calibration
from mrirecon.coverage import calibration_region
from mrirecon.methods.base import Needs, Problem, SliceMethod, Solution


@dataclass(frozen=True, kw_only=True)
class Grappa(SliceMethod):
    """GRAPPA (Griswold et al. 2002): missing columns from neighbouring ones of all coils, then RSS.

    For masks with one equal spacing of columns outside the calibration region. Kernels are fitted to the calibration
    region by ridge regression; measured samples are kept.

    Attributes:
        readout_taps: odd kernel width along the readout.
        phase_taps: measured columns a kernel draws on (even).
        regularization: ridge weight, relative to the mean eigenvalue of the normal equations.
    """

    readout_taps: int = 5
    phase_taps: int = 4
    regularization: float = 1e-4

    name: ClassVar[str] = "grappa"
    needs = Needs(maps=False)

    def solve_slice(self, problem: Problem) -> Solution:
        own = Calibration(problem.kspace, problem.mask)
        # Equal spacing ends where k-space was rolled beyond its edge: it is rolled back meanwhile.
        shifts = problem.near.scan.echo_shifts
        shift = round(shifts[problem.place[0]][1]) if shifts else 0
        kspace, mask = (x.roll(-shift, -1) if shift else x for x in (own.kspace, own.mask))
        filled = self.fill(kspace, mask, lambda size: problem.near.calibration(size) or own)
        return Solution(kspace=filled.roll(shift, -1) if shift else filled)

    def fill(
        self,
        kspace: Complex[Tensor, "coil y x"],
        mask: Bool[Tensor, "y x"],
        better: Callable[[int], Calibration | None] = lambda size: None,
    ) -> Complex[Tensor, "coil y x"]:
        """k-space with the missing columns filled in, from the first to the last measured one.

        Args:
            kspace: zero where not sampled.
            mask: sampled points.
            better: data to fit the kernels to where the centre of the mask has not as many columns as it is asked for.

        Raises:
            ValueError: if the mask is not of equally spaced columns, or the calibration region is too small.
        """
        columns, spacing, offset = _lattice(mask)
        if spacing == 1:
            return kspace
        reach = spacing * (self.phase_taps - 1) + 1
        calibration = self._calibration(better(reach) or Calibration(kspace, mask), spacing, reach)
        filled = kspace.clone()
        size, measured = kspace.shape[-1], columns.nonzero().flatten()
        first, last = int(measured[0]), int(measured[-1])
        for shift in range(1, spacing):
            weights = self._fit(calibration, spacing, shift)
            missing = torch.arange((offset + shift) % spacing, size, spacing, device=kspace.device)
            missing = missing[~columns[missing] & (missing > first) & (missing < last)]
            filled[..., missing] = self._apply(kspace, weights, missing - shift, spacing)
        return filled

    def _calibration(self, found: Calibration, spacing: int, reach: int) -> Tensor:
        """The fully sampled centre, which must hold a kernel."""
        region = calibration_region(found.mask)
        rows, width = (0, 0) if region is None else (part.stop - part.start for part in region)
        if region is None or width < reach or rows < self.readout_taps:
            raise ValueError(
                f"grappa needs {reach} adjacent calibration columns of {self.readout_taps} samples for spacing "
                f"{spacing} and {self.phase_taps} phase taps, the fully sampled centre of the {found.origin} "
                f"has {width} of {rows}: use fewer taps, or cg_sense"
            )
        return found.kspace[:, region[0], region[1]]

    def _fit(self, calibration: Tensor, spacing: int, shift: int) -> Tensor:
        """Weights (coil * taps, coil) for columns `shift` after a measured one."""
        reach = spacing * (self.phase_taps - 1) + 1
        # From the first tap to the measured column before the target.
        before = spacing * (self.phase_taps // 2 - 1)
        first = torch.arange(calibration.shape[-1] - reach + 1, device=calibration.device) + before
        half = self.readout_taps // 2
        rows = slice(half, calibration.shape[-2] - half)
        sources = self._neighbours(calibration, first, spacing)[rows].flatten(0, 1)
        targets = calibration[:, rows, first + shift].movedim(0, -1).flatten(0, 1)
        normal = sources.mH @ sources
        ridge = self.regularization * normal.diagonal().real.mean()
        normal = normal + ridge * torch.eye(len(normal), dtype=normal.dtype, device=normal.device)
        return torch.linalg.solve(normal, sources.mH @ targets)

    def _apply(self, kspace: Tensor, weights: Tensor, before: Tensor, spacing: int) -> Tensor:
        """Columns predicted from the measured ones around the measured columns `before` them."""
        return (self._neighbours(kspace, before, spacing) @ weights).movedim(-1, 0)

    def _neighbours(self, kspace: Tensor, before: Tensor, spacing: int) -> Tensor:
        """(y, column, coil * taps): samples around (y, column of `before`), zero beyond the edges."""
        half = self.readout_taps // 2
        margin = spacing * self.phase_taps
        padded = torch.nn.functional.pad(kspace, (margin, margin, half, half))
        steps = torch.arange(self.phase_taps, device=kspace.device) - (self.phase_taps // 2 - 1)
        # (coil, y + 2 half, column, tap)
        taps = padded[..., before[:, None] + margin + spacing * steps]
        windows = taps.unfold(1, self.readout_taps, 1)  # coil, y, column, tap, readout tap
        return windows.permute(1, 2, 0, 3, 4).flatten(2)


def _lattice(mask: Bool[Tensor, "y x"]) -> tuple[Bool[Tensor, " x"], int, int]:
    """(measured columns, spacing, offset) of a mask of equally spaced columns plus a calibration region."""
    columns = mask.any(dim=0)
    if not bool((mask == columns).all()):
        raise ValueError(
            "grappa needs whole columns (a 1D mask), this mask varies along the readout: use cg_sense"
        )
    measured = columns.nonzero().flatten()
    spacing = int(measured.diff().max()) if len(measured) > 1 else 0
    for offset in range(spacing):
        lattice = torch.zeros_like(columns)
        lattice[offset::spacing] = True
        inside = slice(int(measured[0]), int(measured[-1]) + 1)
        if bool(columns[inside][lattice[inside]].all()):
            extra = (columns & ~lattice).nonzero().flatten()
            block = extra.numel() == 0 or bool(columns[int(extra[0]) : int(extra[-1]) + 1].all())
            if block:
                return columns, spacing, offset
    raise ValueError(
        "grappa needs equally spaced columns outside the calibration region, this mask has none: use cg_sense"
    )
