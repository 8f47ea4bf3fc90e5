"""What must come of a scan with every method: volumes, noise, maps, scale, odd input."""

import dataclasses

import pytest
import torch
from scan_cases import (
    QUICK,
    array_scan,
    columns,
    error,
    phantom,
    quick,
    reconstructed,
    undersampled,
)

from mrirecon import methods
from mrirecon.birdcage import birdcage_maps
from mrirecon.methods import METHODS, Method, Posterior, SliceMethod
from mrirecon.methods.networks import NetworkMethod
from mrirecon.noise import whitening_matrix
from mrirecon.operators import sense
from mrirecon.recon import GivenMaps
from mrirecon.scan import Scan
from mrirecon.simulate import coupled_covariance
from mrirecon.tensors import fft2c

CLASSICAL = [method.name for method in methods.CLASSICAL]
WITH_MAPS = [name for name in CLASSICAL if METHODS[name]().needs.maps]


def scaled(scan, factor):
    noise = scan.noise_covariance
    return dataclasses.replace(
        scan,
        read=lambda volume, index: factor * scan.read(volume, index),
        noise_covariance=None if noise is None else factor**2 * noise,
    )


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_results_scale_with_kspace(name, factor):
    for noise in ({"snr": 60.0}, {"snr": None}):
        scan = undersampled(**noise)
        once = quick(name)(scan).image
        assert error(quick(name)(scaled(scan, factor)).image / factor, once) < 1e-4


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_reference_changes_nothing(name):
    scan = undersampled()
    assert scan.reference is not None
    without = dataclasses.replace(scan, reference=None, attributes={})
    other = dataclasses.replace(scan, reference=lambda index: torch.full(scan.matrix, 1e6))
    image = quick(name)(scan).image
    assert torch.equal(quick(name)(without).image, image)
    assert torch.equal(quick(name)(other).image, image)


@pytest.mark.parametrize("name", [n for n in CLASSICAL if not METHODS[n]().needs.scale])
def test_a_slice_alone_is_the_slice_among_others(name):
    scan = undersampled(3)
    together = quick(name)(scan).image
    for index in range(3):
        alone = quick(name)(scan.select(slice(index, index + 1))).image
        torch.testing.assert_close(alone[0, 0], together[0, index])


@pytest.mark.parametrize("name", ["l1_wavelet", "tv"])
def test_with_an_absolute_weight_slices_are_independent_too(name):
    scan = undersampled(3)
    for options in ({"relative": False, "regularization": 0.01, "iterations": 150},):
        together = reconstructed(name, scan, **options).image
        alone = reconstructed(name, scan.select(slice(2, 3)), **options).image
        assert error(alone[0, 0], together[0, 2]) < 2e-2


@pytest.mark.parametrize("name", ["l1_wavelet", "tv"])
def test_relative_weights_are_in_units_of_the_reported_scale(name):
    scan = undersampled()
    relative = quick(name, regularization=0.01)(scan)
    scale = relative.info["intensity_scale"][0]
    absolute = quick(name, regularization=0.01 * scale, relative=False)(scan)
    torch.testing.assert_close(absolute.image, relative.image)
    assert relative.info["parameters"]["regularization"] == 0.01


@pytest.mark.parametrize("name", CLASSICAL)
def test_volumes_are_reconstructed_one_by_one(name):
    single = [undersampled(2, seed=seed) for seed in (0, 1)]
    kspace = torch.stack([torch.stack([s.kspace(i) for i in range(2)]) for s in single])
    scan = array_scan(kspace, single[0].mask(0))
    image = quick(name)(scan).image
    assert image.shape == (2, 2, 48, 40)
    first = quick(name)(array_scan(kspace[0], single[0].mask(0))).image
    torch.testing.assert_close(image[0], first[0])
    # Maps come from the first volume; the second is the same object, with other noise and phase.
    assert error(image[1].abs(), image[0].abs()) < 0.3
    assert error(image[1].abs(), image[0].abs()) > 1e-4


