"""Partial Fourier: exact where the theory is, better than zero filling where it is approximate."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_cases import error

from mrirecon.phantom import shepp_logan
from mrirecon.recon.partial_fourier import homodyne, missing_side, pocs, zero_filled
from mrirecon.simulate import smooth_phase
from mrirecon.tensors import fft2c, ifft2c


def acquire(image, axis, late_missing, fraction):
    """The image with the last (or first) 1 - fraction of k-space missing along an axis, and what was acquired."""
    size = image.shape[axis]
    kept = torch.arange(size) < round(fraction * size)
    kept = kept if late_missing else kept.flip(0)
    acquired = (kept[:, None] if axis == 0 else kept[None, :]).expand(image.shape).clone()
    return ifft2c(fft2c(image) * acquired), acquired


CASES = [
    (axis, late, fraction, shape)
    for axis in (0, 1)
    for late in (True, False)
    for fraction in (5 / 8, 6 / 8, 7 / 8)
    for shape in ((64, 56), (63, 57))
]


@pytest.mark.parametrize(("axis", "late", "fraction", "shape"), CASES)
def test_both_beat_zero_filling_for_a_smooth_phase(axis, late, fraction, shape):
    phase = smooth_phase(shape, 1.5, seed=3)
    truth = torch.polar(shepp_logan(shape).double(), phase)
    image, acquired = acquire(truth, axis, late, fraction)
    zero = error(zero_filled(image, acquired).abs(), truth.abs())
    assert error(homodyne(image, acquired).abs(), truth.abs()) < 0.65 * zero
    assert error(pocs(image, acquired).abs(), truth.abs()) < 0.2 * zero


@pytest.mark.parametrize(("axis", "late", "fraction", "shape"), CASES)
def test_homodyne_is_exact_for_a_constant_phase(axis, late, fraction, shape):
    truth = shepp_logan(shape).double() * torch.exp(torch.tensor(0.7j, dtype=torch.complex128))
    truth = _without_nyquist(truth)
    image, acquired = acquire(truth, axis, late, fraction)
    assert error(homodyne(image, acquired), truth) < 1e-10
    assert error(image, truth) > 0.1


@pytest.mark.parametrize("late", [True, False])
def test_pocs_keeps_the_acquired_samples(late):
    truth = torch.polar(shepp_logan((48, 40)).double(), smooth_phase((48, 40), 1.5))
    image, acquired = acquire(truth, 1, late, 0.7)
    kspace = fft2c(pocs(image, acquired))
    torch.testing.assert_close(kspace[acquired], fft2c(truth)[acquired])
    assert float(kspace[~acquired].abs().max()) > 0.1


@given(
    st.integers(8, 40),
    st.integers(8, 40),
    st.sampled_from([0, 1]),
    st.booleans(),
    st.floats(0.6, 0.9),
)
@settings(deadline=None, max_examples=40)
def test_the_missing_side_is_found(height, width, axis, late, fraction):
    image = torch.ones(height, width, dtype=torch.complex128)
    _, acquired = acquire(image, axis, late, fraction)
    size = (height, width)[axis]
    kept = round(fraction * size)
    if late:
        first, stop = 0, kept
    else:
        first, stop = size - kept, size
    lopsided = abs((size // 2 - first) - (stop - 1 - size // 2))
    expected = (axis, first, stop) if lopsided > max(1, 0.02 * size) else None
    assert missing_side(acquired) == expected


def test_full_and_symmetric_sampling_change_nothing():
    image = torch.polar(shepp_logan((32, 30)).double(), smooth_phase((32, 30), 2.0))
    full = torch.ones(32, 30, dtype=torch.bool)
    symmetric = full.clone()
    symmetric[:, :4] = False
    symmetric[:, 27:] = False
    for acquired in (full, symmetric, torch.zeros_like(full)):
        assert missing_side(acquired) is None
        for method in (zero_filled, homodyne, pocs):
            assert torch.equal(method(image, acquired), image)


def test_an_empty_image_stays_empty():
    acquired = torch.ones(16, 16, dtype=torch.bool)
    acquired[:, :5] = False
    zero = torch.zeros(16, 16, dtype=torch.complex64)
    assert not homodyne(zero, acquired).any()
    assert not pocs(zero, acquired).any()


def _without_nyquist(image):
    """An even grid samples frequency -N / 2 and not N / 2, whose conjugate partner is therefore unknown."""
    kspace = fft2c(image)
    for axis in (0, 1):
        if image.shape[axis] % 2 == 0:
            kspace.select(axis, 0).zero_()
    return ifft2c(kspace)
