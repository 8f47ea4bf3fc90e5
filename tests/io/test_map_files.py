import json
import shutil
import subprocess

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from mrirecon.io import read_maps, sidecar, write_maps
from mrirecon.io.maps import MAPS_SUFFIXES


def random(shape, seed=0):
    rng = np.random.default_rng(seed)
    array = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    return torch.from_numpy(array.astype(np.complex64))


@pytest.mark.parametrize("suffix", MAPS_SUFFIXES)
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (2, 2, 3, 5, 4), (1, 1, 4, 5)])
def test_round_trip_with_description(tmp_path, suffix, shape):
    path, maps = tmp_path / f"m{suffix}", random(shape)
    write_maps(path, maps, {"method": "espirit", "calibration": [24, 24]})
    assert torch.equal(read_maps(path), maps)
    assert json.loads(sidecar(path).read_text())["method"] == "espirit"
    with pytest.raises(FileExistsError):
        write_maps(path, maps, {})
    write_maps(path, 2 * maps, {}, overwrite=True)
    assert torch.equal(read_maps(path), 2 * maps)


def test_the_files_are_plain(tmp_path):
    maps = random((2, 3, 5, 4))
    write_maps(tmp_path / "m.npy", maps, {})
    np.testing.assert_array_equal(np.load(tmp_path / "m.npy"), maps)
    write_maps(tmp_path / "m.h5", maps, {"method": "espirit"})
    with h5py.File(tmp_path / "m.h5") as file:
        np.testing.assert_array_equal(file["maps"][()], maps)
        assert json.loads(file.attrs["info"]) == {"method": "espirit"}


@pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")
@pytest.mark.parametrize("sets", [1, 2])
def test_barts_maps_read_and_ours_are_read_by_bart(tmp_path, sets):
    def bart(command):
        subprocess.run(["bart", *command.split()], cwd=tmp_path, capture_output=True, check=True)

    bart("phantom -x 32 -k -s 4 ksp")
    bart(f"ecalib -m {sets} -r 16 ksp maps")
    dims = (32, 32, 4, sets)
    array = np.fromfile(tmp_path / "maps.cfl", np.complex64).reshape(dims, order="F")
    maps = read_maps(tmp_path / "maps")
    assert maps.shape == ((1, 4, 32, 32) if sets == 1 else (1, 2, 4, 32, 32))
    np.testing.assert_array_equal(
        maps.reshape(sets, 4, 32, 32).numpy(), array.transpose(3, 2, 0, 1)
    )
    write_maps(tmp_path / "again.cfl", maps, {})
    bart("nrmse -t 0.0000001 maps again")


@pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")
def test_three_dimensional_maps_have_the_readout_as_slices(tmp_path):
    for command in ("phantom -3 -x 16 -k -s 2 ksp", "ecalib -m 1 -r 12 -k 4 ksp maps"):
        subprocess.run(["bart", *command.split()], cwd=tmp_path, capture_output=True, check=True)
    array = np.fromfile(tmp_path / "maps.cfl", np.complex64).reshape((16, 16, 16, 2), order="F")
    np.testing.assert_array_equal(read_maps(tmp_path / "maps"), array.transpose(0, 3, 1, 2))


def test_one_slice_may_lack_its_axis_and_npz_is_read(tmp_path):
    maps = random((3, 5, 4)).numpy()
    np.save(tmp_path / "m.npy", maps)
    np.savez(tmp_path / "m.npz", maps=maps, other=np.ones(3))
    (tmp_path / "m.bin").write_bytes((tmp_path / "m.npy").read_bytes())
    for name in ("m.npy", "m.npz", "m.bin"):
        np.testing.assert_array_equal(read_maps(tmp_path / name)[0], maps)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((3, 4, 4)), "maps is real-valued"),
        (np.ones((4, 4), np.complex64), "maps are 4 x 4, expected"),
        (np.full((3, 4, 4), np.nan, np.complex64), "NaN or infinite"),
    ],
)
def test_arrays_that_are_no_maps(tmp_path, array, message):
    np.save(tmp_path / "m.npy", array)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["maps"] = array
    for name in ("m.npy", "m.h5"):
        with pytest.raises(ValueError, match=message):
            read_maps(tmp_path / name)


def test_files_that_hold_no_maps(tmp_path):
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file["kspace"] = np.ones((1, 3, 4, 4), np.complex64)
    with pytest.raises(ValueError, match="no dataset 'maps': it has kspace"):
        read_maps(tmp_path / "k.h5")
    (tmp_path / "t.npy").write_text("text")
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_maps(tmp_path / "t.npy")
    scipy.io.savemat(tmp_path / "five.mat", {"maps": np.ones((3, 4, 4), np.complex64)})
    with h5py.File(tmp_path / "seven.mat", "w") as file:
        file["maps"] = np.ones((3, 4, 4), np.complex64)
    (tmp_path / "m.txt").write_text("text")
    for name in ("five.mat", "seven.mat", "m.txt"):
        said = (
            rf"{name}: maps are read from \.npy, \.npz, \.h5 and \.cfl: save them as one of these"
        )
        with pytest.raises(ValueError, match=said):
            read_maps(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_maps(tmp_path / "none.npy")
    (tmp_path / "bad.hdr").write_text("# Dimensions\n2 2 1 1 1 3\n")
    np.ones(12, np.complex64).tofile(tmp_path / "bad.cfl")
    with pytest.raises(ValueError, match="maps may use 0 to 4 and 13"):
        read_maps(tmp_path / "bad")
    with pytest.raises(ValueError, match=r"must end in one of \.npy, \.cfl, \.h5"):
        write_maps(tmp_path / "m.nii", random((1, 2, 4, 4)), {})
