"""Scans that the tests of methods share."""

import torch

from mrirecon.io.arrays import plain_scan
from mrirecon.methods.problem import Problem
from mrirecon.methods.surroundings import Surroundings
from mrirecon.phantom import shepp_logan
from mrirecon.simulate import simulate_scan


def array_scan(kspace, mask=None, **known):
    """A scan of k-space in memory, (slice, coil, y, x) or (volume, slice, coil, y, x)."""
    kspace = kspace if kspace.ndim == 5 else kspace.unsqueeze(0)
    if mask is not None:
        known["sampling"] = lambda volume, index: mask
    shape = tuple(kspace.shape[1:])
    return plain_scan(
        "memory", "test", shape, lambda v, i: kspace[v, i], volumes=kspace.shape[0], **known
    )


def telling_no_noise(kspace):
    """K-space with a faint signal where it is zero, of each coil at every second point only.

    Half of the outer samples of each coil are 0, but no point is 0 in all coils: that would not have been measured.
    """
    columns = torch.arange(kspace.shape[-1]) + torch.arange(kspace.shape[-2])[:, None]
    coils = torch.arange(kspace.shape[-3])[:, None, None]
    empty = (kspace == 0).all(dim=-3, keepdim=True)
    return kspace + 1e-9 * ((columns + coils) % 2) * empty


def problem_of(kspace, mask, maps, around=None, **known):
    """A slice (coil, y, x) to solve, on its own unless it is said what is around it."""
    around = around or Surroundings(array_scan(kspace[None], mask), 0, 0, "cpu")
    return Problem(kspace, mask, maps, 1.0, around, **known)


def phantom(slices=1, shape=(48, 40), **options):
    """A simulation of the Shepp-Logan phantom, dimmer from slice to slice."""
    dim = torch.linspace(1, 0.6, slices)
    image = shepp_logan(shape)[:, :, None] * dim
    return simulate_scan(image.numpy(), **{"coils": 6, "snr": 60.0, **options})


def columns(scan, step=2, calibration=16, offset=0):
    """Every step-th column and the central ones."""
    width = scan.shape[3]
    mask = torch.zeros(scan.shape[2:], dtype=torch.bool)
    mask[:, offset::step] = True
    start = width // 2 - calibration // 2
    mask[:, start : start + calibration] = True
    return mask


def error(image, truth):
    """Relative error."""
    return float(torch.linalg.vector_norm(image - truth) / torch.linalg.vector_norm(truth))


def fitted(image, reference):
    """`image` times the one complex number that brings it closest to `reference`."""
    gain = torch.vdot(image.flatten(), reference.flatten()) / torch.linalg.vector_norm(image) ** 2
    return gain * image


def psnr(image, reference):
    """Of magnitudes, by fastMRI's definition."""
    mse = (image.abs() - reference.abs()).square().mean()
    return float(10 * torch.log10(reference.abs().max() ** 2 / mse))
