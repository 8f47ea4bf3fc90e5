"""Networks as denoisers: fake networks that know a Gaussian prior exactly, each in its own coordinates."""

import pytest
import torch
from oracle import complex_normal, dft

from mrirecon.diffusion import (
    CleanDenoiser,
    Denoiser,
    GaussianDenoiser,
    NoiseDenoiser,
    ScoreDenoiser,
    denoiser_of,
)
from mrirecon.diffusion.schedules import ddpm_sigmas
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
        predicts, channels, sigma_range = kind, 2, [0.01, 157.0]

        def __call__(self, x, level):
            return network(x, level)

    denoiser = denoiser_of(Fake())
    assert denoiser.sigma_range == (0.01, 157)
    x = complex_normal(2, *SHAPE)
    torch.testing.assert_close(denoiser(x, 0.3), gaussian(x, 0.3))
    Fake.channels = 3
    with pytest.raises(ValueError, match="3 channels"):
        denoiser_of(Fake())


def test_denoisers_can_be_differentiated():
    gaussian = prior()
    denoiser = NoiseDenoiser(noise_network(gaussian, 2), (0.01, 157.0))
    x = complex_normal(*SHAPE).requires_grad_()
    v = complex_normal(*SHAPE, seed=5)
    (gradient,) = torch.autograd.grad(denoiser(x, 0.5), x, v)
    expected = ifft2(gaussian.power / (gaussian.power + 0.25) * fft2(v))
    torch.testing.assert_close(gradient, expected)
