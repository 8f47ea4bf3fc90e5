"""Which readouts run backwards, where no flag says so, and where reversed ones have k = 0: the samples tell.

Neighbouring lines of k-space, put the right way round, lie in a space of low rank (limited object, smooth coils and
phase; Shin et al., MRM 72:959, 2014); mirrored or shifted among each other they do not. With several coils the
magnitudes of projections tell too. One coil and an object that is symmetric along the readout may tell nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from mrirecon.tensors import ifft2c

# Array of LINE -> samples (coil, sample), in forward order.
Read = Callable[[np.ndarray], list[np.ndarray]]

FEW = 16  # below so many readouts nothing is concluded
# How many are looked at: on either side of the strongest, and the strongest coils.
LINES, SAMPLES, COILS = (8, 16, 4)
KERNEL = 5  # samples and lines of a neighbourhood
CLEAR = 0.03  # by which the logarithm of the nuclear norm falls: of 49 scans that are no EPI, by 0.012 at most (noise)
CLEAR_SHIFT = 0.02
DELAYS = 0.02  # by which it rises at most where gradients are late, so that readouts put in forward order do not fit
MORE_ALIKE = 0.1  # of correlation coefficients; of 24 real EPI of one coil it is 0.14 and more


def odd_readouts(
    lines: np.ndarray, volume: np.ndarray, index: np.ndarray, by_shot: bool
) -> np.ndarray:
    """Which readouts have an odd place in the order in which their slice and volume, or each shot, was acquired.

    A shot begins with another segment, or where the lines do not go on in the direction in which most of them do.
    """
    order, new = _runs(lines, volume, index, by_shot)
    start = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    odd = np.zeros(len(lines), dtype=bool)
    odd[order] = (np.arange(len(order)) - start) % 2 == 1
    return odd


def _runs(
    lines: np.ndarray, volume: np.ndarray, index: np.ndarray, by_shot: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The order of acquisition, and where in it a new run begins."""
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
    """How the readouts of one slice and volume alternate: "run", "shot" (`odd_readouts`) or not at all.

    Args:
        plane: readouts of one kz, in the order of acquisition.
        ky: of the strongest.
        read: loads samples.

    Returns:
        which of the two, and whether the samples speak clearly for or against.
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
    """Whether reversed readouts of a slice fit the forward ones when moved on by a sample: k = 0 stored at N // 2."""
    near = _around(lines, ky)
    back, samples = near["reverse"], [np.asarray(x) for x in read(near)]
    if min(back.sum(), (~back).sum()) < 4 or len({x.shape for x in samples}) > 1:
        return False
    block = _strongest(np.stack(samples))
    moved = np.where(back[:, None, None], np.roll(block, 1, axis=-1), block)
    return _log_norm(block, back) - _log_norm(moved, back) > CLEAR_SHIFT


def is_mirrored(first: np.ndarray, other: np.ndarray, ky: int, read: Read) -> bool:
    """Whether the readouts of another echo of a slice are those of the first echo mirrored.

    Only magnitudes are compared, as the phase differs: one coil and a symmetric object tell nothing.
    """
    ours, theirs = (_around(lines, ky) for lines in (first, other))
    if len(ours) < FEW or not np.array_equal(ours["ky"], theirs["ky"]):
        return False
    samples = read(ours), read(theirs)
    if len({x.shape for x in (*samples[0], *samples[1])}) > 1:
        return False
    a, b = map(_projections, samples)
    mirrored = _alike(a, _mirror(b))
    return mirrored > 0.3 and mirrored > _alike(a, b) + MORE_ALIKE


def _around(lines: np.ndarray, ky: int) -> np.ndarray:
    """One readout for each of the lines next to `ky`, in their order in k-space."""
    counters, first = np.unique(lines["ky"], return_index=True)
    place = int(np.abs(counters - ky).argmin())
    return lines[first[max(0, place - LINES) : place + LINES + 1]]


def _gain(plane: np.ndarray, odd: np.ndarray, ky: int, read: Read) -> float:
    """By how much the logarithm of the nuclear norm falls where the odd readouts are mirrored."""
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
    """(line, coil, sample) of finite numbers, the strongest coils, in double precision."""
    block = np.nan_to_num(block, posinf=0.0, neginf=0.0).astype(np.complex128)
    with np.errstate(all="ignore"):
        power = np.nan_to_num((np.abs(block) ** 2).sum(axis=(0, 2)), posinf=0.0)
    return np.asarray(block[:, np.argsort(-power, kind="stable")[:COILS]])


def _log_norm(block: np.ndarray, odd: np.ndarray) -> float:
    """Logarithm of the nuclear norm of all neighbourhoods about the echo of the even readouts, energy 1."""
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
    """Whether projections resemble their successors mirrored, and those two readouts on as they are.

    Only magnitudes are compared: the delay between odd and even echoes of EPI is a phase.
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
    """Magnitudes of the transforms of readouts, (line, coil, pixel)."""
    projections = np.abs(ifft2c(torch.from_numpy(np.stack(samples)), dim=(-1,)).numpy())
    return np.nan_to_num(projections.astype(float), posinf=0.0)


def _mirror(projections: np.ndarray) -> np.ndarray:
    """About pixel N // 2."""
    mirrored = projections[..., ::-1]
    return np.roll(mirrored, 1, axis=-1) if projections.shape[-1] % 2 == 0 else mirrored


def _alike(a: np.ndarray, b: np.ndarray) -> float:
    """Mean correlation coefficient along the last axis."""
    a, b = (x - x.mean(axis=-1, keepdims=True) for x in (a, b))
    norm = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return float(((a * b).sum(axis=-1) / np.maximum(norm, np.finfo(float).tiny)).mean())
