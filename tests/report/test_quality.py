"""Plots of tables: that they show the numbers of the rows, and the statistics behind them."""

import math

import numpy as np
import pytest
from report_cases import pixels

from mrirecon.intervals import mean_interval
from mrirecon.report.pictures import png_of
from mrirecon.report.quality import (
    calibration,
    plots_of,
    quality_against_acceleration,
    quality_against_cost,
    quality_boxes,
)
from mrirecon.report.statistics import calibration_rows, pareto_front


def row(method="tv", mask="poisson", acceleration=4, scan="a", psnr=30.0, **more):
    return {
        "method": method,
        "mask": mask,
        "acceleration": acceleration,
        "scan": scan,
        "psnr": psnr,
        "seconds_per_slice": 1.0,
        "network_evaluations": None,
        **more,
    }


def lines(axis):
    """Label -> (x, y) of what is drawn with one."""
    found = {}
    for line, label in zip(*axis.get_legend_handles_labels(), strict=True):
        data = line[0] if isinstance(line, tuple) else line
        found[label] = np.asarray(data.get_data(orig=False), dtype=float)
    return found


def test_means_and_intervals_of_each_mask():
    rows = [row(psnr=p, scan=s) for p, s in zip((30, 31, 32, 33, 34), "abcde", strict=True)]
    rows += [row(acceleration=8, psnr=28), row(mask="uniform1d", psnr=20), row(method="dds")]
    rows.append(row(psnr=None))
    figure = quality_against_acceleration(rows)
    poisson, uniform = figure.axes
    assert (poisson.get_title(), uniform.get_title()) == ("poisson", "uniform1d")
    np.testing.assert_allclose(lines(poisson)["tv"], [[4 - 0.5, 8 - 0.5], [32, 28]])
    np.testing.assert_allclose(lines(poisson)["dds"], [[4 + 0.5], [30]])  # beside it
    np.testing.assert_allclose(lines(uniform)["tv"], [[4 - 0.5], [20]])
    assert [tick.get_text() for tick in poisson.get_xticklabels()] == ["4", "8"]
    bar = poisson.containers[0].lines[2][0].get_segments()[0]
    half = 2.776445 * math.sqrt(2.5 / 5)  # Student, 4 degrees of freedom; variance 2.5
    np.testing.assert_allclose(bar[:, 1], [32 - half, 32 + half], rtol=1e-6)
    assert "rows left out: 1 without these numbers" in figure.get_supxlabel()
    assert mean_interval([5.0]) == (5.0, 0.0)


def test_few_scans_are_dots_and_no_interval_fills_the_axis():
    """Student's interval of two scans is 13 times their standard error: an axis that holds it shows nothing else."""
    rows = [
        row(m, scan=s, psnr=p + d)
        for m, p in (("tv", 30), ("cg", 27))
        for s, d in (("a", 0), ("b", 2))
    ]
    figure = quality_against_acceleration(rows)
    (axis,) = figure.axes
    assert not axis.containers and "small dots: each scan" in figure.get_supxlabel()
    assert sorted(y for part in axis.collections for _, y in part.get_offsets()) == [27, 29, 30, 32]
    low, high = axis.get_ylim()
    assert 26 < low < 27 and 32 < high < 33
    rows += [row(m, scan=s, psnr=p) for m, p in (("tv", 30), ("cg", 27)) for s in "cde"]
    assert quality_against_acceleration(rows).axes[0].containers


def test_the_legend_stands_beside_everything_else():
    rows = [row(method=f"a method of a long name {n}", scan=s) for n in range(20) for s in "abcdef"]
    for figure in (quality_against_acceleration(rows), quality_against_cost(rows)):
        png_of(figure)  # lays it out
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert box.y0 >= 0 and box.y1 <= figure.bbox.height and box.x1 <= figure.bbox.width
        others = [axis.get_tightbbox() for axis in figure.axes]
        others += [text.get_window_extent() for text in figure.texts if text.get_text()]
        assert len(others) >= 2 and not any(box.overlaps(other) for other in others)


def test_a_benchmarks_table_has_the_protocol_in_its_columns():
    rows = [row(mask="poisson x4", mask_kind="poisson", fastmri_psnr=30.0)]
    rows += [row(mask="poisson x8", mask_kind="poisson", acceleration=8, fastmri_psnr=28.0)]
    (axis,) = quality_against_acceleration(rows, "fastmri_psnr").axes
    np.testing.assert_allclose(lines(axis)["tv"], [[4, 8], [30, 28]])
    assert axis.get_ylabel() == "PSNR / dB (fastmri)" and axis.get_title() == "poisson"


