"""Networks as denoisers: fake networks that know a Gaussian prior exactly, each in its own coordinates."""

import math

import numpy as np
import pytest
import torch
from oracle import complex_normal, dft

from mrirecon.diffusion import (
    CleanDenoiser,
    Denoiser,
    GaussianDenoiser,
    NoiseDenoiser,
    ScaledDenoiser,
    ScoreDenoiser,
    denoiser_of,
)
from mrirecon.diffusion.schedules import ddpm_sigmas, ddpm_time
from mrirecon.networks import PRIORS
from mrirecon.tensors import as_channels, as_complex, fft2, ifft2

SHAPE = (9, 7)
SIGMAS = [0.013, 0.4, 7.0, 150.0]


def prior(real=False):
    """A Gaussian one; with `real` its filter and mean serve the real and the imaginary part alike."""
    generator = torch.Generator().manual_seed(3)
    power = torch.rand(SHAPE, dtype=torch.float64, generator=generator) + 0.1
    if not real:
        return GaussianDenoiser(complex_normal(*SHAPE), power)
    power = power + power.flip(0, 1).roll((1, 1), (0, 1))  # of a real image
    mean = complex_normal(*SHAPE).real
    return GaussianDenoiser(torch.complex(mean, mean), power)


def score_in_channels(gaussian, channels, x, sigma):
    """-(P + sigma^2)^-1 (x - mean) on channels, sigma one number for each item."""
    of_noise = 1 / (gaussian.power + sigma[:, None, None] ** 2)
    if channels == 2:
        return as_channels(-ifft2(of_noise * fft2(as_complex(x) - gaussian.mean)))
    off = x.squeeze(1).to(gaussian.mean.dtype) - gaussian.mean.real
    return -ifft2(of_noise * fft2(off)).real.unsqueeze(1)


def clean_network(gaussian, channels):
    def network(x, sigma):
        return x + sigma[:, None, None, None] ** 2 * score_in_channels(gaussian, channels, x, sigma)

    return network


def score_network(gaussian, channels):
    def network(x, sigma):
        return score_in_channels(gaussian, channels, x, sigma)

    return network


def noise_network(gaussian, channels, extra=0):
    """-sqrt(1 - abar) grad log p(x_t), x_t = sqrt(abar) x0 + sqrt(1 - abar) epsilon; at fractional steps too."""
    logs = ddpm_sigmas().log()

    def network(x, t):
        below = t.floor().long().clamp(0, 998)
        sigma = torch.lerp(logs[below], logs[below + 1], t.double() - below).exp().to(x.dtype)
        kept = (1 / (1 + sigma**2)).sqrt()[:, None, None, None]
        score = score_in_channels(gaussian, channels, x / kept, sigma) / kept
        noise = -(1 - kept**2).sqrt() * score
        return torch.cat([noise, torch.full_like(noise, 1e6)[:, :extra]], dim=1)

    return network


KINDS = {
    "clean": (CleanDenoiser, clean_network),
    "score": (ScoreDenoiser, score_network),
    "noise": (NoiseDenoiser, noise_network),
}


