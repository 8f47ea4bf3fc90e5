"""How far a method with one image errs, rehearsed where the truth is known: on samples simulated from its own image.

This is the parametric bootstrap (Efron & Tibshirani 1993, chapter 6.5): same mask, same coils, same noise, and an image
that looks like the truth, whose reconstruction errs as that of the truth does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from mrirecon.methods.base import Method, Place, Problem, Solution
from mrirecon.recon.finish import Finish
from mrirecon.recon.left_out.jackknife import parts_of
from mrirecon.recon.left_out.prediction import predict
from mrirecon.recon.left_out.spread import deviations_of, noise_of, radius_of, std_of, with_image
from mrirecon.tensors import complex_noise_like, fft2c, ifft2c, rss

BANDS = 6  # of distance from the k-space origin
BRIGHT = 0.05  # of the 99th percentile of an image, above which a pixel counts
FALL = 3.5  # power of an image's k-space falls about so steeply with the radius
FLAT = 0.02  # radius, in units of the sides of k-space, below which it does not
NEAR = 60  # samples that are averaged at least to tell the power at a point
WIDTHS = (1.5, 3.0, 6.0, 12.0, 24.0, 48.0)  # of that average, in samples
BELIEF = 0.5  # 1 lets left-out samples bound the detail that is added, 0 does not: between, for gaps wider than theirs
BLUR = 2.0  # pixels over which the place of detail is known


def rehearse(method: Method, problem: Problem, finish: Finish) -> Float[Tensor, " pixel"]:
    """|error| over the standard deviation of `jackknife` at bright pixels of a simulated slice.

    The slice has the image that the method makes of the measured samples, and detail that it lost (`lost_power`).

    Raises:
        ValueError: as `deviations_of`, or if the noise is not known.
    """
    (solution,) = method.solve([problem])
    random = torch.Generator().manual_seed(10007 * problem.place[0] + problem.place[1])
    truth = add_detail(problem, solution, *deviations_of(method, problem, solution), random)
    kspace = predict(problem, with_image(solution, truth))
    simulated = _measured_anew(problem, kspace, random)
    (again,) = method.solve([simulated])
    std = std_of(finish, simulated, again, *deviations_of(method, simulated, again))
    target = finish(simulated, with_image(again, truth)).image.abs()
    error = (finish(simulated, again).image.abs() - target).abs()
    bright = target > BRIGHT * target.quantile(0.99)
    return (error / std.clamp_min(1e-6 * float(target.max())))[bright].cpu()


def add_detail(
    problem: Problem,
    solution: Solution,
    image: Complex[Tensor, "*set y x"],
    deviations: Complex[Tensor, "part *set y x"],
    random: torch.Generator,
) -> Complex[Tensor, "*set y x"]:
    """The image, or k-space of coils, with random detail of the power that it lost, where it hangs on few samples."""
    is_kspace = solution.kspace is not None
    images, moved = (ifft2c(x) if is_kspace else x for x in (image, deviations))
    several = images if images.ndim > 2 else images[None]
    place = moved.abs().square().reshape(-1, *images.shape[-2:]).sum(0)
    place = _average(place, BLUR).to(place).sqrt()
    noise = complex_noise_like(several[0].cpu(), random).to(images.device) / 2**0.5
    power = lost_power(problem, solution, image, deviations).to(place)
    detail = ifft2c(fft2c(noise * place / place.square().mean().sqrt()) * power.sqrt())
    shown = several / rss(several).clamp_min(1e-9 * float(several.abs().max()))
    made = (several + shown * detail).reshape(images.shape)
    return fft2c(made) if is_kspace else made


def lost_power(
    problem: Problem,
    solution: Solution,
    image: Complex[Tensor, "*set y x"],
    deviations: Complex[Tensor, "part *set y x"],
) -> Float[Tensor, "y x"]:
    """Power that an image lacks at missing samples, sum over the coils.

    It is what measured samples nearby have more than the image at missing ones. Where that exceeds the error at samples
    that were left out, in bands of distance from the origin, the geometric mean of both is taken (`BELIEF`): an image
    that fills gaps well lacks little, but left-out samples stand in narrower gaps than missing ones may.
    """
    mask, acquired = problem.mask, problem.near.scan.acquired.to(problem.mask.device)
    noise = 2 * noise_of(problem) ** 2 * len(problem.kspace)
    predicted = predict(problem, with_image(solution, image))
    radius = radius_of(mask.shape).to(mask.device)
    steep = (radius.square() + FLAT**2) ** (FALL / 2)
    measured = (problem.kspace.abs().square().sum(0) - noise) * steep
    filled = predicted.abs().square().sum(0) * steep
    lost = (_power_nearby(measured, mask) - _power_nearby(filled, acquired & ~mask)) / steep
    lost = lost.clamp_min(0) * (acquired & ~mask)
    errors, radii = [], []
    for part, deviation in zip(parts_of(problem), deviations, strict=True):
        points = part.points.to(mask.device)
        of_part = predict(problem, with_image(solution, image + deviation)) - problem.kspace
        errors.append(of_part[:, points].abs().square().sum(0) - noise)
        radii.append(radius[points])
    error, at = torch.cat(errors), torch.cat(radii)
    edges = at.quantile(torch.linspace(0, 1, BANDS + 1, device=at.device))[1:-1]
    band, band_of = torch.bucketize(radius, edges), torch.bucketize(at, edges)
    for number in range(BANDS):
        here = (band == number) & acquired & ~mask
        if bool(here.any()) and bool((band_of == number).any()):
            most = float(error[band_of == number].mean().clamp_min(0))
            share = most / max(float(lost[here].mean()), 1e-30)
            lost[here] *= min(1.0, share) ** BELIEF
    return lost


def _power_nearby(power: Float[Tensor, "y x"], known: Bool[Tensor, "y x"]) -> Float[Tensor, "y x"]:
    """Mean of the known samples near each point, from as near as there are `NEAR` of them."""
    weight = known.double()
    found, done = torch.zeros_like(weight), torch.zeros_like(known)
    for width in WIDTHS:
        count, total = _average(weight, width), _average(power.double() * weight, width)
        enough = (count * 4 * np.pi * width**2 > NEAR) & ~done
        found[enough] = (total / count.clamp_min(1e-12))[enough]
        done |= enough
    return found.to(power)


def _average(x: Float[Tensor, "y x"], width: float) -> Float[Tensor, "y x"]:
    from scipy.ndimage import gaussian_filter

    return torch.from_numpy(gaussian_filter(x.cpu().numpy(), width, mode="constant")).to(x)


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