@pytest.mark.parametrize("name", ["adjoint", "cg_sense", "l1_wavelet", "tv"])
def test_interleaved_volumes_are_calibrated_from_their_average(name):
    simulation = phantom(shape=(48, 48))
    kspace = simulation.scan.kspace(0)
    masks = [columns(simulation.scan, step=2, calibration=0, offset=start) for start in (0, 1)]
    volumes = torch.stack([kspace * mask for mask in masks]).unsqueeze(1)
    scan = dataclasses.replace(array_scan(volumes), sampling=lambda volume, index: masks[volume])
    image = quick(name)(scan).image
    truth = simulation.truth(0).abs()
    limit = {"adjoint": 0.8}.get(name, 0.15)
    assert all(error(image[volume, 0].abs(), truth) < limit for volume in (0, 1))


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("shape", [(33, 35), (17, 48)])
def test_odd_sizes(name, shape):
    simulation = phantom(shape=shape)
    scan = simulation.scan.undersample(columns(simulation.scan, calibration=14))
    image = quick(name)(scan).image[0, 0]
    assert image.shape == shape
    truth = simulation.truth(0).abs()
    assert error(image.abs(), truth) < 0.6
    assert bool(torch.isfinite(image).all())


@pytest.mark.parametrize("name", CLASSICAL)
def test_one_coil(name):
    simulation = phantom(coils=1)
    scan = simulation.scan
    image = quick(name)(scan.undersample(columns(scan))).image[0, 0]
    assert bool(torch.isfinite(image).all())
    fully = quick(name)(scan).image[0, 0].abs()
    assert error(fully, simulation.truth(0).abs()) < 0.15


@pytest.mark.parametrize("name", WITH_MAPS)
def test_one_pixel(name):
    scan = array_scan(torch.full((1, 1, 1, 1), 3 + 4j, dtype=torch.complex64))
    options = {"regularization": 0.0} if name in ("cg_sense", "l1_wavelet", "tv") else {}
    image = quick(name, **options)(scan).image
    assert error(image.flatten(), torch.tensor([3 + 4j])) < 1e-4


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_samples_that_are_no_numbers_are_refused(name, value):
    kspace = torch.ones(2, 3, 24, 24, dtype=torch.complex64)
    kspace[1, 0, 5, 6] = value
    with pytest.raises(ValueError, match="slice 1 holds NaN or infinite samples"):
        quick(name)(array_scan(kspace))


@pytest.mark.parametrize("name", CLASSICAL)
def test_an_empty_slice_stays_zero_and_is_noted(name):
    full = phantom(2).scan
    kspace = torch.stack([full.kspace(0), torch.zeros(6, 48, 40), full.kspace(1)])
    volume = quick(name)(array_scan(kspace, columns(full)))
    assert not volume.image[0, 1].any()
    assert volume.image[0, 0].any()
    assert volume.image[0, 2].any()
    assert any("slice 1 has no samples: left zero" in note for note in volume.info["notes"])


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_scan_without_signal_is_refused(name):
    with pytest.raises(
        ValueError, match=r"no slice could be reconstructed|holds no signal|not sampled"
    ):
        quick(name)(array_scan(torch.zeros(1, 2, 24, 24, dtype=torch.complex64)))


def noisy_scan(correlation=0.6):
    """Strong, correlated noise; one coil is much noisier than the others."""
    simulation = phantom(shape=(64, 60), coils=6, snr=None, noise_std=None)
    covariance = coupled_covariance(6, 0.02, correlation)
    gain = torch.tensor([8.0, 1, 1, 1, 1, 1], dtype=torch.float64).diag().to(torch.complex128)
    covariance = gain @ covariance @ gain
    clean = simulation.scan.kspace(0)
    noise = torch.randn(
        6, 64 * 60, dtype=torch.complex128, generator=torch.Generator().manual_seed(0)
    )
    noise = (torch.linalg.cholesky(covariance) @ noise).reshape(clean.shape).to(clean.dtype)
    scan = dataclasses.replace(
        simulation.scan, read=lambda v, i: clean + noise, noise_covariance=covariance
    )
    return scan, simulation.truth(0).abs()


