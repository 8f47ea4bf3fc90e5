"""Methods compared on a scan without a reference, by samples that are left out of it."""

from dataclasses import dataclass, replace
from itertools import combinations

import pytest
import torch
from scan_cases import phantom, psnr, undersampled

import mrirecon as mr
from mrirecon.recon.left_out.comparison import SETS
from mrirecon.recon.left_out.prediction import LeftOutError
from mrirecon.recon.left_out.ranking import COLUMNS, Compared, Ranking

WEAK = {"name": "tv", "regularization": 1e-5, "iterations": 30}
GOOD = {"name": "tv", "regularization": 0.03, "iterations": 30}
STRONG = {"name": "tv", "regularization": 0.1, "iterations": 30}


def judged(name, errors):
    return Compared(name, left_out=LeftOutError(tuple(errors)))


@pytest.fixture(scope="module")
def scan():
    return undersampled(2, snr=60.0)


@pytest.fixture(scope="module")
def found(scan):
    methods = [STRONG, GOOD, "unet", WEAK, "cg_sense", "grappa", "zero_filled"]
    return mr.compare(scan, methods, device="cpu", slices="1:2")


def test_the_order_is_that_of_the_distance_from_the_truth(found):
    truth = phantom(2, snr=60.0).scan.reference(1)
    by_truth = {name: psnr(v.image[0, 0], truth) for name, v in found.volumes.items()}
    names = ["tv", "tv_2", "tv_3", "cg_sense"]
    errors = {row["method"]: row["left_out_error"] for row in found.rows()}
    for one, other in combinations(names, 2):
        if abs(by_truth[one] - by_truth[other]) > 1:
            better, worse = sorted((one, other), key=lambda name: -by_truth[name])
            assert errors[better] < errors[worse], (better, worse, by_truth)
    assert found.results[0].method == "tv_2" and found.ranks["tv_2"] == 1


def test_a_row_says_what_is_known(found):
    rows = {row["method"]: row for row in found.rows()}
    assert all(tuple(row) == COLUMNS for row in rows.values())
    best = rows["tv_2"]
    assert best["low"] < best["left_out_error"] < best["high"]
    assert 0 < best["data_residual"] < 1 and 0 < best["null_space_share"] < 1
    assert all(row["seconds"] > 0 for row in rows.values())
    told = found.volumes["tv_2"].info["left_out"]
    assert told["error"] == best["left_out_error"] and len(told["errors"]) == SETS
    assert found.volumes["tv_2"].image.shape[1] == 1  # slices are those to reconstruct
    assert [(one["volume"], one["slice"]) for one in told["slices"]] == [(0, 0), (0, 1)]
    assert LeftOutError.of(told) == found.results[0].left_out


def test_as_many_slices_as_asked_for_are_judged():
    scan = undersampled(5).select(slice(1, 5))
    found = mr.compare(scan, ["cg_sense"], device="cpu", left_out_slices=4)
    assert list(found.results[0].left_out.slices) == [(0, n) for n in (1, 2, 3, 4)]
    with pytest.raises(ValueError, match="left_out_slices is 0"):
        mr.compare(scan, ["cg_sense"], device="cpu", left_out_slices=0)


@pytest.mark.parametrize(
    ("name", "words"), [("unet", "magnitude"), ("grappa", "equally spaced columns")]
)
def test_what_cannot_be_judged_is_reconstructed(found, name, words):
    one = next(one for one in found.results if one.method == name)
    assert name in found.volumes and name not in found.ranks and not found.failures
    assert one.left_out is None and words in one.note
    row = one.row()
    assert [row[c] for c in ("left_out_error", "low", "high", "null_space_share")] == [None] * 4


def test_the_full_reconstruction_is_that_of_reconstruct(found, scan):
    alone = mr.reconstruct(scan, method="cg_sense", device="cpu", slices="1:2")
    assert torch.equal(found.volumes["cg_sense"].image, alone.image)


def test_methods_tie_with_the_best_of_their_rank_where_the_differences_scatter_about_0(scan):
    one, worse = [1.0, 2.0, 3.0, 4.0], [1.01, 2.01, 3.01, 4.01]
    mixed, last = [1.2, 1.9, 3.2, 3.9], [2.0, 3.1, 4.0, 5.1]
    results = [judged(*pair) for pair in zip("dcba", (last, mixed, worse, one), strict=True)]
    ranks = Ranking.of(scan, results).ranks
    # The interval of the differences of b is narrow, though those of the errors overlap; c scatters about a.
    assert ranks == {"a": 1, "b": 2, "c": 2, "d": 4}
    assert list(Ranking.of(scan, [results[1], results[3]]).ranks.values()) == [1, 1]


def test_all_methods_are_judged_by_the_same_samples_in_the_same_units(scan, monkeypatch):
    """With a noise measurement those with coil maps see prewhitened k-space, the others do not."""
    seen = []
    from mrirecon.recon.left_out import prediction

    original = prediction.misfit_and_energy

    def watched(trial, number, predicted):
        misfit, energy = original(trial, number, predicted)
        points = trial.sets[number].points
        seen.append((trial.problem.place, int(points.sum()), int(points.nonzero().sum()), energy))
        return misfit, energy

    monkeypatch.setattr(prediction, "misfit_and_energy", watched)
    noise = torch.diag(torch.tensor([1.0, 2, 3, 4, 5, 6])).to(torch.complex64) * 1e-3
    whitened = replace(scan, noise_covariance=noise)
    found = mr.compare(whitened, ["cg_sense", "zero_filled"], device="cpu", slices="1:2")
    assert len(found.ranks) == 2
    half = len(seen) // 2
    assert half == 2 * SETS
    for one, other in zip(seen[:half], seen[half:], strict=True):
        assert one[:3] == other[:3]
        assert one[3] == pytest.approx(other[3], rel=1e-4)


def test_nothing_sees_the_reference(scan):
    def poisoned(index):
        return torch.full(scan.matrix, float("nan"))

    methods = [{"name": "cg_sense", "regularization": "auto"}, "unrolled_prior", "varnet"]
    other = replace(scan, reference=poisoned)
    tables = []
    for one in (scan, other):
        found = mr.compare(one, methods, device="cpu", slices="1:2")
        tables.append([{**row, "seconds": None} for row in found.rows()])
        assert "tuning" in found.volumes["cg_sense"].info["left_out"]
    assert tables[0] == tables[1]


def test_one_that_fails_stops_no_other(scan):
    @dataclass(frozen=True)
    class Broken(mr.SliceMethod):
        name = "broken"

        def solve_slice(self, problem):
            raise ValueError("it is broken")

    found = mr.compare(scan, ["cg_sense", Broken], device="cpu", slices="1:2")
    assert found.ranks == {"cg_sense": 1} and found.failures == {"broken": "it is broken"}
    assert set(found.rows()[1].values()) == {"broken", None}
    with pytest.raises(ValueError, match="broken: it is broken"):
        mr.compare(scan, [Broken], device="cpu")


@pytest.mark.parametrize(
    ("methods", "options", "words"),
    [
        (["tvv"], {}, "did you mean tv"),
        ([], {}, "no methods to compare"),
        (["tv"], {"slices": "5:6"}, "slice"),
        (["tv"], {"maskk": "poisson"}, "did you mean mask"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(scan, methods, options, words):
    with pytest.raises(ValueError, match=words):
        mr.compare(scan, methods, device="cpu", **options)
