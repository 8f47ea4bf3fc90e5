"""Methods of one's own, by the place of their class, and samplers as functions."""

import sys
from dataclasses import fields

import numpy as np
import pytest
import torch

import mrirecon as mr
from mrirecon.methods.registry import METHODS, as_method
from mrirecon.phantom import shepp_logan

MODULE = '''
from dataclasses import dataclass
from typing import ClassVar

import mrirecon as mr
from mrirecon.options import Count


@dataclass(frozen=True, kw_only=True)
class Twice(mr.SliceMethod):
    """So many times the adjoint."""

    times: Count = 2
    name: ClassVar[str] = "twice"

    def solve_slice(self, problem):
        return mr.Solution(image=self.times * problem.operator.H(problem.kspace))


def sampler(y, A, denoiser, sigmas, *, gain: float = 1.0, start=None, generator=None, callback=None):
    """No walk at all."""
    return gain * A.H(y)


other = 3
'''


@pytest.fixture(scope="module")
def scan():
    image = shepp_logan((24, 20)).numpy()[:, :, None].astype(np.float32)
    return mr.simulate_scan(image, coils=3, snr=60.0).scan


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(METHODS, "_known", dict(METHODS._known))
    name = f"outside_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def test_a_class_at_a_place(scan, place, tmp_path):
    once = mr.reconstruct(scan, method="adjoint", device="cpu")
    for module in (place, tmp_path / f"{place}.py"):
        volume = mr.reconstruct(scan, method=f"{module}:Twice", times=3, device="cpu")
        assert torch.allclose(volume.image, 3 * once.image) and volume.info["method"] == "twice"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("{0}:Thrice", "has no Thrice"),
        ("{0}:other", "no class of mrirecon.Method or of a network, and no sampler"),
        ("{0}_not:Twice", "cannot be loaded"),
        ("none.py:Twice", "no such file"),
    ],
)
def test_what_is_not_there_is_a_sentence(place, name, words):
    with pytest.raises(ValueError, match=words):
        as_method(name.format(place))


def test_a_benchmark_names_an_own_method_by_its_place(place):
    from mrirecon.benchmark.entries import MethodEntry

    entry = MethodEntry.of({"method": f"{place}:Twice", "options": {"times": 4}}, {})
    assert entry.name == "twice" and entry.build({}).parameters() == {"times": 4}
    with pytest.raises(ValueError, match="times"):
        MethodEntry.of({"method": f"{place}:Twice", "options": {"time": 4}}, {})


def test_a_function_samples(scan, place, monkeypatch):
    module = __import__(place)
    once = mr.reconstruct(scan, method="adjoint", device="cpu")
    volume = mr.reconstruct(scan, method=module.sampler, gain=2.0, levels=2, device="cpu")
    assert torch.allclose(volume.image, 2 * once.image, rtol=1e-3, atol=1e-3)
    assert volume.info["method"] == "sampler" and volume.info["parameters"]["gain"] == 2
    monkeypatch.setitem(mr.samplers.SAMPLERS, "still", module.sampler)
    assert "still" in METHODS and "gain" in {one.name for one in fields(METHODS["still"])}
    named = mr.reconstruct(scan, method="still", gain=2.0, levels=2, device="cpu")
    assert torch.equal(named.image, volume.image)


def test_a_function_that_does_not_sample(scan):
    with pytest.raises(ValueError, match="a sampler is a function"):
        mr.reconstruct(scan, method=lambda x: x, device="cpu")
