"""Preparation of a scan before reconstruction: coil compression, oversampling removal, a larger k-space grid.

Each step takes a `Scan` and returns one whose slices are still read when they are needed. Prewhiten first
(`noise.prewhiten`), so that the noise is white after compression too.

Example:
    fewer = mr.prepare.compress_coils(mr.prewhiten(scan), 3)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.calibration import calibration_data
from mrirecon.scan import CoilMix, Scan
from mrirecon.tensors import fft2c, ifft2c, pad_to

Read = Callable[[int, int], Tensor]


def compress_coils(scan: Scan, coils: int, method: str = "svd") -> Scan:
    """The scan with fewer, virtual coils: orthonormal combinations with most of the energy of the calibration data.

    `svd` (Buehrer et al., MRM 57:1131, 2007) has one matrix for the whole scan, from the calibration data of all slices
    of the first volume, which are read here. `geometric` (Zhang et al., MRM 69:571, 2013) has one matrix for each
    position along the fully sampled readout, rotated to match its neighbour so that virtual coils are smooth; it loses
    less energy. In a 3D scan these positions are the slices; in a 2D scan the matrices of a slice are computed when it
    is first read.

    Args:
        scan: scan whose slices are calibrated by `calibration_data`.
        coils: number of virtual coils.
        method: "svd" or "geometric".

    Raises:
        ValueError: if the number of coils or the method is invalid, there are no calibration data, or (geometric only)
            the readout of a 2D scan is not fully sampled.
    """
    if not 1 <= coils <= scan.shape[1]:
        raise ValueError(
            f"cannot compress the {scan.shape[1]} coils of {scan.source} to {coils}: give 1 to {scan.shape[1]}"
        )
    note = f"{scan.shape[1]} coils compressed to {coils} ({method})"
    slices = range(scan.shape[0])
    if method == "svd":
        basis = _leading(_pooled(scan)[None], coils)[0]
        compressed = mix_coils(scan, lambda index: basis, coils, note)
        noise = scan.noise_covariance
        if noise is not None:
            noise = basis.mT.to(noise.dtype) @ noise @ basis.conj().to(noise.dtype)
        return replace(compressed, noise_covariance=noise)
    if method != "geometric":
        raise ValueError(f"unknown coil compression {method!r}: choose svd or geometric")

    noise = _white_noise(scan, coils)
    if scan.noise_covariance is not None and noise is None:
        note += "; noise covariance dropped, it differs along the readout: prewhiten first"
    if scan.is_3d:
        found = [_calibration(scan, index) for index in slices]
        known = [index for index, x in enumerate(found) if x is not None]
        grams = torch.stack([x.flatten(1) @ x.flatten(1).mH for x in found if x is not None])
        aligned = _aligned(_leading(grams, coils))
        # Slices without samples take the basis of the one before them.
        bases = aligned[[max(0, sum(k <= index for k in known) - 1) for index in slices]]
        compressed = mix_coils(scan, lambda index: bases[index], coils, note)
    else:
        _require_full_readout(scan, scan.mask(0), "geometric coil compression")

        @cache
        def bases_of(index: int) -> Tensor:
            block = _calibration(scan, index, full_readout=True)
            if block is None:  # a slice without samples
                return torch.eye(scan.shape[1], coils, dtype=torch.complex128)
            hybrid = ifft2c(block, (-2,)).movedim(-2, 0)
            return _aligned(_leading(hybrid @ hybrid.mH, coils))

        compressed = mix_coils(scan, bases_of, coils, note, along_readout=True)
    return replace(compressed, noise_covariance=noise)


def remove_oversampling(scan: Scan) -> Scan:
    """The scan with its readout cropped in image space to the reconstruction FOV; the output image is the same.

    The noise level per sample does not change, because the transforms are orthonormal.

    Raises:
        ValueError: if the readout is not fully sampled (partial echo, zero filling, or a mask along it), since the crop
            would mix measured and missing samples. The first slice is checked here, the others when they are read.
    """
    window, rows = scan.crop[0], scan.shape[2]
    start, stop, _ = window.indices(rows)
    kept = stop - start
    if kept == rows:
        return scan
    if scan.is_3d:
        raise ValueError(
            f"{scan.source} is a 3D scan: its readout is the slice axis, so only phase encoding could be cropped"
        )
    action = "removing the readout oversampling"
    _require_full_readout(scan, scan.acquired, action)
    _require_full_readout(scan, scan.mask(0), action)

    def cropped(read: Read) -> Read:
        def crop(volume: int, index: int) -> Tensor:
            kspace = read(volume, index)
            if scan.sampling is None:
                _require_full_readout(scan, (kspace != 0).any(dim=0), action)
            return fft2c(ifft2c(kspace, (-2,))[..., start:stop, :], (-2,))

        return crop

    def sampling(volume: int, index: int) -> Tensor:
        mask = scan.mask(index, volume)
        _require_full_readout(scan, mask, action)
        return mask[:kept]

    return replace(
        scan,
        shape=(*scan.shape[:2], kept, scan.shape[3]),
        read=cropped(scan.read),
        sampling=None if scan.sampling is None else sampling,
        calibration=None if scan.calibration is None else cropped(scan.calibration),
        acquired=scan.acquired[:kept],
        crop=(slice(0, kept), scan.crop[1]),
        oversampling=scan.oversampling * kept / rows,
        echo_shifts=tuple((along * kept / rows, phase) for along, phase in scan.echo_shifts),
        notes=(*scan.notes, f"readout oversampling removed: {rows} to {kept} samples"),
    )


def enlarge(scan: Scan, factor: int) -> Scan:
    """The scan on a k-space grid `factor` times as wide and high, whose outer points were not measured.

    What fills them is up to the method: the image has pixels so many times smaller in each direction, and the same
    intensity. The reference, which has the size of before, is left out.

    Raises:
        ValueError: if the factor is below 1.
    """
    if factor < 1:
        raise ValueError(f"enlarge is {factor}: give at least 1")
    if factor == 1:
        return scan
    before, matrix = scan.shape[2:], (factor * scan.matrix[0], factor * scan.matrix[1])
    rows, columns = (factor * size for size in before)

    def larger(read: Read) -> Read:  # orthonormal transforms spread what there is over more pixels
        return lambda volume, index: factor * pad_to(read(volume, index), (rows, columns))

    def sampling(volume: int, index: int) -> Tensor:
        return pad_to(scan.mask(index, volume), (rows, columns))

    crop, moved = [], []
    for window, old, new, size in zip(scan.crop, before, (rows, columns), scan.matrix, strict=True):
        side = window.stop - window.start
        ideal = new // 2 + factor * (window.start - old // 2)
        start = min(ideal, new - factor * side)  # an odd grid lies half a pixel less to the right
        crop.append(slice(start, start + factor * side))
        moved.append(((start - ideal) * size / side + factor * size // 2) / factor - size // 2)
    noise = scan.noise_covariance
    return replace(
        scan,
        shape=(*scan.shape[:2], rows, columns),
        read=larger(scan.read),
        sampling=None if scan.sampling is None else sampling,
        calibration=None if scan.calibration is None else larger(scan.calibration),
        acquired=pad_to(scan.acquired, (rows, columns)),
        crop=(crop[0], crop[1]),
        matrix=matrix,
        geometry=scan.geometry.divided(factor, moved),
        noise_covariance=None if noise is None else factor**2 * noise,
        reference=None,
        notes=(
            *scan.notes,
            f"k-space enlarged {factor} times: the method alone fills its outer part",
        ),
    )


def mix_coils(
    scan: Scan,
    basis: Callable[[int], Tensor],
    coils: int,
    note: str,
    along_readout: bool = False,
) -> Scan:
    """The scan with its coils replaced by linear combinations: new[v] = sum_c basis[c, v] old[c].

    Args:
        scan: scan with any number of coils.
        basis: slice -> weights (coil, virtual), or (readout, coil, virtual), applied in image space along the readout.
        coils: number of virtual coils.
        note: added to the notes of the scan.
        along_readout: whether the weights differ along the readout.
    """

    def mixed(samples: Tensor, index: int) -> Tensor:
        weights = basis(index).to(samples)
        if weights.ndim == 2:
            return torch.einsum("cv,c...->v...", weights, samples)
        return fft2c(torch.einsum("ycv,cyx->vyx", weights, ifft2c(samples, (-2,))), (-2,))

    def of(read: Read) -> Read:
        return lambda volume, index: mixed(read(volume, index), index)

    return replace(
        scan,
        shape=(scan.shape[0], coils, *scan.shape[2:]),
        read=of(scan.read) if along_readout else CoilMix(scan, mixed),
        calibration=None if scan.calibration is None else of(scan.calibration),
        notes=(*scan.notes, note),
    )


def _leading(
    gram: Complex[Tensor, "*position coil coil"], coils: int
) -> Complex[Tensor, "*position coil virtual"]:
    """Conjugated eigenvectors of X X^H with the largest eigenvalues: the combinations with most of the energy of X."""
    return torch.linalg.eigh(gram).eigenvectors[..., -coils:].flip(-1).conj()


def _aligned(
    bases: Complex[Tensor, "position coil virtual"],
) -> Complex[Tensor, "position coil virtual"]:
    """Each basis rotated within its span to be as close as possible to the one before it (Zhang et al. 2013)."""
    aligned = [bases[0]]
    for basis in bases[1:]:
        u, _, vh = torch.linalg.svd(basis.mH @ aligned[-1])
        aligned.append(basis @ (u @ vh))
    return torch.stack(aligned)


def _pooled(scan: Scan) -> Complex[Tensor, "coil coil"]:
    """X X^H of the calibration samples X of all slices.

    Raises:
        ValueError: if no slice has any.
    """
    gram = torch.zeros(scan.shape[1], scan.shape[1], dtype=torch.complex128)
    for index in range(scan.shape[0]):
        block = _calibration(scan, index)
        if block is not None:
            gram += block.flatten(1) @ block.flatten(1).mH
    if not bool(gram.any()):
        raise _no_centre(scan)
    return gram


def _calibration(scan: Scan, index: int, full_readout: bool = False) -> Tensor | None:
    """Calibration block (coil, readout, phase) of one slice of the first volume, in double precision.

    None where the slice has no samples. With `full_readout` the block covers the whole readout axis.
    """
    found = calibration_data(scan, index)
    region = found.region
    if not bool(found.kspace.any()):
        return None
    if region is None:
        raise _no_centre(scan)
    rows = slice(None) if full_readout else region[0]
    return found.kspace[:, rows, region[1]].to(torch.complex128)


def _no_centre(scan: Scan) -> ValueError:
    return ValueError(
        f"{scan.source} has no fully sampled centre to compute coil compression from: "
        "keep all coils, or acquire calibration lines"
    )


def _white_noise(scan: Scan, coils: int) -> Tensor | None:
    """Noise covariance of orthonormal virtual coils, if it does not depend on them: noise is white; else None."""
    noise = scan.noise_covariance
    if noise is None:
        return None
    identity = torch.eye(len(noise), dtype=noise.dtype, device=noise.device)
    white = torch.allclose(noise, noise[0, 0] * identity, atol=1e-5 * float(noise[0, 0].real))
    return noise[0, 0] * identity[:coils, :coils] if white else None


def has_full_readout(mask: Tensor) -> bool:
    """Whether every column is either sampled completely or not at all."""
    return torch.equal(mask, mask.any(dim=0).expand_as(mask))


def _require_full_readout(scan: Scan, mask: Tensor, action: str) -> None:
    if not has_full_readout(mask):
        raise ValueError(
            f"{action} needs a fully sampled readout, which {scan.source} has not "
            "(partial echo, zero-filled or masked along the readout): keep the readout as it is"
        )