def test_methods_are_told_apart_without_colour():
    rows = [row(method=f"m{n}", scan=s) for n in range(20) for s in "abcde"]
    (axis,) = quality_against_acceleration(rows).axes
    looks = {(c.lines[0].get_marker(), c.lines[0].get_linestyle()) for c in axis.containers}
    assert len(looks) >= 12
    looks = {
        (c.lines[0].get_marker(), c.lines[0].get_linestyle(), c.lines[0].get_color())
        for c in axis.containers
    }
    assert len(looks) == 20


def test_pareto_front():
    points = [(3.0, 30.0), (1.0, 20.0), (2.0, 25.0), (2.0, 24.0), (4.0, 29.0), (5.0, 31.0)]
    assert pareto_front(points) == [(1, 20), (2, 25), (3, 30), (5, 31)]
    assert pareto_front([(1.0, 5.0), (2.0, 4.0), (3.0, 4.5)], lower=True) == [(1, 5), (2, 4)]


def test_quality_against_cost():
    rows = [
        row(method="tv", psnr=30, seconds_per_slice=1.0),
        row(method="tv", psnr=32, seconds_per_slice=3.0),
        row(method="slow", psnr=25, seconds_per_slice=8.0),
        row(method="dds", psnr=35, seconds_per_slice=10.0, network_evaluations=20),
    ]
    (axis,) = quality_against_cost(rows).axes
    found = lines(axis)
    np.testing.assert_allclose(found["tv"], [[2], [31]])
    np.testing.assert_allclose(found["Pareto front"], [[2, 10], [31, 35]])
    assert axis.get_xscale() == "log"
    figure = quality_against_cost(rows, "network_evaluations")
    assert set(lines(figure.axes[0])) == {"dds", "Pareto front"}
    assert "3 without these numbers" in figure.get_supxlabel()


def test_boxes_and_points():
    rows = [row(psnr=p, scan=s, method=m) for m, p, s in (("tv", 30, "a"), ("tv", 34, "b"))]
    rows += [row(psnr=20, method="dds")]
    (axis,) = quality_boxes(rows).axes
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["tv", "dds"]
    found = lines(axis)
    np.testing.assert_allclose(found["a"][1], [30, 20])
    np.testing.assert_allclose(found["b"][1], [34])
    medians = [line.get_ydata()[0] for line in axis.lines if line.get_color() == "#D55E00"]
    assert medians[:2] == [32, 20]


def draws_of(rng, count, sure=1.0):
    """Deviation of draws and the true error of their mean; those of a posterior that is too sure are too alike."""
    width = rng.uniform(0.5, 2.0, size=(4, 200, 200))
    width[:, :20] = 0  # outside of the support: left out
    samples = width * sure * rng.standard_normal((count, *width.shape))
    truth = width * rng.standard_normal(width.shape)
    return samples.std(axis=0, ddof=1), samples.mean(axis=0) - truth


@pytest.mark.parametrize("count", [2, 4, 50])
def test_calibration_of_a_posterior_that_is_right_and_of_one_that_is_too_sure(count):
    """However few the draws are, those of the right posterior cover what they should."""
    rng = np.random.default_rng(0)
    rows = calibration_rows(*draws_of(rng, count), count, method="right")
    at = {r["nominal"]: r["coverage"] for r in rows if "coverage" in r}
    assert len(at) == 19 and all(at[n] == pytest.approx(n, abs=0.006) for n in at)
    sure = calibration_rows(*draws_of(rng, count, sure=0.5), count, method="sure")
    assert all(r["coverage"] < r["nominal"] - 0.015 for r in sure if "coverage" in r)
    axes = calibration(rows + sure).axes
    assert set(lines(axes[0])) == {"right", "sure", "perfect"}
    assert len(axes) == (2 if count == 50 else 1)  # too few to sort pixels by
    if count == 50:
        drawn = lines(axes[1])
        x, y = drawn["right"]
        np.testing.assert_allclose(y / x, 1, rtol=0.15)  # sorted by an estimate
        x, y = drawn["sure"]
        np.testing.assert_allclose(y / x, 2, rtol=0.15)
    assert calibration_rows(np.zeros((2, 2)), np.ones((2, 2)), count, method="none") == []


