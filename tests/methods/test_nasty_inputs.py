"""Methods on nasty inputs: no zeros, NaN or traceback. A part of them here, all in `measurements/nasty.py`."""

import zlib
from dataclasses import replace

import pytest
import torch
from nasty import INPUTS, Nasty, answer, measured

import mrirecon as mr
from mrirecon.methods import METHODS

EVERYWHERE = ("zero_filled", "cg_sense", "varnet", "dds")  # one of each kind
SHARE = 5  # of the other methods, every input has this part


def chosen(name):
    """The methods that an input is tried on: those of `EVERYWHERE`, and a fifth of the others."""
    others = [method for method in METHODS if method not in EVERYWHERE]
    return [*EVERYWHERE, *others[zlib.crc32(name.encode()) % SHARE :: SHARE]]


@pytest.mark.parametrize("name", INPUTS)
def test_one_clear_sentence_or_an_image_that_is_one(name, tmp_path):
    nasty, wrong = INPUTS[name](), []
    for number, method in enumerate(chosen(name)):
        folder = tmp_path / str(number)
        folder.mkdir()
        kind, what = answer(method, nasty, folder)
        if kind == "fault":
            wrong.append(f"{method}: {what}")
    assert not wrong, "\n".join(wrong)


def test_every_method_has_its_inputs():
    assert len(INPUTS) >= 40
    counts = {method: sum(method in chosen(name) for name in INPUTS) for method in METHODS}
    assert min(counts.values()) >= len(INPUTS) // 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image: image * 0, "all-zero"),
        (lambda image: image * torch.nan, "NaN"),
        (lambda image: image * torch.tensor([0, 1, 1.0])[:, None, None], "slice 0 is zero"),
        (lambda image: image * 1e-12, "image of up to"),
    ],
)
def test_every_fault_is_seen(change, words, tmp_path, monkeypatch):
    """The judge itself: what it is given instead of an image is not taken for one."""
    real = mr.reconstruct

    def changed(*args, **options):
        volume = real(*args, **options)
        return replace(volume, image=change(volume.image).to(torch.complex64))

    monkeypatch.setattr(mr, "reconstruct", changed, raising=False)
    kind, what = answer("zero_filled", Nasty(measured(slices=3)), tmp_path)
    assert kind == "fault" and words in what
