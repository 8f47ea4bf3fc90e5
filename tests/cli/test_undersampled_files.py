"""`convert --mask` writes the k-space that `recon --mask` reconstructs, and `info` the mask of a scan."""

from dataclasses import replace

import h5py
import nibabel
import numpy as np
import pytest
import torch

from mrirecon.io import read_mask, read_scan, write_scan
from mrirecon.masks import make_mask

RECON = ("--method", "cg_sense", "--method.iterations", 5)
LINES = ("--mask", "uniform1d", "--acceleration", 2, "--center_fraction", 0.3, "--mask_seed", 4)
POINTS = ("--mask", "poisson", "--accel", 3, "--center_fraction", 0.3)


@pytest.fixture
def shifted(scan_file, tmp_path):
    """The scan with its echo off the centre, about which masks are drawn."""
    scan = read_scan(scan_file)
    path = tmp_path / "shifted.mrd"
    rolled = replace(scan, read=lambda v, i: torch.roll(scan.read(v, i), (6, -5), (1, 2)))
    write_scan(replace(rolled, sampling=None, reference=None), path)
    assert any("k-space is shifted" in note for note in _centred_notes(path))
    return path


def _centred_notes(path):
    from mrirecon.echo import center_echo

    return center_echo(read_scan(path)).notes


@pytest.mark.parametrize("mask", [LINES, POINTS], ids=["lines", "points"])
@pytest.mark.parametrize("suffix", [".h5", ".npz", ".cfl"])
def test_the_file_is_what_recon_would_undersample(mrirecon, scan_file, tmp_path, mask, suffix):
    less, one, other = (tmp_path / name for name in (f"less{suffix}", "one.npy", "other.npy"))
    assert mrirecon("convert", scan_file, less, *mask).status == 0
    assert mrirecon("recon", less, *RECON, "--whiten", "false", "-o", one).status == 0
    assert mrirecon("recon", scan_file, *RECON, "--whiten", "false", *mask, "-o", other).status == 0
    assert np.array_equal(np.load(one), np.load(other))


def test_k_space_stays_where_it_is_and_the_mask_follows_the_echo(mrirecon, shifted, tmp_path):
    less, one, other = (tmp_path / name for name in ("less.mrd", "one.npy", "other.npy"))
    assert mrirecon("convert", shifted, less, *LINES).status == 0
    before, after = read_scan(shifted), read_scan(less)
    mask = after.mask(1)
    assert torch.equal(after.kspace(1), before.kspace(1) * mask) and not mask.all()
    for scan, target, more in ((less, one, ()), (shifted, other, LINES)):
        assert mrirecon("recon", scan, *RECON, *more, "-o", target).status == 0
    assert np.allclose(np.load(one), np.load(other), rtol=1e-4, atol=1e-6)


def test_the_mask_is_kept_and_the_reference_is_not(mrirecon, scan_file, tmp_path):
    less = tmp_path / "less.h5"
    result = mrirecon("convert", scan_file, less, *LINES)
    expected = make_mask("uniform1d", (40, 32), 2, center_fraction=0.3, seed=4)
    with h5py.File(less) as file:
        assert np.array_equal(file["mask"][()], expected[0].numpy())
        assert not any(name.startswith("reconstruction") for name in file)
        assert not file["kspace"][..., ~expected[0].numpy()].any()
        assert '"kind": "uniform1d"' in file.attrs["undersampled"]
    assert "acceleration 2.00" in result.out and "evaluate against" in result.out
    assert read_scan(less).reference is None


def test_without_a_mask_nothing_is_left_out(mrirecon, scan_file, tmp_path):
    assert mrirecon("convert", scan_file, tmp_path / "copy.h5").status == 0
    copy = read_scan(tmp_path / "copy.h5")
    assert copy.reference is not None and copy.mask(0).all()


@pytest.mark.parametrize("name", ["mask.png", "mask.npy"])
def test_info_writes_the_mask_of_a_scan(mrirecon, scan_file, tmp_path, name):
    less, mask = tmp_path / "less.h5", tmp_path / name
    mrirecon("convert", scan_file, less, *POINTS)
    result = mrirecon("info", less, "--mask_output", mask)
    assert torch.equal(read_mask(mask), read_scan(less).mask(1))
    assert "sampling  " in result.out and "variable density points" in result.out
    assert "begin with" in result.out and "l1_wavelet or tv" in result.out


def test_info_says_what_the_sampling_is(mrirecon, scan_file, tmp_path):
    for mask, text, methods in (
        ("equispaced", "every 2nd column with", "cg_sense or grappa"),
        ("uniform1d", "random columns", "l1_wavelet or tv"),
    ):
        less = tmp_path / f"{mask}.h5"
        given = ("--mask", mask, "--accel", 2, "--center_fraction", 0.3)
        assert mrirecon("convert", scan_file, less, *given).status == 0
        out = mrirecon("info", less).out
        assert text in out and methods in out
    assert "full\n" in mrirecon("info", scan_file).out


@pytest.fixture
def two_volumes(scan_file, tmp_path):
    scan = read_scan(scan_file)
    path = tmp_path / "two.mrd"
    twice = replace(scan, volumes=2, read=lambda v, i: scan.read(0, i) * (1 + v), sampling=None)
    write_scan(replace(twice, reference=None), path)
    return path


def test_one_of_several_volumes(mrirecon, refused, two_volumes, scan_file, tmp_path):
    given = ("--method", "zero_filled", "--whiten", "false")
    for suffix in (".h5", ".npy"):
        line = refused("recon", two_volumes, *given, "-o", tmp_path / f"x{suffix}")
        assert "--volume 0" in line
        line = refused("convert", two_volumes, tmp_path / f"y{suffix}")
        assert "--volume 0" in line
    for source, volume, name in ((two_volumes, 0, "a"), (two_volumes, 1, "b")):
        output = tmp_path / f"{name}.npy"
        assert mrirecon("recon", source, *given, "--volume", volume, "-o", output).status == 0
        assert mrirecon("convert", source, tmp_path / f"{name}.h5", "--volume", volume).status == 0
    first, second = np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy")
    assert np.allclose(second, 2 * first)
    assert torch.equal(
        read_scan(tmp_path / "b.h5").kspace(0), 2 * read_scan(tmp_path / "a.h5").kspace(0)
    )
    assert "volumes 0 to 1" in refused("convert", two_volumes, tmp_path / "z.h5", "--volume", 2)


def test_volumes_of_evaluate_view_and_benchmark(
    mrirecon, refused, two_volumes, nifti_file, tmp_path
):
    image = nibabel.load(nifti_file).get_fdata()
    both = tmp_path / "both.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.stack([2 * image, image], -1), np.eye(4)), both)
    assert "2 volumes" in refused("evaluate", both, nifti_file)
    result = mrirecon("evaluate", both, nifti_file, "--volume", 1)
    assert "inf" in result.out
    assert "inf" not in mrirecon("evaluate", both, nifti_file, "--volume", 0).out
    assert mrirecon("view", both, "--volume", 1, "-o", tmp_path / "page.html").status == 0
    from mrirecon.benchmark import find_scans

    (source,) = find_scans([str(two_volumes)], volume=1)
    assert torch.equal(source.read().kspace(0), read_scan(two_volumes).kspace(0, 1))
    with pytest.raises(ValueError, match=r"2 volumes: choose one, .*--volume 0"):
        find_scans([str(two_volumes)])[0].read()
