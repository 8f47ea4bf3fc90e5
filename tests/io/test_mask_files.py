import contextlib
import shutil
import struct
import subprocess
import tracemalloc
import zlib

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from mrirecon.io import expand_mask, read_mask, write_mask


def pattern(shape=(6, 5), seed=0):
    return np.random.default_rng(seed).integers(0, 2, shape).astype(bool)


@pytest.mark.parametrize("suffix", [".npy", ".png"])
def test_round_trip_and_rows_stay_rows(tmp_path, suffix):
    mask = torch.from_numpy(pattern())
    write_mask(tmp_path / f"m{suffix}", mask)
    assert torch.equal(read_mask(tmp_path / f"m{suffix}"), mask)
    with pytest.raises(FileExistsError):
        write_mask(tmp_path / f"m{suffix}", mask)
    write_mask(tmp_path / f"m{suffix}", ~mask, overwrite=True)
    assert torch.equal(read_mask(tmp_path / f"m{suffix}"), ~mask)


def test_the_picture_is_white_where_sampled(tmp_path):
    write_mask(tmp_path / "m.png", torch.tensor([[True, False, False]]))
    with Image.open(tmp_path / "m.png") as picture:
        assert np.asarray(picture).tolist() == [[255, 0, 0]]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32, np.complex64])
def test_masks_of_every_type_of_number(tmp_path, dtype):
    mask = pattern()
    np.save(tmp_path / "m.npy", mask.astype(dtype))
    np.savez(tmp_path / "m.npz", mask=mask.astype(dtype), other=np.ones(2))
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["mask"] = mask.astype(dtype)
    for name in ("m.npy", "m.npz", "m.h5"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), mask)


def test_column_masks_spread_over_the_rows(tmp_path):
    np.save(tmp_path / "m.npy", np.array([1, 0, 1]))
    mask = read_mask(tmp_path / "m.npy")
    assert mask.tolist() == [True, False, True]
    assert expand_mask(mask, (2, 3)).tolist() == [[True, False, True]] * 2
    assert expand_mask(torch.tensor([[True], [False]]), (2, 3)).tolist() == [
        [True] * 3,
        [False] * 3,
    ]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4,), "mask has 4 columns, k-space has 3: make the mask for this scan"),
        ((1,), "mask has 1 columns, k-space has 3"),
        ((2, 4), "mask has 4 columns, k-space has 3"),
        ((3, 3), "mask has 3 rows, k-space has 2"),
    ],
)
def test_masks_of_another_size(shape, message):
    with pytest.raises(ValueError, match=message):
        expand_mask(torch.ones(shape, dtype=torch.bool), (2, 3))


@pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")
def test_barts_poisson_pattern(tmp_path):
    command = "bart poisson -Y 32 -Z 24 -y 2 -z 2 -C 8 m"
    subprocess.run(command.split(), cwd=tmp_path, capture_output=True, check=True)
    truth = np.fromfile(tmp_path / "m.cfl", np.complex64).real.reshape(32, 24, order="F")
    for name in ("m", "m.cfl", "m.hdr"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), truth.astype(bool))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((3, 3), 0.5), "only 0 and 1"),
        (np.full((3, 3), np.nan), "only 0 and 1"),
        (np.ones((2, 3, 3)), "the mask is 2 x 3 x 3"),
        (np.array(1), "the mask is one number"),
        (np.array(["a", "b"]), "expected 0 and 1"),
        (np.array([None, {}]), "never unpickled"),
    ],
)
def test_arrays_that_are_no_masks(tmp_path, array, message):
    np.save(tmp_path / "m.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        read_mask(tmp_path / "m.npy")


@pytest.mark.parametrize("bits", [0x7FA00000, 0x7FC00000, 0x7F800000])  # two kinds of NaN, infinity
def test_numbers_of_a_damaged_mask_are_refused_without_a_warning(tmp_path, bits):
    """Of a signalling NaN numpy warns wherever it goes from one type to another."""
    array = np.ones((3, 4), np.complex64)
    array.view(np.uint32)[1, 4] = bits
    array.tofile(tmp_path / "m.cfl")
    (tmp_path / "m.hdr").write_text("# Dimensions\n4 3\n")
    np.save(tmp_path / "m.npy", array)
    for name in ("m.cfl", "m.npy"):
        with pytest.raises(ValueError, match="must hold only 0 and 1"):
            read_mask(tmp_path / name)


def test_masks_larger_than_any_k_space(tmp_path):
    """A file of holes: nothing of it may be read."""
    header = {"descr": "|b1", "fortran_order": False, "shape": (10**5, 10**5)}
    with (tmp_path / "m.npy").open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        stream.truncate(stream.tell() + 10**10)
    with pytest.raises(ValueError, match=r"mask is 100000 x 100000, larger than any k-space"):
        read_mask(tmp_path / "m.npy")


def png(width, height, length=None):
    """A PNG that says to be of this size, with a part that says to be of this length."""

    def chunk(kind, content):
        size = len(content) if length is None or kind == b"IHDR" else length
        return (
            struct.pack(">I", size) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(21 * 24))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(9000, 9000), (10000, 10000), (10**5, 10**5)])
def test_pictures_larger_than_any_k_space(tmp_path, size):
    """PIL warns of the second, and has an exception of its own for the third."""
    (tmp_path / "m.png").write_bytes(png(*size))
    with pytest.raises(ValueError, match=r"m\.png: the picture is .*larger than any k-space: make"):
        read_mask(tmp_path / "m.png")


def test_a_part_of_a_picture_that_says_to_be_four_gigabytes_long_takes_no_memory(tmp_path):
    (tmp_path / "m.png").write_bytes(png(20, 24))
    assert not read_mask(tmp_path / "m.png").any()
    (tmp_path / "m.png").write_bytes(png(20, 24, length=0xFFFFFFFF))
    tracemalloc.start()
    try:
        with contextlib.suppress(ValueError):
            read_mask(tmp_path / "m.png")
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_files_that_are_no_masks(tmp_path):
    Image.fromarray(np.array([[0, 128, 255]], np.uint8)).save(tmp_path / "grey.png")
    with pytest.raises(ValueError, match="only 0 and 1"):
        read_mask(tmp_path / "grey.png")
    whole = (tmp_path / "grey.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[:40])
    with pytest.raises(ValueError, match="truncated or no png"):
        read_mask(tmp_path / "half.png")
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file["kspace"] = np.ones(3)
    with pytest.raises(ValueError, match="no dataset 'mask': it has kspace"):
        read_mask(tmp_path / "k.h5")
    with h5py.File(tmp_path / "m.mat", "w") as file:  # its axes would be in reverse order
        file["mask"] = np.ones((3, 4))
    with pytest.raises(ValueError, match="no mask file: give npy"):
        read_mask(tmp_path / "m.mat")
    (tmp_path / "m.txt").write_text("text")
    with pytest.raises(ValueError, match="no mask file"):
        read_mask(tmp_path / "m.txt")
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_mask(tmp_path / "none.npy")
    with pytest.raises(IsADirectoryError):
        read_mask(tmp_path)
    with pytest.raises(ValueError, match=r"must end in one of \.npy, \.png"):
        write_mask(tmp_path / "m.jpg", torch.ones(2, 2, dtype=torch.bool))
