"""What every method must do with a scan: volumes, noise, maps, scale, odd input."""

import dataclasses

import pytest
import torch
from cases import array_scan, columns, error, phantom

import mrirecon as mr
from mrirecon import methods
from mrirecon.methods import METHODS, Calibrated, GivenMaps
from mrirecon.methods.base import SliceMethod
from mrirecon.noise import whitening_matrix
from mrirecon.operators import espirit, sense
from mrirecon.scan import Scan
from mrirecon.simulate import birdcage_maps, coupled_covariance
from mrirecon.tensors import complex_noise_like, fft2c, ifft2c, rss

QUICK = {
    "min_norm": {"iterations": 8, "tolerance": 0.0},
    "cg_sense": {"iterations": 15, "tolerance": 0.0},
    "l1_wavelet": {"iterations": 10},
    "tv": {"iterations": 10},
}
CLASSICAL = [method.name for method in methods.CLASSICAL]
WITH_MAPS = [name for name in CLASSICAL if METHODS[name].uses_maps]


def method(name, **options):
    return METHODS[name](**{**QUICK.get(name, {}), **options})


def undersampled(slices=1, **options):
    scan = phantom(slices, **options).scan
    return scan.undersample(columns(scan))


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
        once = method(name)(scan).image
        assert error(method(name)(scaled(scan, factor)).image / factor, once) < 1e-4


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_reference_changes_nothing(name):
    scan = undersampled()
    assert scan.reference is not None
    without = dataclasses.replace(scan, reference=None, attributes={})
    other = dataclasses.replace(scan, reference=lambda index: torch.full(scan.matrix, 1e6))
    image = method(name)(scan).image
    assert torch.equal(method(name)(without).image, image)
    assert torch.equal(method(name)(other).image, image)


@pytest.mark.parametrize("name", [n for n in CLASSICAL if not METHODS[n].uses_scale])
def test_a_slice_alone_is_the_slice_among_others(name):
    scan = undersampled(3)
    together = method(name)(scan).image
    for index in range(3):
        alone = method(name)(scan.select(slice(index, index + 1))).image
        torch.testing.assert_close(alone[0, 0], together[0, index])


@pytest.mark.parametrize("name", ["l1_wavelet", "tv"])
def test_with_an_absolute_weight_slices_are_independent_too(name):
    scan = undersampled(3)
    for options in ({"relative": False, "regularization": 0.01, "iterations": 150},):
        together = METHODS[name](**options)(scan).image
        alone = METHODS[name](**options)(scan.select(slice(2, 3))).image
        assert error(alone[0, 0], together[0, 2]) < 2e-2


@pytest.mark.parametrize("name", ["l1_wavelet", "tv"])
def test_relative_weights_are_in_units_of_the_reported_scale(name):
    scan = undersampled()
    relative = method(name, regularization=0.01)(scan)
    scale = relative.info["intensity_scale"][0]
    absolute = method(name, regularization=0.01 * scale, relative=False)(scan)
    torch.testing.assert_close(absolute.image, relative.image)
    assert relative.info["parameters"]["regularization"] == 0.01


@pytest.mark.parametrize("name", CLASSICAL)
def test_volumes_are_reconstructed_one_by_one(name):
    single = [undersampled(2, seed=seed) for seed in (0, 1)]
    kspace = torch.stack([torch.stack([s.kspace(i) for i in range(2)]) for s in single])
    scan = array_scan(kspace, single[0].mask(0))
    image = method(name)(scan).image
    assert image.shape == (2, 2, 48, 40)
    first = method(name)(array_scan(kspace[0], single[0].mask(0))).image
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
    image = method(name)(scan).image
    truth = simulation.truth(0).abs()
    limit = {"adjoint": 0.8}.get(name, 0.15)
    assert all(error(image[volume, 0].abs(), truth) < limit for volume in (0, 1))


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("shape", [(33, 35), (17, 48)])
def test_odd_sizes(name, shape):
    simulation = phantom(shape=shape)
    scan = simulation.scan.undersample(columns(simulation.scan, calibration=14))
    image = method(name)(scan).image[0, 0]
    assert image.shape == shape
    truth = simulation.truth(0).abs()
    assert error(image.abs(), truth) < 0.6
    assert bool(torch.isfinite(image).all())


