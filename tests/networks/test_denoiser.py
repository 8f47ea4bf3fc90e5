"""The small denoiser: its preconditioning by hand, its limits, and images of any size."""

import math

import pytest
import torch
import torch.nn.functional as F

from mrirecon.diffusion import denoiser_of
from mrirecon.networks import PRESETS, PRIORS
from mrirecon.networks.denoiser import DenoiserUNet, ResidualBlock
from mrirecon.tensors import complex_noise_like

SMALL = {"widths": [8, 12, 16]}


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def network():
    """With random weights where training starts from zero."""
    made = DenoiserUNet(**SMALL)
    stream = torch.Generator().manual_seed(1)
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=stream)
    return made.eval()


def test_presets():
    tiny = PRIORS["denoiser"](**PRESETS["denoiser"]["tiny"])
    assert tiny.channels == 2 and tiny.sigma_data == 0.4 and tiny.predicts == "clean"
    assert 1.3e6 < sum(p.numel() for p in tiny.parameters()) < 1.7e6
    small = PRIORS["denoiser"](**PRESETS["denoiser"]["small"])
    assert sum(p.numel() for p in small.parameters()) > 5e6
    again = DenoiserUNet(**tiny.config)
    assert again.config == tiny.config


def test_an_untrained_network_scales_its_input():
    """Every residual and the output start at zero, so D = c_skip x."""
    made = DenoiserUNet(**SMALL)
    x, sigma = noise(3, 2, 16, 20), torch.tensor([0.01, 0.25, 4.0])
    c_skip = 0.25**2 / (0.25**2 + sigma**2)
    assert torch.allclose(made(x, sigma), c_skip[:, None, None, None] * x)
    block = ResidualBlock(8, 16)
    h = noise(2, 8, 6, 6)
    assert torch.equal(block(h, noise(2, 16)), h)


def test_the_preconditioning(network):
    """D = c_skip x + c_out F(c_in x, ln(s) / 4) of Karras et al. 2022, table 1."""
    x = noise(2, 2, 16, 12)
    found = network(x, torch.tensor([0.3, 0.02]))
    for n, s in enumerate((0.3, 0.02)):
        d = 0.25
        c_skip, c_out = d**2 / (s**2 + d**2), s * d / math.sqrt(s**2 + d**2)
        c_in, c_noise = 1 / math.sqrt(s**2 + d**2), math.log(s) / 4
        inner = network.unet(c_in * x[n : n + 1], torch.tensor([c_noise]))
        expected = c_skip * x[n] + c_out * inner[0]
        assert torch.allclose(found[n], expected, atol=1e-5)


def test_no_noise_means_no_change(network):
    x = noise(1, 2, 16, 16)
    for sigma in (1e-6, 0.0):
        assert torch.allclose(network(x, torch.tensor([sigma])), x, atol=1e-4)


@pytest.mark.parametrize("size", [(17, 23), (1, 1), (3, 40), (64, 48), (5, 8)])
def test_any_size(network, size):
    x = noise(2, 2, *size)
    y = network(x, torch.tensor([0.1, 0.1]))
    assert y.shape == x.shape and bool(y.isfinite().all())


def test_edges_do_not_wrap_around(network):
    """What happens at one edge is not seen at the opposite one."""
    x = noise(1, 2, 37, 90)
    changed = x.clone()
    changed[..., :2] += 3
    sigma = torch.tensor([0.1])
    difference = (network(changed, sigma) - network(x, sigma)).abs()
    assert difference[..., :4].max() > 0.1
    assert difference[..., -20:].max() < 1e-5


def test_an_odd_image_is_one_mirrored_at_its_end(network):
    x = noise(1, 2, 14, 13)
    whole = F.pad(x, (0, 3, 0, 2), "reflect")
    sigma = torch.tensor([0.1])
    assert torch.allclose(network(x, sigma), network(whole, sigma)[..., :14, :13], atol=1e-6)


def test_images_of_a_batch_do_not_see_each_other(network):
    x, sigma = noise(3, 2, 20, 16), torch.tensor([0.02, 0.2, 2.0])
    together = network(x, sigma)
    for n in range(3):
        assert torch.allclose(network(x[n : n + 1], sigma[n : n + 1])[0], together[n], atol=1e-5)


def test_double_precision(network):
    x, sigma = noise(1, 2, 18, 16), torch.tensor([0.1])
    single = network(x, sigma)
    double = network.double()(x.double(), sigma.double())
    assert double.dtype == torch.float64
    assert torch.allclose(single.double(), double, atol=1e-5)


def test_gradients_reach_every_parameter(network):
    network.train()(noise(1, 2, 16, 16), torch.tensor([0.1])).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


@pytest.mark.parametrize("channels", [1, 2])
def test_it_denoises_complex_images(channels):
    made = DenoiserUNet(channels=channels, **SMALL).eval()
    denoiser = denoiser_of(made)
    assert denoiser.sigma_range == (0.005, 5.0)
    like = torch.zeros(2, 3, 15, 12, dtype=torch.complex64)
    x = complex_noise_like(like, torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(denoiser(x, 0.25), x / 2, atol=1e-6)


def test_only_the_unet_is_compiled(network):
    assert network.parts_to_compile() == [network.unet]


@pytest.mark.parametrize(
    "wrong",
    [
        {"widths": []},
        {"widths": [8, 0]},
        {"blocks": 0},
        {"sigma_min": 0.0},
        {"sigma_min": 9.0},
        {"sigma_data": 0.0},
    ],
)
def test_impossible_networks(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DenoiserUNet(**wrong)
