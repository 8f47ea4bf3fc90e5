"""Scans that the tests of methods and of the pipeline share, and how they are reconstructed."""

from dataclasses import fields
from functools import partial

import torch

from mrirecon.io.arrays import plain_scan
from mrirecon.methods import METHODS, Neighbours, Problem
from mrirecon.phantom import shepp_logan
from mrirecon.recon import Pipeline
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


def problem_of(kspace, mask, maps, near=None, **known):
    """A slice (coil, y, x) to solve, on its own unless it is said what is near it."""
    near = near or Neighbours(array_scan(kspace[None], mask), 0, 0, "cpu")
    return Problem(kspace, mask, maps, 1.0, near, **known)


LOOP = {one.name for one in fields(Pipeline)} - {"method", "scan"}


def pipeline_of(name, scan, **options):
    """A scan on its way through a method; the options are those of the method and of `Pipeline`."""
    own = {option: value for option, value in options.items() if option not in LOOP}
    loop = {option: value for option, value in options.items() if option in LOOP}
    return Pipeline(method=METHODS[name](**own), scan=scan, **loop)


def reconstructed(name, scan, **options):
    """The volume that a method makes of a scan; the options are those of the method and of `Pipeline`."""
    return pipeline_of(name, scan, **options).run()


# Few iterations, which are enough for what does not depend on their number.
QUICK = {
    "min_norm": {"iterations": 8, "tolerance": 0.0},
    "cg_sense": {"iterations": 15, "tolerance": 0.0},
    "l1_wavelet": {"iterations": 10},
    "tv": {"iterations": 10},
}


def quick(name, **options):
    """What makes a volume of a scan, by a method with few iterations."""
    return partial(reconstructed, name, **{**QUICK.get(name, {}), **options})


def problems_of(pipeline, slices):
    """The first slices of the first volume as the method is given them."""
    places = [(0, index) for index in range(slices)]
    return [problem for batch in pipeline.problems.batches(places) for problem in batch]


def image_of(method, problem):
    """x of one slice that is solved on its own."""
    (solution,) = method.solve([problem])
    return solution.image


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


def undersampled(slices=1, **options):
    """A phantom of which every second column and the central ones are sampled."""
    scan = phantom(slices, **options).scan
    return scan.undersample(columns(scan))


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