@pytest.mark.parametrize("name", CLASSICAL)
def test_one_coil(name):
    simulation = phantom(coils=1)
    scan = simulation.scan
    image = method(name)(scan.undersample(columns(scan))).image[0, 0]
    assert bool(torch.isfinite(image).all())
    fully = method(name)(scan).image[0, 0].abs()
    assert error(fully, simulation.truth(0).abs()) < 0.15


@pytest.mark.parametrize("name", WITH_MAPS)
def test_one_pixel(name):
    scan = array_scan(torch.full((1, 1, 1, 1), 3 + 4j, dtype=torch.complex64))
    options = {"regularization": 0.0} if name in ("cg_sense", "l1_wavelet", "tv") else {}
    image = method(name, **options)(scan).image
    assert error(image.flatten(), torch.tensor([3 + 4j])) < 1e-4


@pytest.mark.parametrize("name", WITH_MAPS)
def test_several_sets_of_maps(name):
    simulation = phantom(coils=6)
    scan = simulation.scan.undersample(columns(simulation.scan))
    truth = simulation.truth(0).abs()
    one = method(name)(scan).image[0, 0].abs()
    two = method(name, maps=Calibrated(sets=2))(scan).image[0, 0].abs()
    assert two.shape == truth.shape
    assert error(two, truth) < error(one, truth) + 0.1


def test_images_of_two_sets_are_joined_by_their_sum_of_squares():
    """Soft SENSE (Uecker et al. 2014): magnitude sqrt(|x1|^2 + |x2|^2), the phase of the first."""
    maps = torch.randn(
        1, 2, 3, 8, 6, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)
    )
    maps = maps / torch.linalg.vector_norm(maps, dim=2, keepdim=True)
    kspace = torch.randn(
        1, 3, 8, 6, dtype=torch.complex64, generator=torch.Generator().manual_seed(1)
    )
    scan = array_scan(kspace)
    image = METHODS["adjoint"](maps=GivenMaps(maps, "two sets"))(scan).image[0, 0]
    coils = ifft2c(kspace[0])
    one, two = (maps[0].conj() * coils).sum(1)
    expected = torch.hypot(one.abs(), two.abs()) * torch.exp(1j * one.angle())
    torch.testing.assert_close(image, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["cg_sense", "l1_wavelet", "tv"])
def test_two_sets_undo_what_one_cannot(name):
    """A FOV half as wide as the object: two places share a pixel."""
    simulation = phantom(shape=(64, 96), coils=8, snr=None)
    kspace = simulation.scan.kspace(0)[..., ::2] * 2**0.5
    scan = array_scan(kspace[None])
    fits = {}
    for sets in (1, 2):
        source = Calibrated(sets=sets, crop=0.7)
        options = {"regularization": 0.002, "iterations": 60}
        fits[sets] = METHODS[name](maps=source, **options)(scan).info["data_residual"]
    assert fits[2] < 0.1
    assert fits[1] > 2 * fits[2]


def test_given_maps_are_used():
    simulation = phantom(2, snr=None)
    maps = torch.stack([simulation.maps(i) for i in range(2)])
    scan = simulation.scan.undersample(columns(simulation.scan, calibration=0))
    image = method("cg_sense", maps=GivenMaps(maps, "maps.npy"), regularization=1e-3)(scan)
    assert image.info["maps"] == {"kind": "file", "source": "maps.npy"}
    truth = torch.stack([simulation.truth(i) for i in range(2)])
    inside = truth.abs() > 0.05
    assert error(image.image[0][inside], truth[inside]) < 0.1
    five = GivenMaps(maps.unsqueeze(1), "maps.npy")
    again = method("cg_sense", maps=five, regularization=1e-3)(scan)
    assert torch.equal(again.image, image.image)


