"""Weights that are adapted to a scan by predicting samples that were left out."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from scan_cases import pipeline_of, undersampled

import mrirecon as mr
from mrirecon.io import write_scan
from mrirecon.recon import Request, SliceStore
from mrirecon.recon.left_out.adaptation import adapt, adapted, validation_error
from mrirecon.recon.left_out.judge import Judgement
from mrirecon.recon.left_out.loss import prediction_loss
from mrirecon.recon.left_out.prediction import trials_of


@pytest.fixture(scope="module")
def scan():
    return undersampled(2, coils=4, snr=30.0)


@pytest.fixture(scope="module")
def pipeline(scan):
    return pipeline_of("unrolled_prior", scan)


@pytest.fixture(scope="module")
def trials(pipeline):
    return trials_of(pipeline.problems, slices=2, sets=1)


def test_the_loss_is_relative():
    measured = torch.tensor([[3 + 4j, 0j]])
    assert float(prediction_loss(torch.zeros_like(measured), measured)) == pytest.approx(2.0)
    assert float(prediction_loss(measured, measured)) == 0.0
    # ||(1, 0)|| / 5 + 1 / 7
    assert float(prediction_loss(measured + 1, measured)) == pytest.approx(2**0.5 / 5 + 2 / 7)
    assert float(prediction_loss(1e6 * measured + 1e6, 1e6 * measured)) == pytest.approx(
        2**0.5 / 5 + 2 / 7
    )


def test_the_weighted_loss_by_numpy():
    random = np.random.default_rng(0)
    predicted, measured = random.normal(size=(2, 3, 7)) + 1j * random.normal(size=(2, 3, 7))
    weight = random.uniform(0.5, 4, 7)
    found = prediction_loss(*map(torch.from_numpy, (predicted, measured, weight)))
    squares = [(weight * np.abs(x) ** 2).sum() for x in (predicted - measured, measured)]
    sizes = [
        (weight * (np.abs(x.real) + np.abs(x.imag))).sum() for x in (predicted - measured, measured)
    ]
    expected = np.sqrt(squares[0] / squares[1]) + sizes[0] / sizes[1]
    assert float(found) == pytest.approx(expected, rel=1e-9)
    alike = prediction_loss(*map(torch.from_numpy, (predicted, measured, np.full(7, 3.0))))
    assert float(alike) == pytest.approx(
        float(prediction_loss(*map(torch.from_numpy, (predicted, measured))))
    )


@pytest.mark.parametrize("name", ["unrolled_prior", "varnet", "humus"])
def test_samples_that_are_not_learned_from_are_predicted_no_worse(name, scan):
    pipeline = pipeline_of(name, scan)
    trials = trials_of(pipeline.problems, slices=2, sets=1)
    before = {key: x.clone() for key, x in pipeline.method.model[0].state_dict().items()}
    found = adapt(pipeline.method, trials, steps=10)
    errors = dict(found.curve)
    assert errors[found.best] == min(errors.values()) <= errors[0]
    assert found.best or name != "unrolled_prior"
    method = adapted(pipeline.method, found, "scan.h5")
    learned = [trial.without(0) for trial in trials]
    again = validation_error(method, method.model[0], trials, learned)
    assert again == pytest.approx(errors[found.best], rel=1e-5)
    assert method.model[1].notes[-1].startswith("adapted to scan.h5 in")
    # The weights that came along stay as they are.
    now = pipeline.method.model[0].state_dict()
    assert all(torch.equal(before[key], now[key]) for key in before)


class Stop(Exception):
    pass


def test_a_stopped_adaptation_goes_on_as_if_it_had_not_been_stopped(pipeline, trials, tmp_path):
    whole = adapt(pipeline.method, trials, steps=12)

    def stop(found):
        if found.step == 11:
            raise Stop

    keep = SliceStore(tmp_path / "brain.nii.gz", {"adapt": 12})
    with pytest.raises(Stop):
        adapt(pipeline.method, trials, steps=12, done=stop, keep=keep)
    steps = []
    keep = SliceStore(tmp_path / "brain.nii.gz", {"adapt": 12})
    again = adapt(
        pipeline.method, trials, steps=12, keep=keep, done=lambda found: steps.append(found.step)
    )
    assert steps == [11, 12]
    assert again.curve == whole.curve
    assert all(torch.equal(again.state[key], whole.state[key]) for key in whole.state)


def test_another_seed_leaves_out_other_samples(pipeline, trials):
    curves = [adapt(pipeline.method, trials, steps=2, seed=seed).curve for seed in (0, 0, 1)]
    assert curves[0] == curves[1] != curves[2]


def test_adapted_weights_are_a_file_that_gives_the_same_image(scan, tmp_path):
    path, weights = tmp_path / "scan.h5", tmp_path / "mine.safetensors"
    write_scan(scan, path)
    options = {"method": "unrolled_prior", "device": "cpu"}
    volume = mr.reconstruct(path, **options, adapt=10, adapt_slices=1, adapt_save=weights)
    assert volume.info["left_out"]["adaptation"]["steps"] == 10
    assert any("adapted to this scan in" in note for note in volume.info["notes"])
    other = mr.reconstruct(path, **options, weights=str(weights))
    assert torch.equal(volume.image, other.image)
    assert "adapted to scan.h5" in other.info["weights"]["notes"][-1]
    with pytest.raises(FileExistsError):
        mr.reconstruct(path, **options, adapt=1, adapt_slices=1, adapt_save=weights)


def test_nothing_sees_the_reference(scan):
    def poison(index):
        raise AssertionError("the reference was read")

    judgement = Judgement(adapt=3, adapt_slices=1)
    images = [
        pipeline_of("unrolled_prior", one, judgement=judgement).run().image
        for one in (scan, replace(scan, reference=poison))
    ]
    assert torch.equal(*images)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "tv", "adapt": "auto"}, "tv has no weights that can be adapted"),
        ({"method": "unet", "adapt": 5}, "unet has no weights that can be adapted"),
        ({"method": {"name": "dds", "start": "a.npy"}, "adapt": 5}, "dds: the image .* a.npy, was"),
        (
            {"method": {"name": "dds", "start": "a.npy", "samples": 4}, "calibrate": True},
            "made of the samples that are to be left out",
        ),
        ({"method": "unrolled_prior", "adapt": 0}, "adapt is 0: give at least 1"),
        ({"method": "unrolled_prior", "adapt_save": "w.safetensors"}, "add adapt"),
        ({"method": "unrolled_prior", "adapt": 5, "adapt_save": "w.pt"}, "safetensors"),
    ],
)
def test_what_cannot_be_is_refused_before_a_scan_is_read(options, said):
    with pytest.raises(ValueError, match=said):
        Request(**options)


class Told:
    def __init__(self):
        self.said = []

    def __call__(self, done, total):
        pass

    def say(self, doing):
        self.said.append(doing)


def test_progress_says_what_is_being_done(scan):
    told = Told()
    judgement = Judgement(adapt=2, adapt_slices=1, calibrate=True)
    pipeline_of("unrolled_prior", scan, judgement=judgement, progress=told).run()
    assert told.said[0] == "adapting"
    assert re.fullmatch(r"adapting, left-out error \d\.\d{3}", told.said[1])
    assert told.said[-3:] == ["calibrating", "", "reconstructing"]
    told = Told()
    pipeline_of("cg_sense", scan, regularization="auto", progress=told).run()
    assert told.said == ["choosing regularization", "", "reconstructing"]
