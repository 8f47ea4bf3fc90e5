"""Networks that are compiled whole, with a stand-in for the compiler, and where there is none."""

import pytest
import torch

import mrirecon as mr
from mrirecon.masks.own import equispaced
from mrirecon.methods.compiled import Compiled
from mrirecon.methods.image_networks import UnrolledPriorMethod
from mrirecon.methods.networks import UNetMethod, VarNetMethod
from mrirecon.phantom import shepp_logan
from mrirecon.simulate import simulate_scan

METHODS = (VarNetMethod, UNetMethod, UnrolledPriorMethod)


@pytest.fixture
def scan():
    image = shepp_logan((48, 40)).numpy()[:, :, None] * [1.0, 0.8]
    whole = simulate_scan(image.astype("float32"), coils=3, snr=50.0).scan
    return whole.undersample(equispaced((48, 40), 2, center_fraction=0.25, seed=0))


@pytest.mark.parametrize("method", METHODS)
def test_what_is_compiled_is_called_for_each_slice(method, scan, monkeypatch):
    calls = []

    def stand_in(function, **options):
        def compiled(*given):
            calls.append(options)
            return function(*given)

        return compiled

    expected = mr.run(method(), scan)
    monkeypatch.setattr(torch, "compile", stand_in)
    found = mr.run(method(compile=True), scan)
    assert torch.equal(found.image, expected.image)
    assert calls == 2 * [{"fullgraph": True, "mode": "default", "dynamic": False}]
    assert any("compiled, which takes minutes" in note for note in found.info["notes"])


def test_without_a_compiler_the_network_runs_as_it_is(scan, monkeypatch):
    def broken(function, **options):
        def compiled(*given):
            raise torch._dynamo.exc.Unsupported("no compiler here\nand more")

        return compiled

    expected = mr.run(VarNetMethod(), scan)
    monkeypatch.setattr(torch, "compile", broken)
    found = mr.run(VarNetMethod(compile=True), scan)
    assert torch.equal(found.image, expected.image)
    said = "the network ran without torch.compile, which failed: no compiler here"
    assert said in found.info["notes"]


def test_results_outlive_the_next_call(monkeypatch):
    """A replayed CUDA graph writes to the same memory each time."""
    held = torch.zeros(2)
    monkeypatch.setattr(torch, "compile", lambda function, **_: lambda x: held.copy_(x))
    compiled = Compiled(lambda x: x)
    first = compiled(torch.device("cpu"), torch.ones(2))
    compiled(torch.device("cpu"), torch.zeros(2))
    assert first.tolist() == [1, 1]
