"""Priors of samplers that are adapted to a scan by predicting samples that were left out."""

from dataclasses import replace

import pytest
import torch
from sampling_cases import random_prior
from scan_cases import pipeline_of, undersampled

import mrirecon as mr
from mrirecon.io import write_scan
from mrirecon.networks import MODELS
from mrirecon.recon.left_out.adaptation import _trainable, adapt, adapted
from mrirecon.recon.left_out.judge import Judgement
from mrirecon.recon.left_out.prediction import left_out_error, trials_of
from mrirecon.weights import card_of, load_weights, save_weights

SHORT = {"levels": 4, "samples": 2, "sigma_min": 0.05}
OTHERS = {  # small priors of other kinds: what they predict is the score and the noise
    "ncsnpp": {"nf": 8, "ch_mult": [1, 2], "num_res_blocks": 1},
    "adm": {"num_channels": 32, "channel_mult": [1, 1], "num_head_channels": 32},
}


@pytest.fixture(scope="module")
def scan():
    return undersampled(2, coils=4, snr=30.0)


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return random_prior(tmp_path_factory.mktemp("prior"))


def adapted_to(pipeline, **options):
    """The left-out error of a method before and after, the method, and what was found."""
    trials = trials_of(pipeline.problems, slices=1, sets=1)
    found = adapt(pipeline.method, trials, **options)
    method = adapted(pipeline.method, found, "scan.h5")
    before, after = (left_out_error(one, trials).mean for one in (pipeline.method, method))
    return before, after, method, found


@pytest.mark.parametrize("name", ["dds", "diffpir", "pigdm", "ddnm"])
def test_left_out_samples_are_predicted_better_and_never_worse(name, scan, prior):
    pipeline = pipeline_of(name, scan, weights=prior, **SHORT)
    before, after, method, found = adapted_to(pipeline, steps=20)
    errors = dict(found.curve)
    assert list(errors) == [0, 20]
    assert before == pytest.approx(errors[0], rel=1e-5)
    assert after == pytest.approx(errors[found.best], rel=1e-5)
    assert errors[found.best] == min(errors.values())
    assert method.model[1].notes[-1].startswith("adapted to scan.h5 in")
    kept, given = (load_weights(prior)[0].state_dict(), pipeline.method.model[0].state_dict())
    assert all(torch.equal(kept[key], given[key]) for key in kept)


@pytest.mark.parametrize("name", list(OTHERS))
def test_priors_of_other_kinds_are_adapted_too(name, scan, tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        network = MODELS[name](**OTHERS[name])
    path = str(tmp_path / "prior.safetensors")
    save_weights(network, path, card_of(network, bright_level=0.5))
    pipeline = pipeline_of("dds", scan, weights=path, **SHORT)
    before, after, method, found = adapted_to(pipeline, steps=2)
    assert found.step == 2 and after <= before * (1 + 1e-5)
    trained = {key for key, p in network.named_parameters() if p.requires_grad}
    learned = _trainable(pipeline.method.model[0])
    assert {key for key, p in learned.named_parameters() if p.requires_grad} == trained
    assert method.trained[0].level == 0.5  # still given images as bright as it was trained on


def test_adapted_weights_are_a_file_that_gives_the_same_draws(scan, prior, tmp_path):
    path, weights = tmp_path / "scan.h5", tmp_path / "mine.safetensors"
    write_scan(scan, path)
    options = {"method": "dds", "device": "cpu", **SHORT}
    judged = {"adapt": 20, "adapt_slices": 1, "calibrate": True}
    volume = mr.reconstruct(path, **options, weights=prior, **judged, adapt_save=weights)
    assert volume.info["left_out"]["adaptation"]["best_step"] == 20
    assert {"std", "low", "high"} <= set(volume.extras)
    other = mr.reconstruct(path, **options, weights=str(weights))
    assert torch.equal(volume.image, other.image)
    assert "adapted to scan.h5" in other.info["weights"]["notes"][-1]
    plain = mr.reconstruct(path, **options, weights=prior)
    assert not torch.equal(volume.image, plain.image)


def test_nothing_sees_the_reference(scan, prior):
    def poison(index):
        raise AssertionError("the reference was read")

    options = {"judgement": Judgement(adapt=2, adapt_slices=1), "weights": prior, **SHORT}
    images = [
        pipeline_of("dds", one, **options).run().image
        for one in (scan, replace(scan, reference=poison))
    ]
    assert torch.equal(*images)


def test_samples_that_are_left_out_tell_nothing(scan, prior):
    """What is learned from depends on the others alone."""
    pipeline = pipeline_of("dds", scan, weights=prior, **SHORT)
    (trial,) = trials_of(pipeline.problems, slices=1, sets=1)
    problem, points = trial.problem, trial.sets[0].points
    other = replace(problem, kspace=problem.kspace + 1e3 * points)
    assert not torch.equal(problem.kspace, other.kspace)
    method = pipeline.method
    one, two = (
        method.predicted(method.model[0], replace(trial, problem=p).without(0), seed=3)
        for p in (problem, other)
    )
    assert torch.equal(one, two)
