"""The sampling pattern in words, on masks of every kind that we make and on those of others."""

import numpy as np
import pytest
import torch

from mrirecon.masks import MASKS, make_mask
from mrirecon.pattern import pattern_of

SHAPE = (256, 256)
LINES = {  # kind at R = 4 with 8 % in the centre -> what it is, and how its text begins
    "uniform1d": ("random", "random columns with "),
    "gaussian1d": ("random", "random columns, denser at the centre, with "),
    "gaussian2d": ("random", "variable density points with "),
    "poisson": ("random", "variable density points"),
    "equispaced": ("columns", "every 4th column with "),
    "fastmri_random": ("random", "random columns with "),
    "fastmri_equispaced": ("columns", "every 4th column with "),
    "fastmri_equispaced_fraction": ("nearly regular", "every 5th or 6th column in turn with "),
    "fastmri_magic": ("columns", "every 4th column with "),
    "fastmri_magic_fraction": (None, "every 6th column"),
    "paper_uniform1d": ("random", "random columns with "),
    "paper_gaussian1d": ("random", "random columns, denser at the centre, with "),
    "paper_gaussian2d": ("random", "variable density points"),
}


def grid(*points):
    """A mask of 180 x 180 with these parts sampled, each a pair of slices."""
    mask = np.zeros((180, 180), bool)
    for part in points:
        mask[part] = True
    return mask


def told(mask, acquired=None):
    return pattern_of(torch.as_tensor(np.ascontiguousarray(mask)), acquired)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", MASKS)
def test_every_kind_of_mask(kind, seed):
    pattern = pattern_of(make_mask(kind, SHAPE, 4, center_fraction=0.08, seed=seed))
    known, text = LINES[kind]
    assert known in (None, pattern.kind) and pattern.text.startswith(text), pattern


def test_the_centre_is_counted():
    mask = make_mask("equispaced", (640, 368), 4, center_fraction=24 / 368, seed=0, offset=2)
    assert pattern_of(mask).text == "every 4th column with 24 centre columns"
    assert pattern_of(mask.T.contiguous()).text == "every 4th row with 24 centre rows"
    assert pattern_of(mask.T.contiguous()).kind == "lattice"  # no method for columns alone


def test_a_poisson_disk_keeps_a_distance():
    texts = [
        pattern_of(make_mask(kind, SHAPE, 8, center_fraction=0.08, seed=1)).text
        for kind in ("poisson", "gaussian2d")
    ]
    assert "(Poisson disk) with a 2" in texts[0] and "Poisson" not in texts[1]


CENTRE = np.s_[80:100, 80:100]


@pytest.mark.parametrize(
    ("mask", "kind", "text"),
    [
        (grid(np.s_[:, :]), "full", "full"),
        (grid(np.s_[::2, ::2], CENTRE), "lattice", "regular 2 x 2 with a 20 x 20 centre"),
        (grid(np.s_[1::3, ::2]), "lattice", "regular 3 x 2"),
        (grid(np.s_[::2, 1::3], CENTRE), "lattice", "regular 2 x 3 with a 20 x 2"),
        (grid(np.s_[:, ::2], np.s_[:, 79:101]), "columns", "every 2nd column with 2"),
        (grid(np.s_[:, 1::8]), "columns", "every 8th column"),
        (grid(np.s_[:90, 1::3]), "columns", "every 3rd column"),  # a partial echo
        (grid(np.s_[:, 62::4], np.s_[:, 80:104]), "columns", "every 4th column with 24"),
        (grid(CENTRE), "centre", "the central 20 x 20 points only"),
        (
            grid(np.s_[::4, ::2], np.s_[2::4, 1::2], CENTRE),
            "lattice",
            "regular 2 x 2, each row shifted by 1 (CAIPIRINHA), with a 2",
        ),
    ],
)
def test_regular_patterns(mask, kind, text):
    pattern = told(mask)
    assert pattern.kind == kind and pattern.text.startswith(text), pattern


def test_a_lattice_is_told_inside_an_ellipse_and_around_a_round_centre():
    y, x = np.indices((180, 180)) - 90
    corners = np.hypot(y, x) <= 90
    lattice = grid(np.s_[::2, ::3])
    assert told((lattice & corners) | grid(CENTRE)).text.startswith("regular 2 x 3 with a 20 x 2")
    assert told(lattice | (np.hypot(y, x) <= 12)).text.startswith("regular 2 x 3 with a 1")


def test_what_is_not_acquired_is_not_missed():
    acquired = torch.zeros(180, 180, dtype=torch.bool)
    acquired[:, 20:160] = True
    assert told(grid(np.s_[:, 20:160]), acquired).kind == "full"
    assert told(grid(np.s_[:, 20:160:2]), acquired).text == "every 2nd column"
    assert told(grid(np.s_[:, 20:160])).kind == "centre"


def test_points_at_random_and_a_lattice_with_a_hole():
    points = np.random.default_rng(0).random((180, 180)) < 0.25
    assert told(points).text == "random points"
    holed = grid(np.s_[::2, ::2])
    holed[60, 90] = False
    assert told(holed).kind == "random"


@pytest.mark.parametrize("calibration", [(20, 20), (0, 0)])
def test_masks_of_sigpy(calibration):
    import sigpy.mri

    mask = sigpy.mri.poisson((180, 180), 6, calib=calibration) != 0
    assert told(mask).text.startswith("variable density points (Poisson disk)")
