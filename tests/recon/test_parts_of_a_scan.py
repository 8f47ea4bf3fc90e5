"""Slices, volumes and coils that lack something: the others are what they would be without them."""

import dataclasses
from functools import partial

import pytest
import torch
from scan_cases import array_scan, error, phantom, reconstructed, undersampled

from mrirecon import reconstruct
from mrirecon.noise import dead_coils, noise_level, partly_dead, silent_coils
from mrirecon.prepare import compress_coils
from mrirecon.recon import GivenMaps
from mrirecon.scale import volume_scale
from mrirecon.tensors import rss

QUICK = {
    "l1_wavelet": {"iterations": 8},
    "tv": {"iterations": 8},
    "dds": {"levels": 3, "samples": 2},
    "score_mri": {"levels": 2},
}
NAMES = ["zero_filled", "cg_sense", "l1_wavelet", "tv", "grappa", "unet", "varnet", "humus"]
NAMES += ["unrolled_prior", "dds", "score_mri"]
# The phantom is no scan that the networks were trained for, as notes say; these tests do not need good images.


def method(name, **options):
    """What makes a volume of a scan."""
    return partial(reconstructed, name, **QUICK.get(name, {}), **options)


def filled(scan, changed):
    """The scan with k-space as `changed(kspace, slice)` has it."""
    return dataclasses.replace(scan, read=lambda v, i: changed(scan.read(v, i), i))


@pytest.mark.parametrize("name", NAMES)
def test_a_chosen_slice_is_the_slice_of_the_whole_volume(name):
    scan = undersampled(4)
    whole = method(name)(scan)
    part = method(name, slices=slice(1, 3))(scan)
    # what is computed together may round in another way
    torch.testing.assert_close(part.image, whole.image[:, 1:3], rtol=1e-4, atol=1e-4)
    for extra, image in part.extras.items():
        torch.testing.assert_close(image, whole.extras[extra][:, 1:3], rtol=1e-4, atol=1e-4)
    assert part.info.get("intensity_scale") == whole.info.get("intensity_scale")
    assert part.info.get("noise_std") == whole.info.get("noise_std")


def test_reconstruct_gives_the_slices_their_own_place_and_reference():
    simulation = phantom(4)
    whole = reconstruct(simulation.scan, method="tv", iterations=5)
    part = reconstruct(simulation.scan, method="tv", iterations=5, slices="2:3")
    assert torch.equal(part.image[0, 0], whole.image[0, 2])
    target = simulation.scan.reference(2)
    expected = float((part.image[0, 0].abs() - target).square().sum() / target.square().sum())
    assert part.info["metrics"]["nmse"] == pytest.approx(expected, rel=1e-4)