@pytest.mark.parametrize(
    ("plot", "words"),
    [
        (quality_against_acceleration, "psnr and acceleration"),
        (quality_against_cost, "psnr and seconds_per_slice"),
        (quality_boxes, "psnr"),
        (calibration, "nominal and coverage"),
    ],
)
def test_nothing_to_plot_is_one_sentence(plot, words):
    with pytest.raises(ValueError, match=words):
        plot([{"method": "tv", "psnr": None}])
    with pytest.raises(ValueError, match=words):
        plot([])


def test_figures_become_pictures():
    assert pixels(png_of(quality_boxes([row(), row(scan="b")]))).shape[0] > 300


def test_every_plot_that_there_are_numbers_for():
    rows = [row(mask=mask, scan=scan) for mask in ("poisson", "radial") for scan in "ab"]
    assert list(plots_of(rows, ["psnr", "ssim"])) == [
        "PSNR against acceleration",
        "PSNR of each scan, poisson",
        "PSNR of each scan, radial",
        "PSNR against seconds",
    ]  # no row has SSIM or network evaluations


def test_noise_levels_and_masks_that_share_kind_and_acceleration_are_kept_apart():
    """Means of unlike problems mean nothing."""
    rows = [
        row(mask=mask, mask_kind="poisson", noise=noise, psnr=psnr)
        for mask, noise, psnr in (("small", 0.0, 30), ("large", 0.0, 40), ("small", 0.1, 20))
    ]
    found = plots_of(rows, ["psnr"])
    assert [title for title in found if "acceleration" in title or "seconds" in title] == [
        f"PSNR against {what}, noise {level}"
        for level in ("0", "0.1")
        for what in ("acceleration", "seconds")
    ]
    small, large = found["PSNR against acceleration, noise 0"].axes
    assert (small.get_title(), large.get_title()) == ("small", "large")
    assert (lines(small)["tv"][1], lines(large)["tv"][1]) == (30, 40)
    (noisy,) = found["PSNR against acceleration, noise 0.1"].axes
    assert noisy.get_title() == "poisson" and lines(noisy)["tv"][1] == 20


def test_seeds_of_a_scan_are_no_further_scans():
    """Five scans of many draws each have the interval of five numbers, whatever the draws are."""
    scans = dict(zip("abcde", (30, 31, 32, 33, 34), strict=True))
    rows = [row(scan=s, psnr=p + d, seed=d) for s, p in scans.items() for d in (-1, 0, 1)]
    figure = quality_against_acceleration(rows)
    bar = figure.axes[0].containers[0].lines[2][0].get_segments()[0]
    half = 2.776445 * math.sqrt(2.5 / 5)  # Student, 4 degrees of freedom; variance 2.5
    np.testing.assert_allclose(bar[:, 1], [32 - half, 32 + half], rtol=1e-6)
    assert "5 scans" in figure.get_supxlabel()
    found = lines(quality_boxes(rows).axes[0])
    assert [list(found[name][1]) for name in "ab"] == [[30], [31]]


def test_a_method_that_fails_on_hard_scans_is_not_on_the_front():
    rows = [row(scan=s, psnr=p) for s, p in (("easy", 34), ("hard", 26))]
    rows += [row("fragile", scan="easy", psnr=33, seconds_per_slice=0.5)]
    rows += [row("fragile", scan="hard", psnr=None, seconds_per_slice=None, failure="no memory")]
    figure = quality_against_cost(rows)
    found = lines(figure.axes[0])
    np.testing.assert_allclose(found["Pareto front"], [[1], [30]])
    np.testing.assert_allclose(found["fragile (not everywhere)"], [[0.5], [33]])
    assert "rows left out: 1 that failed" in figure.get_supxlabel()


def test_methods_without_a_network_are_in_the_plot_of_evaluations():
    rows = [row(network_evaluations=0.0), row("dds", psnr=35, network_evaluations=20.0)]
    (axis,) = quality_against_cost(rows, "network_evaluations").axes
    np.testing.assert_allclose(lines(axis)["Pareto front"], [[0, 20], [30, 35]])
    assert axis.get_xscale() == "symlog" and axis.get_xlim()[0] < 0
    with pytest.raises(ValueError, match="positive network_evaluations"):
        quality_against_cost(rows[:1], "network_evaluations")