@pytest.mark.parametrize("name", ["adjoint", "cg_sense", "l1_wavelet", "tv"])
def test_prewhitening_reduces_noise_and_keeps_intensities(name):
    scan, truth = noisy_scan()
    white = quick(name)(scan)
    coloured = quick(name, whiten=False)(scan)
    assert white.info["prewhitened"]
    assert not coloured.info["prewhitened"]
    inside = truth > 0.05
    errors = [error(v.image[0, 0].abs()[inside], truth[inside]) for v in (white, coloured)]
    assert errors[0] < 0.9 * errors[1]
    level = float(white.image[0, 0].abs()[inside].mean() / truth[inside].mean())
    assert level == pytest.approx(1, abs=0.1)


def test_prewhitened_given_maps_solve_the_generalised_least_squares_problem():
    """Minimises (y - A x)^H C^-1 (y - A x), Pruessmann et al. 1999, equation 2, by dense algebra per aliased group."""
    covariance = coupled_covariance(4, 0.1, 0.5)
    maps = birdcage_maps((10, 8), 4)[0]
    image = torch.randn(10, 8, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(10, 8, dtype=torch.bool)
    mask[:, ::2] = True
    mask[:, 3:6] = True
    noise = 0.1 * torch.randn(
        4, 10, 8, dtype=torch.complex64, generator=torch.Generator().manual_seed(2)
    )
    y = (fft2c(maps * image) + noise) * mask
    scan = array_scan(y[None], mask, noise_covariance=covariance)
    found = reconstructed(
        "min_norm", scan, maps=GivenMaps(maps[None], "truth"), iterations=300, tolerance=1e-7
    ).image[0, 0]
    W = whitening_matrix(covariance)
    A = sense(torch.einsum("ij,jyx->iyx", W, maps.to(W.dtype)), mask)
    identity = torch.eye(80, dtype=W.dtype)
    dense = torch.stack([A(e.reshape(10, 8)).flatten() for e in identity], dim=1)
    whitened = torch.einsum("ij,jyx->iyx", W, y.to(W.dtype)).flatten()
    expected = torch.linalg.lstsq(dense, whitened).solution.reshape(10, 8)
    assert error(found, expected.to(found.dtype)) < 1e-3


@pytest.mark.parametrize("name", CLASSICAL)
def test_the_report_beside_the_volume(name):
    calls = []
    scan = undersampled(2)
    volume = quick(name, progress=lambda done, total: calls.append((done, total)))(scan)
    assert calls == [(1, 2), (2, 2)]
    info = volume.info
    assert info["method"] == name
    assert set(QUICK.get(name, {})) <= set(info["parameters"])
    assert info["acceleration"]["achieved"] == pytest.approx(48 * 40 / int(scan.mask(0).sum()))
    assert info["seconds_per_slice"] > 0
    assert ("data_residual" in info) == METHODS[name]().needs.maps
    assert volume.geometry == scan.geometry


def test_readout_oversampling_is_cropped_from_the_output():
    scan = phantom(readout_oversampling=2.0).scan
    assert scan.shape[2:] == (96, 40)
    for name in CLASSICAL:
        assert quick(name)(scan).image.shape == (1, 1, 48, 40)


@pytest.mark.parametrize("how", ["homodyne", "pocs"])
def test_partial_fourier_follows_any_method(how):
    simulation = phantom(shape=(64, 60), partial_fourier=0.65, phase_rad=1.0, snr=None)
    truth = simulation.truth(0).abs()
    for name in CLASSICAL:
        zero = quick(name)(simulation.scan)
        filled = quick(name, partial_fourier=how)(simulation.scan)
        assert zero.info["partial_fourier"] == "zero"
        assert filled.info["partial_fourier"] == how
        assert error(filled.image[0, 0].abs(), truth) < error(zero.image[0, 0].abs(), truth), name


def test_the_method_table_is_complete():
    for name, cls in METHODS.items():
        assert cls.name == name
        assert issubclass(cls, Method)
        assert issubclass(cls, (SliceMethod, NetworkMethod, Posterior))
        assert cls.__doc__
    assert isinstance(undersampled(), Scan)
