"""Small problems for networks and methods on the operator A = M F S."""

import torch

from mrirecon.birdcage import birdcage_maps
from mrirecon.networks import calibration_of
from mrirecon.phantom import shepp_logan
from mrirecon.tensors import fft2c


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex128, generator=generator)


def dense(A, shape):
    """A as a matrix, a column per pixel."""
    identity = torch.eye(shape[0] * shape[1], dtype=torch.complex128).reshape(-1, *shape)
    return A(identity).flatten(1).mT


def batch(size=(32, 28), coils=4):
    """k-space, mask, calibration and crop of one slice of a phantom, as networks are given them."""
    maps = birdcage_maps(size, coils)[0]
    kspace = fft2c(maps * shepp_logan(size))
    mask = torch.zeros(size, dtype=torch.bool)
    mask[:, ::3] = True
    mask[:, size[1] // 2 - 5 : size[1] // 2 + 5] = True
    mask = mask[None]
    crop = (slice(0, size[0]), slice(2, size[1] - 2))
    return (kspace * mask[0])[None, None].to(torch.complex64), mask, calibration_of(mask), crop
