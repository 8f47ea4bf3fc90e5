"""Normalisation and layout of the diffusion U-Nets' features beside PyTorch's own, in double precision."""

import pytest
import torch
import torch.nn.functional as F

from mrirecon.networks.features import GroupNorm, laid_out


def close(found, expected, tolerance=1e-5):
    return (found - expected).abs().max() <= tolerance * expected.abs().max()


def randn(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def norm(dtype=torch.float64, channels=12, **options):
    layer = GroupNorm(3, channels, 1e-6, **options).to(dtype)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    return layer


def plain(layer, x, offset=None, scale=None, shift=None):
    """What `layer` must give, as one writes it with PyTorch's own functions."""
    offset, scale, shift = (0 if v is None else v[:, :, None, None] for v in (offset, scale, shift))
    y = F.group_norm(x + offset, layer.num_groups, layer.weight, layer.bias, layer.eps)
    y = y * (1 + scale) + shift
    return F.silu(y) if layer.silu else y


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("given", [(), ("offset",), ("scale", "shift")])
@pytest.mark.parametrize("size", [(6, 5), (70, 64)])  # one sum, and several
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_values_and_gradients_are_those_of_pytorch(layout, size, given, silu):
    torch.manual_seed(0)
    layer = norm(silu=silu)
    image = randn(2, 12, *size) + 2
    more = {name: randn(2, 12, seed=n) for n, name in enumerate(given, start=1)}
    weight = randn(2, 12, *size, seed=9)
    results = []
    for function in (layer, lambda x, **more: plain(layer, x, **more)):
        layer.zero_grad()
        x = image.clone(memory_format=layout).requires_grad_()
        inputs = {name: value.clone().requires_grad_() for name, value in more.items()}
        y = function(x, **inputs)
        (y * weight).sum().backward()
        gradients = [v.grad.clone() for v in (x, *inputs.values(), *layer.parameters())]
        results.append([y.detach(), *gradients])
    for found, expected in zip(*results, strict=True):
        assert close(found, expected, 1e-10)


@pytest.mark.parametrize("mean", [0, 10, 100])
@torch.no_grad()
def test_a_large_mean_costs_no_digits(mean):
    torch.manual_seed(0)
    layer = norm(torch.float32, channels=24)
    x = (randn(1, 24, 160, 160) + mean).float()
    expected = plain(layer.double(), x.double())
    found = layer.float()(x.contiguous(memory_format=torch.channels_last))
    assert close(found.double(), expected, 2e-5 if mean == 100 else 2e-6)


@torch.no_grad()
def test_half_precision_is_normalised_in_single():
    torch.manual_seed(0)
    layer = norm(torch.float32)
    x = randn(1, 12, 8, 8).bfloat16().contiguous(memory_format=torch.channels_last)
    assert close(layer(x), plain(layer, x.float()), 1e-6)


def test_many_pixels_are_channels_last_and_few_are_not():
    many, few = laid_out(randn(1, 3, 64, 64)), laid_out(randn(1, 3, 8, 8))
    assert many.is_contiguous(memory_format=torch.channels_last) and few.is_contiguous()
    assert laid_out(many) is many and laid_out(few) is few