@pytest.mark.parametrize("noise_scan", [False, True])
@pytest.mark.parametrize("sets", [1, 2])
@pytest.mark.parametrize("scale", [1e-4, 3.0])
def test_given_maps_are_normalized_whatever_their_scale(scale, sets, noise_scan):
    """As JSENSE and soft weights leave them: not 1, varying over the image, and nothing outside the object."""
    simulation = phantom(snr=None)
    maps = simulation.maps(0)
    inside = simulation.truth(0).abs() > 0.05
    maps = torch.stack([maps, maps.roll(1, 0)])[:sets] * inside
    shading = torch.linspace(0.5, 2, 40) * torch.tensor([scale, 0.1 * scale])[:sets, None]
    given = maps * shading[:, None, None, :] + 1e-8 * scale * ~inside
    covariance = torch.diag(torch.tensor([1.0, 2, 3, 4, 5, 6])).to(torch.complex64)
    scan = dataclasses.replace(
        undersampled(), noise_covariance=1e-4 * covariance if noise_scan else None
    )
    images = [method("tv", maps=GivenMaps(x[None], "maps.npy"))(scan).image for x in (maps, given)]
    torch.testing.assert_close(images[1], images[0], rtol=1e-3, atol=1e-4)
    assert bool(images[1].any())
    assert not GivenMaps(maps[None], "maps.npy").notes()
    assert "maps.npy" in GivenMaps(given[None], "maps.npy").notes()[0]
    taken = GivenMaps(given[None], "maps.npy")(scan, 0, "cpu")
    power = taken.abs().square().sum(1)
    torch.testing.assert_close(power, inside.float().expand_as(power))


@pytest.mark.parametrize("noise_scan", [False, True])
@pytest.mark.parametrize("scale", [1e-30, 1e-24, 1e-21, 1e20, 1e30])
def test_maps_whose_squares_are_no_numbers_are_normalized_too(scale, noise_scan):
    maps = phantom(snr=None).maps(0)[None]
    scan = undersampled()
    scan = scan if noise_scan else dataclasses.replace(scan, noise_covariance=None)
    images = [
        method("cg_sense", maps=GivenMaps(x, "maps.npy"))(scan).image for x in (maps, scale * maps)
    ]
    torch.testing.assert_close(images[1], images[0], rtol=1e-3, atol=1e-4)
    assert bool(images[1].any())
    assert "maps.npy" in GivenMaps(scale * maps, "maps.npy").notes()[0]


def test_a_slice_without_samples_has_maps_of_nothing():
    scan = phantom(snr=None).scan
    empty = dataclasses.replace(scan, read=lambda v, i: 0 * scan.read(v, i), sampling=None)
    for source, sets in ((Calibrated(sets=2), 2), (Calibrated(kind="lowres"), 1)):
        maps = source(empty, 0, "cpu")
        assert maps.shape == (sets, *scan.shape[1:]) and not bool(maps.any())


def test_a_reconstruction_says_that_its_maps_were_normalized():
    scan, maps = undersampled(), phantom(snr=None).maps(0)[None]
    for factor in (1, 3):
        notes = mr.reconstruct(scan, method="cg_sense", maps=factor * maps, device="cpu").info[
            "notes"
        ]
        assert any("are normalized" in note for note in notes) == (factor == 3)


def test_given_maps_that_are_no_numbers_are_refused():
    maps = phantom(snr=None).maps(0)[None].clone()
    maps[0, 2, 5, 5] = float("nan")
    with pytest.raises(ValueError, match="those of slice 0 hold NaN or infinite values"):
        method("cg_sense", maps=GivenMaps(maps, "maps.npy"))(undersampled())


