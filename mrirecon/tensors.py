"""The only Fourier transforms of the package, and tensor operations that all layers share.

Conventions: k-space and images are complex; transforms are orthonormal; "centred" means that index N // 2 holds the
k-space origin and the image centre, for odd sizes too (fastMRI, BART `fft -u`, sigpy).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Num, Shaped
from torch import Tensor

from mrirecon.device import sent

IMAGE_AXES = (-2, -1)
CHANCE = 0.01  # fraction of the samples of a slice that may be exactly 0 by chance
NOT_SIGNS = 0x7FFFFFFF7FFFFFFF  # the bits of a complex64 number besides both signs
# One random generator for an array, or one for each item of its leading axis (or of its two leading axes), so that the
# numbers of an item do not depend on the rest of the batch.
Streams = torch.Generator | Sequence[torch.Generator | Sequence[torch.Generator]] | None


def fft2(
    image: Complex[Tensor, "*batch y x"], dim: Sequence[int] = IMAGE_AXES
) -> Complex[Tensor, "*batch ky kx"]:
    """Plain orthonormal FFT with the origin at index 0, for code that avoids the shifts of `fft2c`."""
    return torch.fft.fftn(image, dim=tuple(dim), norm="ortho")


def ifft2(
    kspace: Complex[Tensor, "*batch ky kx"], dim: Sequence[int] = IMAGE_AXES
) -> Complex[Tensor, "*batch y x"]:
    """Inverse, and adjoint, of `fft2`."""
    return torch.fft.ifftn(kspace, dim=tuple(dim), norm="ortho")


def fft2c(
    image: Complex[Tensor, "*batch y x"], dim: Sequence[int] = IMAGE_AXES
) -> Complex[Tensor, "*batch ky kx"]:
    """Centred orthonormal FFT over the last two axes, or over `dim` (one axis is allowed), for even and odd sizes.

    Example:
        kspace = mr.fft2c(image)
    """
    return fftshift(fft2(ifftshift(image, dim), dim), dim)


def ifft2c(
    kspace: Complex[Tensor, "*batch ky kx"], dim: Sequence[int] = IMAGE_AXES
) -> Complex[Tensor, "*batch y x"]:
    """Inverse, and adjoint, of `fft2c`.

    Example:
        coil_images = mr.ifft2c(kspace)
    """
    return fftshift(ifft2(ifftshift(kspace, dim), dim), dim)


def fftshift(x: Tensor, dim: Sequence[int] = IMAGE_AXES) -> Tensor:
    """Move index 0 to index N // 2 along `dim`."""
    return torch.fft.fftshift(x, dim=tuple(dim))


def ifftshift(x: Tensor, dim: Sequence[int] = IMAGE_AXES) -> Tensor:
    """Move index N // 2 to index 0 along `dim`; the inverse of `fftshift`."""
    return torch.fft.ifftshift(x, dim=tuple(dim))


def largest_part(x: Complex[Tensor, "..."]) -> float:
    """Largest magnitude of a real or imaginary part; NaN or infinite if one is. Twice as fast as with `abs`."""
    low, high = torch.aminmax(torch.view_as_real(x))
    return max(-float(low), float(high))


def as_channels(x: Complex[Tensor, "*batch y x"]) -> Float[Tensor, "*batch 2 y x"]:
    """Real and imaginary part as a channel axis before the image axes."""
    return torch.view_as_real(x).movedim(-1, -3).contiguous()


def as_parts(x: Complex[Tensor, "*shape"]) -> Float[Tensor, "*shape 2"]:
    """Real and imaginary part as a last axis, in the same memory: what is written there is written to x."""
    return torch.view_as_real(x)


def as_complex(x: Float[Tensor, "*batch 2 y x"]) -> Complex[Tensor, "*batch y x"]:
    """Inverse of `as_channels`."""
    return torch.view_as_complex(x.movedim(-3, -1).contiguous())


