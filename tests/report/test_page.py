"""The report as text: what it says, and that it needs nothing from outside."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from report_cases import SIZE, SLICES, pixels

from mrirecon.geometry import Geometry
from mrirecon.io.arrays import plain_scan
from mrirecon.io.png import png_bytes
from mrirecon.report import comparison, facts, write_report
from mrirecon.report.curves import curves_of
from mrirecon.report.panels import compared, evenly
from mrirecon.report.quality import quality_boxes
from mrirecon.report.template import map_table
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
        if tag not in ("meta", "img", "input", "link"):
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
        f"not what the varnet {OUTSIDE}: so",
        "no reference: no error map, no metrics",
        "no standard-deviation map",
        "no null-space map",
        "parameters.samples",
        "versions.torch",
        "acceleration 1.00",
        "oblique by 20.0 degrees",
    ):
        assert words in page.words, words
    assert "30.00 (best)" not in page.words
    assert all(link.startswith(("data:", "#")) for link in page.links)


def test_nothing_is_loaded_from_a_network(tmp_path, result):
    write_report(tmp_path / "r.html", [result()])
    text = (tmp_path / "r.html").read_text()
    assert "default-src 'none'" in text
    for word in ("http:", "https:", "url(", "@import", "fetch(", "XMLHttpRequest"):
        assert word not in text


def test_pictures_of_every_slice_at_one_window(tmp_path, result, target):
    """The embedded pictures are the magnitudes over the reference's bright level, turned as the plane says."""
    one, two = (result(name, reference=target, seed=seed) for seed, name in enumerate(("tv", "cg")))
    write_report(tmp_path / "r.html", [one, two])
    text = (tmp_path / "r.html").read_text()
    stacks = dict(re.findall(r'data-pictures="([^"]+)">(.*?)</script>', text))
    assert set(stacks) == {f"0-{n}-image" for n in range(3)} | {"0-1-error", "0-2-error"}
    top = np.quantile(np.stack([target(n).numpy() for n in range(SLICES)]), 0.995)
    for number, (_, volume) in enumerate((one, two), 1):
        for index, picture in enumerate(json.loads(stacks[f"0-{number}-image"])):
            shown = pixels(base64.b64decode(picture))[..., 0]
            expected = volume.image[0, index].abs().numpy().T  # left to the right, posterior down
            np.testing.assert_allclose(shown, np.clip(expected / top, 0, 1) * 255, atol=0.51)


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
def test_a_map_that_did_not_converge_is_shown_brightest(slices, tmp_path, result, target):
    """Dark would say that the prior supplied nothing."""
    scan, volume = result("dds", reference=target, extras=("null_space",))
    volume.extras["null_space"][0, :slices] = torch.nan
    write_report(tmp_path / "r.html", [(scan, volume)])
    text = (tmp_path / "r.html").read_text()
    stacks = dict(re.findall(r'data-pictures="([^"]+)">(.*?)</script>', text))
    shown = [pixels(base64.b64decode(x)) for x in json.loads(stacks["0-1-null_space"])]
    brightest = pixels(png_bytes(np.full((1, 1), 255, np.uint8), map_table()))[0, 0]
    for index, picture in enumerate(shown):
        assert bool((picture == brightest).all()) == (index < slices)


@pytest.mark.parametrize("bad", [torch.zeros(9, 8), torch.full(SIZE, torch.nan)])
def test_a_reference_that_does_not_fit_is_left_out_and_said(tmp_path, result, bad):
    write_report(tmp_path / "r.html", [result(reference=lambda index: bad)])
    page = parsed(tmp_path / "r.html")
    assert "the reference does not fit the image" in page.words
    assert "|error|" not in page.words


def test_unknown_orientation_is_said_and_bears_no_letters(tmp_path, result):
    write_report(tmp_path / "r.html", [result(geometry=Geometry())])
    page = parsed(tmp_path / "r.html")
    assert "orientation unknown" in page.words
    assert not {"R", "L", "A", "P", "S", "I"} & set(page.text)


