"""Which readouts run backwards without a flag, and where reversed readouts have k = 0, judged by their samples.

Neighbouring lines of k-space in the right direction form matrices of low rank (limited support, smooth coils and
phase; Shin et al., MRM 72:959, 2014), while lines that are mirrored or shifted relative to each other do not. With
several coils the magnitudes of projections show it too. One coil and an object that is symmetric along the readout
may leave it undecided.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from mrirecon.tensors import ifft2c

# Array of `grid.LINE` -> samples (coil, sample) of each readout, in forward order.
Read = Callable[[np.ndarray], list[np.ndarray]]

FEW = 16  # readouts: with fewer nothing is concluded
LINES, SAMPLES = 8, 16  # examined on either side of the strongest line and sample
COILS = 4  # strongest coils that are examined
KERNEL = 5  # samples and lines of a neighbourhood
# Required fall of the logarithm of the nuclear norm; it fell by 0.012 at most (noise) in 49 scans other than EPI.
CLEAR = 0.03
CLEAR_SHIFT = 0.02  # the same for a shift by one sample
DELAYS = 0.02  # largest rise where gradient delays keep readouts in forward order from fitting each other
MORE_ALIKE = 0.1  # required difference of correlation coefficients: 0.14 or more in 24 EPI scans


def odd_readouts(
    lines: np.ndarray, volume: np.ndarray, index: np.ndarray, by_shot: bool
) -> np.ndarray:
    """Which readouts have an odd position in the acquisition order of their slice and volume, or of each shot.

    A shot begins with a new segment, or where the lines stop advancing in the direction in which most of them do.

    Args:
        lines: readouts (`LINE`).
        volume: volume of each readout.
        index: slice of each readout.
        by_shot: count from the beginning of each shot.
    """
    order, new = _runs(lines, volume, index, by_shot)
    start = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    odd = np.zeros(len(lines), dtype=bool)
    odd[order] = (np.arange(len(order)) - start) % 2 == 1
    return odd


def _runs(
    lines: np.ndarray, volume: np.ndarray, index: np.ndarray, by_shot: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The acquisition order, and at which of its positions a new run (slice, volume or shot) begins."""
    order = np.lexsort((lines["row"], index, volume))
    keys = np.stack([volume, index, lines["kz"]])[:, order]
    new = np.diff(keys, axis=1, prepend=keys[:, :1] - 1).any(axis=0)
    if by_shot:
        steps = np.sign(np.diff(lines["ky"][order], prepend=0))
        usual = np.sign(steps[~new].sum()) or 1
        new = new | (steps != usual) | (np.diff(lines["segment"][order], prepend=0) != 0)
        new[0] = True
    return order, np.asarray(new)


def alternation(plane: np.ndarray, ky: int, read: Read) -> tuple[str | None, bool]:
    """Whether the readouts of one slice and volume alternate in direction.

    Args:
        plane: readouts of one kz, in acquisition order.
        ky: line of the strongest readout.
        read: loads samples.

    Returns:
        "run" where every second readout is reversed, "shot" where every second one of each shot is (`odd_readouts`),
        None otherwise; and whether the samples decide that clearly.
    """
    kept = plane["samples"] - plane["discard_pre"] - plane["discard_post"]
    if len(plane) < FEW or plane["reverse"].any() or np.ptp(kept):
        return None, False
    one = np.zeros(len(plane), dtype=int)
    is_clear = False
    tried = list[np.ndarray]()
    for name in ("run", "shot"):
        new = _runs(plane, one, one, name == "shot")[1]
        steps = np.sign(np.diff(plane["ky"]))[~new[1:]]
        odd = odd_readouts(plane, one, one, name == "shot")
        if len(plane) < 4 * new.sum() or len(np.unique(steps)) > 1:
            continue
        if any(np.array_equal(odd, other) for other in tried):
            continue
        tried.append(odd)
        gain = _gain(plane, odd, ky, read)
        if gain > CLEAR:
            return name, True
        if name == "run" and gain > -DELAYS and _projections_alternate(plane, ky, read):
            return name, True
        is_clear |= gain < -CLEAR
    return None, is_clear


def middle_is_stored(lines: np.ndarray, ky: int, read: Read) -> bool:
    """Whether reversed readouts fit the forward ones after a shift by one sample: their k = 0 is stored at N // 2."""
    near = _around(lines, ky)
    back, samples = near["reverse"], [np.asarray(x) for x in read(near)]
    if min(back.sum(), (~back).sum()) < 4 or len({x.shape for x in samples}) > 1:
        return False
    block = _strongest(np.stack(samples))
    moved = np.where(back[:, None, None], np.roll(block, 1, axis=-1), block)
    return _log_norm(block, back) - _log_norm(moved, back) > CLEAR_SHIFT


