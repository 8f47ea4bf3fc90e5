"""The ConvDecoder beside the official one: sizes, outputs, and three steps of a fit."""

import pytest
import torch
from golden_data import golden_arrays, golden_facts, golden_state

from mrirecon.networks.untrained import ConvDecoder
from mrirecon.tensors import as_channels, as_complex, fft2c

# How the official constructor's arguments are called here.
RECORDED = {
    "convdecoder_a": dict(
        size=(40, 30), start=(4, 3), outputs=6, layers=5, channels=12, upsampling="nearest"
    ),
    "convdecoder_b": dict(
        size=(33, 21),
        start=(8, 4),
        outputs=4,
        layers=4,
        channels=10,
        upsampling="bilinear",
        growth="linear",
        last=False,
        mix=True,
        skips=True,
        bias=True,
        sigmoid=True,
    ),
}
FIT = {"convdecoder_a": 2e-5, "convdecoder_b": 1e-4}


@pytest.fixture(params=RECORDED)
def recorded(request):
    """The name, the network with the official weights, and what was recorded of it."""
    arrays = golden_arrays(request.param)
    network = ConvDecoder(**RECORDED[request.param])
    official = golden_state(arrays)
    assert len(official) == len(network.state_dict())
    network.load_state_dict(dict(zip(network.state_dict(), official.values(), strict=True)))
    return request.param, network, arrays


def close(found, expected, tolerance):
    return float((found - expected).detach().abs().max() / expected.abs().max()) < tolerance


def test_sizes_are_the_official_ones(recorded):
    name, network, _ = recorded
    assert [list(size) for size in network.sizes] == golden_facts(name)["hidden_sizes"]


def test_the_published_size_has_the_published_layers():
    network = ConvDecoder((640, 368), 30, start=(8, 4), layers=8, channels=160)
    expected = [(15, 8), (28, 15), (53, 28), (98, 53), (183, 102), (343, 193), (640, 368)]
    assert network.sizes == expected
    assert sum(p.numel() for p in network.parameters()) == 1_850_560


def test_forward_is_the_official_one(recorded):
    _, network, arrays = recorded
    assert close(network(arrays["in/forward/input"]), arrays["out/forward/output"], 1e-5)


def test_three_steps_of_a_fit_are_the_official_ones(recorded):
    name, network, arrays = recorded
    u, y, mask = (arrays[f"in/{key}"] for key in ("forward/input", "fit/measurement", "fit/mask"))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.008)
    losses = []
    for _ in range(3):
        coils = as_complex(network(u)[0].unflatten(0, (-1, 2)))
        loss = as_channels(fft2c(coils) * mask - y).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses == pytest.approx(
        golden_facts(name)["cases"]["fit"]["loss_before_each_step"], rel=1e-5
    )
    assert close(network(u), arrays["out/fit/output_after_3_steps"], FIT[name])
