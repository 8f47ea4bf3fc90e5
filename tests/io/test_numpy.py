import re
import zipfile

import numpy as np
import pytest
import torch
from golden_data import REAL_SCAN
from hypothesis import given, settings
from hypothesis import strategies as st

from mrirecon.io import read_scan, write_scan


def random(shape, seed=0, dtype=np.complex64):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 7)] * 4).filter(lambda s: s[-2:] != (1, 1)),
    fortran=st.booleans(),
    dtype=st.sampled_from(["<c8", ">c8", "<c16"]),
)
def test_what_numpy_saves_is_read_back(tmp_path_factory, shape, fortran, dtype):
    path = tmp_path_factory.mktemp("npy") / "k.npy"
    array = random(shape, dtype=dtype)
    np.save(path, np.asfortranarray(array) if fortran else array)
    scan = read_scan(path)
    assert scan.shape == shape
    assert scan.format == "npy"
    for index in range(shape[0]):
        got = scan.kspace(index)
        assert got.dtype == torch.complex64
        np.testing.assert_array_equal(got.numpy(), array[index].astype(np.complex64))


def test_three_axes_are_coils_of_one_slice(tmp_path):
    array = random((3, 6, 4))
    np.save(tmp_path / "k.npy", array)
    scan = read_scan(tmp_path / "k.npy")
    assert scan.shape == (1, 3, 6, 4)
    assert scan.matrix == (6, 4)
    assert not scan.geometry.known and scan.geometry.voxel_mm is None
    np.testing.assert_array_equal(scan.kspace(0).numpy(), array)


def test_zeros_in_all_coils_are_unsampled_and_padding_is_not_guessed(tmp_path):
    array = random((1, 2, 4, 6))
    array[..., 2] = 0
    array[0, 0, :, 3] = 0  # one coil only: still sampled
    np.save(tmp_path / "k.npy", array)
    scan = read_scan(tmp_path / "k.npy")
    assert scan.mask(0).all(dim=0).tolist() == [True, True, False, True, True, True]
    assert bool(scan.acquired.all())


def test_npz_by_key_by_single_array_and_with_mask(tmp_path):
    array = random((2, 3, 4, 5))
    np.savez(tmp_path / "single.npz", anything=array)
    np.savez_compressed(
        tmp_path / "several.npz",
        kspace=array,
        mask=np.array([0, 0, 1, 0, 1]),
        acquired=np.array([0, 1, 1, 1, 1], bool),
    )
    np.testing.assert_array_equal(read_scan(tmp_path / "single.npz").kspace(1).numpy(), array[1])
    scan = read_scan(tmp_path / "several.npz")
    assert scan.mask(0)[0].tolist() == [False, False, True, False, True]
    assert scan.acquired[0].tolist() == [False, True, True, True, True]
    np.testing.assert_array_equal(scan.kspace(0).numpy(), array[0] * [0, 0, 1, 0, 1])


def test_npz_without_kspace_names_what_it_has(tmp_path):
    np.savez(tmp_path / "k.npz", a=np.ones(3), b=np.ones(3))
    with pytest.raises(ValueError, match=r"no array 'kspace': it has a, b"):
        read_scan(tmp_path / "k.npz")


def test_an_npz_of_which_nothing_is_acquired_is_refused(tmp_path):
    np.savez(tmp_path / "k.npz", kspace=random((2, 4, 5)), acquired=np.zeros((4, 5)))
    with pytest.raises(ValueError, match=r"k\.npz: its member 'acquired' is 0 everywhere"):
        read_scan(tmp_path / "k.npz")


def test_a_wrong_mask_in_an_npz_is_refused(tmp_path):
    np.savez(tmp_path / "k.npz", kspace=random((2, 4, 5)), mask=np.ones(6))
    with pytest.raises(ValueError, match="mask has 6 columns, k-space has 5"):
        read_scan(tmp_path / "k.npz")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((2, 4, 4)), r"real-valued \(float64\): save it as complex64"),
        (np.ones((2, 4, 4, 2), np.float32), "real and imaginary part"),
        (np.ones((4, 4), np.complex64), r"two-dimensional \(4 x 4\)"),
        (np.ones(4, np.complex64), "1 axes"),
        (np.ones((1, 1, 1, 4, 4), np.complex64), "5 axes"),
        (np.ones((2, 1, 1), np.complex64), "1 x 1"),
        (np.zeros((2, 4, 4), np.complex64), "k-space is all zero"),
        (np.array([{}, None], dtype=object), "Python objects, which are never unpickled"),
        (np.zeros((2, 4, 4), [("r", "f4"), ("i", "f4")]), "record of r, i"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_that_are_no_kspace(tmp_path, array, message, suffix):
    path = tmp_path / f"k{suffix}"
    if suffix == ".npy":
        np.save(path, array, allow_pickle=True)
    else:
        np.savez(path, allow_pickle=True, kspace=array)
    with pytest.raises(ValueError, match=message) as caught:
        read_scan(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_samples_are_named_by_slice_when_read(tmp_path, value):
    array = random((3, 2, 4, 4))
    array[2, 1, 0, 0] = value
    np.save(tmp_path / "k.npy", array)
    scan = read_scan(tmp_path / "k.npy")
    scan.kspace(0)
    with pytest.raises(ValueError, match=r"slice 2 holds NaN or infinite"):
        scan.kspace(2)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_written_arrays_are_plain_numpy(tmp_path, make_scan, suffix):
    columns = np.array([0, 1, 0, 1, 1], bool)
    acquired = torch.ones(6, 5, dtype=torch.bool)
    acquired[:, 0] = False
    scan, kspace = make_scan(columns=columns, acquired=acquired)
    path = tmp_path / f"k{suffix}"
    lost = write_scan(scan, path)
    loaded = np.load(path)
    array = loaded["kspace"] if suffix == ".npz" else loaded
    assert array.dtype == np.complex64
    np.testing.assert_array_equal(array, kspace[0].numpy())
    again = read_scan(path)
    assert torch.equal(again.mask(0), scan.mask(0))
    assert torch.equal(again.acquired, acquired) == (suffix == ".npz")
    assert any("zero padding" in text for text in lost) == (suffix == ".npy")


def test_several_volumes_need_another_format(tmp_path, make_scan):
    scan, _ = make_scan(volumes=2)
    for suffix in (".npy", ".npz", ".h5"):
        with pytest.raises(ValueError, match=re.escape("write .mrd or .cfl")):
            write_scan(scan, tmp_path / f"k{suffix}")
    assert not list(tmp_path.iterdir())


def test_the_real_scan():
    scan = read_scan(REAL_SCAN)
    assert scan.shape == (1, 8, 230, 180)
    mask = scan.mask(0)
    assert mask.float().mean() == pytest.approx(0.124, abs=5e-4)  # its description says 12.4 %
    assert bool(mask[115 - 12 : 115 + 12, 90 - 12 : 90 + 12].all())  # and a full 24 x 24 centre


@pytest.mark.parametrize("member", ["kspace", "mask", "acquired"])
def test_a_member_that_is_no_array_is_named(tmp_path, member):
    """numpy gives bytes for what does not begin as an npy."""
    arrays = {"kspace": np.ones((1, 2, 8, 8), np.complex64)}
    np.savez(tmp_path / "a.npz", **{name: a for name, a in arrays.items() if name != member})
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr(f"{member}.npy", b"text")
        archive.writestr("readme", b"others may be anything")
    with pytest.raises(ValueError, match=rf"a.npz: its member '{member}' is no npy array"):
        read_scan(tmp_path / "a.npz")
