"""The group `mrirecon` of a fastMRI file: right values are read back, each wrong one is refused with its name."""

import json

import h5py
import numpy as np
import pytest
import torch

from mrirecon.geometry import Geometry
from mrirecon.io import read_scan, write_scan

VOXEL, DIRECTIONS = [1.0, 2.0, 3.0], [[0, 1, 0], [0.6, 0, 0.8], [0.8, 0, -0.6]]
CENTERS = [[0, 0, 0], [0, 0, 3], [0, 0, 6]]


def geometry(**changed):
    return json.dumps(
        {"voxel_mm": VOXEL, "directions": DIRECTIONS, "centers_mm": CENTERS, "note": "x", **changed}
    )


def tilted(covariance, **places):
    made = covariance.copy()
    for place, value in places.items():
        made[int(place[1]), int(place[2])] = value
    return made


COVARIANCE = np.asarray([[2, 1j], [-1j, 3]], np.complex64)
RIGHT = {
    "geometry": [
        geometry(),
        geometry(voxel_mm=None, directions=None, centers_mm=None, note=""),
        "{}",
        geometry(directions=[[1, 0, 0], [0, 1, 0], [0, 0, -1.005]]),
    ],
    "crop": [[[0, 6], [0, 5]], [[2, 4], [1, 4]]],
    "matrix": [[6, 5], [12, 10], [6, 7]],
    "oversampling": [1.0, 2.0, 1.25],
    "acquired": [np.ones((6, 5), bool), np.ones(5, bool)],
    "noise_covariance": [
        COVARIANCE,
        COVARIANCE.astype(np.complex128),
        np.eye(2, dtype=np.float32),
        np.zeros((2, 2)),
    ],
}
WRONG = {
    "geometry": [
        "no JSON",
        "[1]",
        geometry(other=1),
        geometry(voxel_mm=[1, 1]),
        geometry(voxel_mm=[-1, 1, 1]),
        geometry(voxel_mm=[0, 1, 1]),
        geometry(voxel_mm="abc"),
        geometry(voxel_mm=[1, 1, float("nan")]),
        geometry(voxel_mm=[1, 1, float("inf")]),
        geometry(voxel_mm=[True, True, True]),
        geometry(directions=[[1, 0, 0]]),
        geometry(directions=[[1, 0, 0], [0, 1, 0], [0, 0, 2]]),
        geometry(directions=[[1, 0, 0], [0, 1, 0], [0, 1, 0]]),
        geometry(directions=[[1, 0, 0], [0, 1], [0, 1, 0]]),
        geometry(centers_mm=CENTERS[:2]),
        geometry(centers_mm=[[0, 0, None]] * 3),
        geometry(centers_mm={"a": 1}),
        geometry(note=3),
        3.0,
        np.zeros(3),
    ],
    "crop": [
        np.zeros((2, 2), int),
        [[-5, 5], [0, 5]],
        [[0, 7], [0, 5]],
        [[4, 2], [0, 5]],
        [[0.0, 6.0], [0, 5]],
        [0, 6],
        [[0, 6], [0, 5], [0, 1]],
        "text",
    ],
    "matrix": [
        [-6, 5],
        [0, 5],
        [5, 5],
        [6, 4],
        [2, 2],
        [6, 5, 1],
        [6.0, 5.0],
        [6 + 0j, 5],
        [10**6, 5],
        "text",
        6,
    ],
    "oversampling": [-1.0, 0.0, 0.5, np.nan, np.inf, [1.0], "1", 1 + 0j],
    "acquired": [
        np.zeros((6, 5), bool),
        np.ones((5, 5), bool),
        np.full((6, 5), 2),
        "text",
        np.ones((2, 6, 5), bool),
    ],
    "noise_covariance": [
        np.full((2, 2), np.nan, np.complex64),
        np.eye(3, dtype=np.complex64),
        np.ones(2, np.complex64),
        tilted(COVARIANCE, p01=2j),
        tilted(COVARIANCE, p00=-2),
        tilted(COVARIANCE, p00=2j),
        tilted(COVARIANCE, p01=9j, p10=-9j),
        "text",
    ],
    "calibration": [np.zeros((3, 2, 6, 4), np.complex64), np.zeros((3, 2, 6, 5)), "text"],
}


