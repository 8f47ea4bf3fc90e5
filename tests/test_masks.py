import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from fastmri.data.subsample import create_mask_for_mask_type
from golden_data import REAL_SCAN, golden_arrays, golden_facts
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from mrirecon.coverage import (
    achieved_acceleration,
    calibration_region,
    central_box,
    coverage_of,
)
from mrirecon.io.arrays import plain_scan
from mrirecon.masks import (
    MASKS,
    MaskSpec,
    default_center_fraction,
    fastmri_seed,
    make_mask,
    own,
    published,
)
from mrirecon.masks.poisson_disk import inscribed_ellipse, poisson_disk

EXACT_1D = ("uniform1d", "gaussian1d")
EXACT_2D = ("gaussian2d", "poisson")
FASTMRI = ("random", "equispaced", "equispaced_fraction", "magic", "magic_fraction")


def draw(kind, shape=(320, 320), acceleration=8, center_fraction=0.04, seed=0, **options):
    mask = make_mask(
        kind, shape, acceleration, center_fraction=center_fraction, seed=seed, **options
    )
    return mask.numpy()


def fraction_of(kind, covered, size):
    """The share that a calibration of `size` columns, or of a square of that side, is of what is covered."""
    return MaskSpec(kind, 4, None, size).fraction(covered.shape, covered)


