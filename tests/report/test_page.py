"""The report as text: what it says, and that it needs nothing from outside."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from report_cases import SIZE, SLICES, pixels, stacks_of

from mrirecon.geometry import Geometry
from mrirecon.io.arrays import plain_scan
from mrirecon.metrics import evaluate
from mrirecon.report import comparison, facts, write_report
from mrirecon.report.curves import curves_of
from mrirecon.report.panels import compared, evenly
from mrirecon.scan import Volume
from mrirecon.weights import OUTSIDE

METRICS = {"protocol": "slice", "psnr": 30.0, "ssim": 0.9, "nmse": 0.01}


class Elements(HTMLParser):
    """Tags and links of a page; open ones must be closed in order."""

    def __init__(self):
        super().__init__()
        self.stack, self.seen, self.links, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href")]
        if tag not in ("meta", "img", "input", "link", "path"):
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] not in ("style", "script"):
            self.text.append(data.strip())


def parsed(path):
    page = Elements()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.stack == []
    page.words = " ".join(filter(None, page.text))
    return page


def test_what_the_page_says(tmp_path, result, target):
    warned = {"notes": [f"it is not what the varnet {OUTSIDE}: so"], "metrics": METRICS}
    results = [
        result("tv", reference=target, info={"metrics": METRICS | {"psnr": 31.0}}),
        result("varnet", reference=target, seed=1, info=warned),
        result(source="b.h5"),
    ]
    path = tmp_path / "r.html"
    write_report(path, results)
    page = parsed(path)
    assert page.seen.count("section") == 2 and page.seen.count("h2") == 2
    for words in (
        "a<b>.h5",
        "a note & <more>",
        "Research use only: not for diagnosis or treatment.",
        "protocol slice",
        "31.00 (best)",
        "Outside of what weights were trained for: so",
        "no reference: no error map, no metrics",
        "no standard-deviation map",
        "no null-space map",
        "parameters.samples",
        "versions.torch",
        "acceleration 1.00",
        "oblique by 20.0 degrees",
    ):
        assert words.lower() in page.words.lower(), words
    assert "30.00 (best)" not in page.words
    assert all(link.startswith(("data:", "#")) for link in page.links)


def test_nothing_is_loaded_from_a_network(tmp_path, result):
    write_report(tmp_path / "r.html", [result()])
    text = (tmp_path / "r.html").read_text()
    assert "default-src 'none'" in text
    for word in ("http:", "https:", "url(", "@import", "fetch(", "XMLHttpRequest"):
        assert word not in text


def test_values_of_every_slice_and_one_window(tmp_path, result, target):
    """The page holds the magnitudes, turned as the plane says; white is the reference's bright level."""
    one, two = (result(name, reference=target, seed=seed) for seed, name in enumerate(("tv", "cg")))
    write_report(tmp_path / "r.html", [one, two])
    about, stacks = stacks_of(tmp_path / "r.html")
    assert set(stacks) == {f"{n}-image" for n in range(3)}  # errors are computed from these
    top = np.quantile(np.stack([target(n).numpy() for n in range(SLICES)]), 0.995)
    assert about["windows"]["image"] == {"high": pytest.approx(top), "gray": True}
    assert about["windows"]["error"] == {"high": pytest.approx(top / 4), "gray": False}
    assert [card["isReference"] for card in about["cards"]] == [True, False, False]
    images = [torch.stack([target(n) for n in range(SLICES)]), one[1].image[0], two[1].image[0]]
    for number, image in enumerate(images):
        expected = image.abs().numpy().transpose(0, 2, 1)  # left to the right, posterior down
        step = np.ptp(expected, axis=(1, 2)).max() / 4094
        np.testing.assert_allclose(stacks[f"{number}-image"], expected, atol=0.51 * step)


