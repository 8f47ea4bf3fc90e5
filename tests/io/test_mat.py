"""MATLAB files: written by scipy, or as MATLAB writes v7.3, read right; what is no k-space in them is named."""

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrirecon.io import mat5, read_scan

HEAD73 = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(116) + bytes(8)


def random(shape, seed=0, dtype=np.complex128):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)


def save(path, kind, **arrays):
    """Arrays as in MATLAB; of v7.3 what `save -v7.3` makes: reversed axes, records, a class, 512 bytes in front."""
    if kind != "v7.3":
        scipy.io.savemat(path, arrays, do_compression=kind == "v7")
        return
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            turned, single = np.asarray(array).T, np.asarray(array).dtype in ("f4", "c8")
            real = "<f4" if single else "<f8"
            if np.iscomplexobj(turned):
                record = np.empty(turned.shape, [("real", real), ("imag", real)])
                record["real"], record["imag"] = turned.real, turned.imag
                turned = record
            file[name] = turned
            file[name].attrs["MATLAB_class"] = np.bytes_("single" if single else "double")
    with path.open("r+b") as stream:
        stream.write(HEAD73 + b"\x00\x02IM")


KINDS = ["v6", "v7", "v7.3"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_axes_are_those_of_matlab(tmp_path, kind, dtype):
    array = random((18, 20, 4, 3), dtype=dtype)
    path = tmp_path / "k.mat"
    save(path, kind, kspace=array)
    with pytest.raises(ValueError, match=r"kspace is 18 x 20 x 4 x 3 .*--axes readout,phase,coil"):
        read_scan(path)
    scan = read_scan(path, axes="readout,phase,coil,slice")
    assert scan.shape == (3, 4, 18, 20) and scan.format == "mat"
    for index in range(3):
        expected = array[..., index].transpose(2, 0, 1).astype(np.complex64)
        np.testing.assert_array_equal(scan.kspace(index).numpy(), expected)
    assert read_scan(path, axes="readout,phase,slice,coil").shape == (4, 3, 18, 20)


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_slice_and_coil_need_no_axes_and_what_was_taken_is_said(tmp_path, kind):
    array = random((18, 20))
    save(tmp_path / "k.mat", kind, ksp=array, t=np.arange(5.0), map=np.ones((18, 20)))
    scan = read_scan(tmp_path / "k.mat")
    np.testing.assert_array_equal(scan.kspace(0)[0].numpy(), array.astype(np.complex64))
    assert any("ksp is taken for k-space" in note for note in scan.notes)
    assert any("(18 x 20 in MATLAB) are taken for readout,phase" in note for note in scan.notes)
    told = read_scan(tmp_path / "k.mat", variable="ksp", axes="phase,readout")
    np.testing.assert_array_equal(told.kspace(0)[0].numpy(), array.T.astype(np.complex64))
    assert not any("taken for" in note for note in told.notes)


@pytest.mark.parametrize("kind", KINDS)
def test_which_array_is_asked_for_or_known_by_its_name(tmp_path, kind):
    first, second = random((18, 20)), random((18, 20), 1)
    save(tmp_path / "k.mat", kind, a=first, b=second)
    with pytest.raises(
        ValueError, match=r"several complex arrays.*--variable.*a \(complex 18 x 20\)"
    ):
        read_scan(tmp_path / "k.mat")
    got = read_scan(tmp_path / "k.mat", variable="b").kspace(0)[0]
    np.testing.assert_array_equal(got.numpy(), second.astype(np.complex64))
    with pytest.raises(ValueError, match="no variable 'c': it has a "):
        read_scan(tmp_path / "k.mat", variable="c")
    save(tmp_path / "k.mat", kind, image=first, kData=second)
    got = read_scan(tmp_path / "k.mat").kspace(0)[0]
    np.testing.assert_array_equal(got.numpy(), second.astype(np.complex64))


def test_what_is_no_array_of_complex_numbers(tmp_path):
    path = tmp_path / "k.mat"
    k = random((18, 20))
    scipy.io.savemat(path, {"s": {"k": k}, "c": np.array([k, "a"], object), "t": "text"})
    with pytest.raises(
        ValueError,
        match=r"no complex array of two axes or more: .* it has s \(struct 1 x 1\), c \(cell",
    ):
        read_scan(path)
    with pytest.raises(ValueError, match="save the array inside as a variable of its own"):
        read_scan(path, variable="s")
    scipy.io.savemat(path, {"rf": k[:1]})
    with pytest.raises(
        ValueError, match=r"no complex array of two axes or more: .* it has rf \(complex 1 x 20\)"
    ):
        read_scan(path)
    with pytest.raises(ValueError, match=r"rf \(complex 1 x 20\) has fewer than two axes"):
        read_scan(path, variable="rf")
    scipy.io.savemat(path, {"k": k.real})
    with pytest.raises(ValueError, match=r"k is real-valued \(float64\): .* simulate"):
        read_scan(path)
    scipy.io.savemat(path, {"mask": (k.real > 0) * 1})
    with pytest.raises(ValueError, match="is a sampling mask of 0 and 1"):
        read_scan(path)
    with h5py.File(path, "w", userblock_size=512) as file:
        file["s/k"] = 1
        file["c"] = np.array([file["s"].ref], h5py.ref_dtype)
    with pytest.raises(
        ValueError,
        match=r"no complex array of two axes or more: .* it has c \(cell.*, s \(struct\)",
    ):
        read_scan(path)
    path.write_bytes(b"of no level")
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_scan(path)


DTYPES = ["f4", "f8", "c8", "c16", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"]


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4).map(tuple),
    dtype=st.sampled_from(DTYPES),
    packed=st.booleans(),
    name=st.sampled_from(["a", "abcd", "abcde", "a_long_name_of_31_characters_abc"]),
)
def test_arrays_are_what_scipy_reads(tmp_path_factory, shape, dtype, packed, name):
    path = tmp_path_factory.mktemp("mat") / "k.mat"
    array = (100 * np.random.default_rng(0).normal(size=shape)).astype(dtype)
    scipy.io.savemat(path, {"before": {"x": 1}, name: array}, do_compression=packed)
    entry = mat5.entries(path)[1]
    assert (entry.name, entry.shape, entry.is_complex) == (name, shape, array.dtype.kind == "c")
    np.testing.assert_array_equal(mat5.load(path, entry), scipy.io.loadmat(path)[name])


