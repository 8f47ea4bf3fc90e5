"""All pages in a real browser: nothing is asked of a network, controls do what they say, letters are right."""

import base64
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from report_cases import SLICES, pixels

from mrirecon.benchmark.tables import Place, Summary
from mrirecon.cli import main
from mrirecon.report import write_report, write_viewer
from mrirecon.report.template import map_table, write_page

READY = "document.documentElement.dataset.ready"
SIDES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
AXIAL, CORONAL, SAGITTAL = "RLAP", "RLSI", "APSI"


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


# --- the report ---


@pytest.fixture
def report(page_folder, result, target):
    """Two methods, one of them with maps, beside a reference."""
    path = page_folder / "report.html"
    if not path.exists():
        info = {"metrics": {"protocol": "slice", "psnr": 30.0, "ssim": 0.9, "nmse": 0.01}}
        dds = result("dds", seed=1, reference=target, extras=("std", "null_space"), info=info)
        write_report(path, [result("tv", reference=target), dds])
    return path


def sources(browser):
    return browser.run("return [...document.querySelectorAll('.linked img')].map((i) => i.src)")


def transforms(browser):
    """Zoom, and the place in percent of the picture, which may be of any size."""
    script = """return [...document.querySelectorAll('.linked img')].map((i) => {
        const style = getComputedStyle(i), m = new DOMMatrix(style.transform);
        const share = [m.e / parseFloat(style.width), m.f / parseFloat(style.height)];
        return [m.a, ...share.map((x) => Math.round(1000 * x) / 10 + 0)].join(' '); })"""
    return browser.run(script)


def test_the_report_loads_without_complaints_or_requests(browser, report):
    browser.open(report)
    assert (
        len(sources(browser)) == 7
    )  # reference, tv and its error, dds with error, std, null space
    assert browser.run("return [...document.images].every((i) => i.complete && i.naturalWidth > 0)")
    assert browser.complaints() == []


def test_the_slider_changes_every_picture_to_that_slice(browser, report, target):
    browser.open(report)
    before, seen = sources(browser), browser.picture(".linked")
    browser.set("input.slice", 2)
    after = sources(browser)
    assert all(a != b for a, b in zip(before, after, strict=True))
    reference = pixels(base64.b64decode(after[0].partition(",")[2]))[..., 0]
    top = np.quantile(np.stack([target(n).numpy() for n in range(SLICES)]), 0.995)
    expected = np.clip(target(2).numpy().T / top, 0, 1) * 255
    np.testing.assert_allclose(reference, expected, atol=0.51)
    assert np.abs(browser.picture(".linked") - seen).max() > 50  # and on the screen
    assert browser.run("return document.querySelector('.slicer output').value") == "2"
    browser.press(".linked", "\ue012")  # the left arrow key
    assert sources(browser) == before


def test_a_series_has_a_slider_of_volumes(browser, tmp_path, result):
    scan, volume = result()
    first = volume.image
    series = torch.cat([first, 2 * first, 3 * first])
    write_report(tmp_path / "r.html", [(scan, replace(volume, image=series))])
    browser.open(tmp_path / "r.html")
    seen = {}
    for number in (0, 2):
        browser.set("input.volume", number)
        seen[number] = pixels(base64.b64decode(sources(browser)[0].partition(",")[2])).mean()
    assert seen[2] > 1.5 * seen[0]
    assert browser.run("return document.querySelector('input.volume').max") == "2"


def test_zoom_place_and_brightness_are_linked(browser, report):
    browser.open(report)
    assert set(transforms(browser)) == {"1 0 0"}
    for _ in range(2):
        browser.run("document.querySelector('[data-zoom=in]').click()")
    (zoomed,) = set(transforms(browser))
    assert zoomed.startswith("2.25 ")
    browser.run(
        """const frame = document.querySelectorAll('.linked')[3], box = frame.getBoundingClientRect();
        const send = (kind, x) => frame.dispatchEvent(new PointerEvent(kind,
          {pointerId: 1, clientX: box.left + x, clientY: box.top + 20, bubbles: true}));
        frame.setPointerCapture = () => {};
        send('pointerdown', 50); send('pointermove', 60); send('pointerup', 60);"""
    )
    (moved,) = set(transforms(browser))
    assert moved != zoomed
    browser.run("document.querySelector('[data-zoom=reset]').click()")
    assert set(transforms(browser)) == {"1 0 0"}


