"""Preparation of scans against closed forms, numpy's SVD, sigpy and BART."""

import dataclasses
import math
import shutil
import subprocess

import numpy as np
import pytest
import sigpy.mri
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mrirecon.masks import MASKS
from mrirecon.noise import (
    noise_covariance,
    noise_level,
    outer_noise,
    prewhiten,
    trusted_noise,
    whitening_matrix,
)
from mrirecon.phantom import shepp_logan
from mrirecon.prepare import compress_coils, enlarge, remove_oversampling
from mrirecon.scale import intensity_scale, volume_scale
from mrirecon.simulate import coupled_covariance, simulate_scan
from mrirecon.tensors import fft2c, ifft2c, rss

bart = pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")


def error(x, target):
    return float(torch.linalg.vector_norm(x - target) / torch.linalg.vector_norm(target))


def phantom(slices=2, shape=(48, 40), **options):
    image = shepp_logan(shape).numpy()[:, :, None] * np.linspace(1, 0.6, slices, dtype=np.float32)
    return simulate_scan(image, **options).scan


def columns(scan, start=12, stop=28, step=3):
    """A 1D mask with a calibration region."""
    mask = torch.zeros(scan.shape[2:], dtype=torch.bool)
    mask[:, ::step] = True
    mask[:, start:stop] = True
    return mask


def complex_normal(shape, seed=0):
    parts = np.random.default_rng(seed).standard_normal((2, *shape)) / math.sqrt(2)
    return torch.complex(torch.from_numpy(parts[0]), torch.from_numpy(parts[1]))


def write_cfl(path, array):
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, array.shape)) + "\n")
    array.astype(np.complex64).ravel(order="F").tofile(path.with_suffix(".cfl"))
    return path


def read_cfl(path):
    shape = path.with_suffix(".hdr").read_text().splitlines()[1].split()
    data = np.fromfile(path.with_suffix(".cfl"), np.complex64)
    return data.reshape([int(n) for n in shape], order="F").squeeze()


def run_bart(*arguments):
    subprocess.run(["bart", *map(str, arguments)], check=True, timeout=60, capture_output=True)


# Noise


def test_noise_covariance_is_right_and_whitening_gives_unit_noise_per_component():
    covariance = coupled_covariance(5, 3.0, 0.6)
    count = 40000
    samples = torch.linalg.cholesky(covariance) @ complex_normal((5, count))
    estimate = noise_covariance(samples)
    assert (estimate - covariance).abs().max() < 5 * 18 / math.sqrt(count)
    whitener = whitening_matrix(covariance)
    identity = torch.eye(5, dtype=torch.complex128)
    torch.testing.assert_close(whitener @ covariance @ whitener.mH, 2 * identity)
    white = whitener @ samples
    bound = 5 / math.sqrt(2 * count)
    assert (white.real.std(dim=1) - 1).abs().max() < bound
    assert (white.imag.std(dim=1) - 1).abs().max() < bound


def test_whitening_is_sigpys_up_to_the_stated_factor():
    covariance, kspace = coupled_covariance(4, 0.2, 0.3), complex_normal((4, 6, 5))
    theirs = torch.from_numpy(sigpy.mri.whiten(kspace.numpy(), covariance.numpy()))
    ours = torch.einsum("vc,cyx->vyx", whitening_matrix(covariance), kspace)
    assert error(ours, math.sqrt(2) * theirs) < 1e-12


@bart
def test_whitening_is_barts_up_to_the_stated_factor(tmp_path):
    samples = torch.linalg.cholesky(coupled_covariance(4, 1.5, 0.5)) @ complex_normal((4, 500))
    kspace = complex_normal((4, 8, 6), seed=1)
    noise_file = write_cfl(tmp_path / "noise", samples.numpy().T[:, None, None, :])
    kspace_file = write_cfl(tmp_path / "kspace", np.moveaxis(kspace.numpy(), 0, -1)[:, :, None, :])
    outputs = [tmp_path / name for name in ("out", "matrix", "covariance")]
    run_bart("whiten", kspace_file, noise_file, *outputs)
    covariance = noise_covariance(samples)
    barts_covariance = torch.from_numpy(read_cfl(outputs[2])).to(torch.complex128)
    assert error(covariance, barts_covariance) < 1e-5
    ours = torch.einsum("vc,cyx->vyx", whitening_matrix(covariance), kspace)
    theirs = torch.from_numpy(np.moveaxis(read_cfl(outputs[0]), -1, 0).copy())
    assert error(ours, math.sqrt(2) * theirs.to(torch.complex128)) < 1e-5


