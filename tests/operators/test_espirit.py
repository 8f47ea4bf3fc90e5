"""Coil maps against sigpy's and BART's, and against maps that are known."""

import numpy as np
import pytest
import torch
from properties import complex_normal
from torch.utils._python_dispatch import TorchDispatchMode

from mrirecon.birdcage import birdcage_maps
from mrirecon.operators import espirit, low_resolution_maps
from mrirecon.operators.espirit import principal_coil, set_gauge
from mrirecon.phantom import shepp_logan
from mrirecon.simulate import smooth_phase
from mrirecon.tensors import center_crop, fft2c, ifft2c, rss


def calibration(kspace, size=24):
    return center_crop(kspace, (size, size))


def agreement(a, b):
    """Mean |<a, b>| over the pixels where both maps are non-zero."""
    both = (a != 0).any(dim=0) & (b != 0).any(dim=0)
    cosine = (a.conj() * b).sum(dim=0).abs() / (rss(a) * rss(b)).clamp_min(1e-20)
    assert int(both.sum()) > 0.3 * both.numel()
    return float(cosine[both].mean())


def phantom(shape=(64, 60), coils=6, noise=1e-3, seed=0):
    """k-space of a phantom with phase, and its maps (slice axis dropped)."""
    maps = birdcage_maps(shape, coils)[0]
    image = torch.polar(shepp_logan(shape).double(), smooth_phase(shape, 2.0, seed=seed))
    kspace = fft2c(maps * image.to(torch.complex64))
    return kspace + noise * complex_normal(*kspace.shape, seed=seed, dtype=torch.complex64), maps


def test_maps_agree_with_sigpys(brain8):
    maps = espirit(calibration(brain8.a), (230, 180)).maps[0]
    assert agreement(maps, brain8.recorded["A/sigpy_maps"]) > 0.9999
    eigenvalues = brain8.recorded["A/sigpy_eigenvalue"][0]
    ours = espirit(calibration(brain8.a), (230, 180)).eigenvalues[0]
    assert float((ours - eigenvalues).abs().mean()) < 0.01


def test_magnitudes_agree_with_barts_recorded_ones(brain8):
    maps = espirit(calibration(brain8.a), (230, 180)).maps[0]
    assert agreement(maps.abs(), brain8.recorded["A/bart_maps_magnitude"]) > 0.999


def test_maps_agree_with_barts(brain8, bart):
    theirs = bart("ecalib -m1", brain8.a)
    # BART's default -t 0.001 is the square of our threshold.
    same = espirit(calibration(brain8.a), (230, 180), threshold=0.001**0.5).maps[0]
    assert agreement(same, theirs) > 0.9999
    # With our own (sigpy's) threshold they differ at the rim, where the eigenvalue falls.
    assert agreement(espirit(calibration(brain8.a), (230, 180), crop=0.95).maps[0], theirs) > 0.999
    assert agreement(espirit(calibration(brain8.a), (230, 180)).maps[0], theirs) > 0.997


@pytest.mark.parametrize("shape", [(64, 60), (51, 64), (45, 47)])
def test_maps_of_a_phantom_are_its_coils(shape):
    kspace, truth = phantom(shape)
    maps = espirit(calibration(kspace, 20 if shape[0] % 2 == 0 else 21), shape).maps[0]
    inside = shepp_logan(shape) > 0.05
    cosine = (maps.conj() * truth).sum(dim=0).abs() / rss(truth)
    assert float(cosine[inside].mean()) > 0.998


class WithoutDouble(TorchDispatchMode):
    """Lets the meta device stand for one that has no float64, as mps."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for part in result if isinstance(result, tuple) else (result,):
            if isinstance(part, torch.Tensor) and part.device.type == "meta":
                assert part.dtype not in (torch.float64, torch.complex128), function
        return result


def test_maps_need_no_float64_on_the_device():
    with WithoutDouble():
        kspace = torch.zeros(3, 12, 12, dtype=torch.complex64, device="meta")
        assert espirit(kspace, (20, 22), kernel=4).maps.shape == (1, 3, 20, 22)


def test_maps_have_unit_norm_on_the_support_and_are_zero_outside():
    kspace, _ = phantom()
    maps, values = espirit(calibration(kspace), (64, 60), crop=0.9)
    support = values[0] > 0.9
    norm = rss(maps[0])
    torch.testing.assert_close(norm[support], torch.ones_like(norm[support]))
    assert not norm[~support].any()
    assert 0.2 < float(support.double().mean()) < 1
    assert float(values.max()) < 1 + 1e-4
    assert float(values.min()) > -1e-6


def test_phase_gauge_makes_the_principal_virtual_coil_real_and_positive():
    kspace, _ = phantom()
    block = calibration(kspace)
    for maps in (espirit(block, (64, 60)).maps[0], low_resolution_maps(block, (64, 60))):
        virtual = torch.einsum("c,cyx->yx", principal_coil(block).conj(), maps)
        assert float(virtual.imag.abs().max()) < 1e-5
        assert float(virtual.real.min()) >= 0
    energy = torch.linalg.svdvals(block.flatten(1))[0]
    virtual = torch.einsum("c,cyx->yx", principal_coil(block).conj(), block)
    assert float(torch.linalg.vector_norm(virtual)) == pytest.approx(float(energy), rel=1e-5)


def test_the_largest_weight_of_the_principal_coil_is_real_and_positive():
    """Whatever phase LAPACK gives an eigenvector; the principal component itself is numpy's."""
    for seed in range(5):
        block = complex_normal(4, 9, 8, seed=seed) * torch.arange(1, 5)[:, None, None]
        weights = principal_coil(block)
        largest = weights[weights.abs().argmax()]
        assert abs(float(largest.imag)) < 1e-6 < float(largest.real)
        leading = np.linalg.svd(block.flatten(1).numpy())[0][:, 0]
        assert abs(np.vdot(leading, weights.numpy())) == pytest.approx(1, abs=1e-5)