def test_brightness_is_of_images_and_their_bar_says_what_is_white(browser, report):
    browser.open(report)
    error = ".card:nth-child(2) .layer[data-kind=error] .linked"
    image, of_error = browser.picture(".linked"), browser.picture(error)
    tops = "return [...document.querySelectorAll('.bar .number:last-child')].map((e) => Number(e.textContent))"
    before = browser.run(tops)
    browser.set("input.bright", 2)
    assert browser.picture(".linked").mean() > 1.1 * image.mean()
    np.testing.assert_array_equal(browser.picture(error), of_error)  # its colours are values
    after = browser.run(tops)
    np.testing.assert_allclose(after[0], before[0] / 2, rtol=0.01)
    assert after[1:] == before[1:]
    browser.set("input.bright", 1)
    assert browser.run(tops) == before


def test_the_toolbar_stays_over_pictures_only(browser, report):
    browser.open(report, height=500)
    below = """document.querySelector('.wide').scrollIntoView(); const bar = document.querySelector('.toolbar');
        return bar.getBoundingClientRect().bottom"""
    assert browser.run(below) < 0
    over = "document.querySelector('.masks').scrollIntoView(); return document.querySelector('.toolbar')"
    assert browser.run(over + ".getBoundingClientRect().top") == 0


def test_maps_can_be_hidden(browser, report):
    browser.open(report)
    shown = "return [...document.querySelectorAll('.layer:not(.empty)')].filter((l) => l.offsetHeight).length"
    assert browser.run(shown) == 7
    browser.set(".kinds input[value=error]", False)
    assert browser.run(shown) == 5


def test_letters_of_an_oblique_report(browser, report):
    browser.open(report)
    script = "return [...document.querySelectorAll('.linked')[0].querySelectorAll('.edge')].map((e) => e.textContent)"
    assert browser.run(script) == ["R", "L", "A", "P"]


@pytest.mark.parametrize("dark", [False, True])
def test_themes_and_phones(browser, report, dark):
    browser.open(report, width=390, height=844, dark=dark)
    assert (browser.brightness() < 60) == dark and (browser.brightness() > 200) != dark
    assert browser.overflow() <= 0
    browser.run("document.querySelector('.theme').click()")
    assert (browser.brightness() < 60) != dark
    assert browser.complaints() == []


def test_on_paper(browser, report):
    browser.open(report, media="print", dark=True)
    assert browser.brightness() == 255
    shown = "return [...document.querySelectorAll('.tools')].some((e) => e.offsetHeight > 0)"
    assert not browser.run(shown)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run("return [...document.querySelectorAll('details')].every((d) => d.open)")


def test_everything_can_be_reached_by_keyboard(browser, report):
    browser.open(report)
    nameless = """return [...document.querySelectorAll('input, button, select, [tabindex]')].filter((e) =>
        !(e.closest('label') || e.ariaLabel || e.textContent.trim())).length"""
    assert browser.run(nameless) == 0
    assert browser.run("return [...document.images].every((i) => i.alt)")
    browser.press(".linked", "+")
    assert transforms(browser)[0].startswith("1.5 ")