def test_prewhitened_scan_has_white_noise_and_the_same_mask():
    noisy = phantom(coils=6, noise_std=0.3, correlation=0.7, shape=(96, 80))
    clean = phantom(coils=6, shape=(96, 80))
    clean = dataclasses.replace(clean, noise_covariance=noisy.noise_covariance)
    mask = columns(noisy, 30, 50)
    white, signal = prewhiten(noisy.undersample(mask)), prewhiten(clean.undersample(mask))
    assert torch.equal(white.mask(1), mask)
    assert torch.equal((white.kspace(1) != 0).any(dim=0), mask)
    noise = (white.kspace(1) - signal.kspace(1))[:, mask].to(torch.complex128)
    found = noise @ noise.mH / noise.shape[1]
    bound = 5 * 2 / math.sqrt(noise.shape[1])
    assert (found - white.noise_covariance).abs().max() < bound
    assert torch.equal(white.noise_covariance, 2 * torch.eye(6, dtype=torch.complex128))
    assert white.reference is None
    assert white.shape == noisy.shape
    assert torch.equal(
        noisy.kspace(0), phantom(coils=6, noise_std=0.3, correlation=0.7, shape=(96, 80)).kspace(0)
    )


def test_bad_noise_gives_one_clear_error():
    with pytest.raises(ValueError, match="3 samples for 4 coils"):
        noise_covariance(complex_normal((4, 3)))
    with pytest.raises(ValueError, match="no noise scan"):
        prewhiten(phantom(coils=4))
    dead = coupled_covariance(4, 1.0, 0.2)
    dead[2, :] = dead[:, 2] = 0
    with pytest.raises(ValueError, match="coil 2 has no noise"):
        whitening_matrix(dead)
    twins = complex_normal((4, 100))
    twins[3] = 2 * twins[0]
    with pytest.raises(ValueError, match="singular"):
        whitening_matrix(noise_covariance(twins))
    with pytest.raises(ValueError, match="not Hermitian"):
        whitening_matrix(complex_normal((4, 4)) + 5 * torch.eye(4))
    whitening_matrix(torch.diag(torch.tensor([1e-6, 1.0, 1e4])).to(torch.complex128))