def test_metrics_of_each_slice_are_those_of_the_protocol(tmp_path, result, target):
    for protocol in ("fastmri", "slice"):
        info = {"metrics": METRICS | {"protocol": protocol}}
        items = [result(name, reference=target, info=info, seed=n) for n, name in enumerate("ab")]
        curves = {curve.title: curve for curve in compared(items).curves}
        targets = torch.stack([target(n) for n in range(SLICES)])
        peak = float(targets.max()) if protocol == "fastmri" else None
        for (_, volume), psnr, ssim in zip(
            items, curves["PSNR"].values, curves["SSIM"].values, strict=True
        ):
            for n in range(SLICES):
                image = volume.image[0, n : n + 1]
                found = evaluate(image.abs(), targets[n : n + 1], protocol, max_value=peak)
                assert (psnr[n], ssim[n]) == (found.psnr, found.ssim)
    inside = {"metrics": METRICS | {"inside_support": True}}
    assert compared([result(reference=target, info=inside)]).curves == []  # of other pixels
    assert compared([result(reference=target)]).curves == compared([result()]).curves == []


def test_left_out_errors_are_drawn_at_the_slices_that_were_judged(result):
    def judged(*errors):
        slices = [{"volume": 0, "slice": n, "error": error} for n, error in errors]
        return {"left_out": {"slices": slices}}

    items = [result("tv", info=judged((0, 0.25), (2, 0.5))), result("unet")]
    (curve,) = compared(items).curves
    assert (curve.title, curve.values) == ("left-out error", [[25.0, None, 50.0], [None] * 3])
    later = [
        (scan.select(slice(1, 3)), replace(volume, image=volume.image[:, 1:]))
        for scan, volume in items
    ]
    assert compared(later).curves[0].values == [[None, 50.0], [None] * 2]
    elsewhere = result("tv", info=judged((7, 0.25)))
    assert compared([elsewhere]).curves == []


def test_warnings_are_one_line_for_each_reason(result):
    def note(network, here, there):
        return {"notes": [f"a.h5 is not what the {network} {OUTSIDE}: {here}, theirs {there}", "x"]}

    items = [
        result("unet", info=note("unet", "its mask is poisson", "radial")),
        result("tv"),
        result("varnet", info=note("varnet", "its mask is poisson", "spiral")),
    ]
    assert facts.warnings(["unet", "tv", "varnet"], [volume for _, volume in items]) == {
        "its mask is poisson": ["unet (theirs radial)", "varnet (theirs spiral)"]
    }


def test_k_space_is_shown_in_decades(result):
    scan, volume = result()
    kspace = torch.zeros(2, *SIZE, dtype=torch.complex64)
    kspace[0, 1, 2], kspace[1, 1, 2], kspace[0, 5, 3] = 3e-3, 4e-3j, 5e-5
    scan = replace(scan, read=lambda volume, index: kspace, sampling=None)
    found = compared([(scan, volume)]).sampled
    shown = pixels(base64.b64decode(found[0].picture))[..., 0]
    expected = np.zeros(SIZE)
    expected[1, 2], expected[5, 3] = 255, 127.5  # two of four decades below
    np.testing.assert_allclose(shown, expected.T, atol=0.51)
    assert found[0].title == "k-space" and "slice 1" in found[0].notes[0]


def test_maps_of_a_posterior(tmp_path, result, target):
    info = {"metrics": METRICS, "posterior_std": 0.1, "null_space_share": 0.25}
    item = result("dds", reference=target, extras=("std", "null_space"), info=info)
    write_report(tmp_path / "r.html", [item])
    page = parsed(tmp_path / "r.html")
    assert "standard deviation" in page.words and "null-space part" in page.words
    assert "25.00%" in page.words and "calibration:" in page.words
    assert "no standard-deviation map" not in page.words


def test_curves_of_left_out_samples_are_drawn_and_tabled(tmp_path, result):
    tuned = {"value": 0.0123, "tried": [0.005, 0.01, 0.02], "left_out_error": [0.4, 0.31, 0.3499]}
    coarse = {"tried": [0.0025, 0.01, 0.04], "left_out_error": [0.5, 0.33, 0.4]}
    steps = {"steps": 20, "best_step": 10, "validated": [0, 10, 20]}
    left_out = {
        "tuning": {"regularization": {**tuned, "coarse": coarse, "at_end": False}},
        "adaptation": {**steps, "left_out_error": [0.5, 0.45, 0.46]},
    }
    items = [result("tv", info={"left_out": left_out}), result("cg_sense", seed=1)]
    write_report(tmp_path / "r.html", items)
    page = parsed(tmp_path / "r.html")
    assert "regularization chosen by left-out samples, 0.0123" in page.words
    assert "those of step 10 of 20 taken" in page.words
    assert "0.0025 0.5000 in one slice 0.01 0.3300 in one slice" in page.words
    assert "0.005 0.4000 0.01 0.3100 (best) 0.02 0.3499" in page.words
    assert "0 0.5000 10 0.4500 (best) 20 0.4600" in page.words
    assert page.seen.count("details") == 2 + 2  # of the parameters and the curves
    curves = [
        curve for name, (_, v) in zip("ab", items, strict=True) for curve in curves_of(name, v)
    ]
    assert [curve.name for curve in curves] == ["regularization", "step"]
    axis = curves[0].figure().axes[0]
    assert axis.get_xscale() == "log"
    np.testing.assert_array_equal(
        axis.lines[1].get_xydata(), np.transpose([*list(tuned.values())[1:]])
    )
    assert axis.lines[2].get_xdata()[0] == 0.0123