def test_the_demos_report(browser, tmp_path):
    """The page that a user sees first, with real weights and pictures."""
    with pytest.raises(SystemExit) as end:
        main(["demo", "--slices", "11:12", "--output", str(tmp_path)])
    assert not end.value.code
    path = tmp_path / "report.html"
    assert 1e5 < path.stat().st_size < 2e6
    browser.open(path)
    assert browser.complaints() == []
    titles = browser.run(
        "return [...document.querySelectorAll('figcaption strong')].map((e) => e.textContent)"
    )
    assert (
        titles[:2] == ["reference", "zero_filled"] and titles.count("dds") == 2
    )  # and its deviation
    assert browser.run("return [...document.images].every((i) => i.complete && i.naturalWidth > 0)")
    assert "slice 11" in browser.run("return document.querySelector('.masks').innerText")
    browser.open(path, width=390, height=844)
    assert browser.overflow() <= 0


# --- the viewer ---

TURN = np.array([[0.9396926, -0.3420201, 0], [0.3420201, 0.9396926, 0], [0, 0, 1]])  # 20 degrees


def axes_of(codes):
    """Unit vectors (RAS) in which the array axes grow, as columns."""
    axes = np.zeros((3, 3))
    for axis, code in enumerate(codes):
        row, sign = SIDES[code]
        axes[row, axis] = sign
    return axes


# name -> (directions of the array axes, letters at left, right, top, bottom of the planes across axes 2, 1, 0)
KNOWN = {
    "RAS": (axes_of("RAS"), (AXIAL, CORONAL, SAGITTAL)),
    "LPS": (axes_of("LPS"), (AXIAL, CORONAL, SAGITTAL)),
    "IPL": (axes_of("IPL"), (SAGITTAL, CORONAL, AXIAL)),
    "LIP": (axes_of("LIP"), (CORONAL, AXIAL, SAGITTAL)),
    "PLI": (axes_of("PLI"), (AXIAL, SAGITTAL, CORONAL)),
    "oblique": (TURN @ axes_of("LPS"), (AXIAL, CORONAL, SAGITTAL)),
}
SHAPE, VOXEL = (12, 10, 8), (2.0, 3.0, 4.0)


def save(path, data, axes=None, voxel=VOXEL):
    affine = None
    if axes is not None:
        affine = np.eye(4)
        affine[:3, :3] = axes * voxel
        affine[:3, 3] = (-20, 15, 5)
    image = nibabel.Nifti1Image(np.asarray(data, np.float32), affine)
    if affine is None:
        image.header.set_zooms(voxel)
    else:
        image.set_sform(affine, code=1)
    nibabel.save(image, path)
    return path, affine


def open_viewer(browser, tmp_path, *files, **options):
    write_viewer(tmp_path / "v.html", files, overwrite=True)
    browser.open(tmp_path / "v.html", **options)
    browser.until(READY)


def letters(browser):
    script = """return [...document.querySelectorAll('.plane')].map((p) =>
        [...p.querySelectorAll('.edge')].map((e) => e.textContent).join(''))"""
    return tuple(browser.run(script))


@pytest.mark.parametrize("name", KNOWN)
def test_letters_and_pictures_of_known_orientations(browser, tmp_path, name):
    """A bright voxel in the patient's left anterior superior corner is drawn near the edges of those letters."""
    axes, expected = KNOWN[name]
    _, affine = save(tmp_path / "v.nii", np.zeros(SHAPE), axes)
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    ras = index @ affine[:3, :3].T
    corner = np.unravel_index(np.argmax(ras @ (-1, 1, 1)), SHAPE)
    data = np.zeros(SHAPE)
    data[corner] = 1
    open_viewer(browser, tmp_path, save(tmp_path / "v.nii", data, axes)[0])
    browser.set("#cross", False)
    assert letters(browser) == expected
    for axis, plane in ((2, 0), (1, 1), (0, 2)):
        browser.set(f".plane[data-plane='{plane}'] input", int(corner[axis]))
    for number, (left, _, top, _) in enumerate(expected):
        picture = browser.canvas(number)[..., 0]
        y, x = np.argwhere(picture > 128).mean(axis=0) / picture.shape
        assert (x < 0.5) == (left in "LAS") and (y < 0.5) == (top in "LAS")
        assert min(x, 1 - x) < 0.25 and min(y, 1 - y) < 0.25
    oblique = browser.run("return document.querySelector('#warnings').textContent")
    assert oblique.startswith("Oblique by 20.0 degrees") if name == "oblique" else oblique == ""
    assert browser.complaints() == []


