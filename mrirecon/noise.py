"""Noise of a scan: covariance, prewhitening, its level without a noise measurement, and coils without signal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.prepare import mix_coils
from mrirecon.scan import Scan

CONTRADICTS = 3.0  # ratio at which noise scan and outermost samples contradict each other
FLAT = 1.1  # largest ratio of samples nearer to the centre to the outermost ones, if all of them are noise
# Ratio of the outermost samples to those near the centre below which they are rounding errors of interpolated k-space.
DUST = 1e-3
# Quantiles of the distance from the centre between which samples lie.
NEAR, RINGS = (0.05, 0.15), ((0.4, 0.6), (0.6, 0.8))


def noise_covariance(
    samples: Complex[Tensor, "coil sample"],
) -> Complex[Tensor, "coil coil"]:
    """The covariance E[n n^H] per complex sample of a noise scan, in double precision.

    Noise has mean zero, so that no mean is subtracted; the sum is divided by the number of samples minus one, as in
    BART. Samples must be in the units of the k-space: readers scale noise scans that have another dwell time.

    Raises:
        ValueError: if there are fewer samples than coils, which makes the estimate singular.
    """
    coils, count = samples.shape
    if count < max(coils, 2):
        raise ValueError(
            f"noise scan has {count} samples for {coils} coils: its covariance is singular"
        )
    samples = samples.to(torch.complex128)
    return samples @ samples.mH / (count - 1)


def whitening_matrix(
    covariance: Complex[Tensor, "coil coil"],
) -> Complex[Tensor, "coil coil"]:
    """W = sqrt(2) L^-1 with covariance = L L^H: the noise of W @ kspace has standard deviation 1 per real component.

    The covariance of complex samples is then 2 I. BART and sigpy omit the sqrt(2), for variance 1 per complex sample.

    Raises:
        ValueError: if the matrix is not Hermitian, or singular: a dead coil, or too few noise samples.
    """
    covariance = covariance.to(torch.complex128)
    power = covariance.diagonal().real
    if not torch.allclose(covariance, covariance.mH, atol=1e-5 * float(power.abs().max())):
        raise ValueError("noise covariance is not Hermitian: it is no covariance")
    if not bool((power > 0).all()):
        dead = int(power.argmin())
        raise ValueError(
            f"noise covariance is singular: coil {dead} has no noise: leave that coil out "
            "(Scan.drop_coils), or reconstruct without prewhitening (--whiten false)"
        )
    deviation = power.sqrt()
    correlation = covariance / (deviation[:, None] * deviation)
    smallest = float(torch.linalg.eigvalsh(correlation)[0])
    if smallest < 1e-9:
        raise ValueError(
            "noise covariance is singular: coils are copies of each other or the noise scan is too short: "
            "compress the coils (--compress_coils N), or reconstruct without prewhitening (--whiten false)"
        )
    factor = torch.linalg.cholesky(covariance)
    identity = torch.eye(len(covariance), dtype=factor.dtype, device=factor.device)
    return 2**0.5 * torch.linalg.solve_triangular(factor, identity, upper=False)


def scan_whitening(scan: Scan) -> Complex[Tensor, "coil coil"]:
    """`whitening_matrix` of the scan's noise measurement.

    Raises:
        ValueError: if the scan has none, or a singular one.
    """
    if scan.noise_covariance is None:
        raise ValueError(
            f"{scan.source} has no noise scan to prewhiten with: reconstruct without prewhitening"
        )
    try:
        return whitening_matrix(scan.noise_covariance)
    except ValueError as error:
        raise ValueError(f"{scan.source}: {error}") from error


def prewhiten(scan: Scan) -> Scan:
    """The scan with white noise of standard deviation 1 per real component in every coil.

    Since this changes intensities, the reference image and the attributes `max` and `norm` of the file are dropped.

    Raises:
        ValueError: if the scan has no noise covariance, or a singular one.

    Example:
        white = mr.prewhiten(scan)
    """
    whiten = scan_whitening(scan)
    return replace(
        mix_coils(scan, lambda index: whiten.mT, len(whiten), "prewhitened"),
        noise_covariance=2 * torch.eye(len(whiten), dtype=torch.complex128),
        reference=None,
        attributes={k: v for k, v in scan.attributes.items() if k not in ("max", "norm")},
    )


def dead_coils(scan: Scan, silent: Sequence[set[int]] | None = None) -> tuple[list[int], str]:
    """The indices of dead coils, and a note that names them.

    A coil is dead if it has no signal (`silent_coils`) in any volume that has samples, or no noise (below 1e-5 of the
    median coil) in the noise scan, so that it cannot be prewhitened. Coils far from the object are not dead, since they
    have noise.

    Args:
        scan: scan, of which slices are read as needed.
        silent: result of `silent_coils`, if it is known already.
    """
    by_volume = silent_coils(scan) if silent is None else silent
    measured = [x for x in by_volume if len(x) < scan.shape[1]]
    always = set.intersection(*measured) if measured else set()
    noiseless: set[int] = set()
    if scan.noise_covariance is not None:
        noiseless = _silent(scan.noise_covariance.diagonal().real.clamp_min(0).sqrt()[:, None])
    notes = {"without signal": always, "without noise in the noise scan": noiseless - always}
    note = "; ".join(f"{_coils(x)} {what}: left out" for what, x in notes.items() if x)
    return sorted(always | noiseless), note


def silent_coils(scan: Scan) -> list[set[int]]:
    """For each volume, the coils whose root mean square is below 1e-5 of the median coil's in every slice.

    For a volume without samples these are all coils. Further slices are read only if a coil is silent in the first.
    """
    found = []
    for volume in range(scan.volumes):
        middle = scan.middle(volume)
        if middle is None:
            found.append(set(range(scan.shape[1])))
            continue
        silent = _silent(scan.kspace(middle, volume).flatten(1))
        others = (scan.kspace(index, volume) for index in range(scan.shape[0]) if silent)
        for kspace in (x for x in others if bool(x.any())):
            silent &= _silent(kspace.flatten(1))
            if not silent:
                break
        found.append(silent)
    return found


def partly_dead(
    scan: Scan, silent: Sequence[set[int]], dead: Sequence[int]
) -> tuple[dict[int, list[int]], str]:
    """Volume -> coils that are silent in it but not in all, and a note.

    Args:
        scan: scan with all coils.
        silent: result of `silent_coils`.
        dead: result of `dead_coils`; the coils that are returned are numbered without these.
    """
    kept = [coil for coil in range(scan.shape[1]) if coil not in dead]
    found, said = dict[int, list[int]](), list[str]()
    for volume, coils in enumerate(silent):
        some = coils - set(dead)
        if some and len(coils) < scan.shape[1]:
            found[volume] = [kept.index(coil) for coil in sorted(some)]
            name = scan.volume_names[volume] if scan.volume_names else f"volume {volume}"
            said.append(f"{_coils(some)} without signal in {name}")
    more = f" (and in {len(said) - 3} more volumes)" if len(said) > 3 else ""
    return found, f"{'; '.join(said[:3])}{more}: left out there" if said else ""


def noise_level(scan: Scan, volume: int = 0) -> float:
    """Standard deviation of a volume's noise per real component, in the units of its k-space.

    It is the root mean square over the coils that are not dead, from the scan's noise measurement; without one, the
    median of `outer_noise` over up to five slices that have samples. All noise of a real-valued image lies in its real
    part, which has twice the variance that its k-space has in either.

    Raises:
        ValueError: if the outer k-space is empty, so that the level cannot be estimated.

    Example:
        noise = mr.noise_level(scan)
    """
    if scan.noise_covariance is not None:
        power = scan.noise_covariance.diagonal().real / 2
        return float(power[power > 0].mean().sqrt())
    found = [outer_level(scan, index, volume) for index in noise_slices(scan)]
    if not any(found) and (middle := scan.middle(volume)) is not None:
        found = [outer_level(scan, middle, volume)]
    found = sorted(filter(None, found))
    level = found[len(found) // 2] if found else 0.0
    if level == 0:
        raise ValueError(
            f"{scan.source}: its outer k-space is empty and does not tell the noise level: give --method.noise_std"
        )
    return math.sqrt(2) * level if scan.is_image else level


def trusted_noise(scan: Scan) -> Scan:
    """The scan with its noise covariance scaled to the level of the outermost samples, where it contradicts these.

    Samples cannot be fainter than their noise: a noise scan with a higher level than the outermost samples has other
    units or another bandwidth. One with a lower level is accepted, unless samples nearer to the centre have the same
    level as the outermost ones, so that all of them are noise. A note says what was done.
    """
    if scan.noise_covariance is None:
        return scan
    volume = next((v for v in range(scan.volumes) if scan.middle(v) is not None), 0)
    middle = scan.middle(volume)
    stated = noise_level(scan)
    if middle is None or not 0 < stated < float("inf"):
        return scan
    kspace, mask = scan.measured(middle, volume)
    outer = outer_noise(kspace, mask)
    is_louder = stated > CONTRADICTS * outer > CONTRADICTS * DUST * outer_noise(kspace, mask, NEAR)
    is_quieter = CONTRADICTS * stated < outer and all(
        outer_noise(kspace, mask, ring) < FLAT * outer for ring in RINGS
    )
    if not (is_louder or is_quieter):
        return scan
    note = (
        f"the noise scan has {stated:.3g} per real component, but the outermost samples have {outer:.3g}: taken as "
        "these have it, with the correlations of the noise scan"
    )
    covariance = scan.noise_covariance * (outer / stated) ** 2
    return replace(scan, noise_covariance=covariance, notes=(*scan.notes, note))


def outer_noise(
    kspace: Complex[Tensor, "coil ky kx"],
    mask: Bool[Tensor, "ky kx"],
    ring: tuple[float, float] = (0.95, 1.0),
) -> float:
    """Noise of a slice per real component, from the outermost 5 % of the measured points, where anatomy is faint.

    It is computed from the 20 % quantile of each coil's magnitudes, on which points with signal have little influence,
    and then as root mean square over the coils that are not zero there. The squared magnitude of complex noise is
    exponentially distributed: the k-th smallest of n has mean 2 sigma^2 (1/n + ... + 1/(n - k + 1)) (Renyi 1953).

    Args:
        kspace: k-space, zero where not sampled.
        mask: True at sampled points.
        ring: quantiles of the distance from the centre between which samples are used.
    """
    ky, kx = (torch.arange(n, device=mask.device).sub(n // 2).abs() / (n / 2) for n in mask.shape)
    radius = torch.hypot(ky[:, None], kx)[mask]
    outer = radius >= torch.quantile(radius, ring[0])
    if ring[1] < 1:
        outer &= radius <= torch.quantile(radius, ring[1])
    samples = kspace[:, mask][:, outer].abs()
    n = samples.shape[1]
    k = max(1, round(0.2 * n))
    mean = 2 * sum(1 / (n - i) for i in range(k))
    scale = samples.amax()  # squares of small numbers would be 0 in float32
    if scale == 0:
        return 0.0
    low = samples.kthvalue(k, dim=1).values
    power = (low[low > 0] / scale).square()
    return float(scale) * float(power.mean() / mean) ** 0.5 if len(power) else 0.0


def noise_slices(scan: Scan) -> list[int]:
    """Up to five slices, spread over the scan, whose outermost samples tell the noise."""
    count = min(5, scan.shape[0])
    return sorted({round((i + 0.5) * scan.shape[0] / count - 0.5) for i in range(count)})


def outer_level(scan: Scan, index: int, volume: int = 0) -> float:
    """`outer_noise` of a slice, kept with the scan; 0 where it has no samples."""
    key = f"outer noise of slice {index} of volume {volume}"
    if key not in scan.kept:
        kspace, mask = scan.measured(index, volume)
        scan.kept[key] = outer_noise(kspace, mask) if bool(mask.any()) else 0.0
    return float(scan.kept[key])


def _silent(samples: Tensor) -> set[int]:
    """The coils of samples (coil, sample) whose root mean square is below 1e-5 of the median coil's."""
    level = samples.abs().double().square().mean(dim=1).sqrt()
    live = level[level > 0]
    if not len(live):
        return set()
    return set((level < 1e-5 * live.median()).nonzero().flatten().tolist())


def _coils(numbers: set[int]) -> str:
    plural = "s" if len(numbers) > 1 else ""
    return f"coil{plural} {', '.join(map(str, sorted(numbers)))}"
