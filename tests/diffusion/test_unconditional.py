"""Images drawn from a prior alone."""

import math
from itertools import pairwise

import pytest
import torch

from mrirecon.diffusion import GaussianDenoiser, denoiser_of, draw_images, karras
from mrirecon.networks.denoiser import DenoiserUNet
from mrirecon.tensors import complex_noise_like, stream_of


def test_images_of_a_white_gaussian_prior_are_the_noise_shrunk_in_every_step():
    """x - m goes to (v + s s') / (v + s^2) (x - m), the first x being noise of the highest level."""
    mean, variance = torch.full((6, 5), 1 + 2j), 0.3
    prior = GaussianDenoiser(mean, torch.full((6, 5), variance), (0.01, 4.0))
    drawn = draw_images(prior, 2, (6, 5), levels=7, seed=3)
    sigmas = karras(7, 0.01, 4.0).tolist()
    factor = math.prod((variance + s * lower) / (variance + s**2) for s, lower in pairwise(sigmas))
    first = 4.0 * complex_noise_like(mean, stream_of(3, 1))
    torch.testing.assert_close(drawn[1], mean + factor * (first - mean))


def test_samples_follow_the_prior():
    """An untrained denoiser is that of white images of deviation sigma_data."""
    denoiser = denoiser_of(DenoiserUNet(widths=[4], sigma_data=0.25).eval())
    drawn = draw_images(denoiser, 4, (64, 64), levels=60)
    assert drawn.real.std() == pytest.approx(0.25, rel=0.1)
    assert torch.equal(drawn, draw_images(denoiser, 4, (64, 64), levels=60))
    assert (draw_images(denoiser, 1, (64, 64), levels=60)[0] - drawn[0]).abs().max() < 1e-5
    assert (draw_images(denoiser, 1, (64, 64), levels=60, seed=1)[0] - drawn[0]).abs().max() > 0.1