def test_the_position_is_that_of_the_affine(browser, tmp_path):
    path, affine = save(tmp_path / "v.nii", np.zeros(SHAPE), KNOWN["oblique"][0])
    open_viewer(browser, tmp_path, path)
    place = [n // 2 for n in SHAPE]
    x, y, z = nibabel.affines.apply_affine(affine, place)
    text = browser.run("return document.querySelector('#position').textContent")
    sides = [
        pair[int(value < 0)] for pair, value in zip(("RL", "AP", "SI"), (x, y, z), strict=True)
    ]
    words = ", ".join(f"{s} {abs(v):.1f}" for s, v in zip(sides, (x, y, z), strict=True))
    assert f"voxel{', '.join(map(str, place))}" in text and f"{words} mm" in text


def test_pictures_have_their_shape_in_millimetres(browser, tmp_path):
    path, _ = save(tmp_path / "v.nii", np.zeros(SHAPE), KNOWN["LPS"][0])
    open_viewer(browser, tmp_path, path)
    script = """return [...document.querySelectorAll('canvas')].map((c) => {
        const box = c.getBoundingClientRect(); return box.width / box.height; })"""
    extent = np.multiply(SHAPE, VOXEL)
    expected = [extent[0] / extent[1], extent[0] / extent[2], extent[1] / extent[2]]
    np.testing.assert_allclose(browser.run(script), expected, rtol=0.02)


def test_unknown_orientation_is_said_and_bears_no_letters(browser, tmp_path):
    open_viewer(browser, tmp_path, save(tmp_path / "v.nii", np.ones(SHAPE))[0])
    assert letters(browser) == ("", "", "")
    text = browser.run("return document.body.innerText")
    assert "Orientation unknown" in text and "position" not in text


def test_slices_window_and_keys_change_the_picture(browser, tmp_path):
    data = np.broadcast_to(np.arange(SHAPE[2], dtype=float), SHAPE).copy()
    open_viewer(browser, tmp_path, save(tmp_path / "v.nii", data, KNOWN["LPS"][0])[0])
    browser.set("#cross", False)
    at = {}
    for index in (2, 5):
        browser.set(".plane[data-plane='0'] input", index)
        at[index] = browser.canvas(0)[..., 0]
        assert np.ptp(at[index]) == 0
    gray = np.clip((np.array([2, 5]) - 0) / 7 * 255, 0, 255)  # the first window: 0 to 7
    np.testing.assert_allclose([at[2][0, 0], at[5][0, 0]], gray, atol=1.5)
    browser.press("canvas", "\ue00f")  # page down: the slice below
    assert browser.canvas(0)[0, 0, 0] < at[5][0, 0]
    browser.set("#level", 0.0)
    assert browser.canvas(0)[0, 0, 0] == 255
    browser.run("document.querySelector('#auto').click()")
    assert browser.canvas(0)[0, 0, 0] < 255


def test_the_crosshair_moves_to_where_one_clicks(browser, tmp_path):
    open_viewer(browser, tmp_path, save(tmp_path / "v.nii", np.zeros(SHAPE), KNOWN["LPS"][0])[0])
    browser.run(
        """const c = document.querySelector('canvas'), box = c.getBoundingClientRect();
        c.setPointerCapture = () => {};
        const at = {pointerId: 1, clientX: box.left + 1, clientY: box.top + 1};
        c.dispatchEvent(new PointerEvent('pointerdown', at));"""
    )
    assert browser.run("return document.querySelector('#position dd').textContent") == "0, 0, 4"
    blue = browser.canvas(1)[..., 2]
    assert blue[:, : blue.shape[1] // 8].max() > 100 > blue[0, blue.shape[1] // 2 :].max()


def test_an_overlay_has_its_opacity_and_hides_what_is_below_a_value(browser, tmp_path):
    axes = KNOWN["LPS"][0]
    volume, _ = save(tmp_path / "v.nii", np.full(SHAPE, 1.0), axes)
    data = np.zeros(SHAPE)
    data[: SHAPE[0] // 2] = 1  # the left half of the axial picture
    over, _ = save(tmp_path / "m.nii", data, axes)
    write_viewer(tmp_path / "o.html", [volume], overlay=over)
    browser.open(tmp_path / "o.html")
    browser.until(READY)
    browser.set("#cross", False)
    browser.set("#opacity", 1)
    picture = browser.canvas(0)
    row = picture[picture.shape[0] // 2]
    np.testing.assert_allclose(row[2], map_table()[255], atol=2)
    assert np.ptp(row[-3]) == 0  # what is next to nothing hides nothing
    browser.set("#opacity", 0)
    assert np.ptp(browser.canvas(0)[..., :3], axis=-1).max() == 0
    browser.set("#opacity", 1)
    browser.set("#threshold", 1.0)
    np.testing.assert_allclose(browser.canvas(0)[5, 2], map_table()[255], atol=2)
    assert browser.complaints() == []


def test_several_volumes_and_series(browser, tmp_path):
    axes = KNOWN["LPS"][0]
    series = np.zeros((*SHAPE, 2))
    series[..., 1] = 1
    one, _ = save(tmp_path / "one.nii", np.zeros(SHAPE), axes)
    two, _ = save(tmp_path / "two.nii", series, axes, VOXEL)
    open_viewer(browser, tmp_path, one, two)
    browser.set("#cross", False)
    assert browser.run("return document.querySelector('#frame-control').hidden")
    browser.set("#volume", 1)
    assert not browser.run("return document.querySelector('#frame-control').hidden")
    assert browser.canvas(0).max() == 0
    browser.set("#frame", 1)
    assert browser.canvas(0).min() == 255


@pytest.mark.parametrize("dark", [False, True])
def test_the_viewer_on_phones_and_in_both_themes(browser, tmp_path, dark):
    path, _ = save(tmp_path / "v.nii", np.zeros(SHAPE), KNOWN["oblique"][0])
    open_viewer(browser, tmp_path, path, width=390, height=844, dark=dark)
    assert (browser.brightness() < 60) == dark and (browser.brightness() > 200) != dark
    assert browser.overflow() <= 0
    browser.run("document.querySelector('.theme').click()")
    assert (browser.brightness() < 60) != dark
    assert browser.complaints() == []


# --- the table of a benchmark ---


@pytest.mark.parametrize("dark", [False, True])
def test_a_table_on_phones_and_in_both_themes(browser, tmp_path, dark):
    places = [
        Place("31.00 ± 1.41", "best"),
        Place("26.00 ± 1.41", "second"),
        Place("failed", "failed"),
        *(Place(f"{number}.00 ± 0.10") for number in range(10, 20)),
    ]
    headings = ["mask", *(f"method <b>{number}</b>" for number in range(len(places)))]
    failures = ["no <script>memory</script> left, " + "long" * 40]
    summary = Summary(
        ["1 scan"], [("PSNR, dB", headings, [("x4", places)])], {"Failures": failures}
    )
    path = write_page(tmp_path / "table.html", "table.html", False, summary=summary)
    browser.open(path, width=390, height=844, dark=dark)
    assert (browser.brightness() < 60) == dark and (browser.brightness() > 200) != dark
    assert browser.overflow() <= 0  # the table scrolls by itself
    assert browser.run("return document.querySelectorAll('td small').length") == 12
    assert (
        browser.run("return getComputedStyle(document.querySelector('.best')).fontWeight") == "700"
    )
    line = "return getComputedStyle(document.querySelector('.second')).textDecorationLine"
    assert browser.run(line) == "underline"
    assert browser.run("return document.querySelectorAll('main b, main script').length") == 0
    browser.run("document.querySelector('.theme').click()")
    assert (browser.brightness() < 60) != dark
    assert browser.complaints() == []