def test_big_endian_and_numbers_in_fewer_bytes_as_matlab_stores_them(tmp_path):
    """MATLAB keeps whole numbers of a double array as bytes; the file is written here by hand, as the format says."""

    def element(kind, content):
        small = len(content) <= 4
        tag = np.array([len(content) << 16 | kind] if small else [kind, len(content)], ">u4")
        return tag.tobytes() + content + bytes((-len(content)) % (4 if small else 8))

    parts = [
        element(6, np.array([0x800 | 6, 0], ">u4").tobytes()),  # complex, double
        element(5, np.array([2, 3], ">i4").tobytes()),
        element(1, b"k"),
        element(2, np.arange(6, dtype="u1").tobytes()),
        element(3, np.arange(6, dtype=">i2").tobytes()),
    ]
    body = b"".join(parts)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    (tmp_path / "k.mat").write_bytes(header + np.array([14, len(body)], ">u4").tobytes() + body)
    (entry,) = mat5.entries(tmp_path / "k.mat")
    expected = (np.arange(6) * (1 + 1j)).reshape(2, 3, order="F")
    np.testing.assert_array_equal(mat5.load(tmp_path / "k.mat", entry), expected)
    np.testing.assert_array_equal(scipy.io.loadmat(tmp_path / "k.mat")["k"], expected)


@pytest.mark.parametrize("name", [b"a\nb", b"\x80\x81c"])
def test_names_that_nobody_gave_are_those_of_damaged_files(tmp_path, name):
    """Taken from the numbers of the array, they made the sentence about it unreadable."""
    path = tmp_path / "k.mat"
    scipy.io.savemat(path, {"abc": random((18, 20))}, do_compression=False)
    path.write_bytes(path.read_bytes().replace(b"abc", name))
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_scan(path)


def test_a_name_longer_than_matlab_has_is_that_of_a_damaged_file(tmp_path):
    path = tmp_path / "k.mat"
    scipy.io.savemat(
        path, {"a" * 63: random((18, 20))}, do_compression=False, long_field_names=True
    )
    assert read_scan(path).shape == (1, 1, 18, 20)
    one, more = (np.array([1, size], "<u4").tobytes() + b"a" * size for size in (63, 64))
    path.write_bytes(path.read_bytes().replace(one + b"\0", more))
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_scan(path)


def test_an_array_without_flags_is_that_of_a_damaged_file(tmp_path):
    path = tmp_path / "k.mat"
    scipy.io.savemat(path, {"k": random((4, 4))}, do_compression=False)
    content = path.read_bytes()
    flags = np.array([6, 8], "<u4").tobytes()
    path.write_bytes(content.replace(flags, np.array([6, 0], "<u4").tobytes(), 1))
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_scan(path)


def test_a_size_that_its_bytes_cannot_have_is_not_believed(tmp_path):
    """40,000 x 40,000 numbers in a file of 600 bytes."""
    path = tmp_path / "k.mat"
    scipy.io.savemat(path, {"k": random((4, 4))}, do_compression=False)
    content = bytearray(path.read_bytes())
    at = content.index(np.array([5, 8], "<u4").tobytes()) + 8
    content[at : at + 8] = np.array([40_000, 40_000], "<i4").tobytes()
    path.write_bytes(content)
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_scan(path)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
@pytest.mark.parametrize("kind", KINDS)
def test_mangled_anywhere_reads_or_says_so(tmp_path, kind, data):
    path = tmp_path / "k.mat"
    save(path, kind, kspace=random((8, 6, 2), dtype=np.complex64))
    whole = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del whole[data.draw(st.integers(0, len(whole) - 1)) :]
    for _ in range(data.draw(st.integers(0, 6)) if whole else 0):
        whole[data.draw(st.integers(0, min(len(whole), 2500) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    try:
        scan = read_scan(path, axes="readout,phase,coil")
        assert scan.kspace(0).shape == scan.shape[1:]
    except (ValueError, OSError) as error:
        assert "\n" not in str(error) and "k.mat" in str(error)
