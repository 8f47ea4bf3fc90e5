"""Wavelets against PyWavelets, finite differences against numpy, proximal maps against their definition."""

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import complex_normal

from mrirecon.operators import Gradient, Wavelet
from mrirecon.operators.gradient import project_to_ball, soft_threshold
from mrirecon.operators.wavelet import DB4


def test_filter_is_daubechies():
    np.testing.assert_allclose(DB4, pywt.Wavelet("db4").rec_lo, atol=1e-12)
    low = np.array(DB4)
    for shift in range(4):
        overlap = low[2 * shift :] @ low[: 8 - 2 * shift]
        assert overlap == pytest.approx(float(shift == 0), abs=1e-12)


@pytest.mark.parametrize("shape", [(16, 20), (32, 12)])
def test_a_level_is_pywts_periodised_one_up_to_shift_and_sign(shape):
    x = complex_normal(*shape).real
    h, w = shape[0] // 2, shape[1] // 2
    low, (rows, columns, both) = pywt.dwt2(x.numpy(), "db4", mode="periodization")
    for y, x_, theirs in ((0, 0, low), (h, 0, rows), (0, w, columns), (h, w, both)):
        # pywt starts its pairs of pixels at another place: one pixel of the image may be between the two.
        candidates = [
            Wavelet(shape, 1)(torch.roll(x, start, (0, 1)).to(torch.complex128)).real.numpy()
            for start in ((0, 0), (0, 1), (1, 0), (1, 1))
        ]
        best = min(
            np.abs(sign * np.roll(ours[y : y + h, x_ : x_ + w], (dy, dx), (0, 1)) - theirs).max()
            for ours in candidates
            for dy in range(h)
            for dx in range(w)
            for sign in (1, -1)
        )
        assert best < 1e-11


def test_polynomials_up_to_the_third_degree_have_no_details():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    y, x = y.double() / 64, x.double() / 64
    image = (1 + x + 2 * x * y - x**2 * y + y**3 * x**3).to(torch.complex128)
    bands = Wavelet((64, 64), 1)(image).abs()
    details = [bands[:28, 32:60], bands[32:60, :28], bands[32:60, 32:60]]  # clear of the border
    assert all(float(band.max()) < 1e-12 for band in details)
    assert float(bands[:28, :28].min()) > 1


@given(st.integers(6, 50), st.integers(6, 50))
@settings(deadline=None, max_examples=30)
def test_wavelets_are_orthogonal_at_every_size(height, width):
    W, x = Wavelet((height, width)), complex_normal(height, width)
    torch.testing.assert_close(W.H(W(x)), x)
    torch.testing.assert_close(W(W.H(x)), x)
    torch.testing.assert_close(W(x).abs().square().sum(), x.abs().square().sum())


def test_gradient_is_numpys_difference():
    x = complex_normal(2, 5, 7)
    d = Gradient()(x).numpy()
    np.testing.assert_allclose(d[:, 0, :-1], np.diff(x.numpy(), axis=-2))
    np.testing.assert_allclose(d[:, 1, :, :-1], np.diff(x.numpy(), axis=-1))
    assert not d[:, 0, -1].any()
    assert not d[:, 1, :, -1].any()


def test_squared_norm_of_the_gradient_is_below_eight():
    checkerboard = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.complex128).repeat(20, 20)
    ratio = Gradient()(checkerboard).abs().square().sum() / checkerboard.abs().square().sum()
    assert 7.7 < float(ratio) <= 8


def test_soft_threshold_minimises_its_objective():
    v, threshold = complex_normal(200), 0.7
    x = soft_threshold(v, threshold)
    magnitude = x.abs()
    kept = magnitude > 0
    # Subgradient optimality: x - v + threshold x / |x| = 0, or |v| <= threshold where x = 0.
    residual = (x - v + threshold * x / magnitude)[kept]
    assert float(residual.abs().max()) < 1e-12
    assert float(v[~kept].abs().max()) <= threshold
    assert 0 < int(kept.sum()) < 200
    assert torch.equal(soft_threshold(v, 0.0), v)
    assert not soft_threshold(torch.zeros_like(v), threshold).any()


def test_projection_is_moreaus_complement_of_group_shrinkage():
    v, radius = complex_normal(2, 30, 20), 0.9
    length = torch.linalg.vector_norm(v, dim=0)
    shrunk = v * (1 - radius / length).clamp_min(0)
    torch.testing.assert_close(project_to_ball(v, radius), v - shrunk)
    assert not project_to_ball(v, 0.0).any()
    assert not project_to_ball(torch.zeros_like(v), 0.0).any()
