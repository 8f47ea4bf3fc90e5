"""Samples that are left out: which they are, that nothing else tells of them, and how well methods predict them."""

import itertools
from dataclasses import replace

import pytest
import torch
from scan_cases import columns, phantom, pipeline_of, problems_of, undersampled

from mrirecon.coverage import calibration_region
from mrirecon.masks import MASKS
from mrirecon.methods import METHODS, Solution, as_method
from mrirecon.methods.left_out import (
    LeftOut,
    choose_left_out,
    importance,
    sampled_share,
    skipped_axis,
)
from mrirecon.recon.left_out.prediction import (
    LeftOutError,
    Trial,
    leave_out,
    left_out_error,
    predict,
    trials_of,
)

EVERYTHING = torch.ones(96, 80, dtype=torch.bool)


def mask_of(kind, acceleration=4):
    return MASKS[kind].make((96, 80), acceleration, center_fraction=0.1, seed=1, acquired=None)


def every_set(mask, acquired=EVERYTHING, **options):
    return [one.points for one in choose_left_out(mask, acquired, **options)]


@pytest.mark.parametrize("kind", ["uniform1d", "equispaced", "gaussian1d"])
def test_whole_lines_are_left_out_where_lines_were_skipped(kind):
    mask = mask_of(kind)
    assert skipped_axis(mask) == 1
    assert skipped_axis(mask.T) == 0
    for points in every_set(mask, count=10):
        assert bool(points.any())
        assert torch.equal(points, points[:1].expand_as(points))
    turned = every_set(mask.T, EVERYTHING.T, count=10)
    assert all(
        torch.equal(*pair)
        for pair in zip(turned, (one.T for one in every_set(mask, count=10)), strict=True)
    )


@pytest.mark.parametrize("kind", ["poisson", "gaussian2d"])
def test_points_are_left_out_where_points_were_skipped(kind):
    mask = mask_of(kind)
    assert skipped_axis(mask) is None
    points = every_set(mask, count=1)[0]
    assert not torch.equal(points, points.any(0).expand_as(points) & mask)


def test_lines_of_an_elliptical_scan_are_lines():
    y, x = torch.meshgrid(torch.arange(-48, 48) / 48, torch.arange(-40, 40) / 40, indexing="ij")
    ellipse = y**2 + x**2 <= 1
    mask = mask_of("equispaced") & ellipse
    assert skipped_axis(ellipse) is None
    assert skipped_axis(mask) == 1
    (points,) = every_set(mask, ellipse, count=1)
    assert torch.equal(points, mask & points.any(0))


