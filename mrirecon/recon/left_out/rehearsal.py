"""How far a method with one image errs, rehearsed where the truth is known: on samples simulated from its own image.

This is the parametric bootstrap (Efron & Tibshirani 1993, chapter 6.5): same mask, same coils, same noise, and an image
that looks like the truth, whose reconstruction errs as that of the truth does.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from mrirecon.methods.base import Method, Place, Problem, Solution
from mrirecon.recon.finish import Finish
from mrirecon.recon.left_out.jackknife import parts_of
from mrirecon.recon.left_out.prediction import predict
from mrirecon.recon.left_out.spread import (
    deviations_of,
    noise_of,
    radius_of,
    smooth,
    std_of,
    with_image,
)
from mrirecon.tensors import complex_noise_like, fft2c, ifft2c, rss

BRIGHT = 0.05  # of the 99th percentile of an image, above which a pixel counts
FALL = 3.5  # power of an image's k-space falls about so steeply with the radius
FLAT = 0.02  # radius, in units of the sides of k-space, below which it does not
STEEP = (0.0, 0.05, 0.1)  # radii of rings in which the power falls too steeply for such a mean
NEAR = 60  # samples that are averaged at least to tell the power at a point
WIDTHS = (1.5, 3.0, 6.0, 12.0, 24.0, 48.0)  # of that average, in samples
BLUR = 2.0  # pixels over which the place of detail is known
_average = partial(smooth, beyond="constant")


def rehearse(method: Method, problem: Problem, finish: Finish) -> Float[Tensor, " pixel"]:
    """|error| over the standard deviation of `jackknife` at bright pixels of a simulated slice.

    The slice has the image that the method makes of the measured samples, with the power of the truth
    (`resemble_truth`).

    Raises:
        ValueError: as `deviations_of`, or if the noise is not known.
    """
    (solution,) = method.solve([problem])
    random = torch.Generator().manual_seed(10007 * problem.place[0] + problem.place[1])
    truth = resemble_truth(problem, solution, *deviations_of(method, problem, solution), random)
    kspace = predict(problem, with_image(solution, truth))
    simulated = _measured_anew(problem, kspace, random)
    (again,) = method.solve([simulated])
    std = std_of(finish, simulated, again, *deviations_of(method, simulated, again))
    target = finish(simulated, with_image(again, truth)).image.abs()
    error = (finish(simulated, again).image.abs() - target).abs()
    bright = target > BRIGHT * target.quantile(0.99)
    return (error / std.clamp_min(1e-6 * float(target.max())))[bright].cpu()


def resemble_truth(
    problem: Problem,
    solution: Solution,
    image: Complex[Tensor, "*set y x"],
    deviations: Complex[Tensor, "part *set y x"],
    random: torch.Generator,
) -> Complex[Tensor, "*set y x"]:
    """An image, or k-space of coils, with the power of the truth.

    Where the image has more it has noise, and is made smaller; where it has less at missing samples it gets random
    detail, most where it hangs on few samples, that is real but for the phase of the image nearby, as anatomy is.
    """
    is_kspace = solution.predicted is not None
    images, moved = (ifft2c(x) if is_kspace else x for x in (image, deviations))
    place = moved.abs().square().reshape(-1, *images.shape[-2:]).sum(0)
    place = _average(place, BLUR).sqrt()
    noise = torch.randn(place.shape, generator=random).to(place)
    expected, there = powers_of(problem, solution, image)
    lost = (expected - there).clamp_min(0) * ~problem.mask
    smaller = (expected / there.clamp_min(1e-30)).clamp(0, 1).sqrt()
    placed = (noise * place / place.square().mean().sqrt()).to(images.dtype)
    detail = ifft2c(fft2c(placed) * lost.sqrt())
    several = images if images.ndim > 2 else images[None]
    cleaned = ifft2c(fft2c(several) * smaller)
    made = (cleaned + _phases(several) * detail).reshape(images.shape)
    return fft2c(made) if is_kspace else made


def _phases(images: Complex[Tensor, "coil y x"]) -> Complex[Tensor, "coil y x"]:
    """What each coil or set sees of a real image, with its phase, smoothly; the sum of squares is 1."""
    near = [torch.complex(_average(x.real, BLUR), _average(x.imag, BLUR)) for x in images]
    seen = torch.stack(near)
    return seen / rss(seen).clamp_min(1e-9 * float(seen.abs().max()))


def powers_of(
    problem: Problem, solution: Solution, image: Complex[Tensor, "*set y x"]
) -> tuple[Float[Tensor, "y x"], Float[Tensor, "y x"]]:
    """Power of the truth by the measured samples nearby, less their noise, and of an image; sums over the coils.

    Means of samples nearby are wrong where the power is steep, near the origin: those of measured ones are held against
    samples that `parts_of` leaves out, in rings about the origin, those of the image against the image.
    """
    mask = problem.mask
    missing = problem.near.scan.acquired.to(mask.device) & ~mask
    noise = 2 * noise_of(problem) ** 2 * len(problem.kspace)
    measured = problem.kspace.abs().square().sum(0) - noise
    filled = predict(problem, with_image(solution, image)).abs().square().sum(0)
    known, told = torch.zeros_like(measured), torch.zeros_like(mask)
    for part in parts_of(problem):
        points = part.points.to(mask.device)
        known[points], told = _power_nearby(measured, mask & ~points)[points], told | points
    near, expected = _power_nearby(measured, mask), torch.zeros_like(measured)
    there = torch.zeros_like(measured)
    of_missing = near * _ratio_by_ring(measured, known, told)
    of_measured = near * _ratio_by_ring(measured, near, mask)
    for where, power in ((missing, of_missing), (mask, of_measured)):
        shown = _power_nearby(filled, where)
        there[where] = (shown * _ratio_by_ring(filled, shown, where))[where]
        expected[where] = power.clamp_min(0)[where]
    return expected, there


def _ratio_by_ring(
    true: Float[Tensor, "y x"], told: Float[Tensor, "y x"], where: Bool[Tensor, "y x"]
) -> Float[Tensor, "y x"]:
    """By what the power that is told at points must be multiplied, in rings about the origin; 1 beyond `STEEP`."""
    radius = radius_of(true.shape).to(true.device)
    ratio = torch.ones_like(true)
    for inner, outer in pairwise(STEEP):
        ring = (radius >= inner) & (radius < outer)
        if (total := float(told[ring & where].sum())) > 0:
            ratio[ring] = max(0.0, float(true[ring & where].sum()) / total)
    return ratio


def _power_nearby(power: Float[Tensor, "y x"], known: Bool[Tensor, "y x"]) -> Float[Tensor, "y x"]:
    """Power at each point by the known samples near it, from as near as there are `NEAR` of them."""
    radius, weight = radius_of(power.shape).to(power.device), known.double()
    flat = (radius.square() + FLAT**2) ** (FALL / 2)
    found, done = torch.zeros_like(weight), torch.zeros_like(known)
    for width in WIDTHS:
        count, total = _average(weight, width), _average((power * flat).double() * weight, width)
        enough = (count * 4 * np.pi * width**2 > NEAR) & ~done
        found[enough] = (total / count.clamp_min(1e-12))[enough]
        done |= enough
    return found.to(power) / flat


def _measured_anew(
    problem: Problem, kspace: Complex[Tensor, "coil y x"], random: torch.Generator
) -> Problem:
    """The problem with samples of this k-space, and noise as there was."""
    noise = noise_of(problem) * complex_noise_like(kspace.cpu(), random).to(kspace.device)
    samples, near = (kspace + noise) * problem.mask, problem.near
    of_scan = samples.cpu()

    def read(volume: int, index: int) -> Tensor:
        here: Place = (volume, index)
        return of_scan if here == problem.place else near.scan.read(volume, index)

    near = replace(near, scan=replace(near.scan, read=read))
    return replace(problem, kspace=samples, near=near, tell=None)