# --- exact counts and calibration ---


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(EXACT_1D + EXACT_2D),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    acceleration=st.floats(1, 25),
    center_fraction=st.floats(0, 0.99),
    seed=st.integers(0, 2**40),
)
def test_count_is_exact_and_calibration_sampled_or_one_clear_error(
    kind, height, width, acceleration, center_fraction, seed
):
    one_d = kind in EXACT_1D
    size = width if one_d else height * width
    side = round(center_fraction * (width if one_d else min(height, width)))
    calibration = side if one_d else side**2
    if acceleration > size or round(size / acceleration) < calibration:
        with pytest.raises(ValueError, match="acceleration"):
            draw(kind, (height, width), acceleration, center_fraction, seed)
        return
    mask = draw(kind, (height, width), acceleration, center_fraction, seed)
    assert mask.shape == (height, width) and mask.dtype == bool
    if one_d:
        assert (mask == mask[:1]).all()
        assert mask[0].sum() == round(width / acceleration)
        rows = slice(None)
    else:
        assert mask.sum() == round(height * width / acceleration)
        rows = slice(height // 2 - side // 2, height // 2 - side // 2 + side)
    start = width // 2 - side // 2
    assert mask[rows, start : start + side].all()


@pytest.mark.parametrize("kind", EXACT_1D + EXACT_2D)
@pytest.mark.parametrize("acceleration", [1, 1.0001, 1.02, 2, 320])
def test_extreme_accelerations_are_exact(kind, acceleration):
    mask = draw(kind, (320, 320), acceleration, 0.0)
    count = mask[0].sum() if kind in EXACT_1D else mask.sum()
    assert count == round((320 if kind in EXACT_1D else 320**2) / acceleration)


def test_uniform1d_is_uniform_outside_the_calibration():
    draws, width, acceleration = 400, 64, 4
    hits = sum(draw("uniform1d", (1, width), acceleration, 0.08, seed)[0] for seed in range(draws))
    outside = np.delete(hits, range(30, 35))  # round(0.08 * 64) = 5 columns around 32
    rate = (16 - 5) / (64 - 5)
    # 5 standard deviations of a binomial
    assert abs(outside / draws - rate).max() < 5 * (rate * (1 - rate) / draws) ** 0.5


@pytest.mark.parametrize(
    ("kind", "shape", "acceleration", "axis", "std"),
    [
        ("gaussian1d", (1, 5120), 512, 1, 15 / 128),
        ("gaussian2d", (320, 320), 2000, 0, (1.5 / 128) ** 0.5),
        ("gaussian2d", (256, 400), 2000, 1, (1.5 / 128) ** 0.5),
    ],
)
def test_gaussian_width_is_that_of_score_mri(kind, shape, acceleration, axis, std):
    # So few points that drawing without replacement does not widen the distribution.
    position = np.concatenate(
        [np.nonzero(draw(kind, shape, acceleration, 0.0, seed))[axis] for seed in range(100)]
    )
    offset = (position - shape[axis] // 2) / shape[axis]
    bound = 5 / (2 * len(offset)) ** 0.5
    assert abs(offset.std() / std - 1) < bound
    assert abs(offset.mean()) < 2 * bound * std


# --- determinism ---

# Also obtained with numpy 1.26 and with its vector code switched off.
HASHES = {
    ("uniform1d", (64, 64), 2): "84041a9d283966df",
    ("uniform1d", (101, 77), 4): "8814710a3cee97aa",
    ("uniform1d", (640, 372), 15): "fcd715c5b4db6482",
    ("gaussian1d", (64, 64), 2): "aa6b865ca709540e",
    ("gaussian1d", (101, 77), 4): "1cd5de8eaf6145fa",
    ("gaussian1d", (640, 372), 15): "36e34dc32f488c7a",
    ("gaussian2d", (64, 64), 2): "422ee1d0fc6af777",
    ("gaussian2d", (101, 77), 4): "7ad547e423b36f0b",
    ("gaussian2d", (640, 372), 15): "0467ab2854782c9d",
    ("poisson", (64, 64), 2): "11fda8f47ed71303",
    ("poisson", (101, 77), 4): "e170126ba8585fdd",
    ("poisson", (640, 372), 15): "d54ebfd6a87206a6",
    ("equispaced", (64, 64), 2): "f8ade2e8aeb5f8d9",
    ("equispaced", (101, 77), 4): "071f0d464941d538",
    ("equispaced", (640, 372), 15): "31c27e7540bc5bf8",
}


@pytest.mark.parametrize(("kind", "shape", "acceleration"), HASHES)
def test_a_seed_means_the_same_mask_everywhere(kind, shape, acceleration):
    mask = draw(kind, shape, acceleration, 0.04, seed=7)
    digest = hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()[:16]
    assert digest == HASHES[kind, shape, acceleration]


@pytest.mark.parametrize("kind", MASKS)
def test_seeds_differ_repeat_and_leave_the_global_state_alone(kind):
    before_numpy = np.random.get_state()[1].copy()  # noqa: NPY002
    before_torch = torch.get_rng_state()
    several = [draw(kind, (64, 64), 4, 0.08, seed) for seed in range(8)]
    assert (np.random.get_state()[1] == before_numpy).all()  # noqa: NPY002
    assert (torch.get_rng_state() == before_torch).all()
    assert (several[3] == draw(kind, (64, 64), 4, 0.08, 3)).all()
    assert len({mask.tobytes() for mask in several}) > 1
    assert draw(kind, (64, 64), 4, 0.08, (102, 105, 108)).any()


# --- Poisson disk ---


def square(shape, side):
    calibration = np.zeros(shape, dtype=bool)
    y, x = (size // 2 - side // 2 for size in shape)
    calibration[y : y + side, x : x + side] = True
    return calibration


def pairs_too_near(mask, spacing, calibration):
    points = np.argwhere(mask & ~calibration)
    radius = spacing[tuple(points.T)]
    first, second = cKDTree(points).query_pairs(radius.max(), output_type="ndarray").T
    distance = np.linalg.norm((points[first] - points[second]).astype(float), axis=1)
    return int((distance < np.minimum(radius[first], radius[second])).sum())


POISSON_CASES = [
    *(((64, 64), acceleration, range(12)) for acceleration in (2, 4, 8, 15, 20)),
    *(((101, 77), acceleration, range(4)) for acceleration in (2, 4, 8, 15, 20)),
    *(((320, 320), acceleration, range(1)) for acceleration in (2, 4, 8, 15, 20)),
    *(((640, 372), acceleration, range(1)) for acceleration in (2, 4, 8, 15, 20)),
]


@pytest.mark.parametrize("elliptical", [False, True])
@pytest.mark.parametrize(("shape", "acceleration", "seeds"), POISSON_CASES)
def test_poisson_keeps_its_spacing_at_every_seed(shape, acceleration, seeds, elliptical):
    center_fraction = default_center_fraction(acceleration)
    calibration = square(shape, round(center_fraction * min(shape)))
    allowed = inscribed_ellipse(shape) if elliptical else np.ones(shape, dtype=bool)
    count = round(shape[0] * shape[1] / acceleration)
    for seed in seeds:
        rng = np.random.Generator(np.random.PCG64(seed))
        mask, spacing = poisson_disk(calibration, allowed, count, rng)
        assert mask.sum() == count
        assert (mask[calibration]).all() and not mask[~allowed & ~calibration].any()
        assert pairs_too_near(mask, spacing, calibration) == 0
        # The guarantee is not an empty one: it grows outwards, and at the edge it forbids neighbours.
        y, x = (size // 2 for size in shape)
        assert spacing.min() == 1 and spacing[y, x] == 1
        for line in (spacing[y, x:], spacing[y:, x], spacing[y, x::-1]):
            assert (np.diff(line) >= 0).all()
        assert spacing[y, 0] > 1
        # Not far from what any packing could have: disks of that size, touching, cover less than the plane.
        assert (mask * spacing**2).sum() * np.pi / 4 < 1.2 * mask.size
        same = draw("poisson", shape, acceleration, center_fraction, seed, elliptical=elliptical)
        assert (same == mask).all()


@pytest.mark.parametrize("acceleration", [2, 4, 8, 15, 20])
def test_poisson_nearest_neighbours_move_apart_outwards(acceleration):
    mask = draw("poisson", (320, 320), acceleration, default_center_fraction(acceleration))
    points = np.argwhere(mask)
    nearest = cKDTree(points).query(points, k=2)[0][:, 1]
    radius = np.linalg.norm((points - 160) / 160, axis=1)
    bands = [nearest[(radius >= low) & (radius < low + 0.2)] for low in (0, 0.4, 0.8, 1.2)]
    means = [band.mean() for band in bands]
    assert means == sorted(means) and bands[0].min() == 1
    assert bands[3].min() >= {2: 1.4, 4: 2, 8: 3, 15: 5, 20: 6}[acceleration]


def test_poisson_has_a_fully_sampled_core_at_small_acceleration():
    y, x = np.ogrid[-160:160, -160:160]
    assert draw("poisson", (320, 320), 2, 0.0)[y**2 + x**2 < 60**2].all()
    assert draw("poisson", (320, 320), 4, 0.0)[y**2 + x**2 < 8**2].all()


def test_poisson_density_falls_smoothly_without_rings():
    density = np.mean([draw("poisson", seed=seed) for seed in range(40)], axis=0)
    y, x = np.ogrid[-160:160, -160:160]
    ring = np.sqrt(y**2 + x**2).astype(int) // 4
    profile = np.bincount(ring.ravel(), density.ravel()) / np.bincount(ring.ravel())
    profile = profile[3:40]  # from the core to the edge
    assert (np.diff(profile) < 0.01 * profile[:-1]).all()
    assert (np.diff(profile) > -0.25 * profile[:-1]).all()
    # The same in all directions: the two axes and the diagonals.
    angle = np.abs(np.arctan2(y, x)) % (np.pi / 2)
    far = (ring > 10) & (ring < 40)
    axes = density[far & (np.abs(angle - np.pi / 4) > np.pi / 8)].mean()
    diagonals = density[far & (np.abs(angle - np.pi / 4) < np.pi / 8)].mean()
    assert abs(axes / diagonals - 1) < 0.03


def test_poisson_is_blue_noise():
    # The number of points in a fixed block varies far less than for independent points, where it would be
    # binomial with a variance of about the mean.
    blocks = np.array([draw("poisson", seed=seed)[20:50, 140:180].sum() for seed in range(60)])
    assert blocks.var() < 0.25 * blocks.mean()
    binomial = np.random.default_rng(0).binomial(1200, blocks.mean() / 1200, 60)
    assert binomial.var() > 0.25 * blocks.mean()


def test_poisson_density_is_like_sigpys():
    # The recorded column densities of sigpy.mri.poisson, 320 x 320, corners cropped.
    statistics = golden_facts("diffusion_get_mask_statistics")["statistics"]
    recorded = statistics["score-MRI/poisson/size320/x8/center0.04"]["column_density_in_8_bands"]
    mask = draw("poisson", (320, 320), 8, 0.0, elliptical=True)
    assert abs(mask.mean(axis=0).reshape(8, -1).mean(axis=1) - recorded).max() < 0.04


# --- equispaced and fastMRI ---


@pytest.mark.parametrize("acceleration", [2, 5, 8.0])
def test_equispaced_is_exactly_spaced_with_the_calibration_on_top(acceleration):
    columns = draw("equispaced", (3, 101), acceleration, 0.08, offset=1)[0]
    expected = np.zeros(101, dtype=bool)
    expected[1 :: int(acceleration)] = True
    expected[46:54] = True  # round(0.08 * 101) = 8 columns around 50
    assert (columns == expected).all()
    offsets = {
        int(draw("equispaced", (1, 101), acceleration, 0.0, seed)[0].argmax()) for seed in range(80)
    }
    assert offsets == set(range(int(acceleration)))


@pytest.mark.parametrize("kind", FASTMRI)
def test_fastmri_kinds_are_line_for_line_the_recorded_ones(kind):
    checked = 0
    for key, draws in golden_arrays("fastmri_masks").items():
        name, width, *rest = key.split("/")
        if name != kind:
            continue
        acceleration, _, offset = rest[0].removeprefix("acc").partition("_offset")
        options = {"offset": int(offset)} if offset else {}
        fraction = {"4": 0.08, "8": 0.04}[acceleration]
        for seed, lines in enumerate(draws.numpy()):
            shape = (2, int(width[1:]))
            mask = draw(f"fastmri_{kind}", shape, int(acceleration), fraction, seed, **options)
            assert (mask == (lines > 0)).all()
            checked += 1
    assert checked >= 60


def test_fastmri_seed_gives_the_mask_of_a_validation_file():
    files = golden_facts("fastmri_masks")["info"]["filename_seeds"]
    recorded = golden_arrays("fastmri_masks")["random_filename_seed/w320"].numpy()
    for name, lines in zip(files, recorded, strict=True):
        mask = draw("fastmri_random", (2, 320), 4, 0.08, fastmri_seed(f"/data/{name}"))
        assert (mask == (lines > 0)).all()


@pytest.mark.parametrize("kind", FASTMRI)
@settings(deadline=None, max_examples=25)
@given(
    width=st.integers(2, 80),
    acceleration=st.integers(1, 12),
    center_fraction=st.floats(0, 0.6),
    seed=st.integers(0, 2**32 - 1),
)
def test_fastmri_kinds_equal_the_package_or_say_why_not(
    kind, width, acceleration, center_fraction, seed
):
    try:
        mask = draw(f"fastmri_{kind}", (3, width), acceleration, center_fraction, seed)
    except ValueError as error:
        assert any(word in str(error) for word in ("acceleration", "center_fraction"))
        return
    package = create_mask_for_mask_type(kind, [center_fraction], [acceleration])
    lines, _ = package((1, 3, width, 2), seed=seed)
    assert (mask == (lines.numpy().ravel() > 0)).all()


@pytest.mark.parametrize("kind", ["magic_fraction", "equispaced_fraction"])
def test_the_fraction_crash_of_fastmri_becomes_a_clear_error(kind):
    # fastMRI issue 344
    with pytest.raises(ValueError, match="high <= 0"):
        create_mask_for_mask_type(kind, [0.37], [4])((1, 1, 320, 2), seed=0)
    with pytest.raises(ValueError, match=r"center_fraction 0\.37 takes 118 of 320 columns"):
        draw(f"fastmri_{kind}", (320, 320), 4, 0.37)


# --- the papers' draws ---


@pytest.mark.parametrize("kind", ["uniform1d", "gaussian1d", "gaussian2d"])
@pytest.mark.parametrize("case", ["size320/x4/center0.08", "size320/x8/center0.04"])
def test_paper_kinds_reproduce_the_recorded_statistics(kind, case, monkeypatch):
    statistics = golden_facts("diffusion_get_mask_statistics")["statistics"]
    recorded = statistics[f"DDS/{kind}/{case}"]
    # Recorded as consecutive draws after numpy.random.seed(0): let all calls share one stream.
    stream = np.random.RandomState(0)
    monkeypatch.setattr(published, "legacy_generator_of", lambda seed: stream)
    acceleration, fraction = (4, 0.08) if "x4" in case else (8, 0.04)
    drawn = [
        draw(f"paper_{kind}", (320, 320), acceleration, fraction) for _ in range(recorded["draws"])
    ]
    achieved = [mask.size / mask.sum() for mask in drawn]
    for name, value in recorded["achieved_acceleration"].items():
        assert getattr(np, name)(achieved) == pytest.approx(value, abs=6e-4)
    density = np.mean(drawn, axis=(0, 1)).reshape(8, -1).mean(axis=1)
    assert abs(density - recorded["column_density_in_8_bands"]).max() < 1.1e-4


# --- reading a mask ---


def test_calibration_region_of_the_real_scan():
    mask = torch.from_numpy((np.load(REAL_SCAN) != 0).any(axis=0))
    assert calibration_region(mask) == (slice(103, 127), slice(78, 102))
    everywhere = torch.ones_like(mask)
    total, rest = achieved_acceleration(mask, everywhere)
    assert total == pytest.approx(230 * 180 / int(mask.sum()))
    assert rest == pytest.approx((230 * 180 - 576) / (int(mask.sum()) - 576))


@settings(deadline=None, max_examples=80)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 10**6),
    density=st.floats(0.3, 1),
)
def test_calibration_region_is_the_largest_centred_block(height, width, seed, density):
    mask = np.random.default_rng(seed).random((height, width)) < density
    y, x = height // 2, width // 2
    areas = [
        (bottom - top) * (right - left)
        for top in range(y + 1)
        for bottom in range(y + 1, height + 1)
        for left in range(x + 1)
        for right in range(x + 1, width + 1)
        if abs((y - top) - (bottom - y - 1)) <= 1
        and abs((x - left) - (right - x - 1)) <= 1
        and mask[top:bottom, left:right].all()
    ]
    region = calibration_region(torch.from_numpy(mask))
    if not areas:
        assert region is None
        return
    assert mask[region].all() and mask[region].size == max(areas)


@pytest.mark.parametrize("shape", [(64, 64), (65, 91), (640, 372)])
@pytest.mark.parametrize("kind", ["uniform1d", "equispaced", "fastmri_equispaced", "gaussian2d"])
def test_calibration_region_contains_the_one_asked_for(kind, shape):
    mask = torch.from_numpy(draw(kind, shape, 4, 0.08))
    rows, columns = calibration_region(mask)
    if kind == "gaussian2d":
        assert rows.stop - rows.start >= round(0.08 * min(shape))
    else:
        assert rows == slice(0, shape[0])
    assert columns.stop - columns.start >= round(0.08 * shape[1])


def test_achieved_acceleration_counts_acquired_lines_only():
    # 18 + 18 zero-padded columns of 372; every fourth acquired column and 24 in the centre
    acquired = torch.zeros(10, 372, dtype=torch.bool)
    acquired[:, 18:354] = True
    mask = torch.zeros_like(acquired)
    mask[:, 18:354:4] = True
    center = (slice(None), slice(174, 198))
    mask[center] = True
    lines = 336 // 4 + 24 - 24 // 4
    found = achieved_acceleration(mask, acquired)
    assert found == pytest.approx(
        (336 / lines, (336 - 25) / (lines - 25))
    )  # column 198 is next to the centre
    given = achieved_acceleration(mask, acquired, calibration=center)
    assert given == pytest.approx((336 / lines, (336 - 24) / (lines - 24)))
    assert achieved_acceleration(acquired, acquired) == (1.0, 1.0)
    partial_echo = acquired.clone()
    partial_echo[:3] = False  # the calibration columns still end where the readout does
    assert achieved_acceleration(mask & partial_echo, partial_echo) == pytest.approx(found)
    only_center = torch.zeros_like(acquired)
    only_center[center] = True
    assert achieved_acceleration(only_center, acquired) == (336 / 24, float("inf"))
    with pytest.raises(ValueError, match="samples none"):
        achieved_acceleration(~acquired, acquired)
    with pytest.raises(ValueError, match="make the mask for this scan"):
        achieved_acceleration(acquired[:5], acquired)


# --- drawn over what a scan covers ---

OWN = (*EXACT_1D, *EXACT_2D, "equispaced")


def ellipse(shape, radius=1.0):
    y, x = ((np.arange(size) - size // 2) / (radius * size / 2) for size in shape)
    return torch.from_numpy(y[:, None] ** 2 + x**2 <= 1)


def diamond(shape):
    y, x = (abs(np.arange(size) - size // 2) / (size / 2) for size in shape)
    return torch.from_numpy(y[:, None] + x < 1)


def box(shape, rows, columns):
    covered = torch.zeros(shape, dtype=torch.bool)
    covered[rows, columns] = True
    return covered


COVERAGES = {
    "ellipse": ellipse((64, 96)),
    "small ellipse": ellipse((65, 91), 0.7),
    "diamond": diamond((48, 61)),
    "padded": box((64, 120), slice(None), slice(16, 104)),
    "padded unevenly": box((33, 120), slice(2, 30), slice(11, 104)),
    "partial Fourier": box((64, 96), slice(None), slice(37, 96)),
    "partial Fourier, other side": box((64, 95), slice(None), slice(0, 60)),
    "partial echo": box((64, 96), slice(20, 64), slice(None)),
    "one-sided ellipse": ellipse((64, 96)) & box((64, 96), slice(25, None), slice(None)),
}


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("padded", [(64, 120), (65, 121), (64, 121), (90, 89)])
@pytest.mark.parametrize("inner", [(64, 88), (40, 57)])
def test_zero_padding_changes_no_mask(kind, padded, inner):
    """The mask of the small grid, with its k-space origin where that of the large one is."""
    place = tuple(
        slice(n // 2 - m // 2, n // 2 - m // 2 + m) for n, m in zip(padded, inner, strict=True)
    )
    for seed in range(3):
        mask = draw(kind, padded, 4, 0.1, seed, acquired=box(padded, *place))
        assert (mask[place] == draw(kind, inner, 4, 0.1, seed)).all()
        assert mask.sum() == mask[place].sum()
        everywhere = torch.ones(padded, dtype=torch.bool)
        assert (
            draw(kind, padded, 4, 0.1, seed, acquired=everywhere)
            == draw(kind, padded, 4, 0.1, seed)
        ).all()


@pytest.mark.parametrize("acceleration", [2, 4, 7.3])
@pytest.mark.parametrize("coverage", COVERAGES)
@pytest.mark.parametrize("kind", EXACT_1D + EXACT_2D)
def test_r_is_r_over_what_is_covered(kind, coverage, acceleration):
    covered = COVERAGES[coverage]
    lengths = covered.sum(dim=0).numpy()
    fraction = 0.1 if acceleration < 5 else 0.05
    lines = [int(covered.any(dim=1).sum()), int((lengths > 0).sum())]
    side = round(fraction * (min(lines) if kind in EXACT_2D else lines[1]))
    rows, middle = (slice(n // 2 - side // 2, n // 2 - side // 2 + side) for n in covered.shape)
    wanted = int(covered.sum()) / acceleration
    for seed in range(4):
        mask = torch.from_numpy(
            draw(kind, covered.shape, acceleration, fraction, seed, acquired=covered)
        )
        assert not bool((mask & ~covered).any()), "outside of what is covered"
        if kind in EXACT_2D:
            assert int(mask.sum()) == round(wanted)
            assert bool(mask[rows, middle].all())
            continue
        columns = mask.any(dim=0)
        assert torch.equal(mask, covered & columns), "whole columns"
        assert bool(columns[middle].all())
        if len(set(lengths[lengths > 0])) == 1:
            assert int(columns.sum()) == round(lines[1] / acceleration)
        else:  # one column more or less would not be nearer
            assert abs(int(mask.sum()) - wanted) <= lengths.max()


@pytest.mark.parametrize("coverage", ["ellipse", "partial Fourier", "one-sided ellipse", "diamond"])
@pytest.mark.parametrize("acceleration", [2, 4, 8])
def test_poisson_keeps_its_spacing_in_any_coverage(coverage, acceleration):
    """The guarantee of the whole grid, with the count of the part; density is not that of a cut-off mask."""
    covered = COVERAGES[coverage].numpy()
    calibration = square(covered.shape, 5) & covered
    count = round(covered.sum() / acceleration)
    rng = np.random.Generator(np.random.PCG64(0))
    mask, spacing = poisson_disk(calibration, covered, count, rng)
    assert mask.sum() == count and not mask[~covered].any()
    assert pairs_too_near(mask, spacing, calibration) == 0
    # Not far from what any packing of the part could have, and it forbids neighbours at its rim.
    assert (mask * spacing**2).sum() * np.pi / 4 < 1.3 * covered.sum()
    assert spacing[covered].max() > 1


def test_columns_of_unequal_length_bring_the_points_nearest():
    """Counted by hand: of the two numbers of columns around the wanted points, the nearer one."""
    covered = diamond((40, 41))
    lengths = covered.sum(dim=0).numpy()
    mask = draw("uniform1d", (40, 41), 3, 0.1, 5, acquired=covered)
    wanted, columns = covered.sum().item() / 3, int(mask.any(axis=0).sum())
    found = {}
    for count in range(4, 30):
        center = np.zeros(41, dtype=bool)
        center[18:22] = True  # round(0.1 * 41) = 4 columns around 20
        drawn = own._draw(center, np.where(lengths > 0, 1, 0), count, 5)
        found[count] = abs(lengths[drawn].sum() - wanted)
    assert found[columns] == min(found.values())


@pytest.mark.parametrize("kind", [*(f"fastmri_{kind}" for kind in FASTMRI), "paper_uniform1d"])
def test_published_kinds_know_the_whole_grid_only(kind):
    covered = COVERAGES["padded"]
    mask = draw(kind, covered.shape, 4, 0.08, 3, acquired=covered)
    assert (mask == draw(kind, covered.shape, 4, 0.08, 3)).all()


@pytest.mark.parametrize("coverage", ["padded", "partial Fourier", "partial echo"])
def test_the_calibration_is_a_share_of_the_covered_lines(coverage):
    """At the acceleration that leaves nothing but the calibration, the mask is that."""
    covered = COVERAGES[coverage]
    height, width = covered.shape
    rows, columns = int(covered.any(dim=1).sum()), int(covered.any(dim=0).sum())
    fraction = fraction_of("uniform1d", covered, 12)
    mask = draw("uniform1d", covered.shape, columns / 12, fraction, acquired=covered)
    middle = slice(width // 2 - 6, width // 2 + 6)
    assert (mask == (covered & box(covered.shape, slice(None), middle)).numpy()).all()
    for kind in EXACT_2D:
        fraction = fraction_of(kind, covered, 12)
        assert fraction == pytest.approx(12 / min(rows, columns))
        mask = draw(kind, covered.shape, rows * columns / 144, fraction, acquired=covered)
        square = box(covered.shape, slice(height // 2 - 6, height // 2 + 6), middle)
        assert (mask == square.numpy()).all()
    fraction = fraction_of("fastmri_random", covered, 12)
    assert round(fraction * width) == 12


def test_a_calibration_of_more_points_than_are_asked_for_is_an_error():
    """Counted in points where columns differ in length: six of 60 columns, but a fifth of the points of a diamond."""
    covered = COVERAGES["diamond"]
    with pytest.raises(ValueError, match=r"calibration region alone has \d+ of 1\d\d\d samples"):
        draw("uniform1d", covered.shape, 7.3, 0.1, acquired=covered)
    assert draw("uniform1d", covered.shape, 4.9, 0.1, acquired=covered).any()


@settings(deadline=None, max_examples=100)
@given(
    size=st.integers(1, 14), first=st.integers(0, 13), last=st.integers(0, 13), flip=st.booleans()
)
def test_the_central_box_is_the_smallest_grid_about_the_origin(size, first, last, flip):
    if not first <= last < size:
        return
    line = torch.zeros(1, size, dtype=torch.bool)
    line[0, [first, last]] = True
    part = central_box(line.T if flip else line)[0 if flip else 1]
    grids = [
        (size // 2 - length // 2, size // 2 - length // 2 + length) for length in range(1, size + 1)
    ]
    assert (part.start, part.stop) == next(g for g in grids if g[0] <= first and last < g[1])


# --- what a scan covers ---


def scan_of(sampled, acquired=None, sampling=False):
    """A scan whose slices sample these points of noise; `sampling` says so instead of zeros."""
    sampled = torch.stack(sampled) if isinstance(sampled, list) else sampled[None]
    random = torch.Generator().manual_seed(0)
    kspace = torch.randn(
        len(sampled), 2, *sampled.shape[1:], dtype=torch.complex64, generator=random
    )
    known = {} if acquired is None else {"acquired": acquired}
    if sampling:
        known["sampling"] = lambda volume, index: sampled[index]
    shape = tuple(kspace.shape)
    return plain_scan("x", "npy", shape, lambda _, index: kspace[index] * sampled[index], **known)


@pytest.mark.parametrize("sampling", [False, True])
@pytest.mark.parametrize("name", COVERAGES)
def test_what_has_no_gaps_is_coverage(name, sampling):
    covered = COVERAGES[name]
    found = coverage_of(scan_of(covered, sampling=sampling))
    assert found.complete and torch.equal(found.acquired, covered)
    half = torch.ones_like(covered)
    half[:, covered.shape[1] // 2 + 5 :] = False  # a header that says less is believed
    found = coverage_of(scan_of(covered, half))
    assert found.complete and torch.equal(found.acquired, covered & half)


@pytest.mark.parametrize("name", COVERAGES)
@pytest.mark.parametrize("kind", ["uniform1d", "gaussian2d", "poisson", "equispaced"])
def test_what_has_gaps_was_undersampled(name, kind):
    covered = COVERAGES[name]
    mask = make_mask(kind, covered.shape, 3, center_fraction=0.1, seed=0, acquired=covered)
    found = coverage_of(scan_of(mask))
    assert not found.complete and bool(found.acquired.all())
    assert torch.equal(found.sampled, mask)
    found = coverage_of(scan_of(mask, covered))
    assert not found.complete and torch.equal(found.acquired, covered)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_gap_along_one_axis_is_enough(axis):
    lines = torch.zeros(64, 64, dtype=torch.bool)
    lines[:, ::2] = True
    found = coverage_of(scan_of(lines if axis else lines.T.contiguous()))
    assert not found.complete and bool(found.acquired.all())


def test_coverage_is_told_by_a_slice_that_is_not_empty_and_holds_the_origin():
    covered, empty = COVERAGES["ellipse"], torch.zeros(64, 96, dtype=torch.bool)
    found = coverage_of(scan_of([covered, empty, empty, covered]))
    assert found.complete and torch.equal(found.acquired, covered)
    aside = box((64, 96), slice(None), slice(60, 96))
    assert bool(coverage_of(scan_of(aside)).acquired.all())
    found = coverage_of(scan_of([empty] * 20))
    assert not found.complete and bool(found.acquired.all())


# --- bad requests ---


@pytest.mark.parametrize("kind", OWN)
def test_a_coverage_that_cannot_be_is_one_clear_error(kind):
    with pytest.raises(ValueError, match="no point of the k-space grid is acquired"):
        draw(kind, (64, 64), 4, 0.08, acquired=torch.zeros(64, 64, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"mask is \(64, 64\), acquired is \(64, 60\)"):
        draw(kind, (64, 64), 4, 0.08, acquired=torch.ones(64, 60, dtype=torch.bool))
    with pytest.raises(ValueError, match="has no option 'acquire'"):
        draw(kind, (64, 64), 4, 0.08, acquire=None)


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"acceleration": 0.5}, "acceleration is 0.5: it must be a number of at least 1"),
        ({"acceleration": float("nan")}, "acceleration is nan"),
        ({"acceleration": float("inf")}, "acceleration is inf"),
        ({"acceleration": -4}, "acceleration is -4"),
        ({"acceleration": 5000}, "leaves none of the"),
        ({"center_fraction": 1.0}, "center_fraction is 1.0"),
        ({"center_fraction": -0.1}, "center_fraction is -0.1"),
        ({"center_fraction": float("nan")}, "center_fraction is nan"),
        ({"shape": (0, 64)}, "is empty"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**130}, "seed is "),
    ],
)
def test_bad_requests_are_one_clear_error(kind, change, message):
    request = {"shape": (64, 64), "acceleration": 4, "center_fraction": 0.08, "seed": 0}
    with pytest.raises(ValueError, match=message) as raised:
        make_mask(kind, **{**request, **change})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", [*EXACT_1D, *EXACT_2D, "paper_uniform1d"])
def test_calibration_beyond_the_budget_is_an_error(kind):
    with pytest.raises(ValueError, match="the calibration region alone has"):
        draw(kind, (64, 64), 8, 0.6)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (("uniform",), "unknown mask kind 'uniform': did you mean uniform1d?"),
        (("Poison",), "did you mean poisson"),
        (("xyz",), "unknown mask kind 'xyz': choose one of uniform1d"),
        (
            ("equispaced", (64, 64), 4.5),
            "acceleration is 4.5: equispaced lines need a whole number",
        ),
        (("fastmri_magic", (64, 64), 4.5), "whole number"),
        (("paper_gaussian2d", (64, 60), 4), "square grid"),
    ],
)
def test_wrong_names_and_kinds(request_, message):
    with pytest.raises(ValueError, match=message):
        draw(*request_)


def test_options_are_checked():
    with pytest.raises(ValueError, match="no option 'eliptical': did you mean elliptical"):
        draw("poisson", eliptical=True)
    with pytest.raises(ValueError, match="no option 'offset': there is none"):
        draw("uniform1d", offset=1)
    with pytest.raises(ValueError, match="offset is 8: it must be at least 0 and below 8"):
        draw("equispaced", offset=8)
    with pytest.raises(ValueError, match="fastmri_random has no offset"):
        draw("fastmri_random", offset=1)
    with pytest.raises(ValueError, match=r"the ellipse holds \d+: use at least 1\.2"):
        draw("poisson", acceleration=1.1, elliptical=True)
    assert draw("poisson", acceleration=1.275, elliptical=True).sum() == round(320**2 / 1.275)


def test_default_center_fraction():
    assert [default_center_fraction(r) for r in (1, 4, 5, 5.1, 8, 20)] == [0.08] * 3 + [0.04] * 3


def test_masks_import_no_fastmri():
    code = (
        "import sys, mrirecon.masks; sys.exit('fastmri' in sys.modules or 'sigpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