@pytest.mark.parametrize("kind", ["uniform1d", "gaussian1d", "poisson", "gaussian2d"])
def test_sets_share_nothing_and_leave_the_centre_alone(kind):
    mask = mask_of(kind)
    sets = every_set(mask, count=10)
    together = torch.stack(sets).sum(0)
    assert int(together.max()) == 1
    assert not bool((together.bool() & ~mask).any())
    _, cols = calibration_region(mask)
    width = min(cols.stop - cols.start, 24)
    centre = slice(40 - width // 2 + 1, 40 + width // 2 - 1)
    assert not bool(together[44:52, centre].any())
    missed = mask & ~together.bool()
    assert int(missed.sum()) <= 96 * 24
    assert every_set(mask, count=10, seed=1)[0].ne(sets[0]).any()
    assert all(torch.equal(*pair) for pair in zip(sets, every_set(mask, count=10), strict=True))


def test_no_band_loses_more_than_its_share():
    mask = mask_of("poisson", 3)
    (points,) = every_set(mask, count=1, share=0.2)
    distance = torch.hypot(
        (torch.arange(96)[:, None] - 48) / 96, (torch.arange(80)[None] - 40) / 80
    )
    outer = mask & (distance > 0.45)
    inner = mask & (distance > 0.3) & (distance < 0.35)
    for band in (outer, inner):
        assert float((points & band).sum() / band.sum()) == pytest.approx(0.2, abs=0.03)


def test_left_out_samples_count_like_what_is_missing():
    mask = torch.zeros(96, 80, dtype=torch.bool)
    mask[:, 20:60] = True  # all columns of the inner half, every fourth one outside
    mask[:, ::4] = True
    candidates = mask.clone()
    weight = importance(sampled_share(candidates, ~mask, 1), candidates)
    assert bool((weight[:, 30:50] == 0).all())
    # Outside, three are missing for each one that was measured, but in the band at the edge.
    assert float(weight[0, 4]) == pytest.approx(3**0.5, rel=0.1)
    whole = sampled_share(candidates, torch.zeros_like(mask), 1)
    assert torch.equal(importance(whole, candidates), torch.ones(96, 80))


def test_k_weights_make_up_for_what_is_not_seen():
    """All ways to sample and split five points: the weighted error of left-out ones is that of all unseen ones.

    For any errors that depend on what is seen, as those of a network do (Millard & Chiew 2023).
    """
    p = torch.tensor([[0.9, 0.6, 0.3, 0.2, 1.0]], dtype=torch.float64)
    kept = 0.7
    everything = torch.ones(1, 5, dtype=torch.bool)
    weight = LeftOut(everything, p, p, kept).k_weight[0]
    seen, left_out = 0, 1  # and 2 is missing
    chances = torch.stack([p[0] * kept, p[0] * (1 - kept), 1 - p[0]])
    found = wanted = 0.0
    for state in itertools.product(range(3), repeat=5):
        state = torch.tensor(state)
        chance = chances.gather(0, state[None]).prod()
        key = sum(2**n for n in range(5) if state[n] == seen)
        errors = torch.rand(5, generator=torch.Generator().manual_seed(key), dtype=torch.float64)
        found += chance * (weight * errors)[state == left_out].sum()
        wanted += chance * errors[state != seen].sum()
    assert float(found) == pytest.approx(float(wanted), rel=1e-12)


@pytest.mark.parametrize(("share", "kept"), [(0.1, 0.9), (0.3, 2 / 3), (0.5, 0.5)])
def test_the_share_that_stays(share, kept):
    mask = mask_of("poisson")
    (one,) = choose_left_out(mask, EVERYTHING, count=1, share=share)
    assert one.kept == pytest.approx(kept)
    outside = int(mask.sum()) - int(torch.stack(every_set(mask, count=2, share=0.5)).any(0).sum())
    assert int(one.points.sum()) / (int(mask.sum()) - outside) == pytest.approx(1 - kept, abs=0.01)


def test_a_scan_of_the_centre_only_is_refused():
    mask = torch.zeros(96, 80, dtype=torch.bool)
    mask[36:60, 28:52] = True
    with pytest.raises(
        ValueError, match="hardly anything was sampled outside the calibration centre"
    ):
        choose_left_out(mask, EVERYTHING, count=1)


@pytest.mark.parametrize("name", ["cg_sense", "tv", "grappa", "unrolled_prior", "varnet", "humus"])
def test_nothing_tells_a_method_of_what_is_left_out(name):
    scan = undersampled(3, coils=4)
    options = {"iterations": 5} if name in ("cg_sense", "tv") else {}
    pipeline = pipeline_of(name, scan, **options)
    _, problem, _ = problems_of(pipeline, 3)
    points = choose_left_out(problem.mask, scan.acquired, count=1)[0].points
    poisoned = replace(
        problem,
        kspace=torch.where(points, 1e6, problem.kspace),
        near=replace(problem.near, scan=_poisoned(problem.near.scan, points)),
    )
    found = [
        predict(one, pipeline.method.solve([one])[0])
        for one in (leave_out(problem, points), leave_out(poisoned, points))
    ]
    assert bool(torch.isfinite(found[0].abs()).all())
    assert torch.equal(*found)


def _poisoned(scan, points):
    return replace(scan, read=lambda v, i: torch.where(points, 1e6, scan.read(v, i)))


def test_the_truth_is_predicted_up_to_its_noise():
    made = phantom(2, snr=400.0)
    scan = made.scan.undersample(columns(made.scan))
    pipeline = pipeline_of("tv", scan)
    trials = trials_of(pipeline.problems)
    full = {index: made.scan.kspace(index) for index in range(2)}

    class Truth:
        def solve(self, batch):
            whitening = pipeline.problems.whitening
            return [
                Solution(kspace=torch.einsum("ij,jyx->iyx", whitening, full[one.place[1]]))
                for one in batch
            ]

    class Nothing:
        def solve(self, batch):
            return [Solution(image=torch.zeros_like(one.kspace[0])) for one in batch]

    assert left_out_error(as_method(Truth()), trials).mean < 1e-5
    assert left_out_error(as_method(Nothing()), trials).mean == pytest.approx(1.0)
    good = left_out_error(METHODS["tv"](), trials).mean
    bad = left_out_error(METHODS["adjoint"](), trials).mean
    assert good < bad


@pytest.mark.parametrize("together", [1, 2, 5])
def test_the_error_of_a_slice_is_its_own(together):
    """Each slice is predicted as measured, times 1 + its share; both sets have that error, whatever is missing."""
    scan = undersampled(3).select(slice(1, 3))
    trials = trials_of(pipeline_of("tv", scan).problems, sets=2)
    shares = {trial.problem.place: share for trial, share in zip(trials, (0.1, 0.3), strict=True)}
    measured = {trial.problem.place: trial.problem.kspace for trial in trials}
    given = []

    class Larger(METHODS["tv"]):
        def solve(self, batch):
            given.append(len(batch))
            return [Solution(kspace=measured[one.place] * (1 + shares[one.place])) for one in batch]

        def slices_at_once(self, pixels, device):
            assert pixels == 48 * 40
            return together

    found = left_out_error(Larger(), trials)
    assert given == ([1] * 4 if together == 1 else [2, 2])
    assert found.slices == pytest.approx({(0, 1): 0.1, (0, 2): 0.3})
    assert all(0.1 < error < 0.3 for error in found.errors)
    assert LeftOutError.of(found.as_json()) == found


def test_slices_are_those_of_the_whole_scan():
    scan = undersampled(6)
    places = [
        [trial.problem.place for trial in trials_of(pipeline_of("tv", scan, slices=part).problems)]
        for part in (slice(None), slice(4, 5))
    ]
    assert places[0] == places[1] == [(0, 1), (0, 3), (0, 5)]


def test_an_interval_is_students():
    low, high = LeftOutError((1.0, 2.0, 3.0)).interval(0.95)
    assert (low, high) == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-3)
    assert LeftOutError((0.5,)).interval() == (0.5, 0.5)


def test_a_magnitude_predicts_nothing():
    problem = problems_of(pipeline_of("unet", undersampled()), 1)[0]
    with pytest.raises(ValueError, match="a magnitude image predicts no k-space"):
        predict(problem, Solution(magnitude=torch.ones(48, 40)))
    trial = Trial(problem, choose_left_out(problem.mask, problem.near.scan.acquired, count=1))
    with pytest.raises(ValueError, match="a magnitude image predicts no k-space"):
        left_out_error(METHODS["unet"](), [trial])
