"""Untrained networks fitted to a slice: what they rest on, how they stop, and that nothing else is looked at."""

import dataclasses

import pytest
import torch
from scan_cases import columns, error, phantom, pipeline_of, problems_of, reconstructed

import mrirecon as mr
from mrirecon.methods.untrained import Data
from mrirecon.networks.untrained import ConvDecoder, EncoderDecoder
from mrirecon.phantom import shepp_logan
from mrirecon.tensors import complex_noise_like

NAMES = ("dip", "conv_decoder")
SHORT = {"iterations": 20, "channels": 8}


@pytest.fixture(scope="module")
def simulation():
    return phantom(shape=(48, 40), snr=40.0)


@pytest.fixture(scope="module")
def scan(simulation):
    return simulation.scan.undersample(columns(simulation.scan, step=3))


@pytest.mark.parametrize("kind", [ConvDecoder, EncoderDecoder])
def test_noise_is_fitted_more_slowly_than_a_phantom(kind):
    """The property that all of this rests on: 200 steps explain a phantom, and hardly any noise."""
    losses = {}
    image = shepp_logan((48, 40)).to(torch.complex64)
    noise = complex_noise_like(image, torch.Generator().manual_seed(1))
    for name, target in (("phantom", image), ("noise", noise)):
        target = target / target.abs().square().mean().sqrt()
        network = kind((48, 40), 2, channels=16)
        random = torch.Generator().manual_seed(0)
        network.draw_weights(random)
        u = network.draw_input(random)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.008)
        for _ in range(200):
            x = torch.complex(*network(u)[0])
            loss = (x - target).abs().square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses[name] = loss.item()
    print(kind.__name__, losses)
    assert losses["noise"] > 5 * losses["phantom"], losses