def test_maps_of_the_chosen_slices_or_of_all():
    simulation = phantom(4)
    maps = torch.stack([simulation.maps(index) for index in range(4)])
    images = [
        reconstruct(simulation.scan, method="cg_sense", maps=given, slices="1:3").image
        for given in (maps, maps[1:3])
    ]
    assert torch.equal(*images)
    with pytest.raises(ValueError, match="maps of a tensor are"):
        reconstruct(simulation.scan, method="cg_sense", maps=maps[:3], slices="1:3")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_an_empty_slice_stays_zero_and_changes_no_other(name, missing):
    scan = undersampled(3)
    empty = filled(scan, lambda kspace, index: kspace * (index != missing))
    unknown = dataclasses.replace(empty, sampling=None)
    with_gap, others = method(name)(unknown), [i for i in range(3) if i != missing]
    assert not bool(with_gap.image[0, missing].any())
    assert any(f"slice {missing} has no samples" in note for note in with_gap.info["notes"])
    assert bool(with_gap.image[0, others].abs().amax((1, 2)).gt(0).all())
    if name not in ("dds", "score_mri", "humus"):  # the noise of a slice goes with its number
        alone = array_scan(torch.stack([scan.kspace(i) for i in others]))
        alone = dataclasses.replace(alone, noise_covariance=scan.noise_covariance)
        image = method(name)(alone).image
        torch.testing.assert_close(with_gap.image[0, others], image[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_volume_stays_zero(name):
    scan = undersampled(2)
    kspace = torch.stack([scan.kspace(index) for index in range(2)])
    both = array_scan(torch.stack([kspace, 0 * kspace]))
    volume = method(name)(both)
    assert bool(volume.image[0].any()) and not bool(volume.image[1].any())
    assert "volume 1 slice 0 has no samples: left zero" in volume.info["notes"]


@pytest.mark.parametrize("name", NAMES)
def test_dead_coils_are_left_out_and_named(name):
    scan = undersampled(2)
    live = scan.drop_coils([1, 4], "")
    dead = torch.ones(6)
    dead[[1, 4]] = 0
    noise = scan.noise_covariance * dead[:, None] * dead
    broken = dataclasses.replace(
        filled(scan, lambda kspace, index: kspace * dead[:, None, None]), noise_covariance=noise
    )
    volume = method(name)(broken)
    assert "coils 1, 4 without signal: left out" in volume.info["notes"]
    assert torch.equal(volume.image, method(name)(live).image)


def two_volumes(scan, lost, gone):
    """The slice of a scan twice, without `gone` coils in volume `lost`."""
    full = scan.kspace(0)
    less = full.clone()
    less[gone] = 0
    kspace = torch.stack([less if volume == lost else full for volume in (0, 1)])
    both = array_scan(kspace[:, None])
    return dataclasses.replace(both, noise_covariance=scan.noise_covariance)


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("whiten", [False, True])
def test_a_coil_dead_in_one_volume_is_left_out_there(lost, whiten):
    """As if it had never been: maps of that volume are 0 where its k-space is; the other volume keeps the coil."""
    simulation = phantom(1)
    scan, maps = undersampled(1), simulation.maps(0)[None]
    options = {"maps": GivenMaps(maps, "truth"), "whiten": whiten}
    volume = method("cg_sense", **options)(two_volumes(scan, lost, [3]))
    assert f"coil 3 without signal in volume {lost}: left out there" in volume.info["notes"]
    whole = method("cg_sense", **options)(scan).image
    torch.testing.assert_close(volume.image[1 - lost], whole[0], rtol=1e-4, atol=1e-5)
    expected = whole[0].abs()
    if whiten:  # in the units of the coils as measured, one of which is missing
        left = rss(maps[0, [0, 1, 2, 4, 5]])
        expected = expected * simulation.scan.to_output(left.to(torch.complex64)).abs()
    assert error(volume.image[lost].abs(), expected) < 0.1


def test_a_coil_alive_in_a_later_volume_only_is_no_dead_one():
    scan = two_volumes(undersampled(1), 0, [2, 4])
    assert silent_coils(scan) == [{2, 4}, set()]
    assert dead_coils(scan) == ([], "")
    found, note = partly_dead(scan, silent_coils(scan), [])
    assert found == {0: [2, 4]} and note == "coils 2, 4 without signal in volume 0: left out there"
    assert partly_dead(scan, [{2, 4}, {2}], [2])[0] == {0: [3]}  # numbered without coil 2


def test_compression_says_that_a_coil_was_dead_in_one_volume():
    scan = two_volumes(undersampled(1), 1, [3])
    notes = reconstruct(scan, method="cg_sense", compress_coils=4).info["notes"]
    assert any(note.startswith("coils without signal in 1 of 2 volumes") for note in notes)
    whole = two_volumes(undersampled(1), None, [])
    notes = reconstruct(whole, method="cg_sense", compress_coils=4).info["notes"]
    assert not any("without signal" in note for note in notes)


@pytest.mark.parametrize("method", ["svd", "geometric"])
@pytest.mark.parametrize("known", [True, False])
def test_an_empty_slice_does_not_stop_compression(method, known):
    scan = dataclasses.replace(phantom(3).scan, noise_covariance=None)
    gone = filled(scan, lambda kspace, index: kspace * (index != 1))
    gone = gone if known else dataclasses.replace(gone, sampling=None)
    found = compress_coils(gone, 4, method)
    others = compress_coils(array_scan(torch.stack([scan.kspace(i) for i in (0, 2)])), 4, method)
    assert not bool(found.kspace(1).any())
    for there, here in ((0, 0), (2, 1)):  # eigenvectors are known up to a phase
        torch.testing.assert_close(
            found.kspace(there).abs().square().sum(0),
            others.kspace(here).abs().square().sum(0),
            rtol=1e-3,
            atol=1e-5,
        )


def test_of_nothing_there_is_nothing_to_compress():
    empty = filled(phantom(2).scan, lambda kspace, index: 0 * kspace)
    with pytest.raises(ValueError, match="no fully sampled centre to compute coil compression"):
        compress_coils(empty, 4)


def test_a_coil_without_noise_in_the_noise_scan_is_left_out():
    scan = undersampled(1)
    noise = scan.noise_covariance.clone()
    noise[2] = noise[:, 2] = 0
    volume = method("cg_sense")(dataclasses.replace(scan, noise_covariance=noise))
    assert "coil 2 without noise in the noise scan: left out" in volume.info["notes"]
    assert torch.equal(volume.image, method("cg_sense")(scan.drop_coils([2], "")).image)


def test_given_maps_lose_the_dead_coils_too():
    simulation = phantom(1)
    scan = filled(
        simulation.scan, lambda kspace, index: kspace * (torch.arange(6) != 3)[:, None, None]
    )
    maps = GivenMaps(simulation.maps(0)[None], "truth")
    kept = GivenMaps(simulation.maps(0)[None, [0, 1, 2, 4, 5]], "truth")
    image = method("cg_sense", maps=maps, whiten=False)(scan).image
    expected = method("cg_sense", maps=kept, whiten=False)(scan.drop_coils([3], "")).image
    assert torch.equal(image, expected)


def test_a_coil_that_is_silent_in_one_slice_only_is_alive():
    scan = undersampled(3)
    gone = torch.ones(6)
    gone[2] = 0
    partly = filled(scan, lambda k, index: k * gone[:, None, None] if index == 1 else k)
    assert dead_coils(partly) == ([], "")
    noise_only = filled(scan, lambda k, i: torch.cat([k[:5], 1e-3 * torch.randn_like(k[5:])]))
    assert dead_coils(noise_only) == ([], "")


def test_scale_and_noise_do_not_see_empty_slices():
    scan = dataclasses.replace(undersampled(4), noise_covariance=None)
    part = scan.select(slice(0, 3))
    empty = filled(scan, lambda kspace, index: kspace * (index != 3))
    assert volume_scale(empty) == pytest.approx(volume_scale(part), rel=1e-6)
    assert volume_scale(dataclasses.replace(empty, sampling=None)) == volume_scale(empty)
    middle = filled(scan, lambda kspace, index: kspace * (index == 2))
    assert noise_level(middle) == pytest.approx(noise_level(scan.select(slice(2, 3))), rel=1e-6)


@pytest.mark.parametrize("factor", [1e-22, 1e-17, 1e17, 1e22])
def test_numbers_beyond_single_precision_are_refused(factor):
    scan = undersampled(1)
    with pytest.raises(ValueError, match=r"memory: the largest sample of slice 0 is .*multiply"):
        method("zero_filled")(array_scan(factor * scan.kspace(0)[None]))


@pytest.mark.parametrize("factor", [1e-13, 1e13])
def test_numbers_far_from_one_are_not(factor):
    scan = dataclasses.replace(undersampled(1), noise_covariance=None)
    far = filled(scan, lambda kspace, index: factor * kspace)
    for name in ("cg_sense", "tv", "grappa", "unrolled_prior"):
        image = method(name)(far).image / factor
        assert error(image, method(name)(scan).image) < 1e-3, name