@pytest.mark.parametrize("samples", [12, 200, 4000])
@pytest.mark.parametrize(
    "stds", [(1.0,) * 8, (0.5, 0.7, 1, 1.4, 2, 0.5, 1, 3), (1.0,) * 7 + (5.0,)]
)
def test_outer_noise_is_the_root_mean_square_over_the_coils(stds, samples):
    """Of pure noise the mean of many estimates of the power is the true one, however few samples there are."""
    stds, runs = torch.tensor(stds), 400 if samples < 1000 else 20
    mask = torch.zeros(1, 20 * samples, dtype=torch.bool)  # its outermost 5 % are `samples` points
    mask[0] = True
    powers = []
    for seed in range(runs):
        noise = 2**0.5 * complex_normal(
            (len(stds), 1, mask.shape[1] // 20), seed
        )  # 1 per component
        kspace = torch.zeros(len(stds), *mask.shape, dtype=torch.complex64)
        half = noise.shape[-1] // 2 + 1
        kspace[..., :half], kspace[..., -half:] = noise[..., :half], noise[..., -half:]
        powers.append(outer_noise(stds[:, None, None] * kspace, mask) ** 2)
    spread = np.std(powers) / runs**0.5
    assert abs(np.mean(powers) - float(stds.square().mean())) < 4 * spread


def test_dead_coils_do_not_lower_the_noise_level():
    kspace = (2**0.5 * complex_normal((8, 64, 64))).to(torch.complex64)
    mask = torch.ones(64, 64, dtype=torch.bool)
    live = outer_noise(kspace, mask)
    kspace[:3] = 0
    assert outer_noise(kspace, mask) == pytest.approx(live, rel=0.1)
    assert outer_noise(0 * kspace, mask) == 0
    for factor in (1e-14, 1e14):
        assert outer_noise(factor * kspace, mask) / factor == pytest.approx(live, rel=0.1)


@pytest.mark.parametrize("snr", [3.0, 20.0, 100.0, 2000.0])
@pytest.mark.parametrize("shape", [(32, 24), (128, 96)])
@pytest.mark.parametrize("options", [{}, {"readout_oversampling": 2.0}, {"partial_fourier": 0.6}])
def test_a_true_noise_scan_is_believed(snr, shape, options):
    scan = phantom(3, shape, coils=4, snr=snr, seed=1, **options)
    for under in (scan, scan.undersample(columns(scan))):
        assert trusted_noise(under) is under
    half = dataclasses.replace(scan, noise_covariance=scan.noise_covariance / 2)
    assert trusted_noise(half) is half


@pytest.mark.parametrize("wrong", [1e-4, 0.1, 10, 30, 1e3, 1e8])
def test_a_noise_scan_that_the_outer_samples_contradict_is_scaled(wrong):
    """Both levels are said; the true one is taken, and the correlations of the noise scan."""
    scan = phantom(3, (128, 96), coils=4, snr=10.0, correlation=0.3, seed=1)
    true = noise_level(scan)
    other = dataclasses.replace(scan, noise_covariance=scan.noise_covariance * wrong**2)
    found = trusted_noise(other)
    assert noise_level(found) == pytest.approx(true, rel=0.1)
    ratio = found.noise_covariance / other.noise_covariance
    assert torch.allclose(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-3)
    (note,) = found.notes[len(scan.notes) :]
    assert f"the noise scan has {noise_level(other):.3g} per real component" in note
    assert f"outermost samples have {noise_level(found):.3g}" in note
    assert trusted_noise(found) is found


def test_a_quiet_noise_scan_is_believed_where_the_outer_samples_hold_signal():
    scan = phantom(1, (32, 24), coils=4, snr=1e5, seed=1)
    outer = outer_noise(*scan.measured(0))
    assert outer > 10 * noise_level(scan) and trusted_noise(scan) is scan


def test_rounding_errors_beyond_an_interpolated_kspace_are_no_noise():
    scan = phantom(1, (96, 96), coils=4, snr=20.0, seed=1)
    box = torch.zeros(96, 96, dtype=torch.bool)
    box[24:-24, 24:-24] = True
    dust = 1e-7 * scan.kspace(0).abs().max() * complex_normal((4, 96, 96)).to(torch.complex64)
    padded = dataclasses.replace(scan, read=lambda v, i: torch.where(box, scan.read(v, i), dust))
    assert trusted_noise(padded) is padded


# Coil compression


def test_svd_compression_keeps_the_energy_numpys_svd_keeps():
    scan = phantom(coils=8, noise_std=0.02).undersample(columns(phantom(coils=8)))
    compressed = compress_coils(scan, 3)
    assert compressed.shape == (2, 3, 48, 40)
    calibration = np.concatenate(
        [scan.kspace(i)[:, :, 12:28].flatten(1).numpy() for i in range(2)], axis=1
    )
    singular = np.linalg.svd(calibration.astype(np.complex128), compute_uv=False)
    kept = sum(float(compressed.kspace(i)[:, :, 12:28].norm() ** 2) for i in range(2))
    assert kept == pytest.approx((singular[:3] ** 2).sum(), rel=1e-5)
    assert torch.equal(compressed.mask(1), scan.mask(1))
    assert torch.equal(compressed.select(slice(1, 2)).kspace(0), compressed.kspace(1))


@pytest.mark.parametrize("method", ["svd", "geometric"])
def test_keeping_all_coils_only_rotates_them(method):
    scan = phantom(coils=5, noise_std=0.02)
    rotated = compress_coils(scan, 5, method)
    assert error(rss(ifft2c(rotated.kspace(1))), rss(ifft2c(scan.kspace(1)))) < 1e-6
    assert error(rotated.kspace(1), scan.kspace(1)) > 0.1


@bart
@pytest.mark.parametrize(("method", "flag"), [("svd", "-S"), ("geometric", "-G")])
def test_compression_spans_what_barts_does(method, flag, tmp_path):
    scan = phantom(slices=1, coils=8, noise_std=0.05)
    kspace = scan.kspace(0)
    source = write_cfl(tmp_path / "kspace", np.moveaxis(kspace.numpy(), 0, -1)[:, :, None, :])
    run_bart("cc", "-p", 3, "-A", flag, source, tmp_path / "out")
    theirs = torch.from_numpy(np.moveaxis(read_cfl(tmp_path / "out"), -1, 0).copy())
    ours = compress_coils(scan, 3, method).kspace(0)
    assert error(rss(ifft2c(ours)), rss(ifft2c(theirs))) < 1e-4


def compression_matrices(scan, coils, method, index=0):
    """The (readout, virtual, coil) matrices of a slice, by sending unit vectors through a second volume."""
    probe = torch.zeros(scan.shape[1:], dtype=torch.complex64)
    for coil in range(scan.shape[1]):
        probe[coil, :, coil] = 1
    probe = fft2c(probe, (-2,))

    def read(volume, index):
        return probe if volume == 1 else scan.read(volume, index)

    compressed = compress_coils(dataclasses.replace(scan, read=read, volumes=2), coils, method)
    hybrid = ifft2c(compressed.kspace(index, volume=1), (-2,))
    return hybrid.movedim(1, 0)[..., : scan.shape[1]]


def test_geometric_compression_is_best_at_every_readout_position_and_smooth():
    full = phantom(slices=1, coils=12)
    scan = full.undersample(columns(full))
    hybrid = ifft2c(scan.kspace(0)[:, :, 12:28], (-2,)).movedim(-2, 0).to(torch.complex128)
    best = (torch.linalg.svdvals(hybrid)[:, :3] ** 2).sum(dim=1)
    compressed = compress_coils(scan, 3, "geometric")
    kept = ifft2c(compressed.kspace(0)[:, :, 12:28], (-2,)).abs().square().sum(dim=(0, 2))
    torch.testing.assert_close(kept.double(), best, rtol=1e-4, atol=1e-6 * float(best.max()))

    loss = {}
    for method in ("svd", "geometric"):
        virtual = compress_coils(full, 3, method).kspace(0)
        loss[method] = 1 - float(virtual.norm() ** 2 / full.kspace(0).norm() ** 2)
    assert loss["geometric"] < 0.5 * loss["svd"]

    matrices = compression_matrices(full, 3, "geometric")[8:40]
    steps = (matrices[1:] - matrices[:-1]).norm(dim=(1, 2))
    assert steps.max() < 0.3  # of sqrt(6) for unrelated bases
    assert torch.equal(compressed.mask(0), scan.mask(0))
    assert torch.equal((compressed.kspace(0) != 0).any(dim=0), scan.mask(0))


def test_geometric_compression_of_a_3d_scan_works_along_its_slices():
    scan = dataclasses.replace(phantom(slices=4, coils=8), is_3d=True)
    mask = torch.zeros(48, 40, dtype=torch.bool)
    mask[::2, ::2] = True
    mask[16:32, 12:28] = True
    scan = scan.undersample(mask)
    compressed = compress_coils(scan, 3, "geometric")
    for i in range(4):
        best = torch.linalg.svdvals(scan.kspace(i)[:, 16:32, 12:28].flatten(1))[:3].square().sum()
        kept = compressed.kspace(i)[:, 16:32, 12:28].abs().square().sum()
        assert float(kept) == pytest.approx(float(best), rel=1e-5)
    aligned = [compression_matrices(scan, 3, "geometric", i)[0] for i in range(4)]
    separate = [compression_matrices(scan.select(slice(i, i + 1)), 3, "svd")[0] for i in range(4)]
    for i in range(3):
        step = float((aligned[i + 1] - aligned[i]).norm())
        assert step <= float((separate[i + 1] - separate[i]).norm()) + 1e-4
        overlap = torch.linalg.svdvals(aligned[i + 1] @ aligned[i].mH).sum()
        least = 2 * 3 - 2 * float(overlap)  # over all rotations within the two spans
        assert step**2 == pytest.approx(least, abs=1e-4)


def test_noise_follows_the_compression():
    scan = phantom(coils=6, noise_std=0.5, correlation=0.5)
    compressed = compress_coils(scan, 2)
    matrix = compression_matrices(scan, 2, "svd")[0].to(torch.complex128)
    expected = matrix @ scan.noise_covariance @ matrix.mH
    torch.testing.assert_close(compressed.noise_covariance, expected, rtol=1e-5, atol=1e-6)
    assert compress_coils(scan, 2, "geometric").noise_covariance is None
    assert "prewhiten first" in compress_coils(scan, 2, "geometric").notes[-1]
    white = compress_coils(prewhiten(scan), 2, "geometric").noise_covariance
    assert torch.equal(white, 2 * torch.eye(2, dtype=torch.complex128))
    assert compress_coils(phantom(coils=6), 2).noise_covariance is None


def test_separate_calibration_data_are_used_and_compressed_along():
    full = phantom(coils=6)
    block = torch.zeros(48, 40, dtype=torch.bool)
    block[:, 14:26] = True
    sparse = full.undersample(columns(full, 0, 0))
    scan = dataclasses.replace(sparse, calibration=lambda v, i: full.read(v, i) * block)
    for method in ("svd", "geometric"):
        compressed = compress_coils(scan, 3, method)
        expected = compress_coils(full.undersample(block), 3, method)
        assert error(compressed.calibration(0, 1), expected.kspace(1)) < 1e-5
    with pytest.raises(ValueError, match="no fully sampled centre"):
        compress_coils(full.undersample(~block), 3)


@pytest.mark.parametrize("method", ["svd", "geometric"])
def test_masks_told_by_zeros_survive_preparation(method):
    full = phantom(coils=4, noise_std=0.1, readout_oversampling=2.0)
    full = dataclasses.replace(full, sampling=None)
    mask = columns(full)
    scan = remove_oversampling(compress_coils(prewhiten(full.undersample(mask)), 3, method))
    assert scan.sampling is None
    assert torch.equal(scan.mask(1), mask[:48])


def test_bad_compression_gives_one_clear_error():
    scan = phantom(coils=4)
    for coils in (0, 5):
        with pytest.raises(ValueError, match=f"4 coils of simulation to {coils}"):
            compress_coils(scan, coils)
    with pytest.raises(ValueError, match="unknown coil compression 'pca'"):
        compress_coils(scan, 2, "pca")
    echo = torch.ones(48, 40, dtype=torch.bool)
    echo[:6] = False
    with pytest.raises(ValueError, match="fully sampled readout"):
        compress_coils(scan.undersample(echo), 2, "geometric")
    assert compress_coils(scan.undersample(echo), 2, "svd").shape[1] == 2


# Oversampling


@pytest.mark.parametrize(("factor", "shape"), [(2.0, (48, 40)), (1.5, (33, 30)), (2.0, (31, 24))])
def test_removing_oversampling_changes_neither_image_nor_place(factor, shape):
    affine = np.diag([1.0, 2.0, 5.0, 1.0])
    options = {"readout_oversampling": factor, "shape": shape, "affine": affine}
    scan = phantom(coils=4, noise_std=0.1, **options)
    scan = scan.undersample(columns(scan, 8, 16))
    scan = dataclasses.replace(scan, calibration=scan.read)
    cropped = remove_oversampling(scan)
    assert cropped.shape == (2, 4, *shape)
    assert cropped.crop == (slice(0, shape[0]), slice(0, shape[1]))
    assert cropped.oversampling == pytest.approx(1)
    assert cropped.matrix == scan.matrix
    assert cropped.geometry == scan.geometry
    assert cropped.acquired.shape == shape
    assert torch.equal(cropped.mask(0)[0], scan.mask(0)[0])
    for i in range(2):
        before, after = (s.to_output(ifft2c(s.kspace(i))) for s in (scan, cropped))
        assert error(after, before) < 1e-6
    assert torch.equal((cropped.kspace(0) != 0).any(dim=0), cropped.mask(0))
    assert torch.equal(cropped.calibration(0, 1), cropped.kspace(1))
    assert remove_oversampling(cropped) is cropped


def test_removing_oversampling_keeps_the_noise_per_sample():
    options = {"coils": 2, "readout_oversampling": 2.0, "shape": (96, 80)}
    noisy, clean = phantom(noise_std=0.4, **options), phantom(**options)
    noise = remove_oversampling(noisy).kspace(0) - remove_oversampling(clean).kspace(0)
    assert noise.real.std().item() == pytest.approx(0.4, rel=5 / math.sqrt(2 * noise.numel()))


def test_oversampling_with_an_incomplete_readout_is_not_removed():
    scan = phantom(coils=2, readout_oversampling=2.0)
    square = torch.zeros(scan.shape[2:], dtype=torch.bool)
    square[::2, ::2] = True
    with pytest.raises(ValueError, match="needs a fully sampled readout"):
        remove_oversampling(scan.undersample(square))
    echo = dataclasses.replace(scan, acquired=torch.ones_like(scan.acquired))
    echo.acquired[:20] = False
    with pytest.raises(ValueError, match="partial echo"):
        remove_oversampling(echo)
    with pytest.raises(ValueError, match="3D"):
        remove_oversampling(dataclasses.replace(scan, is_3d=True))
    later = dataclasses.replace(
        scan, sampling=lambda v, i: square if i == 1 else torch.ones_like(square)
    )
    cropped = remove_oversampling(later)
    assert cropped.mask(0).all()
    with pytest.raises(ValueError, match="fully sampled readout"):
        cropped.mask(1)
    from_zeros = dataclasses.replace(
        later, sampling=None, read=lambda v, i: scan.read(v, i) * later.sampling(v, i)
    )
    with pytest.raises(ValueError, match="fully sampled readout"):
        remove_oversampling(from_zeros).kspace(1)


@pytest.mark.parametrize("shape", [(20, 16), (15, 13), (14, 17)])
@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("oversampling", [1.0, 2.0])
def test_an_enlarged_grid_shows_the_same_function_of_position_on_smaller_pixels(
    shape, factor, oversampling
):
    """The zero-filled image is a Fourier series, which is evaluated at the positions that the affine says."""
    turned = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turned @ np.diag([1.5, 0.7, 4.0]), (3.0, -20.0, 8.0)
    options = {"readout_oversampling": oversampling, "shape": shape, "affine": affine}
    scan = phantom(coils=2, noise_std=0.1, **options)
    kspace = scan.kspace(1)
    finer = enlarge(scan, factor)
    assert finer.matrix == (factor * shape[0], factor * shape[1])
    pixels = np.stack(np.meshgrid(*map(np.arange, finer.matrix), indexing="ij"), -1)
    pixels = np.concatenate([pixels, np.ones((*finer.matrix, 2))], -1)  # of slice 1
    millimetres = pixels @ finer.geometry.affine_lps(finer.matrix).T
    before = millimetres @ np.linalg.inv(scan.geometry.affine_lps(scan.matrix)).T
    waves = []
    for axis, size in enumerate(kspace.shape[-2:]):
        place = before[..., axis] + scan.crop[axis].start - size // 2
        k = np.arange(size) - size // 2
        waves.append(np.exp(2j * np.pi * place[..., None] * k / size) / math.sqrt(size))
    series = torch.from_numpy(np.einsum("cyx,aby,abx->cab", kspace.numpy(), *waves))
    assert error(finer.to_output(ifft2c(finer.kspace(1))), series) < 1e-5


def test_an_enlarged_grid_was_measured_in_the_middle_only():
    scan = phantom(coils=2, noise_std=0.4, shape=(96, 80))
    mask = columns(scan, 30, 50)
    finer = enlarge(dataclasses.replace(scan, calibration=scan.read).undersample(mask), 2)
    assert finer.shape == (2, 2, 192, 160) and finer.reference is None
    assert int(finer.mask(0).sum()) == int(mask.sum()) and int(finer.acquired.sum()) == 96 * 80
    assert torch.equal(finer.mask(1)[48:144, 40:120], mask)
    assert torch.equal(finer.calibration(0, 1)[:, 48:144, 40:120], 2 * scan.kspace(1))
    assert noise_level(finer) == pytest.approx(2 * noise_level(scan.undersample(mask)))
    assert torch.equal(finer.noise_covariance, 4 * scan.noise_covariance)
    with pytest.raises(ValueError, match="enlarge is 0: give at least 1"):
        enlarge(scan, 0)


# Intensity scale


def gaussian_blob(size, width):
    y = torch.arange(size) - size // 2
    return torch.exp(-(y[:, None] ** 2 + y[None, :] ** 2) / (2 * width**2))


@pytest.mark.parametrize("size", [180, 256, 321])
def test_scale_of_a_gaussian_is_its_quantile(size):
    image = 50 * gaussian_blob(size, size / 8)
    kspace = (
        fft2c(image.to(torch.complex64))[None] / math.sqrt(2) * torch.tensor([1, 1j])[:, None, None]
    )
    mask = torch.ones(size, size, dtype=torch.bool)
    # 1 % of the pixels lie within the radius r of pi r^2 = 0.01 size^2.
    expected = 50 * math.exp(-0.01 * 8**2 / (2 * math.pi))
    assert intensity_scale(kspace, mask) == pytest.approx(expected, rel=0.01)


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(
        ["uniform1d", "gaussian1d", "gaussian2d", "poisson", "equispaced", "fastmri_random"]
    ),
    acceleration=st.sampled_from([2, 4, 5, 8, 15]),
    shape=st.sampled_from([(176, 164), (200, 171), (320, 192)]),
    seed=st.integers(0, 50),
)
def test_scale_does_not_depend_on_the_mask(kind, acceleration, shape, seed):
    fraction = 0.08 if acceleration <= 5 else 0.04
    mask = MASKS[kind].make(shape, acceleration, center_fraction=fraction, seed=seed)
    phase = torch.polar(torch.ones(shape), torch.linspace(0, 4, shape[1]).expand(shape))
    maps = torch.tensor([0.6, 0.8j])[:, None, None]
    kspace = fft2c(maps * shepp_logan(shape) * phase)
    full = intensity_scale(kspace, torch.ones(shape, dtype=torch.bool))
    assert intensity_scale(kspace * mask, mask) == full