@pytest.mark.parametrize("slices", [1, SLICES])
def test_a_map_that_did_not_converge_has_no_numbers(slices, tmp_path, result, target):
    """Zeros would say that the prior supplied nothing."""
    scan, volume = result("dds", reference=target, extras=("null_space",))
    volume.extras["null_space"][0, :slices] = torch.nan
    write_report(tmp_path / "r.html", [(scan, volume)])
    _, stacks = stacks_of(tmp_path / "r.html")
    for index, picture in enumerate(stacks["1-null_space"]):
        assert bool(np.isnan(picture).all()) == (index < slices)


@pytest.mark.parametrize("bad", [torch.zeros(9, 8), torch.full(SIZE, torch.nan)])
def test_a_reference_that_does_not_fit_is_left_out_and_said(tmp_path, result, bad):
    write_report(tmp_path / "r.html", [result(reference=lambda index: bad)])
    page = parsed(tmp_path / "r.html")
    assert "The reference does not fit the image" in page.words
    assert "|error|" not in page.words


def test_unknown_orientation_is_said_and_bears_no_letters(tmp_path, result):
    write_report(tmp_path / "r.html", [result(geometry=Geometry())])
    page = parsed(tmp_path / "r.html")
    assert "orientation unknown" in page.words
    letters = re.findall(r'class="edge [a-z-]+">(.*?)</span>', (tmp_path / "r.html").read_text())
    assert letters == [""] * 4


def test_masks_that_differ_are_each_shown(result):
    scan, volume = result()
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[:, ::2] = True
    other = scan.undersample(mask, kind="equispaced"), result("cg")[1]
    assert len(compared([(scan, volume), (scan, result("cg")[1])]).sampled) == 2
    found = compared([(scan, volume), other]).sampled  # each with its k-space
    assert len(found) == 4 and "acceleration 2.00" in found[3].notes[0]
    shown = pixels(base64.b64decode(found[3].picture))[..., 0]
    np.testing.assert_array_equal(shown, mask.numpy().T * 255.0)


def test_a_page_of_many_pixels_shows_evenly_spaced_slices(result):
    item = result()
    every = compared([item])
    some = compared([item], most_pixels=42_000 + 3 * SIZE[0] * SIZE[1])
    assert every.slices == [0, 1, 2] and every.start == 1
    assert some.slices == [1] and len(some.cards[0].stacks[0].packed.lows) == 1
    assert evenly(24, 4) == [3, 9, 15, 21] and evenly(3, 9) == [0, 1, 2]


def test_many_scans_stay_below_the_limit_that_the_docs_promise(tmp_path):
    """Noise, which PNG cannot compress, of more scans than fit: coarser pictures, of some of them, and both said."""
    rng = torch.Generator().manual_seed(0)
    size = (160, 140)
    image = torch.rand((1, 1, *size), generator=rng)
    target = torch.rand(size, generator=rng)
    volume = Volume(image=image + 0j, geometry=Geometry(), info={"method": "tv"})
    kspace = torch.ones((2, *size), dtype=torch.complex64)
    scans = [
        plain_scan(
            f"{n}.h5", "test", (1, 2, *size), lambda v, i: kspace, reference=lambda i: target
        )
        for n in range(200)
    ]
    write_report(tmp_path / "r.html", [(scan, volume) for scan in scans])
    assert 3e6 < (tmp_path / "r.html").stat().st_size < 15e6
    words = parsed(tmp_path / "r.html").words
    assert "104 of 200 scans are shown" in words and "at 1/2 of the resolution" in words
    about, stacks = stacks_of(tmp_path / "r.html")
    means = image[0, 0].numpy().reshape(80, 2, 70, 2).mean(axis=(1, 3))
    assert about["size"] == [70, 80]  # as the screen has it
    expected = compared([(scans[0], volume)]).plane.shown(means)
    np.testing.assert_allclose(stacks["1-image"][0], expected, atol=1e-3)


