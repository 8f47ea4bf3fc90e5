"""The viewer in a real browser: letters are right, linked panes show the same place, controls do what they say."""

import nibabel
import numpy as np
import pytest
import torch

from mrirecon.geometry import Geometry
from mrirecon.io import write_volume
from mrirecon.report import write_viewer
from mrirecon.report.template import MAP_COLOURS, colours
from mrirecon.scan import Volume

READY = "document.documentElement.dataset.ready"
SIDES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
AXIAL, CORONAL, SAGITTAL = "RLAP", "RLSI", "APSI"


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
    browser.set("input.smooth", False)


def marks(browser, drawn):
    """Whether crosshair and ruler are drawn over the pictures."""
    for box in ("#cross", "#ruler"):
        browser.set(box, drawn)


def letters(browser):
    script = """return [...document.querySelectorAll('.pane')].map((p) =>
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
    marks(browser, False)
    assert letters(browser) == expected
    for axis, plane in ((2, 0), (1, 1), (0, 2)):
        browser.set(f"input[data-plane='{plane}']", int(corner[axis]))
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
    marks(browser, False)
    at = {}
    for index in (2, 5):
        browser.set("input[data-plane='0']", index)
        at[index] = browser.canvas(0)[..., 0]
        assert np.ptp(at[index]) == 0
    gray = np.clip((np.array([2, 5]) - 0) / 7 * 255, 0, 255)  # the first window: 0 to 7
    np.testing.assert_allclose([at[2][0, 0], at[5][0, 0]], gray, atol=1.5)
    browser.key("PageDown")  # the slice below
    assert browser.canvas(0)[0, 0, 0] < at[5][0, 0]
    browser.wheel("canvas", 100)
    assert browser.canvas(0)[0, 0, 0] == at[5][0, 0]
    browser.set("input.level", 0.0)
    assert browser.canvas(0)[0, 0, 0] == 255
    browser.click("[data-act=auto]")
    assert browser.canvas(0)[0, 0, 0] < 255
    assert browser.texts(".bar.image .number")[1:] == ["0", "7"]
    browser.drag("canvas", (0.3, 0.5), (0.7, 0.5))
    low, high = map(float, browser.texts(".bar.image .number")[1:])
    assert high - low > 1.5 * 7 and low + high == pytest.approx(7, rel=0.02)
    browser.drag("canvas", (0.5, 0.3), (0.5, 0.7))  # the centre lower: brighter
    assert sum(map(float, browser.texts(".bar.image .number")[1:])) < 0


def test_the_crosshair_moves_to_where_one_clicks(browser, tmp_path):
    open_viewer(browser, tmp_path, save(tmp_path / "v.nii", np.zeros(SHAPE), KNOWN["LPS"][0])[0])
    browser.click("canvas", (0.01, 0.01))
    assert browser.run("return document.querySelector('#position dd').textContent") == "0, 0, 4"
    blue = browser.canvas(1)[..., 2]
    assert blue[:, : blue.shape[1] // 8].max() > 100 > blue[0, blue.shape[1] // 2 :].max()


def test_arrow_keys_move_the_crosshair_along_the_screen_however_it_is_turned(browser, tmp_path):
    open_viewer(browser, tmp_path, save(tmp_path / "v.nii", np.zeros(SHAPE), KNOWN["LPS"][0])[0])

    def place():
        return browser.text("#position dd")

    assert place() == "6, 5, 4"
    browser.run("document.querySelector('canvas').focus()")
    browser.key("ArrowRight")  # to the left of the patient, where the first axis grows
    browser.key("ArrowDown")
    assert place() == "7, 6, 4"
    browser.key("t")  # right is now what was up
    browser.key("ArrowRight")
    assert place() == "7, 5, 4" and letters(browser)[0] == "PARL"
    browser.key("m")
    browser.key("ArrowRight")
    assert place() == "7, 6, 4" and letters(browser)[0] == "APRL"
    assert "display only" in browser.texts(".turned")


def test_a_turned_display_shows_the_same_pixels(browser, tmp_path):
    data = np.random.default_rng(0).random(SHAPE)
    open_viewer(browser, tmp_path, save(tmp_path / "v.nii", data, KNOWN["LPS"][0])[0])
    marks(browser, False)
    before = browser.shown((10, 12))[:, :, 0]
    browser.click("[data-act=turn]")
    np.testing.assert_allclose(browser.shown((12, 10))[..., 0], np.rot90(before, -1), atol=1)


def test_a_ruler_only_where_voxels_have_a_size(browser, tmp_path):
    axes = KNOWN["LPS"][0]
    open_viewer(browser, tmp_path, save(tmp_path / "v.nii", np.zeros(SHAPE), axes)[0])
    browser.set("#cross", False)
    lit = np.argwhere(browser.canvas(0)[-6:, :, 0] > 200)[:, 1]
    across = browser.canvas(0).shape[1]
    assert np.ptp(lit) / across == pytest.approx(5 / 24, rel=0.05)  # 5 of 24 mm
    image = torch.zeros(1, 3, 5, 4, dtype=torch.complex64)
    write_volume(Volume(image=image, geometry=Geometry()), tmp_path / "none.nii.gz")
    open_viewer(browser, tmp_path, tmp_path / "none.nii.gz")
    browser.set("#cross", False)
    assert "unknown: shown as cubes" in browser.text(".side") and browser.canvas(0).max() == 0


def test_zoom_is_about_the_crosshair_in_the_other_planes(browser, tmp_path):
    data = np.zeros(SHAPE)
    data[1, 1, 1] = 1
    open_viewer(browser, tmp_path, save(tmp_path / "v.nii", data, KNOWN["LPS"][0])[0])
    marks(browser, False)
    for plane, index in enumerate((1, 1, 1)):
        browser.set(f"input[data-plane='{plane}']", index)
    before = [(browser.canvas(n)[..., 0] > 128).sum() for n in range(3)]
    browser.click("canvas", (1.5 / 12, 1.5 / 10))
    browser.wheel("canvas", -139, modifiers=2)  # doubles, about the middle of the first plane
    browser.key("0")
    for _ in range(2):
        browser.key("+")
    after = [(browser.canvas(n)[..., 0] > 128).sum() for n in range(3)]
    assert all(b > 3 * a for a, b in zip(before, after, strict=True))


def test_an_overlay_has_its_opacity_and_hides_what_is_below_a_value(browser, tmp_path):
    axes = KNOWN["LPS"][0]
    volume, _ = save(tmp_path / "v.nii", np.full(SHAPE, 1.0), axes)
    data = np.zeros(SHAPE)
    data[: SHAPE[0] // 2] = 1  # the left half of the axial picture
    over, _ = save(tmp_path / "m.nii", data, axes)
    write_viewer(tmp_path / "o.html", [volume], overlay=over)
    browser.open(tmp_path / "o.html")
    browser.until(READY)
    marks(browser, False)
    browser.set("input.smooth", False)
    browser.set("#opacity", 1)
    picture = browser.canvas(0)
    row = picture[picture.shape[0] // 2]
    np.testing.assert_allclose(row[2], colours(MAP_COLOURS)[255], atol=2)
    assert np.ptp(row[-3]) == 0  # what is next to nothing hides nothing
    browser.set("#opacity", 0)
    assert np.ptp(browser.canvas(0)[..., :3], axis=-1).max() == 0
    browser.set("#opacity", 1)
    browser.key("o", ["keyDown"])
    assert np.ptp(browser.canvas(0)[..., :3], axis=-1).max() == 0
    browser.key("o", ["keyUp"])
    np.testing.assert_allclose(browser.canvas(0)[5, 2], colours(MAP_COLOURS)[255], atol=2)
    browser.set("#threshold", 1.0)
    assert browser.text("#threshold") == "" and "1" in browser.texts(".overlay output")
    assert browser.complaints() == []


def test_an_overlay_is_the_more_opaque_the_larger_it_is(browser, tmp_path):
    axes = KNOWN["LPS"][0]
    volume, _ = save(tmp_path / "v.nii", np.zeros(SHAPE), axes)
    data = np.zeros(SHAPE)
    data[:, 0] = 1
    data[:6], data[:3] = (
        0.65,
        1,
    )  # from left to right: the largest, half way from the threshold to it, nothing
    data[6:, 1:] = 0
    over, _ = save(tmp_path / "m.nii", data, axes)
    write_viewer(tmp_path / "o.html", [volume], overlay=over)
    browser.open(tmp_path / "o.html")
    browser.until(READY)
    marks(browser, False)
    browser.set("#opacity", 1)
    browser.set("#threshold", 0.3)
    found, table = browser.shown((10, 12))[4], np.array(colours(MAP_COLOURS))
    np.testing.assert_allclose(found[1], table[255], atol=2)
    np.testing.assert_allclose(found[4], 0.5 * table[166], atol=3)
    assert found[9].max() == 0


def test_several_volumes_stand_side_by_side_at_the_same_place(browser, tmp_path):
    """One of other axes and voxels: a bright voxel is at the crosshair of both."""
    shapes, files = {"LPS": SHAPE, "IPL": (16, 20, 24)}, []
    for name, shape in shapes.items():
        voxel = VOXEL if name == "LPS" else (2.0, 1.5, 1.0)
        affine = np.eye(4)
        affine[:3, :3] = axes_of(name) * voxel
        center = np.array([3.0, -4.0, 10.0])  # RAS mm
        index = np.array([9, 4, 3]) if name == "LPS" else np.array([5, 12, 7])
        affine[:3, 3] = center - affine[:3, :3] @ index
        data = np.zeros(shape, np.float32)
        data[tuple(index)] = 1
        image = nibabel.Nifti1Image(data, affine)
        image.set_sform(affine, code=1)
        nibabel.save(image, tmp_path / f"{name}.nii")
        files.append(tmp_path / f"{name}.nii")
    open_viewer(browser, tmp_path, *files, width=1280, height=800)
    assert browser.text("#linked") == "Linked by the place in the patient"
    for plane, index in ((0, 3), (1, 4), (2, 9)):
        browser.set(f"input[data-plane='{plane}']", index)
    marks(browser, False)
    assert browser.texts(".bar.image .value") == ["1", "1"]
    captions = browser.texts(".pane figcaption")
    assert captions[0].split() == ["axial", "3", "LPS.nii"]
    assert captions[3].split() == ["axial", "5", "IPL.nii"]
    for number in range(6):
        assert (browser.canvas(number)[..., 0] > 128).any()
    browser.click("canvas", (0.5, 0.5), number=3)  # in the other volume
    assert browser.texts(".bar.image .value") == ["0", "0"]
    bottoms = "return [...document.querySelectorAll('.pane')].map((p) => p.getBoundingClientRect().bottom)"
    bottom = max(browser.run(bottoms))
    assert bottom <= 800 and browser.overflow() <= 0


def test_a_window_of_all_volumes_or_of_each(browser, tmp_path):
    axes = KNOWN["LPS"][0]
    ramp = np.broadcast_to(np.linspace(0, 1, SHAPE[2]), SHAPE)
    files = [save(tmp_path / f"{n}.nii", n * ramp, axes)[0] for n in (1, 10)]
    open_viewer(browser, tmp_path, *files)

    def ends():
        return [text.split()[0] for text in browser.texts(".bar.image .high")]

    assert ends() == ["1", "10"]  # too unlike for one
    browser.key("]")
    assert ends() == ["1.1", "10"]
    browser.click("canvas", number=3)
    browser.set("#together", True)
    assert ends() == ["10", "10"]
    browser.set("#together", False)
    assert ends() == ["1", "10"]


def test_one_plane_of_all_volumes_is_larger(browser, tmp_path):
    axes = KNOWN["LPS"][0]
    files = [save(tmp_path / f"{n}.nii", np.ones(SHAPE), axes)[0] for n in range(3)]
    open_viewer(browser, tmp_path, *files, width=1280, height=800)
    width = "return document.querySelector('canvas').clientWidth"
    small = browser.run(width)
    browser.click(".shown input[value='0']")
    assert browser.run(width) > small
    shown = "return [...document.querySelectorAll('.pane')].filter((p) => p.offsetHeight).length"
    assert browser.run(shown) == 3 and browser.overflow() <= 0


def test_a_series(browser, tmp_path):
    series = np.zeros((*SHAPE, 2))
    series[..., 1] = 1
    open_viewer(browser, tmp_path, save(tmp_path / "s.nii", series, KNOWN["LPS"][0])[0])
    marks(browser, False)
    assert browser.canvas(0).max() == 0
    browser.set("#frame", 1)
    assert browser.canvas(0).min() == 255


@pytest.mark.parametrize("files", [1, 4])
def test_everything_is_on_one_screen(browser, tmp_path, files):
    axes = KNOWN["oblique"][0]
    volumes = [save(tmp_path / f"volume_{n}.nii", np.ones(SHAPE), axes)[0] for n in range(files)]
    open_viewer(browser, tmp_path, *volumes, width=1280, height=800)
    height = "return document.documentElement.scrollHeight"
    assert browser.run(height) <= 800 and browser.overflow() <= 0


@pytest.mark.parametrize("dark", [False, True])
def test_the_viewer_on_phones_and_in_both_themes(browser, tmp_path, dark):
    path, _ = save(tmp_path / "v.nii", np.zeros(SHAPE), KNOWN["oblique"][0])
    open_viewer(browser, tmp_path, path, width=390, height=844, dark=dark)
    assert (browser.brightness() < 60) == dark and (browser.brightness() > 200) != dark
    assert browser.overflow() <= 0
    browser.run("document.querySelector('.theme').click()")
    assert (browser.brightness() < 60) != dark
    assert browser.complaints() == []


def panes(browser):
    """Left, top, width of the panes."""
    return browser.run(
        "return [...document.querySelectorAll('.pane')].filter((p) => p.offsetHeight)"
        ".map((p) => p.getBoundingClientRect()).map(({left, top, width}) => [left, top, width])"
    )


def test_two_volumes_stand_side_by_side_on_phones_and_a_plane_of_both_is_large(browser, tmp_path):
    axes = KNOWN["LPS"][0]
    files = [save(tmp_path / f"{n}.nii", np.ones(SHAPE), axes)[0] for n in range(2)]
    open_viewer(browser, tmp_path, *files, width=390, height=844)
    first, *_, second = (panes(browser)[n] for n in (0, 1, 3))
    assert second[0] > first[0] + first[2] and second[1] == first[1] and browser.overflow() <= 0
    browser.run("document.querySelector('.shown input[value=\"0\"]').click()")
    above, below = panes(browser)
    assert below[1] > above[1] and below[0] == above[0] and above[2] > 1.5 * first[2]


@pytest.mark.parametrize("width", [390, 800, 1600])
def test_paper_is_filled_whatever_the_window(browser, tmp_path, width):
    axes = KNOWN["LPS"][0]
    files = [save(tmp_path / f"{n}.nii", np.ones(SHAPE), axes)[0] for n in range(2)]
    open_viewer(browser, tmp_path, *files, width=width, height=700)
    before = panes(browser)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    sizes = browser.run(
        "return [...document.querySelectorAll('.pane canvas')].map(({style}) => "
        "['--wide', '--high'].map((name) => parseFloat(style.getPropertyValue(name))))"
    )
    wide = sum(sizes[n][0] for n in (0, 3))
    tall = sum(sizes[n][1] for n in (0, 1, 2))
    assert wide <= 530 and tall <= 880 and (wide > 380 or tall > 700)
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert panes(browser) == before