def with_entry(tmp_path, make_scan, name, value):
    scan, _ = make_scan((3, 2, 6, 5))
    path = tmp_path / "own.h5"
    write_scan(scan, path)
    with h5py.File(path, "a") as file:
        if name in file["mrirecon"]:
            del file["mrirecon"][name]
        file["mrirecon"][name] = value
    return path


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in RIGHT.items() for value in values]
)
def test_right_values_are_read(tmp_path, make_scan, name, value):
    scan = read_scan(with_entry(tmp_path, make_scan, name, value))
    if name == "geometry":
        known = json.loads(value)
        assert scan.geometry.voxel_mm == (known.get("voxel_mm") and tuple(known["voxel_mm"]))
        assert scan.geometry.note == known.get("note", "")
    elif name == "crop":
        assert [[part.start, part.stop] for part in scan.crop] == value
    elif name == "noise_covariance":
        assert (
            np.array_equal(scan.noise_covariance.numpy(), value)
            and scan.noise_covariance.is_complex()
        )
    elif name == "acquired":
        assert bool(scan.acquired.all()) and scan.acquired.shape == (6, 5)
    else:
        assert getattr(scan, name) == (value if name == "oversampling" else tuple(value))


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_wrong_values_are_refused(tmp_path, make_scan, name, value):
    with pytest.raises(
        ValueError, match=rf"own.h5: mrirecon/{name}: .*: delete the group 'mrirecon'"
    ):
        read_scan(with_entry(tmp_path, make_scan, name, value))


def test_what_is_missing_or_no_group(tmp_path, make_scan):
    path = with_entry(tmp_path, make_scan, "crop", [[0, 6], [0, 5]])
    with h5py.File(path, "a") as file:
        del file["mrirecon/matrix"]
    with pytest.raises(ValueError, match="mrirecon/matrix: it is missing"):
        read_scan(path)
    with h5py.File(path, "a") as file:
        del file["mrirecon"]
        file["mrirecon"] = 1
    with pytest.raises(ValueError, match="'mrirecon' is no group"):
        read_scan(path)


def test_a_matrix_as_small_as_a_smaller_window(tmp_path, make_scan):
    path = with_entry(tmp_path, make_scan, "crop", [[2, 4], [0, 5]])
    with h5py.File(path, "a") as file:
        file["mrirecon/matrix"][:] = 2, 5
    assert read_scan(path).matrix == (2, 5)
    with h5py.File(path, "a") as file:
        file["mrirecon/matrix"][:] = 1, 5
    with pytest.raises(
        ValueError, match=r"it is 1 x 5, smaller than the window of 2 x 5, mrirecon/crop: delete"
    ):
        read_scan(path)


def test_a_target_smaller_than_the_image_is_no_reference(tmp_path, make_scan):
    """Cropped about its centre it would give a reference of another shape than the reconstruction."""
    path = with_entry(tmp_path, make_scan, "matrix", [6, 5])
    with h5py.File(path, "a") as file:
        file["reconstruction_rss"] = np.ones((3, 6, 4), np.float32)
    scan = read_scan(path)
    assert scan.reference is None
    assert (
        "reconstruction_rss is 3 x 6 x 4, smaller than the image of 6 x 5: it is no reference"
        in scan.notes
    )
    with h5py.File(path, "a") as file:
        del file["reconstruction_rss"]
        file["reconstruction_rss"] = np.arange(3 * 8 * 7, dtype=np.float32).reshape(3, 8, 7)
    reference = read_scan(path).reference(1)
    assert torch.equal(reference, torch.arange(3 * 8 * 7.0).reshape(3, 8, 7)[1, 1:7, 1:6])


@pytest.mark.parametrize("stored", [b"abc", 1 + 2j])
def test_a_target_that_is_no_real_image_is_no_reference(tmp_path, make_scan, stored):
    path = with_entry(tmp_path, make_scan, "matrix", [6, 5])
    with h5py.File(path, "a") as file:
        file["reconstruction_rss"] = np.full((3, 8, 7), stored)
    scan = read_scan(path)
    assert scan.reference is None and scan.matrix == (6, 5)
    assert any("reconstruction_rss holds" in note for note in scan.notes)


def test_what_is_written_is_read(tmp_path, make_scan):
    place = Geometry(
        (1.0, 2.0, 3.0),
        ((0.0, 1.0, 0.0), (0.6, 0.0, 0.8), (0.8, 0.0, -0.6)),
        ((0.0, 0.0, 1.0),) * 3,
        "a",
    )
    scan, _ = make_scan((3, 2, 6, 5), geometry=place, noise_covariance=torch.from_numpy(COVARIANCE))
    write_scan(scan, tmp_path / "a.h5")
    again = read_scan(tmp_path / "a.h5")
    assert again.geometry == place and torch.equal(again.noise_covariance, scan.noise_covariance)