def test_slices_have_the_numbers_of_the_file(result, target):
    """Whoever looks for slice 12 in the file finds that slice, whatever was left out before it."""
    scan, volume = result(reference=target)
    part = scan.select(slice(1, 3)).select(slice(1, 2))
    volume = Volume(
        image=volume.image[:, 2:], geometry=volume.geometry.select(slice(2, 3)), info=volume.info
    )
    found = compared([(part, volume)])
    assert found.slices == [2] and "slice 2" in found.sampled[1].notes[1]
    assert "slice 2 of 2 to 2" in comparison([(part, volume)]).get_suptitle()


def test_volumes_of_a_series(tmp_path, result):
    scan, volume = result()
    series = Volume(
        image=volume.image.repeat(5, 1, 1, 1), geometry=volume.geometry, info=volume.info
    )
    found = compared([(scan, series)])
    assert found.volumes == [0, 1, 2, 3, 4] and len(found.cards[0].stacks[0].packed.lows) == 15
    write_report(tmp_path / "r.html", [(scan, series)])
    assert 'class="volume" type="range"' in (tmp_path / "r.html").read_text()


def test_the_same_method_twice_is_shown_twice(tmp_path, result):
    write_report(tmp_path / "r.html", [result("tv"), result("tv", seed=1)])
    assert "tv (2)" in parsed(tmp_path / "r.html").words


def test_the_table_marks_the_best_only_where_there_is_a_choice(result):
    one = result(info={"metrics": METRICS})[1]
    two = result(info={"metrics": METRICS | {"nmse": 0.005}})[1]
    alone, both = facts.table(["a"], [one]), facts.table(["a", "b"], [one, two])
    assert not any(best for _, cells in alone.rows for _, best in cells)
    column = [title for title, _ in both.columns].index("NMSE")
    assert [cells[column] for _, cells in both.rows] == [("0.01000", False), ("0.00500", True)]


def test_companions_are_found_at_the_top(tmp_path, result):
    links = {"Table of means": "table.html"}
    write_report(tmp_path / "r.html", [result(), result(source="b")], links=links)
    assert parsed(tmp_path / "r.html").links[1:4] == ["table.html", "#scan0", "#scan1"]
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")


def test_maps_of_one_method_leave_no_empty_row(result, tmp_path, target):
    dds = result("dds", reference=target, extras=("std", "null_space"))
    others = [result(name, reference=target) for name in ("tv", "cg")]
    assert compared([*others, dds]).alone == ["std", "null_space"]
    assert compared([dds]).alone == []
    write_report(tmp_path / "r.html", [*others, dds])
    text = (tmp_path / "r.html").read_text()
    assert text.count('class="layer empty"') == 0
    assert text.count('class="layer alone"') == 2
    assert compared([*others, dds, result("ddnm", extras=("std",))]).alone == ["null_space"]


def test_existing_report_is_kept(tmp_path, result):
    path = tmp_path / "r.html"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=re.escape("r.html")):
        write_report(path, [result()])
    assert path.read_text() == "precious"
    write_report(path, [result()], overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["r.html"]


def test_a_middle_slice_without_samples_is_drawn_without_its_acceleration(tmp_path, result):
    scan, volume = result()
    middle = scan.shape[0] // 2
    empty = replace(
        scan,
        read=lambda v, i: scan.read(v, i) * (i != middle),
        sampling=lambda v, i: scan.mask(i, v) & (i != middle),
    )
    write_report(tmp_path / "r.html", [(empty, volume)])
    figure = comparison([(empty, volume)])
    assert "acceleration" not in figure.get_suptitle()
    assert "acceleration" in comparison([(scan, volume)]).get_suptitle()
