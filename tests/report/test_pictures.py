"""The static figures: orientation, one window, a row per kind of map."""

import numpy as np
from report_cases import SLICES, pixels

from mrirecon.geometry import Geometry
from mrirecon.report import comparison, write_png
from mrirecon.report.pictures import png_of


def shown_images(figure):
    """Title of the axes -> array, window."""
    found = {}
    for number, axis in enumerate(figure.axes):
        if axis.images and axis.get_label() != "<colorbar>":
            image = axis.images[0]
            name = axis.get_title() or str(number)
            found[name] = (np.asarray(image.get_array()), image.get_clim())
    return found


def test_one_window_for_all_and_the_slice_turned_as_its_plane(result, target):
    items = [result(name, reference=target, seed=n) for n, name in enumerate(("tv", "cg"))]
    found = shown_images(comparison(items))
    top = float(np.quantile(target(SLICES // 2).numpy(), 0.995))
    for name, image in (
        ("reference", target(SLICES // 2)),
        ("tv", items[0][1].image[0, SLICES // 2].abs()),
        ("cg", items[1][1].image[0, SLICES // 2].abs()),
    ):
        array, window = found[name]
        np.testing.assert_allclose(array, image.numpy().T)
        np.testing.assert_allclose(window, (0, top))
    assert any(name.startswith("samples (10 x 8)") for name in found)


def test_unknown_orientation_shows_the_phase_axis_upwards(result):
    item = result(geometry=Geometry())
    array, _ = shown_images(comparison([item]))["tv"]
    np.testing.assert_allclose(array, item[1].image[0, 1].abs().numpy().T[::-1])


def test_a_row_for_each_kind_of_map_with_its_colour_bar_and_unit(result, target):
    figure = comparison([result("dds", reference=target, extras=("std", "null_space"))])
    bars = [a.get_ylabel().replace("\n", " ") for a in figure.axes if a.get_label() == "<colorbar>"]
    assert bars == [
        "image (a.u.)",
        "|error| (a.u.)",
        "standard deviation (a.u.)",
        "null-space part (a.u.)",
    ]
    maps = {image.get_cmap().name for axis in figure.axes[1:] for image in axis.images}
    assert maps <= {"gray", "cividis"}


def test_maps_of_one_method_leave_no_empty_row(result, target):
    dds = result("dds", reference=target, extras=("std", "null_space"))
    figure = comparison([result("tv", reference=target), dds])
    images = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    assert (
        len(images) == 2 * 4
    )  # reference over mask, two methods over their errors, one map over the other
    assert all(axis.images for axis in images)
    bars = [a.get_ylabel().replace("\n", " ") for a in figure.axes if a.get_label() == "<colorbar>"]
    assert bars[2:] == ["standard deviation (a.u.)", "null-space part (a.u.)"]


def test_pixels_have_their_shape_in_millimetres(result):
    figure = comparison([result()])  # 2 mm along the rows, 3 mm along the columns
    assert next(axis for axis in figure.axes if axis.get_title() == "tv").get_aspect() == 1.5


def test_an_empty_image_has_no_bright_level(result):
    scan, volume = result()
    volume.image.zero_()
    assert pixels(png_of(comparison([(scan, volume)]))).size


def test_written_whole(tmp_path, result):
    write_png(comparison([result()]), tmp_path / "a.png")
    write_png(comparison([result()]), tmp_path / "a.png")  # replaces
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert pixels((tmp_path / "a.png").read_bytes()).shape[2] == 3