def norm(x: Complex[Tensor, "..."], axes: int | None = None) -> Float[Tensor, "..."]:
    """Euclidean norm over the last `axes` axes, or all; `vector_norm` of complex numbers takes 60 times as long."""
    parts = torch.view_as_real(x.resolve_conj())
    dim = None if axes is None else tuple(range(-axes - 1, 0))
    return torch.linalg.vector_norm(parts, dim=dim)


def one_by_one(x: Tensor) -> bool:
    """Whether coils are best handled one after the other.

    On a CPU the data of one stay in the cache. A GPU wants all at once, since each operator has to be launched, and so
    does torch.compile.
    """
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def rss(x: Num[Tensor, "..."], dim: int = -3) -> Float[Tensor, "..."]:
    """Root of the sum of squared magnitudes over the coil axis `dim`.

    Example:
        magnitude = mr.rss(mr.ifft2c(kspace))
    """
    if one_by_one(x) or not x.shape[dim]:
        return rss_of_each(x.unbind(dim))
    return torch.linalg.vector_norm(x, dim=dim)


def rss_of_each(coils: Iterable[Num[Tensor, "*batch y x"]]) -> Float[Tensor, "*batch y x"]:
    """`rss` of coil images from an iterator, so that each is squared while it is still in the cache.

    Raises:
        ValueError: if there are no coils.
    """
    power = None
    for coil in coils:
        parts = torch.view_as_real(coil) if coil.is_complex() else coil.unsqueeze(-1)
        # Accumulation in place is twenty times faster than a norm over a strided axis.
        power = torch.square(parts) if power is None else power.addcmul_(parts, parts)
    if power is None:
        raise ValueError("root sum of squares of no coils: the coil axis must not be empty")
    power = power.sum(dim=-1)
    # Because of the clamp the gradient of the square root is 0 at 0.
    return torch.where(power > 0, power.clamp_min(torch.finfo(power.dtype).tiny).sqrt(), 0)


def stream_of(*key: int) -> torch.Generator:
    """The random numbers that belong to some numbers, such as a seed, a slice and a draw."""
    state = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)


def complex_noise_like(
    x: Complex[Tensor, "..."], generator: Streams = None
) -> Complex[Tensor, "..."]:
    """White noise with variance 1 in the real and 1 in the imaginary part.

    It is drawn on the generator's device (the CPU without generator), so that a seed gives the same numbers whatever
    the device of x, which does not wait for them.

    Raises:
        ValueError: if there are several generators, and not one for each item of the leading axis.

    Example:
        noise = mr.complex_noise_like(image, torch.Generator().manual_seed(0))
    """
    return torch.view_as_complex(sent(_drawn(x.shape, x.real.dtype, generator), x.device))


def _drawn(shape: torch.Size, dtype: torch.dtype, generator: Streams) -> Float[Tensor, "..."]:
    if isinstance(generator, Sequence):
        if len(generator) != shape[0]:
            raise ValueError(
                f"{len(generator)} random generators for {shape[0]} images: give one for each"
            )
        return torch.stack([_drawn(shape[1:], dtype, one) for one in generator])
    device = generator.device if generator is not None else "cpu"
    return torch.randn(*shape, 2, dtype=dtype, device=device, generator=generator)


