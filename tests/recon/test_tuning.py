"""Weights that are left to the scan."""

import math
from dataclasses import replace

import pytest
import torch
from scan_cases import error, phantom, pipeline_of, problems_of, reconstructed, undersampled

import mrirecon as mr
from mrirecon.masks import MASKS
from mrirecon.methods import METHODS
from mrirecon.methods.base import Search
from mrirecon.recon import SliceStore
from mrirecon.recon.left_out.tuning import find_best


def bowl(lowest, tried):
    def error_of(value):
        tried.append(value)
        return 1 + math.log(value / lowest) ** 2

    return error_of


@pytest.mark.parametrize("lowest", [0.0011, 0.01, 0.031, 0.15])
def test_the_lowest_point_of_a_parabola_is_found(lowest):
    tried = []
    rough = []
    tuned = find_best("weight", Search(0.01), bowl(lowest, tried), bowl(lowest, rough))
    assert tuned.value == pytest.approx(lowest, rel=1e-6)
    assert not tuned.at_end
    assert 5 <= len(rough) == len(set(rough)) <= 6
    assert 3 <= len(tried) == len(set(tried)) <= 4
    assert [value for value, _ in tuned.curve] == sorted(tried)
    assert [value for value, _ in tuned.coarse] == sorted(rough)


def test_the_coarse_look_may_be_wrong_by_a_step():
    tuned = find_best("weight", Search(0.01), bowl(0.019, []), bowl(0.041, []))
    assert [value for value, _ in tuned.curve] == pytest.approx([0.01, 0.02, 0.04, 0.08])
    assert tuned.value == pytest.approx(0.019, rel=1e-6)


def test_what_lies_beyond_is_followed_and_said():
    found = find_best("weight", Search(0.01), bowl(0.9, []), bowl(0.9, []))
    assert found.value == pytest.approx(0.9, rel=1e-6)
    far = find_best("weight", Search(0.01), bowl(1e9, []), bowl(1e9, []))
    assert far.at_end
    assert far.value == 0.01 * 4**6


def test_the_correction_for_all_samples_is_a_factor():
    found = find_best("weight", Search(0.01, 0.5), bowl(0.02, []), bowl(0.02, []))
    assert found.value == pytest.approx(0.01)


def noisy(**options):
    made = phantom(2, shape=(64, 56), snr=12.0, **options)
    mask = MASKS["poisson"].make((64, 56), 3, center_fraction=0.2, seed=2, acquired=None)
    return made, made.scan.undersample(mask)


@pytest.mark.parametrize("name", ["cg_sense", "tv", "l1_wavelet"])
def test_a_weight_that_is_left_to_the_scan_is_nearly_the_best(name):
    made, scan = noisy()
    truth = torch.stack([made.scan.reference(index) for index in range(2)])

    def nrmse(volume):
        image = volume.image[0].abs()
        gain = float((image * truth).sum() / image.square().sum())
        return error(gain * image, truth)

    options = {} if name == "cg_sense" else {"iterations": 40}
    volume = reconstructed(name, scan, regularization="auto", **options)
    default = METHODS[name]().regularization
    grid = [default * 2.0**k for k in range(-3, 8)]
    errors = [nrmse(reconstructed(name, scan, regularization=weight, **options)) for weight in grid]
    assert nrmse(volume) < 1.05 * min(errors)
    told = volume.info["left_out"]["tuning"]["regularization"]
    assert volume.info["parameters"]["regularization"] == told["value"]
    assert len(told["tried"]) == len(told["left_out_error"]) >= 3
    assert len(told["coarse"]["tried"]) == len(told["coarse"]["left_out_error"]) >= 5
    assert told["at_end"] is False


def test_the_choice_is_that_of_the_scan_whichever_slices_are_wanted():
    scan = undersampled(4, snr=15.0)
    options = {"regularization": "auto", "iterations": 10}
    whole = reconstructed("tv", scan, **options)
    part = reconstructed("tv", scan, **options, slices=slice(2, 3))
    assert part.info["parameters"] == whole.info["parameters"]
    assert torch.equal(part.image[:, 0], whole.image[:, 2])


def test_nothing_sees_the_reference():
    scan = undersampled(2, snr=15.0)

    def poison(index):
        raise AssertionError("the reference was read")

    options = {"regularization": "auto", "iterations": 10}
    one = reconstructed("tv", scan, **options)
    other = reconstructed("tv", replace(scan, reference=poison), **options)
    assert torch.equal(one.image, other.image)


def test_the_choice_is_kept_for_a_run_that_goes_on(tmp_path):
    scan = undersampled(2, snr=15.0)
    options = {"regularization": "auto", "iterations": 10}
    keep = SliceStore(tmp_path / "brain.nii.gz", {"method": "tv"})
    whole = reconstructed("tv", scan, **options, keep=keep)
    told = []
    again = reconstructed(
        "tv", scan, **options, keep=keep, progress=lambda *done: told.append(done)
    )
    assert torch.equal(whole.image, again.image)
    assert again.info["left_out"] == whole.info["left_out"]
    assert not told  # neither searched nor solved again


def test_progress_counts_the_search_too():
    told = []
    scan = undersampled(2, snr=15.0)
    reconstructed("cg_sense", scan, regularization="auto", progress=lambda *done: told.append(done))
    done, totals = zip(*told, strict=True)
    assert list(done) == sorted(done)
    assert done[-1] == totals[-1]


def test_without_a_scan_there_is_no_automatic_weight():
    problem = problems_of(pipeline_of("tv", undersampled()), 1)[0]
    with pytest.raises(ValueError, match="tv: regularization auto is chosen by `reconstruct`"):
        METHODS["tv"](regularization="auto").solve([problem])
    with pytest.raises(ValueError, match="regularization auto is in units of the intensity scale"):
        METHODS["tv"](regularization="auto", relative=False)
    with pytest.raises(ValueError, match="it takes a number or auto"):
        mr.reconstruct("scan.h5", method="tv", regularization="best")
