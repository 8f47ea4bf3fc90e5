"""Lesions in the anatomy: the forward model holds, contrast is exact, areas under curves are those of the formula."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch

import mrirecon as mr
from mrirecon.benchmark import Benchmark, Lesions, MaskEntry, MethodEntry, Source, run_benchmark
from mrirecon.benchmark.lesions import (
    area_under_curve,
    disc_at,
    figures_of,
    local_contrast,
    multiply,
)
from mrirecon.io import write_scan
from mrirecon.simulate import simulate_scan
from mrirecon.tensors import fft2c
from mrirecon.volume import Volume

SHAPE = (96, 80)


def head():
    """A brain of two tissues and three bright spots within a dark skull and a bright scalp."""
    y, x = np.meshgrid(*(np.arange(n) - n // 2 for n in SHAPE), indexing="ij")
    r = np.hypot(y / 42, x / 34)
    image = np.where(r < 1, 2.0, 0.0) + np.where(r < 0.92, -1.9, 0) + np.where(r < 0.84, 0.9, 0)
    image += np.where(r < 0.5, 0.3, 0)
    for place in ((30, 40), (60, 30), (50, 55)):
        image[disc_at(SHAPE, place, 2.5).numpy() > 0.5] += 0.6
    return image


def simulated(**options):
    """A scan without model error (`oversample` 1), its truth and its coil maps."""
    return simulate_scan(head()[:, :, None], coils=4, oversample=1, **options)


def target_of(simulation):
    return simulation.scan.reference(0)[None]


@pytest.mark.parametrize("readout_oversampling", [1.0, 2.0])
def test_kspace_with_lesions_is_that_of_the_changed_object(readout_oversampling):
    made = simulated(readout_oversampling=readout_oversampling)
    edit = Lesions(count=3).edit(made.scan, target_of(made))
    gain = edit.after[0] / edit.before[0].clamp_min(1e-6)
    object_ = torch.zeros(made.maps(0).shape[-2:], dtype=torch.complex64)
    object_[made.scan.crop] = made.truth(0) * gain
    expected = fft2c(made.maps(0) * object_)
    assert float((expected - made.scan.kspace(0)).abs().max()) > 0.05  # a lesion is there
    torch.testing.assert_close(edit.scan.kspace(0), expected, atol=2e-4, rtol=1e-4)


def test_inserted_lesions_have_their_contrast_exactly_in_the_image_of_the_scan():
    made = simulated()
    asked = Lesions(count=3, radius=3.0, contrast=0.4)
    edit = asked.edit(replace(made.scan, reference=None), target_of(made))
    image = mr.run(mr.methods.ZeroFilled(), edit.scan).image[0, 0].abs()
    for _, y, x in edit.lesions:
        core = disc_at(SHAPE, (y, x), 3.0) == 1
        assert core.sum() > 20
        np.testing.assert_allclose(image[core] / edit.before[0][core], 1.4, rtol=1e-3)
    untouched = sum(disc_at(SHAPE, (y, x), 3.0) for _, y, x in edit.lesions) == 0
    torch.testing.assert_close(image[untouched], edit.before[0][untouched], atol=1e-3, rtol=1e-3)


def test_the_brightest_spots_are_removed():
    made = simulated()
    edit = Lesions(count=3, kind="removed").edit(made.scan, target_of(made))
    for place in ((30, 40), (60, 30), (50, 55)):
        near = [abs(y - place[0]) + abs(x - place[1]) for _, y, x in edit.lesions]
        assert min(near) <= 1
        around = edit.before[0][disc_at(SHAPE, place, 6.0) - disc_at(SHAPE, place, 3.5) > 0].mean()
        assert float(edit.after[0][place]) == pytest.approx(float(around), abs=0.05)


def test_places_do_not_touch_and_depend_on_the_seed():
    made = simulated()
    edits = [Lesions(count=4, seed=s).edit(made.scan, target_of(made)) for s in (0, 0, 1)]
    assert edits[0].lesions == edits[1].lesions != edits[2].lesions
    places = [p[1:] for p in (*edits[0].lesions, *edits[0].others)]
    gaps = [np.hypot(a[0] - b[0], a[1] - b[1]) for a in places for b in places if a != b]
    assert len(set(places)) == len(places) > 15 and min(gaps) > 2 * 2.5 + 1


def volume_of(image, **extras):
    shown = {name: one[None] for name, one in extras.items()}
    return Volume(
        image=image[None].to(torch.complex64),
        geometry=mr.Geometry(),
        info={},
        extras=shown,
    )


def test_reconstructions_are_judged_by_what_they_did_to_the_lesions():
    made = simulated()
    edit = Lesions(count=4, contrast=0.4).edit(made.scan, target_of(made))
    whole = edit.judge(volume_of(edit.after), edit.before)
    np.testing.assert_allclose(whole["kept"], 1, rtol=1e-5)
    assert (whole["lost"], whole["invented"], any(whole["wrong"])) == (0, 0, False)
    erased = edit.judge(volume_of(edit.before), edit.before)
    np.testing.assert_allclose(erased["kept"], 0, atol=1e-6)
    assert erased["lost"] == 4 and erased["wrong"] == [True] * 4 + [False] * erased["others"]
    faint = edit.before + 0.7 * (edit.after - edit.before)
    some = edit.judge(volume_of(faint), edit.before)
    np.testing.assert_allclose(some["kept"], 0.7, rtol=1e-4)
    assert some["lost"] == 0


def test_invented_lesions_are_counted_and_a_map_that_knows_them_has_an_area_of_one():
    made = simulated()
    edit = Lesions(count=2, contrast=0.4).edit(made.scan, target_of(made))
    _, y, x = edit.others[3]
    image, map_ = edit.after.clone(), torch.zeros_like(edit.after)
    image[0] *= 1 + 0.4 * disc_at(SHAPE, (y, x), 2.5)
    map_[0] += disc_at(SHAPE, (y, x), 2.5)
    found = edit.judge(volume_of(image, std=map_, null_space=-map_), edit.before)
    assert found["invented"] == 1 and sum(found["wrong"]) == 1
    figures = figures_of([found])
    assert figures["auc_std"] == 1 and figures["invented"] == 1 / found["others"]
    assert figures["auc_null_space"] == 1  # of magnitudes
    darker = edit.judge(volume_of(2 * edit.after - image), edit.before)
    assert darker["invented"] == 0 and sum(darker["wrong"]) == 1


def test_area_under_curve_is_that_of_two_normal_distributions():
    random = np.random.default_rng(0)
    wrong = random.random(4000) < 0.3
    scores = random.normal(size=4000) + 1.2 * wrong
    exact = NormalDist().cdf(1.2 / np.sqrt(2))
    assert area_under_curve([(wrong.tolist(), scores.tolist())]) == pytest.approx(exact, abs=0.015)


@pytest.mark.parametrize(
    ("wrong", "scores", "area"),
    [
        ([True, False], [2.0, 1.0], 1.0),
        ([True, False], [1.0, 2.0], 0.0),
        ([True, False, False], [1.0, 1.0, 0.0], 0.75),
    ],
)
def test_area_under_curve_by_hand(wrong, scores, area):
    assert area_under_curve([(wrong, scores)]) == area


def test_places_are_compared_within_their_group_only():
    groups = [([True, False], [1.0, 0.0]), ([True, False], [11.0, 10.0])]
    assert area_under_curve(groups) == 1
    assert np.isnan(area_under_curve([([True], [1.0]), ([False], [0.0])]))


def test_local_contrast_of_a_disc_is_its_height():
    image = 1 + 0.5 * (disc_at(SHAPE, (40, 40), 3.0) > 0)
    assert float(local_contrast(image, 3.0)[40, 40]) == pytest.approx(0.5, abs=1e-6)
    assert float(local_contrast(image, 2.0)[40, 40]) < 0.45  # the ring holds some of it
    assert float(local_contrast(image, 3.0)[20, 60]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"count": -1}, "count is -1"),
        ({"radius": 0.2}, "radius is 0.2"),
        ({"contrast": 0.0}, "contrast is 0.0"),
        ({"contrast": -1.5}, "contrast is -1.5"),
    ],
)
def test_impossible_numbers_are_one_line(options, said):
    with pytest.raises(ValueError, match=said) as found:
        Lesions(**options)
    assert "\n" not in str(found.value)


def test_scans_without_room_or_with_gaps_are_refused_in_one_line():
    made = simulated()
    with pytest.raises(ValueError, match="no brain with room for a lesion of 40 pixels"):
        Lesions(count=1, radius=40.0).edit(made.scan, target_of(made))
    mask = torch.ones(SHAPE, dtype=torch.bool)
    mask[:, ::2] = False
    with pytest.raises(ValueError, match="not fully sampled on the grid of its image"):
        Lesions(count=1).edit(made.scan.undersample(mask), target_of(made))


def test_the_reference_of_a_scan_changes_too():
    made = simulated()
    gain = torch.full((1, *SHAPE), 1.5)
    torch.testing.assert_close(multiply(made.scan, gain).reference(0), 1.5 * made.scan.reference(0))


def test_a_table_says_what_became_of_the_lesions(tmp_path):
    path = tmp_path / "head.h5"
    write_scan(simulated(snr=60.0).scan, path)
    mask = MaskEntry("uniform1d", 2, center_size=20)
    methods = tuple(MethodEntry(method=name) for name in ("zero_filled", "cg_sense"))
    plan = Benchmark(
        scans=(Source(path=str(path), name="head"),),
        masks=(mask,),
        methods=methods,
        lesions=Lesions(count=3),
        pictured=0,
    )
    table = run_benchmark(plan, tmp_path / "table")
    assert table["failure"].isna().all()
    figures = [figures_of([one]) for one in table["lesions"]]
    assert figures[1]["kept"] > figures[0]["kept"] > 0.3  # CG-SENSE keeps more than zero filling
    assert figures[1]["kept"] == pytest.approx(1, abs=0.1)
    for one in table["lesions"]:
        assert len(one["trust"]["std"]) == len(one["wrong"]) == 3 + one["others"]
        assert min(one["trust"]["std"]) > 0
    text = (tmp_path / "table" / "table.md").read_text("utf-8")
    assert "## Lesions" in text and "contrast kept" in text
    plain = run_benchmark(replace(plan, lesions=Lesions()), tmp_path / "plain")
    assert "lesions" not in plain  # and the cells are others
    assert not set(plain["cell"]) & set(table["cell"])
    assert plain["fastmri_psnr"].tolist() == table["fastmri_psnr"].tolist()