@pytest.mark.parametrize("kind", ["uniform1d", "gaussian1d", "gaussian2d", "poisson"])
def test_scale_of_small_matrices_stays_within_the_stated_bounds(kind):
    scan = phantom(slices=1, coils=8, shape=(128, 96), noise_std=0.03)
    kspace, everything = scan.kspace(0), torch.ones(128, 96, dtype=torch.bool)
    full = intensity_scale(kspace, everything)
    for acceleration, bound in ((4, 0.03), (8, 0.25), (15, 0.25)):
        fraction = 0.08 if acceleration <= 5 else 0.04
        mask = MASKS[kind].make((128, 96), acceleration, center_fraction=fraction, seed=1)
        assert intensity_scale(kspace * mask, mask) == pytest.approx(full, rel=bound)


def test_scale_is_homogeneous_blind_to_coil_rotations_and_hardly_moved_by_noise():
    options = {"coils": 4, "slices": 1, "shape": (192, 160)}
    clean, noisy = phantom(**options), phantom(snr=5.0, **options)
    kspace, mask = clean.kspace(0), clean.mask(0)
    scale = intensity_scale(kspace, mask)
    assert intensity_scale(1e-6 * kspace, mask) == pytest.approx(1e-6 * scale, rel=1e-5)
    rotation = torch.linalg.qr(complex_normal((4, 4)).to(torch.complex64)).Q
    turned = torch.einsum("vc,cyx->vyx", rotation, kspace)
    assert intensity_scale(turned, mask) == pytest.approx(scale, rel=1e-5)
    assert intensity_scale(noisy.kspace(0), mask) == pytest.approx(scale, rel=0.05)


