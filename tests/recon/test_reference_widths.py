"""Error bars by scans with references."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

import mrirecon as mr
from mrirecon.benchmark.error_bars import scores_of
from mrirecon.geometry import Geometry
from mrirecon.methods.registry import as_method
from mrirecon.phantom import shepp_logan
from mrirecon.recon.left_out.reference_widths import (
    LEVELS,
    ReferenceWidths,
    Widths,
    conformal_factor,
)


def scores(random, scans, pixels=400):
    """Scores of scans with Gaussian residuals, whose spread is told wrongly, by another factor in each."""
    wrong = np.exp(0.3 * random.standard_normal(scans))
    residuals = np.abs(wrong[:, None] * random.standard_normal((scans, pixels)))
    return residuals, np.quantile(residuals, LEVELS, axis=1, method="higher")


@pytest.mark.parametrize(("scans", "level"), [(1, 0.9), (3, 0.5), (4, 0.9), (19, 0.9), (19, 0.95)])
def test_a_further_scan_is_held_as_often_as_is_promised(scans, level):
    random, held, count = np.random.default_rng(1), 0, 2000
    for _ in range(count):
        residuals, found = scores(random, scans + 1, 100)
        factor, promised = conformal_factor(found[LEVELS.index(level)][1:].tolist(), level)
        held += np.mean(residuals[0] <= factor) >= level
    assert promised == min(scans, np.ceil((scans + 1) * level - 1e-9)) / (scans + 1)
    assert held / count == pytest.approx(promised, abs=0.035)


def test_gaussian_residuals_get_the_nominal_coverage():
    random = np.random.default_rng(0)
    residuals = np.abs(random.standard_normal((20, 20000)))
    for level in LEVELS:
        factor, _ = conformal_factor(np.quantile(residuals, level, axis=1).tolist(), level)
        assert factor == pytest.approx(norm.ppf((1 + level) / 2), rel=0.04)
        fresh = np.abs(random.standard_normal(100000))
        assert np.mean(fresh <= factor) == pytest.approx(level, abs=0.01)


def test_the_score_is_the_least_factor_that_holds_the_head():
    target = torch.zeros(1, 40, 40)
    target[0, 5:35, 5:35] = 1.0
    error = torch.linspace(0, 0.3, 900).reshape(30, 30)
    image = target.clone()
    image[0, 5:35, 5:35] += error
    image[0, 0, 0] = 50.0  # not in the head
    std = torch.full((1, 1, 40, 40), 0.1)
    volume = mr.Volume(image=image[None] + 0j, geometry=Geometry(), extras={"std": std})
    assert scores_of(volume, target) == pytest.approx([3 * level for level in LEVELS], abs=0.01)


def widths(tmp_path, **changed):
    method = mr.methods.CGSense(iterations=5)
    plain = {name: x for name, x in method.parameters().items() if name not in ("weights", "seed")}
    one = Widths("poisson", 3.0, False, 4, plain, {}, [0.8, 0.9], [1.5, 2.0], [0.8, 0.8])
    other = replace(one, kind="uniform1d", columns=True, factors=[4.0, 5.0])
    found = ReferenceWidths("cg_sense", 6, [replace(one, **changed), other])
    path = tmp_path / "bars.json"
    path.write_text(json.dumps(found.as_json()))
    return path


OPTIONS = {
    "method": "cg_sense",
    "iterations": 5,
    "mask": "poisson",
    "acceleration": 3,
    "maps": "lowres",
    "device": "cpu",
}


@pytest.fixture(scope="module")
def simulation():
    return mr.simulate_scan(shepp_logan((48, 48))[..., None].numpy(), coils=4, snr=30.0)


def test_the_bounds_are_so_many_standard_deviations_away(simulation, tmp_path):
    scan = simulation.scan
    volume = mr.reconstruct(scan, **OPTIONS, calibrate=widths(tmp_path))
    modulus, high, std = volume.image.abs(), volume.extras["high"], volume.extras["std"]
    wider = mr.reconstruct(scan, **OPTIONS, calibrate=widths(tmp_path, factors=[1.5, 4.0]))
    assert torch.allclose(
        wider.extras["high"] - modulus, 2 * (high - modulus), rtol=1e-4, atol=1e-6
    )
    assert torch.equal(wider.image, volume.image)
    about = volume.info["left_out"]["calibration"]
    # Half an interval is 2 standard deviations as they were measured, t sqrt(1 + 1 / 6) as they are written.
    ratio = (high - modulus)[std > 0] / std[std > 0]
    assert ratio.std() < 1e-2 and float(ratio.mean()) * about["factor"][0] == pytest.approx(
        2.0, rel=1e-3
    )
    assert about["probability"] == 0.8 and about["scans"] == 4
    assert any("a probability of 80 %" in note for note in volume.info["notes"])


def test_another_mask_takes_the_widest_and_says_so(simulation, tmp_path):
    path = widths(tmp_path)
    near = mr.reconstruct(simulation.scan, **OPTIONS, calibrate=path)
    far = mr.reconstruct(simulation.scan, **{**OPTIONS, "acceleration": 6}, calibrate=path)
    assert far.info["left_out"]["calibration"]["factor"][0] == pytest.approx(
        2.5 * near.info["left_out"]["calibration"]["factor"][0]
    )
    assert far.info["left_out"]["calibration"]["probability"] is None
    assert any("nothing is promised" in note for note in far.info["notes"])
    given = simulation.scan.undersample(
        mr.make_mask("poisson", (48, 48), 3, center_fraction=0.08, seed=0)
    )
    plain = {name: x for name, x in OPTIONS.items() if name not in ("mask", "acceleration")}
    said = mr.reconstruct(given, **plain, calibrate=path).info["left_out"]["calibration"]
    assert said["mask"] == "poisson"


def test_a_poisoned_reference_changes_nothing(simulation, tmp_path):
    path = widths(tmp_path)
    poisoned = replace(simulation.scan, reference=lambda index: torch.full((48, 48), float("nan")))
    one, other = (
        mr.reconstruct(scan, **OPTIONS, calibrate=path) for scan in (simulation.scan, poisoned)
    )
    assert one.info["left_out"] == other.info["left_out"]
    assert all(torch.equal(one.extras[name], other.extras[name]) for name in one.extras)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"method": "tv"}, "is for cg_sense, not for tv"),
        ({"method": "cg_sense", "iterations": 6}, "iterations was 5, here it is 6"),
        (
            {"method": {"name": "cg_sense", "iterations": 5}, "level": 0.7},
            "no level 0.7: it has 0.8, 0.9",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_a_scan_is_read(tmp_path, asked, words):
    path = widths(tmp_path)
    with pytest.raises(ValueError, match=words):
        mr.reconstruct("none.h5", **asked, calibrate=path)


def test_what_is_no_calibration_file_is_refused(tmp_path):
    path = widths(tmp_path)
    with pytest.raises(ValueError, match=r"for 6 draws.*these are 4"):
        ReferenceWidths("dds", 6, [], "bars.json").for_method(
            as_method({"name": "dds", "samples": 4}), 0.9
        )
    for text in ("{}", "[1]", "x", path.read_text().replace("2.0", "-2.0"), '{"schema": 1}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="is no calibration file"):
            mr.Request(method="cg_sense", calibrate=path)
    with pytest.raises(FileNotFoundError):
        mr.Request(method="cg_sense", calibrate=tmp_path / "none.json")