@pytest.mark.parametrize("shape", [(1, 6, 48, 40), (2, 5, 48, 40), (2, 6, 40, 48)])
def test_maps_of_another_shape_are_refused(shape):
    source = GivenMaps(torch.ones(*shape, dtype=torch.complex64), "maps.npy")
    with pytest.raises(ValueError, match=r"maps of maps.npy are .* is \(2, 6, 48, 40\): estimate"):
        method("cg_sense", maps=source)(undersampled(2))


@pytest.mark.parametrize("name", WITH_MAPS)
def test_without_calibration_region_there_are_no_maps(name):
    scan = phantom().scan
    mask = torch.zeros(48, 40, dtype=torch.bool)
    mask[:, 1::3] = True
    mask[:, 20] = False
    with pytest.raises(ValueError, match=r"calibration region|centre of k-space is not sampled"):
        method(name)(scan.undersample(mask))


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_samples_that_are_no_numbers_are_refused(name, value):
    kspace = torch.ones(2, 3, 24, 24, dtype=torch.complex64)
    kspace[1, 0, 5, 6] = value
    with pytest.raises(ValueError, match="slice 1 holds NaN or infinite samples"):
        method(name)(array_scan(kspace))


@pytest.mark.parametrize("name", CLASSICAL)
def test_an_empty_slice_stays_zero_and_is_noted(name):
    full = phantom(2).scan
    kspace = torch.stack([full.kspace(0), torch.zeros(6, 48, 40), full.kspace(1)])
    volume = method(name)(array_scan(kspace, columns(full)))
    assert not volume.image[0, 1].any()
    assert volume.image[0, 0].any()
    assert volume.image[0, 2].any()
    assert any("slice 1 has no samples: left zero" in note for note in volume.info["notes"])


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_scan_without_signal_is_refused(name):
    with pytest.raises(
        ValueError, match=r"no slice could be reconstructed|holds no signal|not sampled"
    ):
        method(name)(array_scan(torch.zeros(1, 2, 24, 24, dtype=torch.complex64)))


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
    white = method(name)(scan)
    coloured = method(name, whiten=False)(scan)
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
    found = METHODS["min_norm"](
        maps=GivenMaps(maps[None], "truth"), iterations=300, tolerance=1e-7
    )(scan).image[0, 0]
    W = whitening_matrix(covariance)
    A = sense(torch.einsum("ij,jyx->iyx", W, maps.to(W.dtype)), mask)
    identity = torch.eye(80, dtype=W.dtype)
    dense = torch.stack([A(e.reshape(10, 8)).flatten() for e in identity], dim=1)
    whitened = torch.einsum("ij,jyx->iyx", W, y.to(W.dtype)).flatten()
    expected = torch.linalg.lstsq(dense, whitened).solution.reshape(10, 8)
    assert error(found, expected.to(found.dtype)) < 1e-3


def test_map_sources_describe_themselves_and_agree_with_the_functions():
    scan = phantom().scan
    source = Calibrated(size=20, kernel=5, crop=0.9)
    assert source.describe()["kernel"] == 5
    maps = source(scan, 0, "cpu")
    expected = espirit(scan.kspace(0)[:, 14:34, 10:30], (48, 40), kernel=5, crop=0.9).maps
    torch.testing.assert_close(maps, expected)
    lowres = Calibrated(kind="lowres")
    assert lowres.describe() == {"kind": "lowres", "size": 24}
    assert lowres(scan, 0, "cpu").shape == (1, 6, 48, 40)
    torch.testing.assert_close(rss(lowres(scan, 0, "cpu")[0]), torch.ones(48, 40))


def test_separate_calibration_lines_give_the_maps():
    full = phantom().scan
    mask = columns(full, step=2, calibration=0)
    calibration = torch.zeros(6, 48, 40, dtype=torch.complex64)
    calibration[..., 10:30] = full.kspace(0)[..., 10:30]
    under = dataclasses.replace(full.undersample(mask), calibration=lambda v, i: calibration)
    source = Calibrated(size=20)
    torch.testing.assert_close(source(under, 0, "cpu"), source(full, 0, "cpu"))


