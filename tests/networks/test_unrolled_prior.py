"""The unrolled prior against its formula with dense matrices."""

import pytest
import torch
from sense_cases import batch, dense, noise

from mrirecon.networks import NETWORKS
from mrirecon.networks.unrolled_prior import PACE, UnrolledPrior
from mrirecon.operators import sense
from mrirecon.tensors import as_channels, as_complex

SMALL = {"steps": 2, "cg_steps": 60, "denoiser": {"widths": [6, 8]}}


def network(**options):
    made = UnrolledPrior(**{**SMALL, **options})
    generator = torch.Generator().manual_seed(0)
    for parameter in made.denoiser.parameters():  # the output starts at 0
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return made.double().eval()


@torch.no_grad()
@pytest.mark.parametrize("shape", [(8, 6), (7, 5)])
def test_steps_are_the_formula(shape):
    maps = noise(3, *shape)
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    mask = torch.rand(*shape, generator=torch.Generator().manual_seed(1)) < 0.6
    A, net = sense(maps, mask), network()
    y = noise(1, 3, *shape, seed=2) * mask
    M = dense(A, shape)
    G, b, one = M.mH @ M, M.mH @ y.flatten(), torch.eye(len(M.mT), dtype=M.dtype)
    x = torch.linalg.solve(G + 0.02 * one, b)
    for log_sigma, log_weight in zip(net.log_sigma, net.log_weight, strict=True):
        image = as_channels(x.reshape(1, *shape))
        clean = as_complex(net.denoiser(image, (PACE * log_sigma).exp().expand(1))).flatten()
        w = (PACE * log_weight).exp() * 0.3**2
        x = torch.linalg.solve(G + w * one, b + w * clean)
    found = net.reconstruct(y, A, torch.tensor([0.3])).flatten()
    assert float(torch.linalg.vector_norm(found - x) / torch.linalg.vector_norm(x)) < 1e-6


def test_noise_levels_and_weights_begin_as_those_of_dds():
    net = UnrolledPrior(steps=4, sigma_first=0.4, sigma_last=0.05, prior_weight=0.03)
    sigma = 0.4 * (0.05 / 0.4) ** (torch.arange(4) / 3)
    torch.testing.assert_close((PACE * net.log_sigma).exp(), sigma)
    torch.testing.assert_close((PACE * net.log_weight).exp(), 0.03 / sigma**2)


def test_training_reaches_every_parameter_and_checkpointing_changes_nothing():
    kspace, mask, calibration, crop = batch()
    gradients = []
    for checkpoint_steps in (False, True):
        net = network(cg_steps=3, checkpoint_steps=checkpoint_steps).float().train()
        image = net(kspace, mask, calibration, crop)
        assert image.shape == (1, 32, 24)
        image.square().sum().backward()
        gradients.append([p.grad for p in net.parameters()])
        assert all(g is not None and bool(g.any()) for g in gradients[-1])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_scale_of_the_data_is_undone(factor):
    kspace, mask, calibration, crop = batch()
    net = network(cg_steps=5).float()
    with torch.no_grad():
        expected = net(kspace, mask, calibration, crop)
        found = net(factor * kspace, mask, calibration, crop) / factor
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


def test_a_black_slice_stays_black():
    kspace, mask, calibration, crop = batch()
    image = network(cg_steps=2).float()(0 * kspace, mask, calibration, crop)
    assert bool(torch.isfinite(image).all())


def test_configuration_travels():
    net = network()
    again = NETWORKS["unrolled_prior"](**net.config)
    again.load_state_dict(net.state_dict())
    assert again.config == net.config
    with pytest.raises(ValueError, match="0 steps"):
        UnrolledPrior(steps=0)
