"""Arrays in files against numpy's own views of the same array."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrirecon.io import file_array, read_scan
from mrirecon.io.file_array import FileArray

SHAPE = (5, 4, 3, 6)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """Numbers behind 13 bytes of something else, in both orders."""
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE) * (1 + 2j)
    made = {}
    for order in "CF":
        path = tmp_path_factory.mktemp("arrays") / order
        path.write_bytes(b"x" * 13 + values.astype(">c16").tobytes(order))
        made[order] = FileArray(path, 13, np.dtype(">c16"), SHAPE, order)
    return values, made


parts = st.tuples(
    *(
        st.one_of(
            st.integers(-size, size - 1),
            st.slices(size),
            st.just(slice(None)),
            st.just(slice(None, None, -1)),
        )
        for size in SHAPE
    )
)


@settings(deadline=None)
@given(
    part=parts,
    axes=st.permutations(range(4)),
    order=st.sampled_from("CF"),
    waste=st.sampled_from([0, 64, 1 << 22]),
)
def test_views_are_those_of_numpy(arrays, part, axes, order, waste):
    values, made = arrays
    before, file_array.WASTE = file_array.WASTE, waste
    try:
        got = made[order].transpose(*axes).transpose(*np.argsort(axes))[part]
        wanted = values[part]
        assert got.shape == wanted.shape and got.ndim == wanted.ndim and got.size == wanted.size
        assert np.array_equal(np.asarray(got), wanted)
        assert np.array_equal(np.asarray(got[None]), wanted[None])
        assert np.asarray(got, np.complex64).dtype == np.complex64
    finally:
        file_array.WASTE = before


def test_arithmetic_reads(arrays):
    values, made = arrays
    array = made["C"]
    assert len(array) == 5
    assert np.array_equal(np.abs(array[1:3]), np.abs(values[1:3]))
    assert np.array_equal(array[0] != 0, values[0] != 0) and np.array_equal(
        2 * array[0], 2 * values[0]
    )
    assert np.array_equal(np.moveaxis(array, 0, -1), np.moveaxis(values, 0, -1))
    assert np.array_equal(np.squeeze(array[:1]), values[0])
    with pytest.raises(TypeError, match="numbers and slices"):
        array[[0, 1]]


@pytest.mark.parametrize("name", ["a.npy", "a.cfl"])
def test_a_file_cut_while_it_is_read_is_an_error(tmp_path, name):
    """A memory map would end the process (SIGBUS), so it is tried in one of its own."""
    if name == "a.npy":
        np.save(tmp_path / name, np.ones((30, 2, 64, 64), np.complex64))
    else:
        np.ones((30, 2, 64, 64), np.complex64).tofile(tmp_path / name)
        sizes = [64, 64, 1, 2, *[1] * 9, 30, 1, 1]
        (tmp_path / "a.hdr").write_text(f"# Dimensions\n{' '.join(map(str, sizes))}\n")
    code = f"""
import os
from mrirecon.io import read_scan
scan = read_scan({name!r})
os.truncate({name!r}, 5000)
try:
    scan.kspace(20)
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert f"{name} has changed since it was opened" in done.stdout


def test_a_file_cut_within_a_read(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.ones((3, 2, 64, 64), np.complex64))
    scan = read_scan(tmp_path / "a.npy")
    original = os.fstat

    def fstat(file):
        found = original(file)
        os.truncate(tmp_path / "a.npy", 5000)  # after it was looked at
        return found

    monkeypatch.setattr(file_array.os, "fstat", fstat)
    with pytest.raises(ValueError, match=r"a.npy was cut while it was read"):
        scan.kspace(2)


def test_a_file_written_anew_is_not_mixed_with_the_old_one(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 2, 8, 8), np.complex64))
    scan = read_scan(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.ones((3, 2, 9, 8), np.complex64))
    with pytest.raises(ValueError, match="has changed since"):
        scan.kspace(0)


def test_a_slice_costs_one_read_of_its_own_bytes(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.ones((6, 2, 64, 64), np.complex64))
    scan = read_scan(tmp_path / "a.npy")
    reads, original = [], os.preadv

    def preadv(file, buffers, at):
        reads.append(sum(map(len, buffers)))
        return original(file, buffers, at)

    monkeypatch.setattr(file_array.os, "preadv", preadv)
    scan.kspace(4)
    assert reads == [2 * 64 * 64 * 8]
