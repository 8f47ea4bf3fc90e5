"""Phase of gradient echoes against closed forms: the sphere in a field, chemical shift, shims."""

import math

import numpy as np
import pytest

from mrirecon.gradient_echo import (
    FAT_PPM,
    PROTON_MHZ,
    GradientEcho,
    fat_fraction,
    field_ppm,
    shimmed,
)
from mrirecon.simulate import simulate_scan

ALONG = np.array([0.0, 0.0, 1.0])


def ball(shape, voxel_mm, radius):
    axes = [(np.arange(n) - n // 2) * mm for n, mm in zip(shape, voxel_mm, strict=True)]
    grid = np.meshgrid(*axes, indexing="ij")
    return grid, np.sqrt(sum(one**2 for one in grid)), lambda r: (r < radius).astype(float)


@pytest.mark.parametrize("voxel_mm", [(1.0, 1.0, 1.0), (1.0, 1.25, 2.0)])
@pytest.mark.parametrize("direction", [ALONG, np.array([0.6, 0.0, 0.8])])
def test_field_of_a_sphere_is_the_textbook_one(voxel_mm, direction):
    """Outside chi/3 (a/r)^3 (3 cos^2 - 1), inside 0 (with the sphere of Lorentz)."""
    radius, chi = 10.0, 9.0
    shape = tuple(round(96 / mm) for mm in voxel_mm)
    grid, r, inside = ball(shape, voxel_mm, radius)
    field = field_ppm(chi * inside(r), voxel_mm, direction)
    cosine = sum(x * b for x, b in zip(grid, direction, strict=True)) / np.maximum(r, 1e-9)
    expected = chi / 3 * (radius / np.maximum(r, 1e-9)) ** 3 * (3 * cosine**2 - 1)
    near = (r > 1.4 * radius) & (r < 2.2 * radius)
    difference = (field - expected)[near]
    assert np.abs(difference - difference.mean()).max() < 0.2 * np.abs(expected[near]).max()
    middle = r < 0.6 * radius
    assert np.abs(field[middle] - difference.mean()).max() < 0.03 * chi


def test_a_cylinder_along_the_field_shifts_its_inside_by_a_third():
    """It goes on beyond the first and the last slice, so chi/3 inside and 0 outside, up to the mean of all."""
    (y, x, _), _, _ = ball((64, 64, 6), (1.0, 1.0, 1.0), 1)
    inside = np.hypot(y, x) < 12
    field = field_ppm(9.0 * inside, (1.0, 1.0, 1.0), ALONG)
    step = field[inside & (np.hypot(y, x) < 9)].mean() - field[np.hypot(y, x) > 16].mean()
    assert step == pytest.approx(3.0, rel=0.02)
    across = field_ppm(9.0 * inside, (1.0, 1.0, 1.0), np.array([1.0, 0.0, 0.0]))
    assert across[32, 32, 3] - across[:4, :4].mean() == pytest.approx(3.0 - 4.5, rel=0.1)


def test_shims_take_away_second_order_and_nothing_else():
    y, x, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (20, 24, 9)), indexing="ij")
    smooth = 2 + y - 3 * x * z + x**2
    wave = 0.1 * np.cos(9 * y)
    where = np.hypot(y, x) < 0.8
    assert np.abs(shimmed(smooth, where)).max() < 1e-10
    left = shimmed(smooth + wave, where)
    assert left[where].std() <= wave[where].std()
    few = np.zeros_like(where)
    few[0, 0, :5] = True
    np.testing.assert_array_equal(shimmed(smooth, few), smooth)


def head():
    """A disk of tissue with a bright rim, on air."""
    y, x = np.meshgrid(np.arange(96) - 48, np.arange(96) - 48, indexing="ij")
    r = np.hypot(y, x)
    one = 0.4 * (r < 38) + 0.6 * ((r < 38) & (r > 33))
    return np.repeat(one[:, :, None], 4, axis=2), r


def test_fat_is_the_bright_rim():
    image, r = head()
    fat = fat_fraction(image, image > 0, (1.0, 1.0))[:, :, 1]
    assert fat[(r < 37) & (r > 35)].min() > 0.8
    assert fat[r < 25].max() < 0.05


