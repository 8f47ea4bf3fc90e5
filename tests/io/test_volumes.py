import json
import shutil
import subprocess

import h5py
import numpy as np
import pytest
import torch

from mrirecon.geometry import Geometry
from mrirecon.io import (
    VOLUME_SUFFIXES,
    check_output,
    is_complete,
    read_volume,
    sidecar,
    write_volume,
)
from mrirecon.io.volumes import DICOM, read_complex
from mrirecon.scan import Volume


def volume(shape=(1, 3, 5, 4), seed=0, **info):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    return Volume(
        image=torch.from_numpy(image.astype(np.complex64)),
        geometry=Geometry(voxel_mm=(1.0, 2.0, 3.0)),
        info=info,
    )


@pytest.mark.parametrize("suffix", [s for s in VOLUME_SUFFIXES if s not in DICOM])
def test_every_output_reads_back_as_its_magnitude(tmp_path, suffix):
    v = volume()
    write_volume(v, tmp_path / f"v{suffix}")
    got = read_volume(tmp_path / f"v{suffix}")
    np.testing.assert_allclose(got.numpy(), v.image[0].abs().numpy(), rtol=1e-6)


def test_h5_is_what_the_leaderboard_wants(tmp_path):
    v = volume()
    write_volume(v, tmp_path / "v.h5")
    with h5py.File(tmp_path / "v.h5") as file:
        assert list(file) == ["reconstruction"]
        assert file["reconstruction"].dtype == np.float32
        np.testing.assert_array_equal(file["reconstruction"][()], v.image[0].abs().numpy())


@pytest.mark.parametrize("slices", [1, 3])
def test_npy_is_complex_with_three_axes(tmp_path, slices):
    v = volume((1, slices, 5, 4))
    write_volume(v, tmp_path / "v.npy")
    array = np.load(tmp_path / "v.npy")
    assert array.dtype == np.complex64 and array.shape == (slices, 5, 4)
    np.testing.assert_array_equal(array, v.image[0].numpy())


@pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")
def test_cfl_is_barts(tmp_path):
    def bart(command):
        return subprocess.run(
            ["bart", *command.split()], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    v = volume((2, 3, 5, 4))
    write_volume(v, tmp_path / "v.cfl")
    sizes = [int(bart(f"show -d {dim} v")) for dim in (0, 1, 2, 3, 10, 13)]
    assert sizes == [5, 4, 1, 1, 2, 3]
    bart("slice 10 1 13 2 v one")
    one = np.fromfile(tmp_path / "one.cfl", np.complex64).reshape(5, 4, order="F")
    np.testing.assert_array_equal(one, v.image[1, 2].numpy())


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
def test_several_volumes_need_another_suffix(tmp_path, suffix):
    with pytest.raises(ValueError, match=r"has 2: write \.nii\.gz, \.nii or \.cfl"):
        write_volume(volume((2, 3, 5, 4)), tmp_path / f"v{suffix}")
    assert not list(tmp_path.iterdir())


def test_the_json_beside_says_how_it_was_made(tmp_path):
    v = volume(method="tv", seconds_per_slice=np.float64(3.9), seeds={"mask": 1})
    write_volume(v, tmp_path / "brain.nii.gz")
    assert sidecar(tmp_path / "brain.nii.gz") == tmp_path / "brain.nii.gz.json"
    info = json.loads((tmp_path / "brain.nii.gz.json").read_text())
    assert (info["method"], info["seconds_per_slice"], info["seeds"]) == (
        "tv",
        3.9,
        {"mask": 1},
    )
    assert info["versions"]["torch"] == torch.__version__
    assert info["geometry"] == {"known": False, "voxel_mm": [1.0, 2.0, 3.0], "note": ""}


@pytest.mark.parametrize("suffix", VOLUME_SUFFIXES)
def test_complete_means_every_file_stands(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    assert not is_complete(path)
    write_volume(volume(), path)
    assert is_complete(path)
    files = [p for p in tmp_path.iterdir()]
    assert len(files) == (3 if suffix == ".cfl" else 2)
    for file in files:
        aside = file.rename(tmp_path / "aside")
        assert not is_complete(path)
        aside.rename(file)


def content(path):
    """The bytes of an output, whether it is a file or a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [file.read_bytes() for file in files]


@pytest.mark.parametrize("suffix", VOLUME_SUFFIXES)
def test_nothing_is_overwritten_unless_asked(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    write_volume(volume(seed=1), path)
    for call in (lambda: check_output(path), lambda: write_volume(volume(seed=2), path)):
        with pytest.raises(FileExistsError, match="exists already"):
            call()
    first = content(path)
    write_volume(volume(seed=1), tmp_path / f"same{suffix}")
    write_volume(volume(seed=2), path, overwrite=True)
    if suffix not in DICOM:  # whose identifiers are new every time
        assert first == content(tmp_path / f"same{suffix}")
    assert first != content(path)


def test_unknown_suffixes_list_the_known_ones(tmp_path):
    for name in ("v.png", "v", "v.gz"):
        with pytest.raises(ValueError, match=r"\.nii\.gz, \.nii, \.h5, \.npy, \.cfl"):
            check_output(tmp_path / name)


def test_an_empty_image_is_refused(tmp_path):
    empty = np.ones((3, 24, 0), np.complex64)
    np.save(tmp_path / "v.npy", empty)
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["reconstruction"] = empty.real
    said = "holds no image, it is 3 x 24 x 0: write it again"
    for name in ("v.npy", "v.h5"):
        with pytest.raises(ValueError, match=f"{name} {said}"):
            read_volume(tmp_path / name)
    with pytest.raises(ValueError, match=r"v\.npy holds no image, it is 1 x 3 x 24 x 0"):
        read_complex(tmp_path / "v.npy")
    np.save(tmp_path / "v.npy", empty[None])
    with pytest.raises(ValueError, match="holds no image"):
        read_complex(tmp_path / "v.npy")


def test_read_volume_takes_a_fastmri_target_and_refuses_the_rest(tmp_path):
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["reconstruction_rss"] = np.full((2, 4, 4), 3.0)
    assert float(read_volume(tmp_path / "t.h5").mean()) == 3.0
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file["kspace"] = np.ones((2, 4, 4))
    with pytest.raises(ValueError, match=r"has no image .*it has kspace"):
        read_volume(tmp_path / "k.h5")
    np.save(tmp_path / "flat.npy", np.ones((4, 4)))
    with pytest.raises(ValueError, match="4 x 4 of float64: give one volume"):
        read_volume(tmp_path / "flat.npy")
    (tmp_path / "t.txt").write_text("text")
    with pytest.raises(ValueError, match="no NIfTI"):
        read_volume(tmp_path / "t.txt")
    with pytest.raises(FileNotFoundError):
        read_volume(tmp_path / "none.h5")
