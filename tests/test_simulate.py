"""The simulator and its coil maps against closed forms (Biot-Savart, Fourier, noise statistics), BART and nibabel."""

import math
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mrirecon import birdcage
from mrirecon.birdcage import birdcage_maps
from mrirecon.geometry import geometry_from_affine
from mrirecon.phantom import ELLIPSES, shepp_logan, shepp_logan_kspace
from mrirecon.simulate import coupled_covariance, demo_simulation, simulate_scan, smooth_phase
from mrirecon.tensors import fft2c, ifft2c, rss

BRAIN = Path(nibabel.__file__).parent / "tests" / "data" / "example4d.nii.gz"


@pytest.fixture(scope="module")
def brain():
    image = nibabel.load(BRAIN)
    return np.asarray(image.dataobj[..., 0], dtype=np.float32), image.affine


def error(x, target):
    return float(torch.linalg.vector_norm(x - target) / torch.linalg.vector_norm(target))


# Coil maps


def loop(center, radius):
    """A loop around the x axis."""
    tangent = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    return birdcage._Loops(torch.tensor([center], dtype=torch.float64), tangent, radius)


def test_field_on_the_axis_of_a_loop_is_the_textbook_one():
    radius, x = 40.0, torch.linspace(-150, 150, 31, dtype=torch.float64)
    points = torch.stack([x + 7, 0 * x - 3, 0 * x + 2], dim=1)
    field = birdcage._receive_fields(loop([7.0, -3.0, 2.0], radius), points)[0]
    expected = 2 * math.pi * radius**2 / (radius**2 + x**2) ** 1.5  # in units of mu0 I / 4 pi
    torch.testing.assert_close(field.real.abs(), expected, rtol=1e-12, atol=0)
    assert field.imag.abs().max() < 1e-12 * expected.max()


def test_far_field_of_a_loop_is_a_dipole():
    random = np.random.default_rng(0)
    r = torch.from_numpy(random.standard_normal((50, 3)))
    r = 5000 * r / torch.linalg.vector_norm(r, dim=1, keepdim=True)
    field = birdcage._receive_fields(loop([0.0, 0.0, 0.0], 10.0), r)[0]
    near = birdcage._receive_fields(loop([0.0, 0.0, 0.0], 10.0), torch.zeros(1, 3).double())[0, 0]
    moment = math.copysign(math.pi * 10**2, near.real)
    distance = torch.linalg.vector_norm(r, dim=1)
    dipole_x = moment * (3 * r[:, 0] ** 2 / distance**5 - 1 / distance**3)
    dipole_y = moment * 3 * r[:, 0] * r[:, 1] / distance**5
    assert error(field, torch.complex(dipole_x, -dipole_y)) < 1e-4