@pytest.mark.parametrize("sigma", SIGMAS)
def test_gaussian_denoiser_is_the_conditional_mean(sigma):
    """mean + P (P + sigma^2)^-1 (x - mean), with P as a matrix."""
    gaussian = prior()
    Q = torch.kron(dft(SHAPE[0]), dft(SHAPE[1]))
    P = Q.mH @ (gaussian.power.flatten()[:, None] * Q)
    x = sigma * complex_normal(*SHAPE, seed=1)
    off = (x - gaussian.mean).flatten()
    solved = torch.linalg.solve(P + sigma**2 * torch.eye(len(P)), off)
    expected = gaussian.mean + (P @ solved).reshape(SHAPE)
    torch.testing.assert_close(gaussian(x, sigma), expected)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_networks_become_the_denoiser(kind, channels, sigma):
    gaussian = prior(real=channels == 1)
    wrap, network = KINDS[kind]
    denoiser = wrap(network(gaussian, channels), (0.01, 157.0), channels)
    x = gaussian.mean + sigma * complex_normal(2, 3, *SHAPE, seed=2)
    expected = gaussian(x, sigma)
    # float64 throughout; at sigma 150 a denoiser is the small difference of large numbers.
    torch.testing.assert_close(denoiser(x, sigma), expected, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(denoiser(x[0, 0], sigma), expected[0, 0], rtol=1e-7, atol=1e-8)
    assert denoiser(x.to(torch.complex64), sigma).dtype == torch.complex64
    assert isinstance(denoiser, Denoiser)


def test_learned_variances_are_left_out():
    gaussian = prior()
    denoiser = NoiseDenoiser(noise_network(gaussian, 2, extra=2), (0.01, 157.0))
    x = complex_normal(2, *SHAPE)
    torch.testing.assert_close(denoiser(x, 0.3), gaussian(x, 0.3))


def test_networks_see_their_own_coordinates():
    """x / sqrt(1 + sigma^2) and the step for DDPM, x and sigma for the others; a batch of magnitudes has both parts."""
    seen = {}

    def network(x, level):
        seen["x"], seen["level"] = x, level
        return torch.zeros_like(x)

    x, sigma = complex_normal(2, *SHAPE), float(ddpm_sigmas()[300])
    NoiseDenoiser(network, (0.01, 157.0))(x, sigma)
    torch.testing.assert_close(seen["x"], as_channels(x) / (1 + sigma**2) ** 0.5)
    torch.testing.assert_close(seen["level"], torch.tensor([300.0, 300.0], dtype=torch.float64))
    ScoreDenoiser(network, (0.01, 378.0), 1)(x, sigma)
    torch.testing.assert_close(seen["x"], as_channels(x).reshape(4, 1, *SHAPE))
    assert seen["level"].tolist() == [sigma] * 4


@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_priors_of_colour_are_refused(kind, channels):
    with pytest.raises(ValueError, match=f"a prior of {channels} channels knows no complex images"):
        KINDS[kind][0](torch.nn.Identity(), (0.01, 1.0), channels)


@pytest.mark.parametrize("kind", KINDS)
def test_denoiser_of_a_prior(kind):
    gaussian = prior()
    network = KINDS[kind][1](gaussian, 2)

    class Fake:
        predicts, channels, sigma_range, multiple = kind, 2, [0.01, 157.0], 1

        def __call__(self, x, level):
            return network(x, level)

    denoiser = denoiser_of(Fake())
    assert denoiser.sigma_range == (0.01, 157)
    x = complex_normal(2, *SHAPE)
    torch.testing.assert_close(denoiser(x, 0.3), gaussian(x, 0.3))
    Fake.channels = 3
    with pytest.raises(ValueError, match="3 channels"):
        denoiser_of(Fake())


def published(name):
    """A small network of the published kind, whose images have sides that are multiples of 8."""
    torch.manual_seed(0)
    if name == "adm":
        network = PRIORS[name](num_channels=32, channel_mult=(1, 1, 1, 1), num_head_channels=32)
    else:
        network = PRIORS[name](channels=2, nf=8, ch_mult=(1, 1, 1, 1), num_res_blocks=1)
    for parameter in network.parameters():  # the last layer starts at 0
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.05)
    assert network.multiple == 8
    return network.double().eval().requires_grad_(False)


def network_on(network, x, sigma):
    """The clean image from what the network says of x itself."""
    level = torch.full((1,), sigma, dtype=torch.float64)
    channels = as_channels(x)[None]
    if network.predicts == "score":
        return as_complex(channels + sigma**2 * network(channels, level))[0]
    noise = network(channels / math.sqrt(1 + sigma**2), ddpm_time(level))
    return as_complex(channels - sigma * noise[:, :2])[0]


@pytest.mark.parametrize("size", [(16, 24), (20, 23), (13, 16), (3, 9)])
@pytest.mark.parametrize("name", ["adm", "ncsnpp"])
def test_published_priors_take_images_of_any_size(name, size):
    """As if its lower and right edge were mirrored; one that fits is what it was, to the last bit."""
    network, x, v = published(name), complex_normal(*size), complex_normal(*size, seed=1)
    after = [(0, -n % 8) for n in size]
    how = "reflect" if all(n > more for n, (_, more) in zip(size, after, strict=True)) else "edge"
    index = torch.from_numpy(np.pad(np.arange(x.numel()).reshape(size), after, how))

    def expected(x):
        return network_on(network, x.flatten()[index], 0.7)[: size[0], : size[1]]

    x.requires_grad_()
    clean = denoiser_of(network)(x, 0.7)
    torch.testing.assert_close(clean, expected(x), rtol=0, atol=0)
    gradients = [torch.autograd.grad(y, x, v)[0] for y in (clean, expected(x))]
    torch.testing.assert_close(*gradients)
    assert bool(gradients[0].isfinite().all() and (gradients[0] != 0).all())


def test_denoisers_can_be_differentiated():
    gaussian = prior()
    denoiser = NoiseDenoiser(noise_network(gaussian, 2), (0.01, 157.0))
    x = complex_normal(*SHAPE).requires_grad_()
    v = complex_normal(*SHAPE, seed=5)
    (gradient,) = torch.autograd.grad(denoiser(x, 0.5), x, v)
    expected = ifft2(gaussian.power / (gaussian.power + 0.25) * fft2(v))
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("level", [0.5, 3.0])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_a_prior_of_brighter_images(level, sigma):
    """A Gaussian prior of images `level` times as bright is the Gaussian prior of those that are given."""
    gaussian = prior()
    brighter = GaussianDenoiser(level * gaussian.mean, level**2 * gaussian.power, (0.02, 8.0))
    scaled = ScaledDenoiser(brighter, level)
    x = complex_normal(3, *SHAPE, seed=2)
    torch.testing.assert_close(scaled(x, sigma), gaussian(x, sigma))
    assert scaled.sigma_range == pytest.approx((0.02 / level, 8.0 / level))
    assert isinstance(scaled, Denoiser)