@pytest.mark.parametrize("name", CLASSICAL)
def test_the_report_beside_the_volume(name):
    calls = []
    scan = undersampled(2)
    volume = method(name, progress=lambda done, total: calls.append((done, total)))(scan)
    assert calls == [(1, 2), (2, 2)]
    info = volume.info
    assert info["method"] == name
    assert set(QUICK.get(name, {})) <= set(info["parameters"])
    assert info["acceleration"]["achieved"] == pytest.approx(48 * 40 / int(scan.mask(0).sum()))
    assert info["seconds_per_slice"] > 0
    assert ("data_residual" in info) == METHODS[name].uses_maps
    assert volume.geometry == scan.geometry


def test_readout_oversampling_is_cropped_from_the_output():
    scan = phantom(readout_oversampling=2.0).scan
    assert scan.shape[2:] == (96, 40)
    for name in CLASSICAL:
        assert method(name)(scan).image.shape == (1, 1, 48, 40)


@pytest.mark.parametrize("how", ["homodyne", "pocs"])
def test_partial_fourier_follows_any_method(how):
    simulation = phantom(shape=(64, 60), partial_fourier=0.65, phase_rad=1.0, snr=None)
    truth = simulation.truth(0).abs()
    for name in CLASSICAL:
        zero = method(name)(simulation.scan)
        filled = method(name, partial_fourier=how)(simulation.scan)
        assert zero.info["partial_fourier"] == "zero"
        assert filled.info["partial_fourier"] == how
        assert error(filled.image[0, 0].abs(), truth) < error(zero.image[0, 0].abs(), truth), name


def test_the_method_table_is_complete():
    for name, cls in METHODS.items():
        assert cls.name == name
        assert issubclass(cls, SliceMethod)
        assert cls.__doc__
    assert isinstance(undersampled(), Scan)


def folded(noise):
    """Coil images of an object wider than the field of view, whose sides lie upon it; 8 coils."""
    rows, wide, columns = 96, 144, 96
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, rows), torch.linspace(-1.5, 1.5, wide), indexing="ij"
    )
    inside = ((x / 1.3) ** 2 + (y / 0.8) ** 2 < 1).float()
    image = inside * (1 + 0.3 * torch.cos(9 * x) * torch.cos(7 * y))
    angles = torch.arange(8) * torch.pi / 4
    near = [(x - 1.6 * torch.cos(a)) ** 2 + (y - 1.1 * torch.sin(a)) ** 2 for a in angles]
    coils = torch.stack([torch.exp(-d + 1j * a) for d, a in zip(near, angles, strict=True)])
    images = torch.zeros(8, rows, columns, dtype=torch.complex64)
    for column in range(wide):
        images[:, :, (column - wide // 2 + columns // 2) % columns] += (coils * image)[:, :, column]
    generator = torch.Generator().manual_seed(0)
    return fft2c(images) + noise * complex_noise_like(images, generator)


HINT = "--calibration.sets 2"


@pytest.mark.parametrize("method", ["cg_sense", "l1_wavelet", "tv", "min_norm"])
def test_folded_over_anatomy_hints_at_two_sets_of_maps(method):
    scan = array_scan(folded(0.005)[None])
    one = METHODS[method](maps=Calibrated())(scan).info
    two = METHODS[method](maps=Calibrated(sets=2))(scan).info
    assert two["data_residual"] < 0.7 * one["data_residual"]
    assert any(HINT in note for note in one["notes"])
    assert not any(HINT in note for note in two["notes"])
    assert "unexplained" not in one


@pytest.mark.parametrize("snr", [None, 40.0, 10.0, 3.0])
@pytest.mark.parametrize("acceleration", [1, 4])
def test_noise_does_not_hint_at_two_sets(snr, acceleration):
    scan = phantom(1, (96, 80), snr=snr).scan
    scan = scan.undersample(columns(scan, acceleration))
    for name in ("cg_sense", "l1_wavelet"):
        assert not any(HINT in note for note in METHODS[name]()(scan).info["notes"])
