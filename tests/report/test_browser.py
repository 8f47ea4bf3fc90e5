"""The report and the table in a real browser: nothing is asked of a network, and controls do what they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from report_cases import SIZE, SLICES

from mrirecon.benchmark.tables import Place, Summary
from mrirecon.cli import main
from mrirecon.report import write_report
from mrirecon.report.template import MAP_COLOURS, SIGNED_COLOURS, colours, write_page

DIFFERENCE = "RMS difference"
READY = "document.documentElement.dataset.ready"
SHAPE = SIZE[::-1]  # of a picture: rows and columns
IMAGE = ".cards .frame[data-kind=image] canvas"
ERROR = ".cards .frame[data-kind=error] canvas"
PINNED = ".pinned canvas"


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture
def items(result, target):
    """Two methods, one of them with maps, beside a reference."""
    info = {"metrics": {"protocol": "slice", "psnr": 30.0, "ssim": 0.9, "nmse": 0.01}}
    dds = result("dds", seed=1, reference=target, extras=("std", "null_space"), info=info)
    return [result("tv", reference=target, info=info), dds]


@pytest.fixture
def report(page_folder, items):
    path = page_folder / "report.html"
    if not path.exists():
        write_report(path, items)
    return path


@pytest.fixture
def page(browser, report):
    """The report, opened; pixels are not smoothed, so that they can be compared."""
    browser.open(report)
    browser.until(READY)
    browser.set("input.smooth", False)
    return browser


def magnitude(item, index=1):
    """A slice of a reconstruction, as the screen has it."""
    return item[1].image[0, index].abs().numpy().T


def bright(target):
    return np.quantile(np.stack([target(n).numpy() for n in range(SLICES)]), 0.995)


def gray(values, low, high):
    return np.clip((values - low) / (high - low) * 256, 0, 255)


def numbers(browser, kind="image"):
    """What a colour bar says of its ends."""
    return [float(text) for text in browser.texts(f".bar[data-kind={kind}] .number")]


def test_the_report_loads_without_complaints_or_requests(browser, report):
    browser.open(report)
    browser.until(READY)
    frames = "return document.querySelectorAll('.frame[data-kind] canvas').length"
    assert browser.run(frames) == 7  # reference, tv and its error, dds with error, std, null space
    assert browser.run("return [...document.images].every((i) => i.complete && i.naturalWidth > 0)")
    assert browser.complaints() == []


def test_pictures_are_those_of_the_slice_wherever_it_is_chosen(page, items, target):
    top = bright(target)

    def expect(index):
        assert page.text(".slicer output") == str(index)
        for selector, number, image in (
            (PINNED, 0, target(index).numpy().T),
            (IMAGE, 0, magnitude(items[0], index)),
            (IMAGE, 1, magnitude(items[1], index)),
        ):
            found = page.shown(SHAPE, number, selector)[..., 0]
            np.testing.assert_allclose(found, gray(image, 0, top), atol=1.5)

    expect(1)
    page.set("input.slice", 2)
    expect(2)
    page.key("ArrowLeft")  # anywhere on the page
    expect(1)
    page.wheel(IMAGE, -100)
    expect(0)
    assert page.run("return scrollY") == 0
    page.wheel(IMAGE, 100, modifiers=2)  # with Ctrl: zooms
    assert page.text(".slicer output") == "0" and page.text("output.zoom") == "100 %"
    page.wheel(IMAGE, -100, modifiers=2)
    assert page.text(".slicer output") == "0" and page.text("output.zoom") == "165 %"
    page.click(".lines", (0.9, 0.5))
    page.key("0")
    expect(2)
    page.click("[data-act=play]")
    page.until("document.querySelector('input.slice').value === '0'")  # around the end
    page.click("[data-act=play]")
    assert page.run("return document.querySelector('[data-act=play]').ariaPressed") == "false"


def test_arrow_keys_on_a_slider_move_that_slider(page):
    page.run("document.querySelector('input.width').focus()")
    page.key("ArrowLeft")
    assert page.text(".slicer output") == "1"


def test_the_error_is_computed_of_the_values(page, items, target):
    error = np.abs(magnitude(items[0]) - target(1).numpy().T)
    table = np.array(colours(MAP_COLOURS))
    step = gray(error, 0, bright(target) / 4)
    found = page.shown(SHAPE, 0, ERROR)
    apart = np.abs(found[..., None, :] - table).sum(axis=-1).argmin(axis=-1) - step
    assert np.abs(apart).max() < 3


def test_a_series_has_a_slider_of_volumes(browser, tmp_path, result):
    scan, volume = result()
    series = torch.cat([volume.image, 2 * volume.image, 3 * volume.image])
    write_report(tmp_path / "r.html", [(scan, replace(volume, image=series))])
    browser.open(tmp_path / "r.html")
    browser.until(READY)
    seen = {}
    for number in (0, 2):
        browser.set("input.volume", number)
        seen[number] = browser.canvas(0).mean()
    assert seen[2] > 1.5 * seen[0]
    assert browser.run("return document.querySelector('input.volume').max") == "2"


def test_dragging_sets_the_window_of_what_is_dragged(page, target):
    """Sideways the width, up and down the centre, in the units of the values."""
    top = bright(target)
    np.testing.assert_allclose(numbers(page), [0, top], rtol=0.01)
    errors = numbers(page, "error")
    page.drag(IMAGE, (0.3, 0.5), (0.7, 0.5))
    low, high = numbers(page)
    assert high - low > 1.5 * top and low + high == pytest.approx(top, rel=0.02)
    page.key("a")
    np.testing.assert_allclose(numbers(page), [0, top], rtol=0.01)
    before = page.canvas(0, IMAGE).mean()
    page.drag(IMAGE, (0.5, 0.7), (0.5, 0.4))
    low, high = numbers(page)
    assert high - low == pytest.approx(top, rel=0.02) and low == pytest.approx(0.3 * top, rel=0.1)
    assert page.canvas(0, IMAGE).mean() < before
    assert numbers(page, "error") == errors
    page.drag(ERROR, (0.7, 0.5), (0.3, 0.5))
    assert np.ptp(numbers(page, "error")) < 0.8 * errors[1]
    page.click("[data-act=auto]")  # of what was touched last
    assert numbers(page, "error") == errors and numbers(page) == [low, high]
    page.set("input.width", 0.5)
    assert np.ptp(numbers(page, "error")) == pytest.approx(0.25 * 2 * errors[1], rel=0.02)


def test_zoom_and_place_are_linked(page, items, target):
    page.click(".group [data-act=in]")
    page.click(".group [data-act=in]")
    assert page.text("output.zoom") == "225 %"
    for _ in range(8):
        page.key("+")
    assert page.text("output.zoom") == "1600 %"
    page.key("0")
    assert page.text("output.zoom") == "100 %"
    place = page.where(IMAGE, (0.01, 0.01))
    for count in (1, 2):
        for kind in ("mousePressed", "mouseReleased"):
            page.mouse(kind, place, button="left", clickCount=count)
    assert page.text("output.zoom") == "300 %"  # a double click, about its place
    found = [page.canvas(n, s)[2, 2, 0] for n, s in ((0, PINNED), (0, IMAGE), (1, IMAGE))]
    top = bright(target)
    corners = [target(1)[0, 0], *(magnitude(item)[0, 0] for item in items)]
    np.testing.assert_allclose(found, gray(np.array(corners), 0, top), atol=1.5)
    page.drag(
        IMAGE, (0.9, 0.9), (0.1, 0.1), modifiers=8
    )  # with Shift: to the middle of the picture
    page.drag(IMAGE, (0.9, 0.9), (0.05, 0.05), modifiers=8)
    page.drag(IMAGE, (0.9, 0.9), (0.05, 0.05), modifiers=8)
    assert page.canvas(0, IMAGE)[-2, -2, 0] == pytest.approx(
        float(gray(magnitude(items[0])[-1, -1], 0, top)), abs=1.5
    )


def test_two_fingers_zoom_and_one_moves(browser, report):
    browser.open(report, width=390, height=844)
    browser.until(READY)
    browser.fingers(
        IMAGE, [(0.4, 0.5), (0.6, 0.5)], [(0.3, 0.5), (0.7, 0.5)], [(0.2, 0.5), (0.8, 0.5)]
    )
    assert 220 < float(browser.text("output.zoom").split()[0]) < 400
    before = browser.canvas(0, IMAGE)
    window = numbers(browser)
    browser.fingers(IMAGE, [(0.7, 0.5)], [(0.6, 0.5)], [(0.3, 0.5)])
    assert np.abs(browser.canvas(0, IMAGE) - before).max() > 50 and numbers(browser) == window


def test_a_held_key_flickers(page, items, target):
    own, top = page.canvas(0, IMAGE), bright(target)
    for press, release in (
        (lambda: page.key("r", ["keyDown"]), lambda: page.key("r", ["keyUp"])),
        (
            lambda: page.mouse("mousePressed", page.where(".hold"), button="left", clickCount=1),
            lambda: page.mouse("mouseReleased", page.where(".hold"), button="left", clickCount=1),
        ),
    ):
        press()
        for number in (0, 1):
            found = page.shown(SHAPE, number, IMAGE)[2:, :, 0]  # its name stands above
            np.testing.assert_allclose(found, gray(target(1).numpy().T, 0, top)[2:], atol=1.5)
        release()
        np.testing.assert_array_equal(page.canvas(0, IMAGE), own)
    page.key("2", ["keyDown"])
    found = page.shown(SHAPE, 0, IMAGE)[2:, :, 0]
    np.testing.assert_allclose(found, gray(magnitude(items[1]), 0, top)[2:], atol=1.5)
    page.key("2", ["keyUp"])


def test_a_swipe_shows_the_pinned_picture_left_of_a_line_that_follows_the_pointer(
    page, items, target
):
    page.key("s")
    page.set("select.pin", 2)  # two methods
    pinned, own, top = magnitude(items[1]), magnitude(items[0]), bright(target)
    for share in (0.25, 0.75):
        page.mouse("mouseMoved", page.where(IMAGE, (share, 0.99)))
        page.mouse("mouseMoved", [1, 1])
        found = page.shown(SHAPE, 0, IMAGE)[..., 0]
        mixed = np.where(np.arange(SHAPE[1]) < share * SHAPE[1], pinned, own)
        kept = np.abs(np.arange(SHAPE[1]) + 0.5 - share * SHAPE[1]) > 0.6
        np.testing.assert_allclose(found[:, kept], gray(mixed, 0, top)[:, kept], atol=1.5)
    page.set("input.split", 1)
    np.testing.assert_allclose(
        page.shown(SHAPE, 0, IMAGE)[:, :-1, 0], gray(pinned, 0, top)[:, :-1], atol=1.5
    )
    page.key("i")
    np.testing.assert_allclose(page.shown(SHAPE, 0, IMAGE)[..., 0], gray(own, 0, top), atol=1.5)


def test_a_difference_is_that_to_the_pinned_picture_with_its_sign(page, items, target):
    page.set("select.pin", 1)
    page.key("d")
    table, most = np.array(colours(SIGNED_COLOURS)), bright(target) / 4
    step = gray(magnitude(items[1]) - magnitude(items[0]), -most, most)
    apart = np.abs(page.shown(SHAPE, 1, IMAGE)[..., None, :] - table).sum(axis=-1).argmin(axis=-1)
    assert np.abs(apart - step).max() < 3
    assert "tv" in page.text(".bar[data-kind=difference]")
    np.testing.assert_allclose(numbers(page, "difference"), [-most, most], rtol=0.01)


def test_a_region_is_magnified_and_measured_in_all_pictures(page, items, target):
    page.click(".tool input[value=region]")
    page.drag(IMAGE, (0.26, 0.3), (0.48, 0.58))  # columns 2 to 4 of 10, rows 2 to 4 of 8
    inside = (slice(2, 5), slice(2, 5))
    for number, item in enumerate(items):
        values, reference = magnitude(item)[inside], target(1).numpy().T[inside]
        rmse = np.sqrt(np.mean((values - reference) ** 2))
        share = 100 * rmse / np.sqrt(np.mean(reference**2))
        said = page.texts(".cards .local")[number]
        assert said.startswith("region: RMSE ") and said.endswith(f"({share:.1f} %)")
        assert float(said.split()[2]) == pytest.approx(rmse, rel=0.01)
    reference = target(1).numpy().T[inside]
    assert page.text(".pinned .local").startswith(f"region 3 x 3: mean {reference.mean():.3g}")
    page.mouse("mouseMoved", [1, 1])
    picture = page.canvas(0, IMAGE)  # the corner farthest from it shows its last pixel
    expected = float(gray(magnitude(items[0])[4, 4], 0, bright(target)))
    assert picture[-12, -12, 0] == pytest.approx(expected, abs=2)
    page.drag(IMAGE, (0.37, 0.44), (0.57, 0.44))  # moved by two columns
    values = magnitude(items[0])[2:5, 4:7] - target(1).numpy().T[2:5, 4:7]
    said = page.texts(".cards .local")[0]
    assert float(said.split()[2]) == pytest.approx(np.sqrt(np.mean(values**2)), rel=0.01)
    page.key("Escape")
    assert page.texts(".cards .local") == ["", ""]
    page.key("g")
    for turned, columns, rows in (
        (False, slice(5, 7), slice(3, 5)),
        (True, slice(5, 7), slice(2, 4)),
    ):
        if turned:
            page.key("t")
        page.key(
            "ArrowRight", modifiers=8
        )  # to the right on the screen: upwards in the picture once it is turned
        values, reference = magnitude(items[0])[rows, columns], target(1).numpy().T[rows, columns]
        rmse = np.sqrt(np.mean((values - reference) ** 2))
        assert float(page.texts(".cards .local")[0].split()[2]) == pytest.approx(rmse, rel=0.01)


def test_the_display_turns_and_mirrors_and_says_so(page, items, target):
    edges = ".cards .frame[data-kind=image] .edge"
    assert page.texts(edges)[:4] == ["R", "L", "A", "P"]
    assert page.run("return document.querySelector('.turned').hidden")
    image, top = gray(magnitude(items[0]), 0, bright(target)), 1.5
    page.click("[data-act=turn]")
    assert page.texts(edges)[:4] == ["P", "A", "R", "L"]
    found = page.shown(SHAPE[::-1], 0, IMAGE)[..., 0]
    np.testing.assert_allclose(found, np.rot90(image, -1), atol=top)
    assert not page.run("return document.querySelector('.turned').hidden")
    page.key("m")
    assert page.texts(edges)[:4] == ["A", "P", "R", "L"]
    found = page.shown(SHAPE[::-1], 0, IMAGE)[..., 0]
    np.testing.assert_allclose(found, np.rot90(image, -1)[:, ::-1], atol=top)


def test_the_value_at_the_pointer_is_said_in_all_pictures(page):
    before = page.canvas(1, IMAGE)
    page.mouse("mouseMoved", page.where(IMAGE, (0.35, 0.55)))
    assert page.text(".position") == "column 3, row 4"
    lower = before.shape[0] - 20
    assert np.abs(page.canvas(1, IMAGE) - before)[lower:].max() > 50
    page.mouse("mouseMoved", [1, 1])
    np.testing.assert_array_equal(page.canvas(1, IMAGE), before)


def test_metrics_under_pictures_are_of_the_slice_and_those_of_the_table_of_the_volume(page):
    first = page.texts(".cards .score")
    assert all(text.startswith("slice: ") and " dB, SSIM " in text for text in first)
    page.key("ArrowRight")
    assert page.texts(".cards .score") != first
    assert "Metrics of the volume (protocol slice)" in page.texts("h3")
    assert page.run("return document.querySelectorAll('.lines path').length") == 1 + 2
    assert page.texts("select.metric option") == ["PSNR", "SSIM", DIFFERENCE]


def test_a_scan_without_a_reference_shows_the_left_out_error_of_judged_slices(
    browser, page_folder, result
):
    def judged(*errors):
        slices = [{"volume": 0, "slice": n, "error": e} for n, e in errors]
        return {"left_out": {"slices": slices}}

    items = [
        result("tv", info=judged((0, 0.2), (2, 0.4))),
        result("dds", info=judged((0, 0.3), (2, 0.3))),
    ]
    path = page_folder / "left_out.html"
    write_report(path, items)
    browser.open(path)
    browser.until(READY)
    assert browser.texts("select.metric option") == ["left-out error", DIFFERENCE]
    assert browser.texts(".cards .score") == ["", ""]  # slice 1 was not judged
    browser.key("ArrowRight")
    assert browser.texts(".cards .score") == [
        "slice: left-out error 40.0 %",
        "slice: left-out error 30.0 %",
    ]
    heights = """return [...document.querySelectorAll('.lines .dots')].map((path) =>
        path.getAttribute('d').match(/[\\d.]+(?=h0)/g).map(Number))"""
    (best, worst), (middle, _) = browser.run(heights)
    assert worst < middle < best  # 40 % stands above 30 %, and that above 20 %
    assert [text.strip() for text in browser.texts(".ends span")] == ["40.0", "%", "20.0"]
    browser.set("select.metric", "1")
    assert browser.run("return document.querySelectorAll('.lines .dots').length") == 0


def test_maps_can_be_hidden_and_a_method_enlarged(page):
    shown = "return [...document.querySelectorAll('.frame[data-kind]')].filter((f) => f.offsetHeight).length"
    assert page.run(shown) == 7
    page.set("input.kind[value=error]", False)
    assert page.run(shown) == 5
    width = "return document.querySelector('.card[data-card=\"2\"] canvas').clientWidth"
    small = page.run(width)
    page.click(".card[data-card='2'] .title")
    assert page.run(width) > 1.1 * small and page.run(shown) == 2  # and the pinned one
    page.key("Escape")
    assert page.run(width) == small and page.run(shown) == 5
    page.run("document.querySelector('.card canvas').focus()")
    page.key("Enter")
    assert page.run("return document.querySelector('.card.large').dataset.card") == "1"


def test_the_pinned_picture_stays_beside_what_scrolls(browser, report):
    browser.open(report, height=500)
    browser.until(READY)
    browser.run("document.querySelector('.further').scrollIntoView({block: 'end'})")
    top, bottom = browser.run(
        "const b = document.querySelector('.pinned').getBoundingClientRect(); return [b.top, b.bottom]"
    )
    assert browser.run("return scrollY") > 100 and 0 <= top < bottom <= 500


def test_pictures_are_on_the_first_screen(browser, report):
    for width, height in ((1280, 800), (390, 844)):
        browser.open(report, width=width, height=height)
        browser.until(READY)
        for selector in (PINNED, IMAGE):
            top, bottom = browser.run(
                "const b = document.querySelector(arguments[0]).getBoundingClientRect(); return [b.top, b.bottom]",
                selector,
            )
            assert 0 < top < 0.4 * height and bottom < height
        assert browser.overflow() <= 0


def test_keys_are_for_the_scan_in_sight(browser, tmp_path, result):
    write_report(tmp_path / "r.html", [result("tv"), result("tv", source="b.h5")])
    browser.open(tmp_path / "r.html", height=600)
    browser.until("document.querySelectorAll('.scan[data-ready]').length === 2")
    browser.run("document.querySelector('#scan1 .stage').scrollIntoView()")
    browser.key("ArrowRight")
    assert browser.texts(".slicer output") == ["1", "2"]


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
    browser.until(READY)
    assert browser.brightness() == 255
    shown = (
        "return [...document.querySelectorAll('.tools, .appendix')].some((e) => e.offsetHeight > 0)"
    )
    assert not browser.run(shown)
    opened = "return document.querySelectorAll('details.parameters-of[open]').length"
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run(opened) == 0
    browser.set("input.print-parameters", True)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run(opened) == 2
    assert browser.run("return document.querySelector('.appendix').offsetHeight") > 100
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert browser.run(opened) == 0


def test_everything_can_be_reached_by_keyboard(page):
    nameless = """return [...document.querySelectorAll('input, button, select, [tabindex]')].filter((e) =>
        !(e.closest('label') || e.ariaLabel || e.textContent.trim())).length"""
    assert page.run(nameless) == 0
    assert page.run("return [...document.images].every((i) => i.alt)")
    page.key("?")
    assert page.run("return document.querySelector('dialog').open")
    page.key("ArrowRight")  # of the dialog
    assert page.text(".slicer output") == "1"
    page.key("Escape")
    assert not page.run("return document.querySelector('dialog').open")


def test_columns_sort(page):
    first = "return [...document.querySelectorAll('.sortable tbody th')].map((e) => e.textContent)"
    assert page.run(first) == ["tv", "dds"]
    page.run("document.querySelector('.sortable th button').focus()")
    page.key("Enter")
    assert page.run(first) == ["dds", "tv"]
    assert page.run("return document.querySelector('.sortable th').ariaSort") == "ascending"
    page.run("document.querySelector('.sortable th button').click()")
    assert page.run(first) == ["tv", "dds"]


def test_the_demos_report(browser, tmp_path):
    """The page that a user sees first, with real weights and pictures."""
    with pytest.raises(SystemExit) as end:
        main(["demo", "--slices", "11:12", "--output", str(tmp_path)])
    assert not end.value.code
    path = tmp_path / "report.html"
    assert 1e5 < path.stat().st_size < 6e6 / 4
    browser.open(path)
    browser.until(READY)
    assert browser.complaints() == []
    assert browser.texts(".pin option")[:2] == ["reference", "zero_filled"]
    assert browser.texts(".title")[-1] == "dds" and "dds: standard deviation" in browser.texts(
        "figcaption"
    )
    assert "slice 11" in browser.text(".sampled")


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
    path = write_page(tmp_path / "table.html", "table.html", False, summary=summary, plots=[])
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