@pytest.mark.parametrize("coils", [8, 30])
def test_maps_are_the_fields_of_their_loops_to_single_precision(coils):
    shape, fov, z = (40, 33), (256.0, 192.0), 17.0
    maps = birdcage_maps(shape, coils, fov_mm=fov, positions_mm=[z])[0]
    y, x = ((np.arange(n) - n // 2) / n * length for n, length in zip(shape, fov, strict=True))
    points = np.stack(np.broadcast_arrays(y[:, None], x[None, :], z), axis=-1).reshape(-1, 3)
    loops = birdcage._coil_array(coils, 1.5 * fov[0] / 2, 1.5 * fov[1] / 2)
    fields = birdcage._receive_fields(loops, torch.from_numpy(points)).reshape(coils, *shape)
    assert (maps - fields / rss(fields)).abs().max() < 5e-6


@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    coils=st.integers(1, 40),
    slices=st.integers(1, 3),
)
def test_maps_of_any_count_and_size_have_unit_norm(shape, coils, slices):
    maps = birdcage_maps(shape, coils, positions_mm=[4.0 * i for i in range(slices)])
    assert maps.shape == (slices, coils, *shape)
    torch.testing.assert_close(rss(maps, dim=1), torch.ones(slices, *shape))


def test_turning_the_array_by_one_coil_renames_the_coils():
    maps = birdcage_maps((33, 33), 4)[0]
    for coil in range(4):
        turned = torch.rot90(maps[coil], 1, dims=(0, 1))
        following = maps[(coil + 1) % 4]
        # B_x - i B_y of a field turned by 90 degrees gains a factor -i.
        assert error(-1j * turned, following) < 1e-5


@pytest.mark.parametrize("shape", [(12, 10), (9, 7)])
def test_maps_and_phase_mean_the_same_place_on_every_grid(shape):
    fine = tuple(3 * n for n in shape)
    start = [3 * n // 2 - 3 * (n // 2) for n in shape]
    pick = (..., slice(start[0], None, 3), slice(start[1], None, 3))
    fov = (float(shape[0]), float(shape[1]))
    torch.testing.assert_close(birdcage_maps(fine, 5, fov_mm=fov)[pick], birdcage_maps(shape, 5))
    torch.testing.assert_close(smooth_phase(fine, 3.0)[pick], smooth_phase(shape, 3.0))


def test_phase_is_bounded_strong_smooth_and_seeded():
    phases = torch.stack([smooth_phase((64, 48), 3.0, 0.5, seed) for seed in range(20)])
    assert phases.abs().max() <= 3.0
    spans = phases.amax(dim=(1, 2)) - phases.amin(dim=(1, 2))
    assert spans.mean() > 2.0
    # At most one period per field of view: |gradient| <= 2 pi * 3 rad / N.
    assert phases.diff(dim=1).abs().max() <= 2 * math.pi * 3 / 64
    assert not torch.equal(phases[0], phases[1])
    assert torch.equal(phases[0], smooth_phase((64, 48), 3.0, 0.5, 0))


# Phantom


@pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")
def test_phantom_and_its_kspace_equal_barts(tmp_path):
    for options, ours in (((), shepp_logan((96, 96))), (("-k",), shepp_logan_kspace((96, 96)))):
        subprocess.run(
            ["bart", "phantom", "-x", "96", *options, tmp_path / "phantom"],
            check=True,
            timeout=60,
        )
        theirs = np.fromfile(tmp_path / "phantom.cfl", np.complex64).reshape(96, 96, order="F")
        theirs = torch.from_numpy(theirs.copy())
        if options:  # BART's k-space has another gain
            theirs = theirs * (torch.vdot(theirs.flatten(), ours.flatten()) / theirs.norm() ** 2)
        assert error(ours, theirs) < 1e-5


@pytest.mark.parametrize("shape", [(48, 48), (33, 50)])
def test_phantom_kspace_is_the_limit_of_fine_rasters(shape):
    exact = shepp_logan_kspace(shape)
    fine = fft2c(shepp_logan((16 * shape[0], 16 * shape[1])).to(torch.complex64))
    h, w = (16 * n // 2 - n // 2 for n in shape)
    raster = fine[h : h + shape[0], w : w + shape[1]] / 16
    assert error(raster, exact) < 1e-2  # halves with the raster's pixel: edges
    areas = [a * b * math.pi * intensity for intensity, a, b, *_ in ELLIPSES]
    origin = exact[shape[0] // 2, shape[1] // 2]
    mean = sum(areas) / 4  # the FOV is 2 x 2
    assert abs(origin - mean * math.sqrt(shape[0] * shape[1])) < 1e-4


# Scans


@pytest.mark.parametrize("shape", [(64, 48), (49, 37)])
@pytest.mark.parametrize("oversample", [1, 2, 3])
def test_truth_of_a_gaussian_is_that_gaussian(shape, oversample):
    y, x = (np.arange(n) - n // 2 for n in shape)
    image = np.exp(-((y[:, None] - 3) ** 2 + (x[None, :] + 5) ** 2) / (2 * 3.0**2))
    simulation = simulate_scan(image, coils=1, phase_rad=0.0, oversample=oversample)
    truth = simulation.truth(0)
    assert error(truth, torch.from_numpy(image)) < 2e-4  # that of the spline
    assert truth.imag.abs().max() < 1e-5
    kspace = simulation.scan.kspace(0)
    assert error(ifft2c(kspace)[0] * simulation.maps(0)[0].conj(), truth) < 1e-5


def test_without_a_finer_grid_the_discrete_model_is_exact(brain):
    simulation = simulate_scan(brain[0][:, :, 9], coils=6, oversample=1)
    expected = fft2c(simulation.maps(0) * simulation.truth(0))
    assert error(simulation.scan.kspace(0), expected) < 1e-6
    assert error(simulation.scan.reference(0), torch.from_numpy(brain[0][:, :, 9])) < 1e-6


def test_with_a_finer_grid_there_is_no_inverse_crime(brain):
    simulation = simulate_scan(brain[0][:, :, 9], coils=8)
    kspace = simulation.scan.kspace(0)
    truth, maps = simulation.truth(0), simulation.maps(0)
    model_error = error(fft2c(maps * truth), kspace)
    assert 3e-4 < model_error < 1e-2  # the model is nearly, not exactly, right
    assert error((maps.conj() * ifft2c(kspace)).sum(dim=0), truth) < 2e-3
    assert error(rss(ifft2c(kspace)), simulation.scan.reference(0)) < 1e-3
    torch.testing.assert_close(simulation.scan.reference(0), truth.abs())
    changed = error(simulation.scan.reference(0), torch.from_numpy(brain[0][:, :, 9]))
    assert changed > 1e-2  # the object is not what the image grid holds


def test_readout_oversampling_widens_the_field_of_view_only(brain):
    options = {"coils": 4, "affine": brain[1]}
    plain = simulate_scan(brain[0][:, :, 9:10], **options)
    wide = simulate_scan(brain[0][:, :, 9:10], readout_oversampling=2.0, **options)
    assert wide.scan.shape == (1, 4, 256, 96)
    assert (wide.scan.oversampling, wide.scan.crop[0]) == (2.0, slice(64, 192))
    images = [s.scan.to_output(ifft2c(s.scan.kspace(0))) for s in (plain, wide)]
    assert error(images[1], images[0]) < 2e-2  # they differ by the ringing the wider FOV resolves
    assert wide.scan.geometry == plain.scan.geometry
    assert (wide.maps(0)[:, :64] == 0).all()
    assert torch.equal(wide.maps(0)[:, 64:192], plain.maps(0))


def test_noise_has_the_stated_covariance_and_leaves_the_signal_alone():
    image = np.ones((64, 60, 4), dtype=np.float32)
    covariance = coupled_covariance(4, 0.7, 0.5)
    assert torch.allclose(covariance.diagonal().real, torch.tensor(2 * 0.7**2).double())
    noisy = simulate_scan(image, coils=4, noise_std=0.7, correlation=0.5, seed=3).scan
    given = simulate_scan(image, coils=4, noise_covariance=covariance, seed=3).scan
    clean = simulate_scan(image, coils=4, seed=3).scan
    assert clean.noise_covariance is None
    assert torch.equal(noisy.noise_covariance, covariance)
    assert torch.equal(given.kspace(2), noisy.kspace(2))
    noise = torch.cat([(noisy.kspace(i) - clean.kspace(i)).flatten(1) for i in range(4)], dim=1)
    noise = noise.to(torch.complex128)
    count = noise.shape[1]
    bound = 5 * 2 * 0.7**2 / math.sqrt(count)  # 5 standard deviations of each entry
    assert (noise @ noise.mH / count - covariance).abs().max() < bound
    assert (noise @ noise.mT / count).abs().max() < 1.5 * bound  # circular
    assert noise.mean(dim=1).abs().max() < 5 * 0.7 * math.sqrt(2 / count)
    assert noise.real.std().item() == pytest.approx(0.7, rel=5 / math.sqrt(2 * 4 * count) * 2)
    kurtosis = (noise.real[0] ** 4).mean() / (noise.real[0] ** 2).mean() ** 2
    assert kurtosis.item() == pytest.approx(3, abs=5 * math.sqrt(24 / count))


def test_snr_is_the_bright_level_over_the_noise():
    image = np.zeros((32, 32), dtype=np.float32)
    image[8:24, 8:24] = 50
    scan = simulate_scan(image, snr=25.0).scan
    assert scan.noise_covariance[0, 0].real.item() == pytest.approx(2 * 2.0**2)


def test_slices_do_not_depend_on_the_order_of_reading():
    image = np.random.default_rng(0).uniform(size=(16, 12, 4)).astype(np.float32)
    first = simulate_scan(image, noise_std=0.1, seed=5).scan
    second = simulate_scan(image, noise_std=0.1, seed=5).scan
    forwards = [first.kspace(i) for i in range(4)]
    backwards = [second.kspace(i) for i in (3, 2, 1, 0)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert torch.equal(first.select(slice(2, 4)).kspace(1), forwards[3])
    other = simulate_scan(image, noise_std=0.1, seed=6).scan
    assert not torch.equal(other.kspace(0), forwards[0])
    state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first.kspace(0)
    assert torch.equal(torch.random.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()  # noqa: NPY002


@pytest.mark.parametrize(("fraction", "columns"), [(0.75, 15), (0.51, 11), (1.0, 20)])
def test_partial_fourier_leaves_columns_out(fraction, columns):
    scan = simulate_scan(np.ones((8, 20), dtype=np.float32), partial_fourier=fraction, snr=9.0).scan
    assert scan.acquired.any(dim=0).sum() == columns
    assert scan.acquired[:, 20 // 2].all()
    assert torch.equal(scan.mask(0), scan.acquired)
    assert torch.equal((scan.kspace(0) != 0).all(dim=0), scan.acquired)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 5, 1)])
def test_tiny_images_are_no_errors(shape):
    scan = simulate_scan(np.ones(shape, dtype=np.float32), coils=3, noise_std=0.1).scan
    assert scan.kspace(0).shape == scan.shape[1:]


# Geometry


def test_demo_lies_where_the_nifti_says(brain):
    data, affine = brain
    assert nibabel.aff2axcodes(affine) == ("L", "A", "S")
    assert data.shape == (128, 96, 24)
    ras = np.diag([-1, -1, 1, 1])
    for run in (slice(None), slice(5, 9), slice(20, 21)):
        simulation = demo_simulation(data, affine, slices=run)
        scan, image = simulation.scan, nibabel.Nifti1Image(data, affine).slicer[:, :, run]
        assert scan.shape == (image.shape[2], 8, 256, 96)
        assert scan.matrix == image.shape[:2]
        np.testing.assert_allclose(
            ras @ scan.geometry.affine_lps(scan.matrix), image.affine, atol=2e-5
        )
        reference = scan.reference(0)
        assert error(reference, torch.from_numpy(data[:, :, run][:, :, 0])) < 0.03
        combined = (simulation.maps(0).conj() * ifft2c(scan.kspace(0))).sum(dim=0)
        assert 0.03 < error(scan.to_output(combined), simulation.truth(0)) < 0.1  # the noise


def test_sheared_and_degenerate_affines_leave_the_geometry_unknown():
    oblique = np.diag([2.0, 3.0, 4.0, 1.0])
    assert geometry_from_affine(oblique, (4, 6, 2)).known
    assert geometry_from_affine(oblique, (4, 6, 2)).centers_mm == (
        (-4.0, -9.0, 0.0),
        (-4.0, -9.0, 4.0),
    )
    oblique[0, 2] = 1.0
    sheared = geometry_from_affine(oblique, (4, 6, 2))
    assert not sheared.known
    assert sheared.voxel_mm == pytest.approx((2.0, 3.0, 17**0.5))
    assert "sheared" in sheared.note
    oblique[:, 1] = 0
    assert geometry_from_affine(oblique, (4, 6, 2)).voxel_mm is None


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coils": 0}, "with 0 coils"),
        ({"oversample": 0}, "oversample is 0"),
        ({"readout_oversampling": 0.5}, "readout_oversampling is 0.5"),
        ({"readout_oversampling": math.nan}, "readout_oversampling is nan"),
        ({"partial_fourier": 0.5}, "partial_fourier is 0.5"),
        ({"partial_fourier": 1.2}, "partial_fourier is 1.2"),
        ({"noise_std": -1.0}, "noise_std is -1.0"),
        ({"noise_std": 1.0, "correlation": 1.0}, "correlation is 1.0"),
        ({"snr": 0.0}, "snr is 0.0"),
        ({"snr": 2.0, "noise_std": 1.0}, "given twice"),
        ({"noise_covariance": torch.eye(3, dtype=torch.complex128)}, "8 coils"),
        ({"noise_covariance": torch.zeros(8, 8, dtype=torch.complex128)}, "positive definite"),
    ],
)
def test_impossible_scans_give_one_clear_error(options, message):
    with pytest.raises(ValueError, match=message):
        simulate_scan(np.ones((8, 8), dtype=np.float32), **options)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.ones((2, 2, 2, 2)), r"\(2, 2, 2, 2\)"),
        (np.ones((0, 4)), r"\(0, 4\)"),
        (np.zeros((4, 4)), "zero everywhere"),
        (np.full((4, 4), np.nan), "NaN"),
    ],
)
def test_impossible_images_give_one_clear_error(image, message):
    with pytest.raises(ValueError, match=message):
        simulate_scan(image)


def test_wires_may_not_cross_the_image():
    with pytest.raises(ValueError, match=r"distance is 1\.2"):
        birdcage_maps((8, 8), 4, distance=1.2)
