"""How often k-space is read: a 3D volume as a whole, a slice once and its calibration block once before."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from scan_cases import array_scan, columns, phantom

import mrirecon as mr
from mrirecon.calibration import calibration_centre
from mrirecon.methods import METHODS
from mrirecon.prepare import compress_coils
from mrirecon.recon import run
from mrirecon.tensors import center_crop


def watched(scan, reads):
    def read(volume, index):
        reads.append((volume, index))
        return scan.read(volume, index)

    return replace(scan, read=read)


def volumes_of(scan, count):
    kspace = torch.stack([scan.kspace(index) for index in range(scan.shape[0])])
    return array_scan(torch.stack([kspace * (1 + volume) for volume in range(count)]), scan.mask(0))


@pytest.fixture
def scan():
    whole = phantom(6).scan
    return whole.undersample(columns(whole))


@pytest.mark.parametrize(
    "name", ["zero_filled", "cg_sense", "l1_wavelet", "varnet", "unrolled_prior"]
)
def test_volumes_of_a_3d_scan_are_not_assembled_again_and_again(name, scan):
    """A reader keeps one volume: each change from one to another assembles it."""
    reads = []
    series = watched(replace(volumes_of(scan, 3), is_3d=True), reads)
    options = {"iterations": 2} if name in ("cg_sense", "l1_wavelet") else {}
    volume = run(METHODS[name](**options), series)
    assembled = sum(a[0] != b[0] for a, b in pairwise(reads))
    assert assembled <= 12, Counter(reads)  # some passes over three volumes, not one for each slice
    flat = run(METHODS[name](**options), replace(series, is_3d=False))
    torch.testing.assert_close(volume.image, flat.image, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "most"), [("zero_filled", 1), ("cg_sense", 1), ("tv", 2), ("varnet", 2)]
)
def test_each_slice_is_read_once_and_its_calibration_block_once_before(name, most, scan):
    reads = []
    options = {"iterations": 2} if name in ("cg_sense", "tv") else {}
    run(METHODS[name](**options), watched(scan, reads))
    counts = Counter(reads)
    looked_at = (
        {(0, 3)} | {(0, index) for index in (0, 1, 2, 4, 5)} if name == "varnet" else {(0, 3)}
    )
    for (
        place,
        count,
    ) in counts.items():  # the middle tells of dead coils and of the sampling, five of the noise
        assert count <= most + 2 * (place in looked_at), counts


def test_reads_grow_with_the_number_of_volumes_not_with_its_square(scan):
    numbers = []
    for volumes in (2, 4, 8):
        reads = []
        run(METHODS["l1_wavelet"](iterations=1), watched(volumes_of(scan, volumes), reads))
        numbers.append(len(reads) / volumes)
    assert max(numbers) < 1.3 * min(numbers), numbers


def interleaved(scan, volumes):
    """Repetitions of every fourth column, one of four after the other: only their average has a centre."""
    kspace = torch.stack([scan.kspace(index) for index in range(scan.shape[0])])
    every = torch.arange(kspace.shape[-1]) % 4
    masks = [(every == volume % 4).expand(kspace.shape[-2:]) for volume in range(volumes)]
    series = array_scan(torch.stack([kspace * mask for mask in masks]))
    names = tuple(f"repetition {volume}" for volume in range(volumes))
    return replace(series, sampling=lambda volume, index: masks[volume], volume_names=names)


@pytest.mark.parametrize(
    ("name", "most"), [("zero_filled", 1), ("cg_sense", 1), ("l1_wavelet", 2), ("dds", 2)]
)
def test_of_interleaved_volumes_a_slice_is_read_once_and_once_before_for_all_of_them(name, most):
    """Scale, noise and maps share one look, whether or not its average serves all volumes."""
    options = {"cg_sense": {"iterations": 1}, "l1_wavelet": {"iterations": 1}, "dds": {"levels": 2}}
    for volumes in (4, 8):
        reads = []
        run(
            METHODS[name](**options.get(name, {})),
            watched(interleaved(phantom(6).scan, volumes), reads),
        )
        counts = Counter(index for _, index in reads)
        assert counts.pop(3) <= (most + 2) * volumes  # dead coils are looked for in the middle
        assert max(counts.values()) <= most * volumes, counts


def test_what_compression_read_serves_scale_and_maps(scan):
    reads = []
    mr.reconstruct(
        watched(scan, reads), method="l1_wavelet", iterations=1, compress_coils=3, device="cpu"
    )
    counts = Counter(reads)
    del counts[0, 3]  # the middle tells of the echo, of coverage and of dead coils
    assert max(counts.values()) <= 2, counts


def test_kept_calibration_is_that_of_the_combined_coils(scan):
    """What is known from before coils were combined is what would be found after."""
    mixed = compress_coils(scan, 3)
    found = calibration_centre(mixed, 2)
    fresh = calibration_centre(replace(mixed, read=lambda v, i: mixed.read(v, i)), 2)
    assert found.region == fresh.region and found.width == fresh.width
    torch.testing.assert_close(found.kspace, fresh.kspace)


def test_samples_that_are_left_out_are_in_no_kept_calibration(scan):
    """Nothing that was kept before a scan is undersampled tells of what was left out."""
    whole = phantom(6).scan
    calibration_centre(whole, 2)
    left = whole.undersample(columns(whole))
    found = calibration_centre(left, 2)
    assert not bool(found.kspace[:, ~center_crop(columns(whole).int(), (32, 32)).bool()].any())
