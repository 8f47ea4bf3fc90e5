"""Transforms and tensor moves against fastmri, sigpy and closed forms."""

import fastmri
import numpy as np
import pytest
import sigpy
import torch
from fastmri.data import transforms
from hypothesis import given, settings
from hypothesis import strategies as st

from mrirecon.tensors import (
    as_channels,
    as_complex,
    center_crop,
    complex_noise_like,
    crop_or_pad,
    fft2,
    fft2c,
    fftshift,
    ifft2,
    ifft2c,
    ifftshift,
    measured_points,
    pad_to,
    rss,
)

SIZES = [(8, 8), (7, 9), (6, 5), (1, 4), (3, 1)]


def complex_normal(*shape, seed=0, dtype=torch.complex128):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=dtype, generator=generator)


@pytest.mark.parametrize("shape", SIZES)
def test_centred_transforms_are_those_of_fastmri_and_sigpy(shape):
    x = complex_normal(2, *shape)
    channels = torch.stack([x.real, x.imag], dim=-1)
    for ours, theirs, sigpys in (
        (fft2c, fastmri.fft2c, sigpy.fft),
        (ifft2c, fastmri.ifft2c, sigpy.ifft),
    ):
        y = ours(x)
        torch.testing.assert_close(torch.stack([y.real, y.imag], dim=-1), theirs(channels))
        np.testing.assert_allclose(y.numpy(), sigpys(x.numpy(), axes=(-2, -1)), atol=1e-12)


@given(st.integers(1, 17), st.integers(1, 17), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_transforms_are_unitary_at_every_size(height, width, seed):
    x, y = complex_normal(2, height, width, seed=seed)
    for forward, inverse in ((fft2, ifft2), (fft2c, ifft2c)):
        torch.testing.assert_close(inverse(forward(x)), x)
        torch.testing.assert_close(
            torch.vdot(forward(x).flatten(), y.flatten()),
            torch.vdot(x.flatten(), inverse(y).flatten()),
        )


def test_centred_transform_of_a_centred_point_is_flat_and_the_other_way_round():
    for shape in SIZES:
        point = torch.zeros(shape, dtype=torch.complex128)
        point[shape[0] // 2, shape[1] // 2] = 1
        flat = torch.full_like(point, 1 / (shape[0] * shape[1]) ** 0.5)
        torch.testing.assert_close(fft2c(point), flat)
        torch.testing.assert_close(fft2c(flat), point)


def test_one_axis_transforms_compose_to_both():
    x = complex_normal(3, 6, 7)
    torch.testing.assert_close(fft2c(fft2c(x, (-1,)), (-2,)), fft2c(x))
    torch.testing.assert_close(ifft2c(ifft2c(x, (-2,)), (-1,)), ifft2c(x))


def test_shifts_are_numpys():
    x = complex_normal(2, 5, 4)
    np.testing.assert_array_equal(fftshift(x), np.fft.fftshift(x.numpy(), axes=(-2, -1)))
    np.testing.assert_array_equal(ifftshift(x), np.fft.ifftshift(x.numpy(), axes=(-2, -1)))


def test_channels_hold_real_and_imaginary_part_and_come_back():
    x = complex_normal(2, 3, 4, 5)
    channels = as_channels(x)
    assert channels.shape == (2, 3, 2, 4, 5)
    torch.testing.assert_close(channels[:, :, 0], x.real)
    torch.testing.assert_close(channels[:, :, 1], x.imag)
    torch.testing.assert_close(as_complex(channels), x)


def test_rss_is_fastmris_for_complex_and_real_data():
    x = complex_normal(2, 5, 6, 7)
    expected = fastmri.rss_complex(torch.stack([x.real, x.imag], dim=-1), dim=1)
    torch.testing.assert_close(rss(x), expected)
    torch.testing.assert_close(rss(x.abs(), dim=1), expected)


def test_rss_of_nothing_is_zero_with_gradient_zero():
    x = torch.zeros(4, 2, 2, dtype=torch.complex64, requires_grad=True)
    image = rss(x)
    image.sum().backward()
    assert not image.any()
    assert not x.grad.any()


def test_noise_has_unit_variance_per_component_and_follows_its_seed():
    like = torch.empty(200, 500, dtype=torch.complex64)
    noise = complex_noise_like(like, torch.Generator().manual_seed(3))
    bound = 5 * (2 / like.numel()) ** 0.5  # five standard deviations of an estimated variance
    assert abs(float(noise.real.var()) - 1) < bound
    assert abs(float(noise.imag.var()) - 1) < bound
    assert abs(float((noise.real * noise.imag).mean())) < bound
    again = complex_noise_like(like, torch.Generator().manual_seed(3))
    assert torch.equal(noise, again)
    assert complex_noise_like(like.to(torch.complex128)).dtype == torch.complex128


def test_crop_is_fastmris_where_the_parities_agree():
    x = torch.arange(640 * 372.0).reshape(640, 372)
    torch.testing.assert_close(center_crop(x, (320, 320)), transforms.center_crop(x, (320, 320)))


@given(*[st.integers(1, 12)] * 4)
@settings(deadline=None, max_examples=50)
def test_crop_and_pad_keep_the_centre_and_undo_each_other(height, width, h, w):
    point = torch.zeros(height, width)
    point[height // 2, width // 2] = 1
    moved = crop_or_pad(point, (h, w))
    assert moved.shape == (h, w)
    assert moved[h // 2, w // 2] == 1
    small = torch.arange(1.0, 1 + min(height, h) * min(width, w)).reshape(
        min(height, h), min(width, w)
    )
    large = (max(height, h), max(width, w))
    assert torch.equal(center_crop(pad_to(small, large), tuple(small.shape)), small)


def test_crop_and_pad_refuse_the_wrong_direction():
    x = torch.zeros(4, 5)
    with pytest.raises(ValueError, match=r"cannot crop \(4, 5\) to \(6, 5\): pad"):
        center_crop(x, (6, 5))
    with pytest.raises(ValueError, match=r"cannot pad \(4, 5\) to \(4, 4\): crop"):
        pad_to(x, (4, 4))


def test_measured_points_are_those_that_are_not_zero_in_all_coils():
    """Also where zeros are negative, as k-space times a mask has them."""
    kspace = torch.view_as_complex(
        torch.randn(3, 8, 6, 2, generator=torch.Generator().manual_seed(0))
    )
    mask = torch.rand(8, 6, generator=torch.Generator().manual_seed(1)) < 0.5
    masked = kspace * mask
    assert bool(torch.signbit(torch.view_as_real(masked)[masked == 0]).any())
    masked[0] = 0
    masked[1, 0] = 0
    for x in (
        masked,
        masked.to(torch.complex128),
        masked.transpose(1, 2).contiguous().transpose(1, 2),
    ):
        assert torch.equal(measured_points(x), mask)