def test_fat_and_water_meet_with_the_phase_of_their_shift():
    image, r = head()
    half_turn = 1e3 / (2 * PROTON_MHZ * 3 * abs(FAT_PPM))
    at = [
        np.abs(GradientEcho(turns * half_turn)(image, (1.0, 1.0, 3.0), ALONG)[:, :, 1])
        for turns in (0, 0.5, 1, 2)
    ]
    start, quarter, opposed, in_phase = (one[r < 38] / image[:, :, 1][r < 38] for one in at)
    np.testing.assert_allclose(start, 1, atol=1e-12)
    np.testing.assert_allclose(in_phase, 1, atol=1e-12)
    np.testing.assert_allclose(opposed**2, 2 * quarter**2 - 1, atol=1e-12)  # |1 - 2f|, |1 - f - if|
    assert opposed[r[r < 38] < 25].min() > 0.95
    assert quarter.min() < 0.75
    # Fat lags behind water; along its own axis a cylinder has the same field everywhere, which is shimmed away.
    echo = GradientEcho(0.5 * half_turn)(image, (1.0, 1.0, 3.0), ALONG)[:, :, 1]
    fatty = quarter < 0.8
    assert np.angle(echo[r < 38])[fatty].max() < -0.3
    assert np.abs(np.angle(echo[r < 25])).max() < 0.02


def test_phase_of_air_grows_with_echo_and_field():
    """A hole through the head across the field has chi/2 (a/r)^2 cos(2 angle), which turns the phase forward."""
    image, r = head()
    y, x = np.meshgrid(np.arange(96) - 48, np.arange(96) - 48, indexing="ij")
    image[r < 12] = 0
    inside, across = (r > 15) & (r < 24), np.array([1.0, 0.0, 0.0])
    once, twice = (
        np.angle(GradientEcho(0.5, tesla)(image, (1.0, 1.0, 3.0), across)[:, :, 1])[inside]
        for tesla in (1.5, 3.0)
    )
    np.testing.assert_allclose(twice, 2 * once, atol=6e-3)  # a little fat, even there
    turns_per_ppm = PROTON_MHZ * 3 * 0.5 / 1e3
    # Smoothed tissue reaches a pixel into the hole.
    expected = 2 * math.pi * turns_per_ppm * 2.0 / 2 * 11**2 * (y**2 - x**2) / np.maximum(r, 1) ** 4
    assert np.corrcoef(twice, expected[inside])[0, 1] > 0.9
    assert twice.std() == pytest.approx(expected[inside].std(), rel=0.25)


def test_a_simulated_scan_has_the_phase_and_its_magnitude():
    image, _ = head()
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    plain = simulate_scan(image, coils=4, phase_rad=0.0, affine=affine)
    echo = simulate_scan(image, coils=4, phase_rad=0.0, affine=affine, echo=GradientEcho(3.0))
    expected = GradientEcho(3.0)(image, (1.0, 1.0, 3.0), ALONG)[:, :, 2]
    truth = echo.truth(2).numpy()
    assert np.linalg.norm(truth - expected) < 0.12 * np.linalg.norm(expected)
    assert np.linalg.norm(plain.truth(2).numpy() - expected) > 0.4 * np.linalg.norm(expected)
    np.testing.assert_allclose(echo.scan.reference(2).numpy(), np.abs(truth), rtol=1e-5)


def test_main_field_follows_the_affine():
    """A head that lies along the readout has the field along the readout."""
    image, _ = head()
    lying = np.array([[0, 1.0, 0, 0], [0, 0, 3.0, 0], [1.0, 0, 0, 0], [0, 0, 0, 1]])
    scan = simulate_scan(image, coils=1, phase_rad=0.0, affine=lying, echo=GradientEcho(3.0))
    expected = GradientEcho(3.0)(image, (1.0, 1.0, 3.0), np.array([1.0, 0.0, 0.0]))[:, :, 2]
    truth = scan.truth(2).numpy()
    assert np.linalg.norm(truth - expected) < 0.12 * np.linalg.norm(expected)
    assert math.isfinite(float(np.abs(truth).max()))