def center_crop(
    x: Shaped[Tensor, "*batch y x"], shape: tuple[int, int]
) -> Shaped[Tensor, "*batch h w"]:
    """Crop the last two axes to `shape`, with the centre at N // 2 before and after.

    Raises:
        ValueError: if `shape` is larger than the array (use `pad_to`).
    """
    for have, want in zip(x.shape[-2:], shape, strict=True):
        if want > have:
            raise ValueError(
                f"cannot crop {tuple(x.shape[-2:])} to {tuple(shape)}: pad with pad_to first"
            )
    y, x0 = (have // 2 - want // 2 for have, want in zip(x.shape[-2:], shape, strict=True))
    return x[..., y : y + shape[0], x0 : x0 + shape[1]]


def pad_to(x: Shaped[Tensor, "*batch h w"], shape: tuple[int, int]) -> Shaped[Tensor, "*batch y x"]:
    """Zero-pad the last two axes to `shape`, with the centre at N // 2 before and after; reverses `center_crop`.

    Raises:
        ValueError: if `shape` is smaller than the array.
    """
    for have, want in zip(x.shape[-2:], shape, strict=True):
        if want < have:
            raise ValueError(
                f"cannot pad {tuple(x.shape[-2:])} to {tuple(shape)}: crop with center_crop first"
            )
    before = [want // 2 - have // 2 for have, want in zip(x.shape[-2:], shape, strict=True)]
    after = [want - have - b for have, want, b in zip(x.shape[-2:], shape, before, strict=True)]
    return torch.nn.functional.pad(x, (before[1], after[1], before[0], after[0]))


def resized(
    x: Complex[Tensor, "*batch y x"], shape: tuple[int, int]
) -> Complex[Tensor, "*batch h w"]:
    """The image with its k-space cropped or zero-padded to `shape`, as bright as before.

    The orthonormal FFT spreads an image over the square root of its pixels: hence the factor. White noise of an image
    that is made n times smaller falls by sqrt(n).

    Raises:
        ValueError: if one side is to grow and the other to shrink.
    """
    have = x.shape[-2:]
    if shape == have:
        return x
    fit = center_crop if math.prod(shape) < math.prod(have) else pad_to
    return ifft2c(fit(fft2c(x), shape)) * math.sqrt(math.prod(shape) / math.prod(have))


def mirrored_to(
    x: Float[Tensor, "batch channel h w"], multiple: int
) -> Float[Tensor, "batch channel y x"]:
    """Pad the bottom and right by mirroring until both sides are multiples; by repetition where x is too small."""
    below, right = (-n % multiple for n in x.shape[-2:])
    if not (below or right):
        return x
    mirrors = x.shape[-2] > below and x.shape[-1] > right
    how = "reflect" if mirrors else "replicate"
    return torch.nn.functional.pad(x, (0, right, 0, below), how)


def measured_points(
    kspace: Complex[Tensor, "coil y x"], declared: Bool[Tensor, "y x"] | None = None
) -> Bool[Tensor, "y x"]:
    """True at points that are not exactly zero in all coils.

    Args:
        kspace: k-space of one slice.
        declared: points that the file declares as sampled. Zeros among them count as not measured only if they fill a
            whole row or column of these points, or are more than CHANCE of them, since integer samples may be 0.
    """
    measured = _nonzero(kspace)
    if declared is None:
        return measured
    measured = measured & declared
    missing = int(declared.sum()) - int(measured.sum())
    if missing > CHANCE * int(declared.sum()):
        return measured
    lines = (declared.any(dim=dim) & ~measured.any(dim=dim) for dim in (0, 1))
    return measured if missing and any(bool(empty.any()) for empty in lines) else declared


def _nonzero(kspace: Complex[Tensor, "coil y x"]) -> Bool[Tensor, "y x"]:
    """Points that are not zero in all coils.

    The bits of the coils are joined, which costs a quarter of comparing them with 0; the sign bits are those of -0.
    """
    if kspace.dtype != torch.complex64:
        return (kspace != 0).any(dim=0)
    bits = torch.zeros(kspace.shape[1:], dtype=torch.int64, device=kspace.device)
    for coil in kspace:
        bits |= coil.view(torch.int64)
    return bits & NOT_SIGNS != 0


def crop_or_pad(x: Num[Tensor, "*batch y x"], shape: tuple[int, int]) -> Num[Tensor, "*batch h w"]:
    """Crop or zero-pad each of the last two axes to `shape`, with the centre at N // 2 before and after."""
    smaller = (min(x.shape[-2], shape[0]), min(x.shape[-1], shape[1]))
    return pad_to(center_crop(x, smaller), shape)