def is_mirrored(first: np.ndarray, other: np.ndarray, ky: int, read: Read) -> bool:
    """Whether the readouts of another echo of a slice are mirrored relative to the first echo.

    Only magnitudes of projections are compared, since the phase of echoes differs; one coil and a symmetric object
    leave it undecided (False).
    """
    first_lines, other_lines = (_around(lines, ky) for lines in (first, other))
    if len(first_lines) < FEW or not np.array_equal(first_lines["ky"], other_lines["ky"]):
        return False
    samples = read(first_lines), read(other_lines)
    if len({x.shape for x in (*samples[0], *samples[1])}) > 1:
        return False
    a, b = map(_projections, samples)
    mirrored = _alike(a, _mirror(b))
    return mirrored > 0.3 and mirrored > _alike(a, b) + MORE_ALIKE


def _around(lines: np.ndarray, ky: int) -> np.ndarray:
    """One readout for each of the lines around `ky`, in k-space order."""
    counters, first = np.unique(lines["ky"], return_index=True)
    place = int(np.abs(counters - ky).argmin())
    return lines[first[max(0, place - LINES) : place + LINES + 1]]


def _gain(plane: np.ndarray, odd: np.ndarray, ky: int, read: Read) -> float:
    """By how much the logarithm of the nuclear norm falls when the odd readouts are mirrored."""
    near = _around(plane, ky)
    odd = odd[np.searchsorted(plane["row"], near["row"])]
    if len(near) < FEW or min(odd.sum(), (~odd).sum()) < 4:
        return 0.0
    block = _strongest(np.stack(read(near)))
    mirrored = [
        np.where(odd[:, None, None], np.roll(block[..., ::-1], shift, axis=-1), block)
        for shift in (0, 1)  # k = 0 of reversed readouts at N - 1 - N // 2 or at N // 2
    ]
    return _log_norm(block, odd) - min(_log_norm(x, odd) for x in mirrored)


def _strongest(block: np.ndarray) -> np.ndarray:
    """The samples (line, coil, sample) of the strongest coils in double precision; what is not finite is 0."""
    block = np.nan_to_num(block, posinf=0.0, neginf=0.0).astype(np.complex128)
    with np.errstate(all="ignore"):
        power = np.nan_to_num((np.abs(block) ** 2).sum(axis=(0, 2)), posinf=0.0)
    return np.asarray(block[:, np.argsort(-power, kind="stable")[:COILS]])


def _log_norm(block: np.ndarray, odd: np.ndarray) -> float:
    """Logarithm of the nuclear norm of the matrix of all neighbourhoods around the echo, at unit energy.

    The echo is that of the even readouts.
    """
    energy = (np.abs(block[~odd]) ** 2).sum(axis=(0, 1))
    center = int(energy.argmax())
    block = block[..., max(0, center - SAMPLES) : center + SAMPLES + 1]
    if block.shape[-1] < 2 * KERNEL:
        return 0.0
    windows = np.lib.stride_tricks.sliding_window_view(block, (KERNEL, KERNEL), axis=(0, 2))
    matrix = windows.transpose(0, 2, 1, 3, 4).reshape(windows.shape[0] * windows.shape[2], -1)
    power = np.linalg.eigvalsh(matrix.conj().T @ matrix).clip(min=0)
    if not power.sum() > 0:
        return 0.0
    return float(np.log(np.sqrt(power).sum() / np.sqrt(power.sum())))


def _projections_alternate(plane: np.ndarray, ky: int, read: Read) -> bool:
    """Whether each projection resembles the mirrored next one, and the one after that without mirroring.

    Only magnitudes are compared, since the delay between odd and even echoes of EPI is a phase.
    """
    place = int(np.flatnonzero(plane["ky"] == ky)[0])
    projections = _projections(read(plane[max(0, place - LINES) : place + LINES + 1]))
    mirrored = _mirror(projections)
    next_mirrored = _alike(projections[:-1], mirrored[1:])
    next_but_one = _alike(projections[:-2], projections[2:])
    return (
        min(next_mirrored, next_but_one) > 0.3  # more than noise
        and next_mirrored > _alike(projections[:-1], projections[1:]) + MORE_ALIKE
        and next_but_one > _alike(projections[:-2], mirrored[2:]) + MORE_ALIKE
    )


def _projections(samples: list[np.ndarray]) -> np.ndarray:
    """Magnitudes of the Fourier transforms of readouts, (line, coil, pixel)."""
    projections = np.abs(ifft2c(torch.from_numpy(np.stack(samples)), dim=(-1,)).numpy())
    return np.nan_to_num(projections.astype(float), posinf=0.0)


def _mirror(projections: np.ndarray) -> np.ndarray:
    """Projections mirrored about pixel N // 2."""
    mirrored = projections[..., ::-1]
    return np.roll(mirrored, 1, axis=-1) if projections.shape[-1] % 2 == 0 else mirrored


def _alike(a: np.ndarray, b: np.ndarray) -> float:
    """Mean correlation coefficient along the last axis."""
    a, b = (x - x.mean(axis=-1, keepdims=True) for x in (a, b))
    norm = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return float(((a * b).sum(axis=-1) / np.maximum(norm, np.finfo(float).tiny)).mean())
