"""Coil maps of a reconstruction: estimated or given, normalized, one set of them or two."""

import dataclasses

import pytest
import torch
from scan_cases import array_scan, columns, error, phantom, quick, reconstructed, undersampled

import mrirecon as mr
from mrirecon import methods
from mrirecon.operators import espirit
from mrirecon.recon import EstimatedMaps, GivenMaps
from mrirecon.tensors import complex_noise_like, fft2c, ifft2c, rss

WITH_MAPS = [method.name for method in methods.CLASSICAL if method().needs.maps]
HINT = "--calibration.sets 2"


@pytest.mark.parametrize("name", WITH_MAPS)
def test_several_sets_of_maps(name):
    simulation = phantom(coils=6)
    scan = simulation.scan.undersample(columns(simulation.scan))
    truth = simulation.truth(0).abs()
    one = quick(name)(scan).image[0, 0].abs()
    two = quick(name, maps=EstimatedMaps(sets=2))(scan).image[0, 0].abs()
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
    image = reconstructed("adjoint", scan, maps=GivenMaps(maps, "two sets")).image[0, 0]
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
        source = EstimatedMaps(sets=sets, crop=0.7)
        options = {"regularization": 0.002, "iterations": 60}
        fits[sets] = reconstructed(name, scan, maps=source, **options).info["data_residual"]
    assert fits[2] < 0.1
    assert fits[1] > 2 * fits[2]


def test_given_maps_are_used():
    simulation = phantom(2, snr=None)
    maps = torch.stack([simulation.maps(i) for i in range(2)])
    scan = simulation.scan.undersample(columns(simulation.scan, calibration=0))
    image = quick("cg_sense", maps=GivenMaps(maps, "maps.npy"), regularization=1e-3)(scan)
    assert image.info["maps"] == {"kind": "file", "source": "maps.npy"}
    truth = torch.stack([simulation.truth(i) for i in range(2)])
    inside = truth.abs() > 0.05
    assert error(image.image[0][inside], truth[inside]) < 0.1
    five = GivenMaps(maps.unsqueeze(1), "maps.npy")
    again = quick("cg_sense", maps=five, regularization=1e-3)(scan)
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
    images = [quick("tv", maps=GivenMaps(x[None], "maps.npy"))(scan).image for x in (maps, given)]
    torch.testing.assert_close(images[1], images[0], rtol=1e-3, atol=1e-4)
    assert bool(images[1].any())
    assert not GivenMaps(maps[None], "maps.npy").notes()
    assert "maps.npy" in GivenMaps(given[None], "maps.npy").notes()[0]
    taken = GivenMaps(given[None], "maps.npy")(scan, 0, "cpu")
    power = taken.abs().square().sum(1)
    torch.testing.assert_close(power, inside.float().expand_as(power))


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
        quick("cg_sense", maps=GivenMaps(maps, "maps.npy"))(undersampled())


@pytest.mark.parametrize("shape", [(1, 6, 48, 40), (2, 5, 48, 40), (2, 6, 40, 48)])
def test_maps_of_another_shape_are_refused(shape):
    source = GivenMaps(torch.ones(*shape, dtype=torch.complex64), "maps.npy")
    with pytest.raises(ValueError, match=r"maps of maps.npy are .* is \(2, 6, 48, 40\): estimate"):
        quick("cg_sense", maps=source)(undersampled(2))


@pytest.mark.parametrize("name", WITH_MAPS)
def test_without_calibration_region_there_are_no_maps(name):
    scan = phantom().scan
    mask = torch.zeros(48, 40, dtype=torch.bool)
    mask[:, 1::3] = True
    mask[:, 20] = False
    with pytest.raises(ValueError, match=r"calibration region|centre of k-space is not sampled"):
        quick(name)(scan.undersample(mask))


def test_too_small_a_calibration_region_is_told_with_scan_and_slice():
    mask = torch.zeros(48, 40, dtype=torch.bool)
    mask[:, ::4] = True  # of the centre one column, of 2 x 2 that the smallest kernel needs
    with pytest.raises(ValueError, match=r"memory: slice 0: calibration region is \d+ x 1 samples"):
        mr.estimate_maps(array_scan(phantom().scan.kspace(0)[None], mask), 0)


def test_map_sources_describe_themselves_and_agree_with_the_functions():
    scan = phantom().scan
    source = EstimatedMaps(size=20, kernel=5, crop=0.9)
    assert source.describe()["kernel"] == 5
    maps = source(scan, 0, "cpu")
    expected = espirit(scan.kspace(0)[:, 14:34, 10:30], (48, 40), kernel=5, crop=0.9).maps
    torch.testing.assert_close(maps, expected)
    lowres = EstimatedMaps(kind="lowres")
    assert lowres.describe() == {"kind": "lowres", "size": 24}
    assert lowres(scan, 0, "cpu").shape == (1, 6, 48, 40)
    torch.testing.assert_close(rss(lowres(scan, 0, "cpu")[0]), torch.ones(48, 40))


def test_separate_calibration_lines_give_the_maps():
    full = phantom().scan
    mask = columns(full, step=2, calibration=0)
    calibration = torch.zeros(6, 48, 40, dtype=torch.complex64)
    calibration[..., 10:30] = full.kspace(0)[..., 10:30]
    under = dataclasses.replace(full.undersample(mask), calibration=lambda v, i: calibration)
    source = EstimatedMaps(size=20)
    torch.testing.assert_close(source(under, 0, "cpu"), source(full, 0, "cpu"))


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


@pytest.mark.parametrize("method", ["cg_sense", "l1_wavelet", "tv", "min_norm"])
def test_folded_over_anatomy_hints_at_two_sets_of_maps(method):
    scan = array_scan(folded(0.005)[None])
    one = reconstructed(method, scan, maps=EstimatedMaps()).info
    two = reconstructed(method, scan, maps=EstimatedMaps(sets=2)).info
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
        assert not any(HINT in note for note in reconstructed(name, scan).info["notes"])


@pytest.mark.parametrize("noise_scan", [False, True])
@pytest.mark.parametrize("scale", [1e-30, 1e-24, 1e-21, 1e20, 1e30])
def test_maps_whose_squares_are_no_numbers_are_normalized_too(scale, noise_scan):
    maps = phantom(snr=None).maps(0)[None]
    scan = undersampled()
    scan = scan if noise_scan else dataclasses.replace(scan, noise_covariance=None)
    images = [
        quick("cg_sense", maps=GivenMaps(x, "maps.npy"))(scan).image for x in (maps, scale * maps)
    ]
    torch.testing.assert_close(images[1], images[0], rtol=1e-3, atol=1e-4)
    assert bool(images[1].any())
    assert "maps.npy" in GivenMaps(scale * maps, "maps.npy").notes()[0]


def test_a_slice_without_samples_has_maps_of_nothing():
    scan = phantom(snr=None).scan
    empty = dataclasses.replace(scan, read=lambda v, i: 0 * scan.read(v, i), sampling=None)
    for source, sets in ((EstimatedMaps(sets=2), 2), (EstimatedMaps(kind="lowres"), 1)):
        maps = source(empty, 0, "cpu")
        assert maps.shape == (sets, *scan.shape[1:]) and not bool(maps.any())
