"""Zeros that are stored as samples, and headers that cover less than was measured: the samples win."""

import h5py
import numpy as np
import pytest
import torch
from test_fastmri import header
from test_mrd import acquisition, plain_header, write_file
from test_mrd import fft as centred_fft

from mrirecon.calibration import calibration_data
from mrirecon.coverage import achieved_acceleration, coverage_of
from mrirecon.io import read_scan, write_scan
from mrirecon.io.reconcile import covering
from mrirecon.tensors import measured_points

COLUMNS = np.array([1, 0, 0, 1, 0, 1, 1, 1, 1, 0, 0, 1], bool)
ROWS, COILS = 16, 3


def kspace_of(slices=1, seed=0):
    """K-space of smooth random images, without a zero: (slice, coil, readout, phase)."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(slices, COILS, ROWS, 12)) + 1j * rng.normal(
        size=(slices, COILS, ROWS, 12)
    )
    return centred_fft(image).astype(np.complex64)


def mrd(path, kspace, columns=range(12)):
    lines = [
        acquisition(kspace[index, ..., ky], ky, idx={"slice": index})
        for index in range(len(kspace))
        for ky in columns
    ]
    return write_file(path, plain_header(), lines)


def fastmri(path, kspace, xml=None, mask=None):
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        if mask is not None:
            file["mask"] = mask
        if xml is not None:
            file["ismrmrd_header"] = xml
    return path


def npz(path, kspace):
    np.savez(path, kspace=kspace, mask=np.ones(12))
    return path


STORED = {
    "zeros.h5": mrd,
    "mask.h5": lambda path, kspace: fastmri(path, kspace, header(ROWS, 12, ROWS, 12), np.ones(12)),
    "mask.npz": npz,
}


@pytest.mark.parametrize("name", STORED)
def test_lines_of_zeros_were_not_measured(tmp_path, name):
    """Truth: the same lines left out of an MRD file."""
    kspace = kspace_of(3) * COLUMNS
    right = read_scan(mrd(tmp_path / "right.h5", kspace, np.flatnonzero(COLUMNS)))
    scan = read_scan(STORED[name](tmp_path / name, kspace))
    for index in range(3):
        assert torch.equal(scan.mask(index), right.mask(index))
        assert torch.equal(scan.measured(index)[1], right.mask(index))
    acquired = torch.ones(ROWS, 12, dtype=torch.bool)
    assert achieved_acceleration(scan.mask(0), acquired).total == pytest.approx(12 / 7)
    (note,) = (text for text in scan.notes if "exactly 0" in text)
    assert "80 of 192 points of slice 1 (5 whole columns)" in note
    assert not any("exactly 0" in text for text in right.notes)
    again = tmp_path / "again.mrd"
    write_scan(scan, again)
    assert torch.equal(read_scan(again).mask(0), right.mask(0))


def test_a_zero_filled_partial_echo_was_not_measured(tmp_path):
    kspace = kspace_of()
    kspace[..., :5, :] = 0
    scan = read_scan(mrd(tmp_path / "echo.h5", kspace))
    assert scan.mask(0).any(dim=1).tolist() == [False] * 5 + [True] * 11
    assert int(coverage_of(scan).acquired.sum()) == 11 * 12
    assert any("60 of 192 points of slice 0 (0 whole columns)" in note for note in scan.notes)


def test_a_sample_may_be_zero_by_chance(tmp_path):
    kspace = kspace_of()
    kspace[..., 3, 4] = 0
    scan = read_scan(mrd(tmp_path / "chance.h5", kspace))
    assert bool(scan.mask(0).all()) and bool(scan.measured(0)[1].all())
    assert not any("exactly 0" in note for note in scan.notes)


def test_a_coil_of_zeros_is_no_gap():
    kspace = torch.from_numpy(kspace_of()[0])
    kspace[0] = 0
    declared = torch.from_numpy(COLUMNS).expand(ROWS, 12)
    assert torch.equal(measured_points(kspace, declared), declared)
    assert bool(measured_points(kspace).all())


def test_zeros_of_a_slice_that_was_not_looked_at_are_found_when_it_is_read(tmp_path):
    kspace = kspace_of(3)
    kspace[0] *= COLUMNS
    scan = read_scan(mrd(tmp_path / "slice.h5", kspace))
    assert torch.equal(scan.measured(0)[1], torch.from_numpy(COLUMNS).expand(ROWS, 12))
    assert bool(scan.measured(1)[1].all())


def test_a_slice_that_one_volume_measured_is_calibrated_from_it(tmp_path):
    """Its readouts in the first volume are zeros."""
    truth = kspace_of(3, seed=1)
    lines = [
        acquisition(
            truth[index, ..., ky] * (repetition == 1 or index != 2),
            ky,
            idx={"slice": index, "repetition": repetition},
        )
        for repetition in range(2)
        for index in range(3)
        for ky in range(12)
    ]
    scan = read_scan(write_file(tmp_path / "volumes.h5", plain_header(), lines))
    found = calibration_data(scan, 2)
    assert found.origin == "volume repetition 1" and bool(found.mask.all())
    np.testing.assert_array_equal(found.kspace.numpy(), truth[2])
    assert calibration_data(scan, 1).origin == "imaging k-space"


def test_masks_of_whole_files_cost_no_reading(tmp_path, monkeypatch):
    from mrirecon.io.readouts import Readouts

    read, seen = Readouts.read, []
    monkeypatch.setattr(
        Readouts, "read", lambda self, *place: seen.append(place) or read(self, *place)
    )
    scan = read_scan(mrd(tmp_path / "whole.h5", kspace_of(3)))
    assert bool(scan.mask(0).all()) and bool(scan.mask(2).all())
    assert seen == [(0, 1)]


@pytest.mark.parametrize("centre", [0, 3, 11])
@pytest.mark.parametrize("mask", [None, np.ones(12), COLUMNS])
def test_a_stale_centre_in_a_header_hides_no_columns(tmp_path, centre, mask):
    xml = header(ROWS, 12, ROWS, 12).replace("<center>6<", f"<center>{centre}<")
    kspace = kspace_of(2) * (1 if mask is None else mask)
    scan = read_scan(fastmri(tmp_path / "stale.h5", kspace, xml, mask))
    assert bool(scan.acquired.all())
    np.testing.assert_array_equal(scan.kspace(0).numpy(), kspace[0])
    assert scan.mask(0)[0].tolist() == (COLUMNS if mask is COLUMNS else np.ones(12, bool)).tolist()
    assert sum("k-space is believed" in note for note in scan.notes) == 1
    again = tmp_path / "again.h5"  # whose header says what was found
    write_scan(scan, again)
    assert bool(read_scan(again).acquired.all())
    assert not any("believed" in note for note in read_scan(again).notes)


def test_padding_of_a_header_stands_where_samples_are_zero(tmp_path):
    kspace = kspace_of(2)
    kspace[..., :2], kspace[..., 9:] = 0, 1e-9  # as a transform in single precision leaves it
    xml = header(ROWS, 12, ROWS, 12, left=2, right=9)
    scan = read_scan(fastmri(tmp_path / "padded.h5", kspace, xml))
    assert scan.acquired[0].tolist() == [2 <= column < 9 for column in range(12)]
    assert not any("believed" in note or "acquired" in note for note in scan.notes)


def test_an_archive_that_covers_too_little_is_corrected(tmp_path):
    acquired = np.arange(12) < 6
    np.savez(tmp_path / "k.npz", kspace=kspace_of(), acquired=acquired)
    scan = read_scan(tmp_path / "k.npz")
    assert bool(scan.acquired.all())
    assert any("96 points outside of what the file calls acquired" in note for note in scan.notes)


def test_what_is_covered_by_samples_with_gaps_and_without():
    acquired = torch.zeros(4, 12, dtype=torch.bool)
    acquired[:, 8:] = True
    whole, gaps = (torch.zeros(4, 12, dtype=torch.bool) for _ in range(2))
    whole[:, 2:9], gaps[:, 2:9:2] = True, True
    assert torch.equal(covering(whole, acquired), whole)
    assert covering(gaps, acquired)[0].tolist() == [column >= 2 for column in range(12)]
