"""The log density by the probability-flow ODE and its bound, against the closed form of a Gaussian prior."""

import math

import pytest
import torch
from oracle import Problem, dft, points_mask

from mrirecon.diffusion import GaussianDenoiser
from mrirecon.diffusion.density import (
    all_directions,
    log_density,
    log_density_bound,
    log_normal,
    rademacher,
)

SIZE = (3, 4)
LOW, HIGH = 0.01, 1000.0


@pytest.fixture(scope="module")
def problem():
    return Problem(SIZE, 1, points_mask(SIZE, 0.5), 0.1)


@pytest.fixture(scope="module")
def images(problem):
    """A usual image, and the mean of all."""
    return torch.stack([problem.truth, problem.mean])


def gaussian(problem, x, noise=0.0):
    """log N(x; mean, P + noise^2) by matrices, in real coordinates; and its gradient."""
    spectrum = dft(3) @ (x - problem.mean) @ dft(4).mT
    power = problem.power + noise**2
    value = -(spectrum.abs() ** 2 / (2 * power) + torch.log(2 * math.pi * power)).sum((-2, -1))
    return value, -(dft(3).mH @ (spectrum / power) @ dft(4).conj())


def bound(x, denoiser, low=LOW, high=HIGH, levels=150):
    """The mean of all draws of the bound.

    The middles of equal parts stand for the level, and plus and minus each direction for the noise, which is exact for
    a linear denoiser.
    """
    noise = all_directions(x)
    noise = torch.cat([noise, -noise])
    means = [
        log_density_bound(
            x.expand_as(noise),
            denoiser,
            low,
            high,
            at=torch.full((len(noise),), (number + 0.5) / levels, dtype=torch.float64),
            noise=noise,
        ).mean()
        for number in range(levels)
    ]
    return torch.stack(means).mean().item()


def test_the_log_density_is_the_closed_form(problem, images):
    found = log_density(
        images, problem.denoiser, LOW, HIGH, directions=all_directions(images), steps=40
    )
    known, _ = gaussian(problem, images, noise=LOW)
    assert (found - known).abs().max() < 0.02


def test_its_gradient_is_the_score(problem, images):
    x = images.clone().requires_grad_()
    value = log_density(x, problem.denoiser, 0.1, 50.0, directions=all_directions(x), steps=14)
    (found,) = torch.autograd.grad(value.sum(), x)
    _, known = gaussian(problem, images, noise=0.1)
    assert (found - known).abs().max() < 0.02 * known.abs().max()


def test_random_directions_give_the_trace_on_average(problem, images):
    random = torch.Generator().manual_seed(0)
    every = all_directions(images)
    known = log_density(images, problem.denoiser, LOW, 5.0, directions=every, steps=12)
    found = [
        log_density(
            images, problem.denoiser, LOW, 5.0, directions=rademacher(images, 8, random), steps=12
        )
        for _ in range(8)
    ]
    error = torch.stack(found).std(0) / 8**0.5
    assert ((torch.stack(found).mean(0) - known).abs() < 4 * error).all()
    assert (error < 0.5).all()


def test_the_bound_lies_below_the_exact_log_density_and_is_tight_for_the_exact_denoiser(
    problem, images
):
    known, _ = gaussian(problem, images)
    by_ode = log_density(
        images, problem.denoiser, LOW, HIGH, directions=all_directions(images), steps=40
    )
    for number, x in enumerate(images):
        found = bound(x, problem.denoiser)
        assert 0 < known[number].item() - found < 1e-3
        assert -0.01 < by_ode[number].item() - found < 0.03


@pytest.mark.parametrize("change", ["shrunk", "shifted", "other power"])
def test_the_bound_of_a_wrong_denoiser_lies_below_for_the_images_of_the_prior(problem, change):
    """On average over images of the prior no model has a higher log density than the prior itself."""
    right = problem.denoiser

    class Wrong:
        sigma_range = right.sigma_range

        def __call__(self, x, sigma):
            if change == "shrunk":
                return 0.98 * right(x, sigma)
            if change == "shifted":
                return right(x, sigma) + 0.02
            return GaussianDenoiser(problem.mean, 1.2 * problem.power)(x, sigma)

    gaps = []
    for seed in range(6):
        x = Problem(SIZE, 1, problem.mask, 0.1, seed=10 * seed).truth
        x = x - Problem(SIZE, 1, problem.mask, 0.1, seed=10 * seed).mean + problem.mean
        known, _ = gaussian(problem, x)
        gaps.append(known.item() - bound(x, Wrong(), levels=100))
    assert sum(gaps) / len(gaps) > 0.05, gaps


def test_below_the_variation_of_images_it_is_the_density_of_noise():
    """Where all images are one, the bound at it is the density of noise of the lowest level."""
    mean = torch.full((3, 4), 1 - 2j, dtype=torch.complex128)
    denoiser = GaussianDenoiser(mean, torch.zeros(3, 4, dtype=torch.float64))
    found = bound(mean, denoiser, low=0.1, levels=50)
    assert found == pytest.approx(log_normal(torch.zeros_like(mean)[None], 0.1).item(), abs=0.02)
