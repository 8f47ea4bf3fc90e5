"""Echoes off the grid's centre, put there by a linear phase of the image (Fourier's shift theorem)."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import mrirecon as mr
from mrirecon.birdcage import birdcage_maps
from mrirecon.coverage import coverage_of
from mrirecon.echo import center_echo, echo_offset, find_echo
from mrirecon.io.arrays import plain_scan
from mrirecon.phantom import shepp_logan
from mrirecon.recon import Request, run
from mrirecon.recon.partial_fourier import missing_side
from mrirecon.simulate import simulate_scan
from mrirecon.tensors import fft2c, ifft2c

SHAPE = (128, 96)
MAPS = birdcage_maps(SHAPE, 4)[0]


def ramp(offset, shape=SHAPE):
    """The phase that moves the echo by `offset` samples."""
    y, x = (
        torch.arange(n, dtype=torch.float64).sub(n // 2) * moved / n
        for n, moved in zip(shape, offset, strict=True)
    )
    return torch.polar(torch.ones(shape, dtype=torch.float64), 2 * torch.pi * (y[:, None] + x))


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def scan_of(kspace, mask=None, **known):
    """A scan of k-space (slice, coil, y, x) in memory."""
    if mask is not None:
        known["sampling"] = lambda volume, index: mask
    return plain_scan("memory", "test", tuple(kspace.shape), lambda v, i: kspace[i], **known)


def shifted(offset, slices=1, std=0.005, mask=None):
    dim = torch.linspace(1, 0.5, slices)[:, None, None, None]
    kspace = fft2c((MAPS * shepp_logan(SHAPE) * ramp(offset)).to(torch.complex64) * dim)
    kspace = kspace + std * noise(*kspace.shape)
    return scan_of(kspace if mask is None else kspace * mask, mask)


def lattice(step=3, calibration=24):
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, ::step] = True
    mask[:, 48 - calibration // 2 : 48 + calibration // 2] = True
    return mask


def points(share=0.3):
    mask = torch.rand(SHAPE, generator=torch.Generator().manual_seed(3)) < share
    mask[52:76, 36:60] = True
    return mask


@pytest.mark.parametrize("offset", [(16, 0), (-7, 0), (32, 0), (0, 9), (0, -24), (6, 7), (-12, 20)])
def test_the_echo_comes_to_the_centre_and_nothing_else_changes(offset):
    scan = shifted(offset, slices=3)
    calibrated = replace(scan, calibration=lambda v, i: scan.read(v, i) * lattice(200))
    found = center_echo(calibrated)
    assert found.echo_shift == (-offset[0], -offset[1])
    for index in range(3):
        expected = np.roll(scan.kspace(index).numpy(), (-offset[0], -offset[1]), (1, 2))
        np.testing.assert_array_equal(found.kspace(index).numpy(), expected)
        lines = np.roll(calibrated.calibration(0, index).numpy(), found.echo_shift, (1, 2))
        np.testing.assert_array_equal(found.calibration(0, index).numpy(), lines)
        peak = divmod(int(found.kspace(index).abs().sum(0).argmax()), SHAPE[1])
        assert peak == (64, 48)
    places = [f"readout sample {64 + offset[0]} of 128 (the centre is 64)"] * bool(offset[0])
    places += [f"phase-encoding line {48 + offset[1]} of 96 (the centre is 48)"] * bool(offset[1])
    assert found.notes[-1].startswith(f"the echo is at {' and '.join(places)}: ")


@pytest.mark.parametrize("offset", [(0, 0), (3, -2), (4, 4)])
def test_near_the_centre_nothing_is_done(offset):
    scan = shifted(offset, slices=2)
    assert center_echo(scan) is scan


@pytest.mark.parametrize("offset", [(40, 0), (0, 30), (-45, -28)])
def test_beyond_a_quarter_it_is_only_said(offset):
    scan = shifted(offset, slices=2)
    found = center_echo(scan)
    assert found.echo_shifts == () and torch.equal(found.kspace(1), scan.kspace(1))
    (note,) = found.notes[len(scan.notes) :]
    assert "more than a quarter of the axis away: left as it is" in note
    where = zip(offset, SHAPE, strict=True)
    assert all(f" {n // 2 + moved} of {n}" in note for moved, n in where if moved)
    both = center_echo(shifted((offset[0], 7) if offset[0] else (9, offset[1]), slices=2))
    assert both.echo_shifts == (((0, -7) if offset[0] else (-9, 0)),)
    assert len(both.notes) == len(scan.notes) + 2


def test_who_was_told_of_another_order_is_not_told_of_the_echo():
    """Half the grid away is k-space in another order."""
    scan = shifted((64, 48))
    told = replace(
        scan, notes=("the centre of k-space is in the corner: give --kspace_centre corner",)
    )
    assert center_echo(told) is told


def test_one_slice_is_read_where_the_echo_is_at_the_centre():
    scan, read = shifted((0, 0), slices=20), []
    counted = replace(scan, read=lambda v, i: (read.append(i), scan.read(v, i))[1])
    center_echo(counted)
    assert read == [10]


@pytest.mark.parametrize("make", [lattice, points])
@pytest.mark.parametrize("offset", [(0, 0), (10, 0), (0, 6), (-8, -6)])
def test_undersampled_data_tell_it_too(make, offset):
    found = echo_offset(shifted(offset, mask=make().roll(offset, (0, 1))))
    assert max(abs(a - b) for a, b in zip(found, offset, strict=True)) <= 1


@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_noise_has_no_echo(coils, share):
    for seed in range(10):
        mask = torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed)) < share
        assert find_echo(noise(coils, *SHAPE, seed=seed) * mask, mask) is None


def test_a_spike_in_one_slice_is_no_echo():
    scan = shifted((0, 0), slices=5)
    kspace = torch.stack([scan.kspace(i) for i in range(5)])
    kspace[2, 0, 90, 20] = 30 * kspace[2].abs().max()  # in the slice that is looked at first
    assert center_echo(scan_of(kspace)).echo_shift == (0.0, 0.0)


@pytest.mark.parametrize("cosine", [True, False])
def test_tags_and_gratings_are_no_echo_off_the_centre(cosine):
    """Tags put pairs of echoes about the centre, with (1 + cos) or without one there."""
    x = torch.cos(2 * torch.pi * 12 * torch.arange(SHAPE[0]) / SHAPE[0])[:, None]
    image = shepp_logan(SHAPE) * (x if cosine else 1 + x)
    kspace = fft2c((MAPS * image).to(torch.complex64))[None] + 0.005 * noise(1, 4, *SHAPE)
    assert center_echo(scan_of(kspace)).echo_shift == (0.0, 0.0)


def test_slices_that_disagree_leave_the_scan_alone():
    kspace = torch.cat(
        [shifted(offset).kspace(0)[None] for offset in [(9, 0), (0, 0), (20, 0), (-9, 0), (0, 8)]]
    )
    assert center_echo(scan_of(kspace)).echo_shift == (0.0, 0.0)
    empty = torch.cat([0 * kspace[:2], kspace[2:3], 0 * kspace[:2]])
    assert center_echo(scan_of(empty)).echo_shift == (-20, 0)


def test_a_mask_whose_centre_is_not_sampled_tells_nothing():
    mask = torch.ones(SHAPE, dtype=torch.bool)
    mask[:, 40:57] = False
    scan = shifted((0, 0), mask=mask)
    assert center_echo(scan) is scan


def test_where_the_sampled_centre_stays_behind_the_echo_is_only_said():
    scan = shifted((0, 11), mask=lattice())
    found = center_echo(scan)
    assert torch.equal(found.kspace(0), scan.kspace(0))
    (note,) = found.notes[len(scan.notes) :]
    assert note.endswith("left as it is")
    assert "line 59 of 96" in note


def test_an_axis_is_centred_even_if_the_other_cannot_be():
    mask = lattice().roll(11, 0)
    scan = shifted((11, 11), mask=mask)
    found = center_echo(scan)
    assert found.echo_shift == (-11, 0)
    assert torch.equal(found.kspace(0), scan.kspace(0).roll(-11, 1))
    shifted_note, left = found.notes[len(scan.notes) :]
    assert "sample 75 of 128" in shifted_note and "line" not in shifted_note
    assert "line 59 of 96" in left and left.endswith("left as it is")


def volumes(*offsets, names=("contrast 0", "contrast 1", "contrast 2")):
    """Volumes of one image, each with its echo elsewhere; none at all for None."""
    zero = torch.zeros(1, 4, *SHAPE, dtype=torch.complex64)
    series = [zero if o is None else shifted(o).kspace(0)[None] for o in offsets]
    known = {"volumes": len(series), "volume_names": names[: len(series)]}
    return plain_scan("memory", "test", (1, 4, *SHAPE), lambda v, i: series[v][i], **known)


def test_each_volume_has_its_own_echo():
    scan = volumes((0, 0), (0, 13), (-9, 0))
    found = center_echo(scan)
    assert found.echo_shifts == ((0, 0), (0, -13), (9, 0))
    for volume, shift in enumerate(found.echo_shifts):
        expected = scan.kspace(0, volume).roll([int(s) for s in shift], (1, 2))
        assert torch.equal(found.kspace(0, volume), expected)
    (note,) = found.notes[len(scan.notes) :]
    assert (
        "line 61 of 96 (the centre is 48) in contrast 1 (and off the centre in 1 more): k-space"
        in note
    )
    assert center_echo(volumes((0, 0), (1, 0), (0, 0))).echo_shifts == ()


def test_an_empty_volume_goes_with_the_others():
    found = center_echo(volumes(None, (0, 13), (0, 13)))
    assert found.echo_shifts == ((0, -13),) * 3


def test_of_many_volumes_those_that_differ_are_found():
    series = {v: (0, 0) if v < 30 else (12, 0) for v in range(40)}
    kspace = {o: shifted(o).kspace(0) for o in set(series.values())}
    scan = plain_scan("memory", "test", (1, 4, *SHAPE), lambda v, i: kspace[series[v]], volumes=40)
    assert center_echo(scan).echo_shifts == ((0, 0),) * 30 + ((-12, 0),) * 10


def test_the_image_of_each_volume_keeps_its_phase():
    scan = volumes((0, 0), (9, -7))
    options = {"method": "adjoint", "maps": MAPS.to(torch.complex64)[None], "device": "cpu"}
    first, second = mr.reconstruct(scan, **options).image[:, 0]
    inside = first.abs() > 0.1 * first.abs().max()
    expected = first * ramp((9, -7)).to(torch.complex64)
    assert float((second - expected)[inside].norm() / expected[inside].norm()) < 0.1


def test_separate_lines_go_by_their_own_echo():
    block = lattice(200, 40)
    scan, lines = shifted((0, 0)), shifted((0, 10), mask=block)
    apart = replace(scan, calibration=lambda v, i: lines.read(v, i))
    found = center_echo(apart)
    assert torch.equal(found.kspace(0), scan.kspace(0))
    assert torch.equal(found.calibration(0, 0), lines.kspace(0).roll(-10, -1))
    assert "echo of the separate lines is at phase-encoding line 58 of 96" in found.notes[-1]
    centred = shifted((0, 0), mask=block)
    both = center_echo(replace(shifted((0, 10)), calibration=lambda v, i: centred.read(v, i)))
    assert both.echo_shifts == ((0, -10),)
    assert torch.equal(both.calibration(0, 0), centred.kspace(0))


@pytest.mark.parametrize("offset", [-9, 9])
@pytest.mark.parametrize("known", [True, False])
def test_partial_fourier_is_judged_about_the_echo(offset, known):
    """What is rolled beyond the grid lies on the missing side, which is missing nevertheless."""
    sampled = (torch.arange(SHAPE[1]) >= 24).expand(SHAPE)
    scan = shifted((0, offset), mask=sampled)
    scan = scan if known else replace(scan, sampling=None)
    found = center_echo(scan)
    assert found.echo_shift == (0, -offset)
    assert torch.equal(found.acquired, sampled.roll(-offset, 1))
    assert missing_side(found.acquired) == (1, 24 - offset, 96 if offset < 0 else 96 - offset)
    assert coverage_of(found).complete
    truth, errors = shepp_logan(SHAPE), {}
    for how in ("zero", "pocs", "homodyne"):
        image = mr.reconstruct(scan, method="cg_sense", partial_fourier=how, device="cpu").image
        errors[how] = float((image[0, 0].abs() - truth).norm() / truth.norm())
    assert errors["pocs"] < 0.6 * errors["zero"] and errors["homodyne"] < 0.95 * errors["zero"]


@pytest.mark.parametrize("matrix", [(64, 60), (192, 144)])
@pytest.mark.parametrize(("remove_oversampling", "first"), [(False, 20), (False, 32), (True, 32)])
def test_the_image_keeps_the_phase_of_its_kspace(remove_oversampling, first, matrix):
    """As without the roll: the same maps and a linear method, so that nothing depends on the centre but the phase."""
    simulation = simulate_scan(
        shepp_logan((64, 60)).numpy()[:, :, None], coils=4, snr=None, readout_oversampling=2.0
    )
    window = (slice(first, first + 64), slice(0, 60))
    scan = replace(simulation.scan, matrix=matrix, crop=window)
    moved = ramp((14, -7), scan.shape[2:]).to(torch.complex64)
    off = replace(scan, read=lambda v, i: fft2c(ifft2c(scan.read(v, i)) * moved))
    maps = simulation.maps(0)[None]
    options = {"method": "adjoint", "maps": maps, "device": "cpu"}
    expected = mr.reconstruct(scan, **options).image[0, 0]
    if remove_oversampling:
        options["maps"] = maps[..., 32:96, :]
    found = mr.reconstruct(off, remove_oversampling=remove_oversampling, **options).image[0, 0]
    y, x = ((torch.arange(n) - n // 2) * size / n for n, size in zip(matrix, (64, 60), strict=True))
    phase = 2 * torch.pi * (14 * (y[:, None] + first - 32) / 128 - 7 * x / 60)
    expected = expected * torch.polar(torch.ones_like(phase), phase)
    inside = expected.abs() > 0.02 * expected.abs().max()
    assert float((found - expected)[inside].norm() / expected[inside].norm()) < 0.02


@pytest.mark.parametrize("method", ["l1_wavelet", "cg_sense", "varnet"])
def test_methods_see_the_scan_as_if_it_were_centred(method):
    truth = shepp_logan(SHAPE).numpy()
    errors = []
    for offset in [(0, 0), (16, 0), (8, 9)]:
        options = {"mask": "gaussian1d", "acceleration": 3, "device": "cpu"}
        image = mr.reconstruct(shifted(offset), method=method, **options).image[0, 0].abs().numpy()
        errors.append(np.linalg.norm(image - truth) / np.linalg.norm(truth))
    assert max(errors) < 1.1 * errors[0]


def test_grappa_finds_its_lattice_again():
    """Rolled along the phase encoding, equal spacing would end where the edge of k-space has come to lie."""
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, 1::5] = True  # 96 is no multiple of 5
    mask[:, 36:72] = True  # about the echo
    scan = shifted((0, 6), mask=mask)
    assert center_echo(scan).echo_shift == (0, -6)
    image = mr.reconstruct(scan, method="grappa", device="cpu").image[0, 0]
    alone = run(mr.METHODS["grappa"](), scan).image[0, 0]
    truth = shepp_logan(SHAPE)
    assert float((image.abs() - truth).norm()) < 1.1 * float((alone.abs() - truth).norm())


def test_a_given_mask_names_samples_of_the_file_and_a_kind_is_drawn_about_the_echo():
    scan, mask = shifted((0, 5)), lattice(calibration=30)
    given, _ = Request(method="zero_filled", mask=mask).prepare(scan)
    assert given.echo_shift == (0, -5)
    assert torch.equal(given.kspace(0), (scan.kspace(0) * mask).roll(-5, -1))
    asked = {"mask": "uniform1d", "acceleration": 4, "center_fraction": 0.25}
    drawn, _ = Request(method="zero_filled", **asked).prepare(scan)
    assert drawn.echo_shift == (0, -5)
    assert bool(drawn.mask(0)[:, 36:60].all())


def test_samples_that_are_no_numbers_are_left_to_who_reads_them():
    kspace = shifted((9, 0), slices=3).read
    scan = scan_of(torch.stack([kspace(0, i) for i in range(3)]))
    scan.read(0, 1)[0, 3, 3] = float("nan")
    assert center_echo(scan).echo_shift == (-9, 0)
    with pytest.raises(ValueError, match="slice 1 holds NaN"):
        center_echo(scan).kspace(1)
