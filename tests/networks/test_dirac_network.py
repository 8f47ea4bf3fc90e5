"""The network of DiracDiffusion against its formula with dense matrices."""

import math

import numpy as np
import pytest
import torch
from sense_cases import batch, dense, noise

from mrirecon.networks.dirac import KNOTS, PACE, Dirac
from mrirecon.operators import sense
from mrirecon.tensors import as_channels, as_complex

SMALL = {"cg_steps": 60, "denoiser": {"widths": [6, 8]}}


def network(**options):
    made = Dirac(**{**SMALL, **options})
    generator = torch.Generator().manual_seed(0)
    for parameter in made.denoiser.parameters():  # the output starts at 0
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return made.double().eval()


def interpolated(knots, share):
    places = np.linspace(0, 1, KNOTS)
    return float(np.exp(np.interp(share, places, PACE * knots.detach().numpy())))


@torch.no_grad()
@pytest.mark.parametrize("sampled", [0.25, 0.55, 1.0])
def test_the_prediction_is_the_formula(sampled):
    shape, s = (8, 6), 0.3
    maps = noise(3, *shape)
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    mask = torch.rand(*shape, generator=torch.Generator().manual_seed(1)) < sampled
    A, net = sense(maps, mask), network()
    net.log_weight.copy_(torch.linspace(0.05, -0.1, KNOTS))
    y = noise(1, 3, *shape, seed=2)  # also where nothing is sampled, which is not to count
    M = dense(A, shape)
    G, b, one = M.mH @ M, M.mH @ y.flatten(), torch.eye(len(M.mT), dtype=M.dtype)
    missing = 1 - float(mask.double().mean())
    level = math.hypot(interpolated(net.log_sigma, missing), s)
    image = as_channels(torch.linalg.solve(G + 0.02 * one, b).reshape(1, *shape))
    clean = as_complex(net.denoiser(image, torch.tensor([level]).double())).flatten()
    w = interpolated(net.log_weight, missing) * s**2
    x = torch.linalg.solve(G + w * one, b + w * clean)
    found = net.reconstruct(y, A, torch.tensor([s]).double()).flatten()
    assert float(torch.linalg.vector_norm(found - x) / torch.linalg.vector_norm(x)) < 1e-6


@torch.no_grad()
def test_each_slice_of_a_batch_has_its_own_mask_and_noise():
    shape = (8, 6)
    maps = noise(2, 3, *shape)
    maps = maps / torch.linalg.vector_norm(maps, dim=1, keepdim=True)
    masks = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1)) < 0.5
    masks[1, :, :4] = True
    y, s, net = noise(2, 3, *shape, seed=2), torch.tensor([0.3, 0.01]).double(), network()
    both = net.reconstruct(y, sense(maps, masks), s)
    for n in range(2):
        one = net.reconstruct(y[n : n + 1], sense(maps[n], masks[n]), s[n : n + 1])
        torch.testing.assert_close(one[0], both[n], rtol=1e-6, atol=1e-8)


def test_levels_and_weights_begin_as_they_are_given():
    net = Dirac(sigma=(0.01, 0.3), prior_weight=0.03)
    sigma = (PACE * net.log_sigma).exp()
    torch.testing.assert_close(sigma[[0, -1]], torch.tensor([0.01, 0.3]))
    torch.testing.assert_close((PACE * net.log_weight).exp(), 0.03 / sigma**2)
    assert Dirac(**net.config).config == net.config


def test_training_reaches_the_denoiser_levels_and_weights():
    kspace, mask, calibration, crop = batch()
    net = network(cg_steps=3).float().train()
    image = net(kspace, mask, calibration, crop)
    assert image.shape == (1, 32, 24)
    image.square().sum().backward()
    assert all(bool(p.grad.any()) for p in net.parameters())


def test_impossible_options_are_refused():
    with pytest.raises(ValueError, match=r"noise_end is 1\.5: give a share above 0"):
        Dirac(noise_end=1.5)
    with pytest.raises(ValueError, match="cg_steps is 0"):
        Dirac(cg_steps=0)