def test_masks_that_differ_are_each_shown(result):
    scan, volume = result()
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[:, ::2] = True
    other = scan.undersample(mask, kind="equispaced"), result("cg")[1]
    assert len(compared([(scan, volume), (scan, result("cg")[1])]).masks) == 1
    found = compared([(scan, volume), other]).masks
    assert len(found) == 2 and "acceleration 2.00" in found[1].notes[0]
    shown = pixels(base64.b64decode(found[1].stacks[0].pictures[0]))[..., 0]
    np.testing.assert_array_equal(shown, mask.numpy().T * 255.0)


def test_a_page_of_many_pixels_shows_evenly_spaced_slices(result):
    item = result()
    every = compared([item])
    some = compared([item], most_pixels=40_000 + 3 * SIZE[0] * SIZE[1])
    assert every.slices == [0, 1, 2] and every.start == 1
    assert some.slices == [1] and len(some.cards[0].stacks[0].pictures) == 1
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
    assert "142 of 200 scans are shown" in words and "at 1/2 of the resolution" in words
    found = compared([(scans[0], volume)], most_pixels=70_000)
    shown = pixels(base64.b64decode(found.cards[1].stacks[0].pictures[0]))[..., 0]
    window = found.windows[0].top
    means = image[0, 0].numpy().reshape(80, 2, 70, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(
        shown, np.clip(found.plane.shown(means) / window, 0, 1) * 255, atol=0.51
    )


def test_slices_have_the_numbers_of_the_file(result, target):
    """Whoever looks for slice 12 in the file finds that slice, whatever was left out before it."""
    scan, volume = result(reference=target)
    part = scan.select(slice(1, 3)).select(slice(1, 2))
    volume = Volume(
        image=volume.image[:, 2:], geometry=volume.geometry.select(slice(2, 3)), info=volume.info
    )
    found = compared([(part, volume)])
    assert found.slices == [2] and "slice 2" in found.masks[0].notes[1]
    assert "slice 2 of 2 to 2" in comparison([(part, volume)]).get_suptitle()


def test_volumes_of_a_series(tmp_path, result):
    scan, volume = result()
    series = Volume(
        image=volume.image.repeat(5, 1, 1, 1), geometry=volume.geometry, info=volume.info
    )
    found = compared([(scan, series)])
    assert found.volumes == [0, 1, 2, 3, 4] and len(found.cards[0].stacks[0].pictures) == 15
    write_report(tmp_path / "r.html", [(scan, series)])
    assert 'class="volume"' in (tmp_path / "r.html").read_text()


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


def test_further_plots(tmp_path, result):
    rows = [{"method": "tv", "scan": "a", "psnr": 30.0}, {"method": "cg", "scan": "a", "psnr": 28}]
    write_report(tmp_path / "r.html", [result()], plots={"PSNR of <all>": quality_boxes(rows)})
    assert "PSNR of <all>" in parsed(tmp_path / "r.html").words


def test_plots_and_companions_are_found_at_the_top(tmp_path, result):
    rows = [{"method": "tv", "scan": "a", "psnr": 30.0}]
    links = {"Table of means": "table.html"}
    plots = {"PSNR": quality_boxes(rows)}
    write_report(tmp_path / "r.html", [result(), result(source="b")], plots=plots, links=links)
    text = (tmp_path / "r.html").read_text()
    assert parsed(tmp_path / "r.html").links[1:5] == ["table.html", "#plots", "#scan0", "#scan1"]
    assert text.index('id="plots"') < text.index('id="scan0"')  # after many scans nobody finds them
    write_report(tmp_path / "one.html", [result()], plots=plots)
    text = (tmp_path / "one.html").read_text()
    assert text.index('id="plots"') > text.index('id="scan0"')
    assert text.startswith("<!doctype html>")


def test_maps_of_one_method_leave_no_empty_row(result, tmp_path, target):
    dds = result("dds", reference=target, extras=("std", "null_space"))
    others = [result(name, reference=target) for name in ("tv", "cg")]
    assert compared([*others, dds]).alone == ["std", "null_space"]
    assert compared([dds]).alone == []
    write_report(tmp_path / "r.html", [*others, dds])
    text = (tmp_path / "r.html").read_text()
    assert text.count('class="layer empty"') == 1  # the reference has no error
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