def test_gauge_does_not_depend_on_a_common_phase_of_the_maps():
    maps, phase = complex_normal(3, 5, 4), torch.exp(1j * complex_normal(5, 4, seed=1).real)
    weights = complex_normal(3, seed=2)
    torch.testing.assert_close(set_gauge(maps * phase, weights), set_gauge(maps, weights))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_kspace_does_not_matter(scale):
    kspace, _ = phantom()
    for sets in (1, 2):
        reference = espirit(calibration(kspace), (64, 60), sets=sets, crop=0.0)
        scaled = espirit(calibration(scale * kspace), (64, 60), sets=sets, crop=0.0)
        assert agreement(reference.maps[0], scaled.maps[0]) > 1 - 1e-5
        torch.testing.assert_close(scaled.eigenvalues, reference.eigenvalues, atol=2e-4, rtol=0)


def test_chunks_do_not_change_the_maps():
    block = calibration(phantom()[0])
    whole = espirit(block, (64, 60))
    parts = espirit(block, (64, 60), entries_at_once=1)
    torch.testing.assert_close(parts.maps, whole.maps)
    torch.testing.assert_close(parts.eigenvalues, whole.eigenvalues)


def test_a_batch_is_calibrated_as_each_alone():
    blocks = torch.stack([calibration(phantom(seed=seed)[0]) for seed in range(3)])
    blocks = blocks.reshape(3, 1, *blocks.shape[1:])
    together = espirit(blocks, (30, 33), sets=2)
    assert together.maps.shape == (3, 1, 2, 6, 30, 33)
    for index in range(3):
        alone = espirit(blocks[index, 0], (30, 33), sets=2)
        torch.testing.assert_close(together.maps[index, 0], alone.maps, atol=1e-4, rtol=0)
        lowres = low_resolution_maps(blocks, (30, 33))[index, 0]
        torch.testing.assert_close(lowres, low_resolution_maps(blocks[index, 0], (30, 33)))


def test_double_precision_agrees_with_single():
    block = calibration(phantom()[0])
    double = espirit(block.to(torch.complex128), (64, 60))
    assert double.maps.dtype == torch.complex128
    assert (
        agreement(double.maps[0].to(torch.complex64), espirit(block, (64, 60)).maps[0]) > 1 - 1e-4
    )


def test_noise_alone_gives_finite_maps():
    noise = complex_normal(4, 24, 24, dtype=torch.complex64)
    maps, values = espirit(noise, (32, 30))
    assert bool(torch.isfinite(values).all())
    assert bool(torch.isfinite(maps.abs()).all())


def test_no_signal_gives_no_maps():
    zero = torch.zeros(4, 24, 24, dtype=torch.complex64)
    assert not espirit(zero, (32, 30)).maps.any()
    assert not low_resolution_maps(zero, (32, 30)).any()


def folded():
    """A head twice as wide as the FOV: aliasing puts two places, with different coils, into one pixel."""
    kspace, maps = phantom((64, 96), coils=8)
    return kspace[..., ::2] * 2**0.5, maps


def project(maps, images):
    """Coil images projected, pixel by pixel, onto the span of the (orthonormal) sets of maps."""
    return torch.einsum("scyx,syx->cyx", maps, torch.einsum("scyx,cyx->syx", maps.conj(), images))


def test_two_sets_explain_a_folded_image_which_one_does_not():
    kspace, _ = folded()
    images = ifft2c(kspace)
    maps, values = espirit(calibration(kspace), (64, 48), sets=2, crop=0.7)

    def unexplained(some):
        return float(torch.linalg.vector_norm(images - project(some, images)) / rss(images).norm())

    assert unexplained(maps[:1]) > 0.2
    assert unexplained(maps) < 0.05
    both = (values > 0.95).all(dim=0)
    overlap = (maps[0].conj() * maps[1]).sum(dim=0).abs()
    assert 0.1 < float(both.double().mean()) < 0.9
    assert float(overlap[both].max()) < 1e-4
    assert float((values[1] - values[0]).max()) < 0.01


def test_the_span_of_two_sets_is_barts(bart):
    kspace, _ = folded()
    theirs = bart("ecalib -m2 -r24 -c0.9", kspace)
    ours = espirit(calibration(kspace), (64, 48), sets=2, crop=0.9).maps
    both = (ours != 0).any(dim=1).all(dim=0) & (theirs != 0).any(dim=1).all(dim=0)
    assert int(both.sum()) > 200
    gram = torch.einsum("acyx,bcyx->yxab", ours.conj(), theirs)[both]
    # Singular values of the overlap are the cosines of the angles between the two planes.
    assert float(torch.linalg.svdvals(gram).mean()) > 0.999


def test_low_resolution_maps_of_flat_coils_are_exact():
    weights = complex_normal(5, dtype=torch.complex64)
    image = shepp_logan((40, 36)) + 0.5
    kspace = fft2c(weights[:, None, None] * image)
    maps = low_resolution_maps(calibration(kspace), (40, 36))
    expected = set_gauge(weights[:, None, None].expand(5, 40, 36), principal_coil(kspace))
    torch.testing.assert_close(maps, expected / rss(expected), atol=1e-4, rtol=0)


def test_impossible_requests_are_refused():
    block = complex_normal(3, 24, 5)
    with pytest.raises(ValueError, match="24 x 5 samples, smaller than the 6 x 6"):
        espirit(block, (32, 32))
    with pytest.raises(ValueError, match="4 sets of maps do not fit 3 coils"):
        espirit(complex_normal(3, 24, 24), (32, 32), sets=4)