def test_volume_scale_is_that_of_the_reconstruction_fov():
    plain, wide = (phantom(coils=4, readout_oversampling=factor) for factor in (1.0, 2.0))
    assert volume_scale(wide) == pytest.approx(volume_scale(remove_oversampling(wide)), rel=1e-6)
    assert volume_scale(wide) == pytest.approx(volume_scale(plain), rel=0.01)
    echo = torch.ones(wide.shape[2:], dtype=torch.bool)
    echo[:20] = False
    assert volume_scale(wide.undersample(echo)) == pytest.approx(volume_scale(plain), rel=0.3)


def test_volume_scale_pools_all_slices_and_prefers_separate_calibration_data():
    scan = phantom(slices=3, coils=4)
    stack = torch.stack([scan.kspace(i) for i in range(3)])
    pooled = intensity_scale(stack, scan.mask(0))
    assert volume_scale(scan) == pooled
    single = [volume_scale(scan.select(slice(i, i + 1))) for i in range(3)]
    assert min(single) < pooled < max(single)
    block = torch.zeros(48, 40, dtype=torch.bool)
    block[10:38, 10:30] = True
    sparse = scan.undersample(columns(scan, 0, 0, step=7))  # the centre is left out
    with pytest.raises(ValueError, match="centre of k-space is not sampled"):
        volume_scale(sparse)
    assisted = dataclasses.replace(sparse, calibration=lambda v, i: scan.read(v, i) * block)
    assert volume_scale(assisted) == pooled
    with pytest.raises(ValueError, match="holds no signal"):
        intensity_scale(0 * stack, scan.mask(0))


def test_the_scan_and_slice_without_a_centre_are_named():
    scan = dataclasses.replace(phantom(slices=4, coils=2), source="a.npy")
    hole = torch.ones(48, 40, dtype=torch.bool)
    hole[:, 20] = False
    words = r"^a\.npy: slice 2: the centre of k-space is not sampled"
    with pytest.raises(ValueError, match=words):
        volume_scale(scan.select(slice(2, 4)).undersample(hole))
