"""The flow: its inverse and its log determinant against autograd, for both kinds of couplings and odd sides."""

import math

import pytest
import torch

from mrirecon.networks.flow import Flow, haar, unhaar
from mrirecon.tensors import as_channels, as_complex, complex_noise_like

KINDS = [("dense", (4, 3)), ("convolutional", (16, 17)), ("convolutional", (9, 5))]


def flow_of(kind, size, seed=0):
    """A flow with weights as after training: none of its layers is the identity."""
    random = torch.Generator().manual_seed(seed)
    flow = Flow(size, couplings=kind, steps=3, width=8, scales=2, generator=random).double()
    for parameter in flow.parameters():
        shift = torch.randn(parameter.shape, generator=random, dtype=parameter.dtype)
        parameter.data += 0.2 * shift
    return flow


@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_the_inverse_undoes_it(kind, size):
    flow = flow_of(kind, size)
    z = flow.draw(3, torch.Generator().manual_seed(1))
    with torch.no_grad():
        x, log_det = flow(z)
        back, log_det_again = flow.inverse(x)
    assert (x - z).abs().max() > 0.5
    assert (back - z).abs().max() < 1e-9
    assert torch.allclose(log_det, log_det_again)
    assert log_det.std() > 0.01  # couplings are no affine map


@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_the_log_determinant_is_that_of_the_jacobian(kind, size):
    flow = flow_of(kind, size)
    z = flow.draw(1, torch.Generator().manual_seed(1))

    def moved(numbers):
        return as_channels(flow(as_complex(numbers))[0]).flatten()

    jacobian = torch.autograd.functional.jacobian(moved, as_channels(z))
    known = torch.linalg.slogdet(jacobian.reshape(z.numel() * 2, -1)).logabsdet
    assert flow(z)[1].item() == pytest.approx(known.item(), abs=1e-6)


@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_it_begins_at_an_image_with_white_noise(kind, size):
    random = torch.Generator().manual_seed(0)
    mean = complex_noise_like(torch.empty(size, dtype=torch.complex64), random)
    flow = Flow(size, couplings=kind, steps=2, width=8, mean=mean, spread=0.1, generator=random)
    z = flow.draw(2, random)
    with torch.no_grad():
        x, log_det = flow(z)
    assert torch.allclose(x, mean + 0.1 * z, atol=1e-5)
    assert log_det[0].item() == pytest.approx(2 * math.prod(size) * math.log(0.1), rel=1e-5)


def test_the_density_is_that_of_white_noise_where_nothing_is_learned():
    flow = Flow((4, 4), couplings="dense", steps=2, width=8, generator=torch.Generator())
    x = flow.draw(2, torch.Generator().manual_seed(0))
    parts = as_channels(x).flatten(1)
    normal = torch.distributions.Normal(0.0, 1.0)
    assert torch.allclose(flow.log_density(x), normal.log_prob(parts).sum(1), rtol=1e-5)


def test_the_haar_transform_is_orthonormal_and_its_first_band_is_the_mean():
    x = torch.randn(2, 2, 7, 10, generator=torch.Generator().manual_seed(0))
    bands = haar(x)
    assert bands.shape == (2, 8, 3, 5)
    assert torch.allclose(unhaar(bands, x), x, atol=1e-6)
    assert torch.allclose(bands.square().sum(), x[..., :6, :].square().sum())
    assert torch.allclose(bands[0, 1, 0, 0], x[0, 1, :2, :2].sum() / 2)


def test_no_global_random_state_is_touched():
    state = torch.get_rng_state()
    flow_of("convolutional", (16, 16))
    flow_of("dense", (4, 4))
    assert torch.equal(torch.get_rng_state(), state)
