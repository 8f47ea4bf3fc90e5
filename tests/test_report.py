"""The picture and the HTML report: what they show, and that they need nothing from outside."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from mrirecon.io.arrays import plain_scan
from mrirecon.report import comparison, write_report
from mrirecon.report.page import picture
from mrirecon.scan import Geometry, Volume


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float)


def gray(height, width, level):
    return torch.full((height, width), level)


def scan_and_volume(method="tv", source="folder/a<b>.h5", seed=0, **known):
    rng = torch.Generator().manual_seed(seed)
    kspace = torch.randn(3, 2, 10, 8, dtype=torch.complex64, generator=rng)
    scan = plain_scan(source, "test", (3, 2, 10, 8), lambda v, i: kspace[i], **known)
    info = {
        "method": method,
        "acceleration": {"nominal": None, "achieved": 2.5},
        "seconds_per_slice": 0.123,
        "notes": ["a note & <more>"],
    }
    image = torch.randn(1, 3, 10, 8, dtype=torch.complex64, generator=rng)
    return scan, Volume(image=image, geometry=Geometry(), info=info)


class Elements(HTMLParser):
    """Tags and links of a page; open ones must be closed in order."""

    def __init__(self):
        super().__init__()
        self.stack, self.seen, self.links, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href")]
        if tag not in ("meta", "img"):
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(path):
    page = Elements()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.stack == []
    return page


def test_orientation_of_the_picture():
    """Rows of the picture are the phase axis, from high to low; columns the readout."""
    image = torch.zeros(40, 40)
    image[30:, 30:] = 1  # high readout, high phase: upper right
    level = pixels(comparison({"a": image}))[..., 0]
    level = level[:, : int(0.7 * level.shape[1])]  # without the colour bar
    rows = np.flatnonzero((level < 5).sum(axis=1) > 80)  # more than text has
    columns = np.flatnonzero((level < 5).sum(axis=0) > 80)
    shown = level[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = shown.shape
    assert (shown[: height // 5, -width // 5 :] > 250).all()
    for corner in (shown[: height // 5, : width // 5], shown[-height // 5 :]):
        assert (corner < 5).all()


def test_one_window_for_all():
    """The brighter of two images is shown brighter: no image is scaled by itself."""
    bright, dim = gray(20, 20, 1.0), gray(20, 20, 0.5)
    bright[0, 0] = dim[0, 0] = 0
    one = pixels(comparison({"bright": bright, "dim": dim}, reference=bright))
    levels, counts = np.unique(one[..., 0], return_counts=True)
    large = set(levels[counts > 5000])
    assert 255 in large and any(120 < level < 135 for level in large)


def test_sizes_and_masks():
    image = gray(20, 12, 1.0)
    mask = torch.zeros(40, 12, dtype=torch.bool)
    for reference in (None, image):
        plain = pixels(comparison({"a": image}, reference=reference))
        masked = pixels(comparison({"a": image}, reference=reference, mask=mask))
        assert masked.shape[0] == plain.shape[0]
        assert (masked < 5).all(axis=-1).sum() > (plain < 5).all(axis=-1).sum() + 5000
    assert pixels(comparison({"a": gray(20, 12, 0.0)})).size  # an empty image has no bright level


def test_report(tmp_path):
    results = [scan_and_volume("tv"), scan_and_volume("cg_sense"), scan_and_volume(source="b.h5")]
    path = tmp_path / "r.html"
    write_report(path, results)
    page = parsed(path)
    text = " ".join(page.text)
    assert (
        page.seen.count("h2") == 2 and page.seen.count("img") == 2 and page.seen.count("table") == 2
    )
    assert "a<b>.h5" in text and "a note & <more>" in text and "not for diagnosis" in text
    assert "2.50" in text and "0.12" in text and "PSNR" not in text and "Errors" not in text
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "http" not in path.read_text().replace("http-equiv", "")
    for link in page.links:
        assert pixels(base64.b64decode(link.partition(",")[2])).shape[2] == 3


def test_report_with_metrics(tmp_path):
    metrics = {"protocol": "slice", "psnr": float("inf"), "ssim": 1.0, "nmse": 0.0}
    scan, volume = scan_and_volume(reference=lambda index: torch.rand(10, 8))
    judged = Volume(
        image=volume.image, geometry=volume.geometry, info={**volume.info, "metrics": metrics}
    )
    write_report(tmp_path / "r.html", [(scan, judged), (scan, volume)])
    text = " ".join(parsed(tmp_path / "r.html").text)
    assert "PSNR dB (slice)" in text and "inf" in text and "4 times brighter" in text


@pytest.mark.parametrize("bad", [torch.zeros(9, 8), torch.full((10, 8), torch.nan)])
def test_a_reference_that_does_not_fit_is_left_out(bad):
    with_bad = scan_and_volume(reference=lambda index: bad)
    assert picture([with_bad]) == picture([scan_and_volume()])


def test_the_same_method_twice_is_shown_twice():
    one, two = scan_and_volume("tv"), scan_and_volume("tv", seed=1)
    assert pixels(picture([one, two])).shape[1] > pixels(picture([one])).shape[1]


def test_existing_report_is_kept(tmp_path):
    path = tmp_path / "r.html"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=re.escape("r.html")):
        write_report(path, [scan_and_volume()])
    assert path.read_text() == "precious"
    write_report(path, [scan_and_volume()], overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["r.html"]
