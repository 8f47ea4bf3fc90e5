"""Which way up slices are shown: against positions in the patient, not against the code that turns them."""

import itertools

import numpy as np
import pytest

from mrirecon.report.orientation import described, plane

SIDES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


def affine_of(codes, voxel=(1.0, 2.0, 3.0)):
    """Array axes that grow to the given sides."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, code in enumerate(codes):
        row, sign = SIDES[code]
        affine[row, axis] = sign * voxel[axis]
    return affine


EVERY = [
    "".join(letters)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*order)
]


@pytest.mark.parametrize("codes", EVERY)
@pytest.mark.parametrize("normal", [0, 1, 2])
def test_the_letter_at_an_edge_is_where_the_patients_side_is(codes, normal):
    """Across each edge of the screen the patient coordinate of its letter grows, for all 48 orientations."""
    affine = affine_of(codes)
    view = plane(affine, normal)
    shape = [4, 5, 6]
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    ras = index @ affine[:3, :3].T
    first, second = (axis for axis in range(3) if axis != normal)
    left, right, top, bottom = view.edges
    for letter in view.edges:
        axis, sign = SIDES[letter]
        coordinate = sign * np.take(ras[..., axis], 0, axis=normal)
        assert coordinate.shape == (shape[first], shape[second])
        screen = view.shown(coordinate)
        ends = {left: screen[:, 0], right: screen[:, -1], top: screen[0], bottom: screen[-1]}
        opposite = {left: right, right: left, top: bottom, bottom: top}[letter]
        assert (ends[letter] > ends[opposite]).all()
    assert (
        view.edges
        in {
            "axial": [("R", "L", "A", "P")],
            "coronal": [("R", "L", "S", "I")],
            "sagittal": [("A", "P", "S", "I")],
        }[view.name]
    )


def test_unknown_bears_no_letters():
    view = plane(None, 2)
    assert view.edges == ("", "", "", "") and view.name == "axis 2"
    image = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(view.shown(image), [[2, 5], [1, 4], [0, 3]])
    assert described(None) == "orientation unknown"


def test_oblique_is_said():
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    text = described(turn @ affine_of("LPS"))
    assert text.startswith("LPS") and "oblique by 17.2 degrees" in text
    assert "oblique" not in described(affine_of("LPS"))
