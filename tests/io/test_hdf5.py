"""HDF5 files that lead elsewhere, are damaged, locked, or do not fit on the disk."""

import errno
import fcntl
import os
import signal
import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from mrirecon.io import hdf5_stream, read_maps, read_mask, read_scan, read_volume, write_scan
from mrirecon.io.hdf5 import OpenFiles, reading, writing
from mrirecon.io.hdf5_outside import is_whole
from mrirecon.io.hdf5_stream import WriteStream

SHAPE = (4, 3, 8, 6)


@pytest.fixture
def kspace():
    rng = np.random.default_rng(0)
    return (rng.standard_normal(SHAPE) + 1j * rng.standard_normal(SHAPE)).astype(np.complex64)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name, **datasets):
    with h5py.File(name, "w") as file:
        for key, value in datasets.items():
            file[key] = value


def virtual(parts, shape=SHAPE):
    """A file virtual.h5 whose kspace is put together of {place: (file, array or None where it does not exist)}."""
    layout = h5py.VirtualLayout(shape, np.complex64)
    for place, (name, array, size) in parts:
        if array is not None:
            write(name, kspace=array)
        layout[place] = h5py.VirtualSource(name, "kspace", size)
    with h5py.File("virtual.h5", "w") as file:
        file.create_virtual_dataset("kspace", layout)


def stack(scan):
    return torch.stack([scan.kspace(index) for index in range(scan.shape[0])]).numpy()


@pytest.mark.parametrize(
    "name", ["kspace", "mask", "ismrmrd_header", "reconstruction_rss", "mrirecon", "other/x"]
)
@pytest.mark.parametrize("pipe", [False, True])
def test_links_to_other_files_are_refused(here, kspace, name, pipe):
    os.mkfifo("outside") if pipe else write("outside", x=kspace)
    datasets = {"kspace": kspace} if name != "kspace" else {}
    write("a.h5", **datasets, **{name: h5py.ExternalLink("outside", "/x")})
    with pytest.raises(ValueError, match=rf"a.h5: {name} is a link to another file, outside"):
        read_scan("a.h5")


def test_links_of_maps_masks_volumes_and_mrd_are_refused(here, kspace):
    for name in ("maps", "mask", "reconstruction", "dataset"):
        write(f"{name}.h5", **{name: h5py.ExternalLink("outside", "/x")})
    readers = {
        "maps": read_maps,
        "mask": read_mask,
        "reconstruction": read_volume,
        "dataset": read_scan,
    }
    for name, read in readers.items():
        with pytest.raises(ValueError, match=f"{name}.h5: {name} is a link to another file"):
            read(f"{name}.h5")


def test_links_within_the_file_are_followed(here, kspace):
    write("a.h5", store=kspace, kspace=h5py.SoftLink("/store"))
    with h5py.File("a.h5", "a") as file:
        file["group/itself"] = file["group"] if "group" in file else file.create_group("group")
    assert np.array_equal(stack(read_scan("a.h5")), kspace)


def test_raw_data_in_another_file_are_refused(here, kspace):
    kspace.tofile("raw.bin")
    with h5py.File("a.h5", "w") as file:
        file.create_dataset("kspace", SHAPE, np.complex64, external=[("raw.bin", 0, kspace.nbytes)])
    with pytest.raises(ValueError, match=r"a\.h5: kspace keeps its data in another file, raw.bin"):
        read_scan("a.h5")


def test_virtual_data_are_read_where_every_source_is_there(here, kspace):
    virtual([(n, (f"{n}.h5", kspace[n], SHAPE[1:])) for n in range(4)])
    assert np.array_equal(stack(read_scan("virtual.h5")), kspace)
    virtual(
        [
            (np.s_[:, :1], ("a.h5", kspace[:, :1], (4, 1, 8, 6))),
            (np.s_[:, 1:], ("b.h5", kspace[:, 1:], (4, 2, 8, 6))),
        ]
    )
    assert np.array_equal(stack(read_scan("virtual.h5")), kspace)
    virtual([(np.s_[n::2], (f"{n}.h5", kspace[n::2], (2, 3, 8, 6))) for n in range(2)])
    assert np.array_equal(stack(read_scan("virtual.h5")), kspace)
    files = OpenFiles()
    with files.reading(here / "virtual.h5") as file:
        assert np.array_equal(file["kspace"][1], kspace[1])
    (here / "1.h5").unlink()
    with (
        pytest.raises(ValueError, match=r"of which 1\.h5 is missing"),
        files.reading(here / "virtual.h5"),
    ):
        pass


def test_virtual_data_with_gaps_are_refused(here, kspace):
    parts = [(n, (f"{n}.h5", kspace[n], SHAPE[1:])) for n in range(4)]
    cases = {
        "of which 3.h5 is missing": ([*parts[:3], (3, ("3.h5", None, SHAPE[1:]))], None),
        "do not fill it": (parts[:3], None),
        "of which 2.h5 has kspace in another size": (
            parts,
            lambda: write("2.h5", kspace=kspace[2, :2]),
        ),
        "of which 2.h5 has no dataset kspace": (parts, lambda: write("2.h5", other=kspace[2])),
        "of which 2.h5 is no file": (parts, lambda: ((here / "2.h5").unlink(), os.mkfifo("2.h5"))),
        "of which 2.h5 cannot be read": (
            parts,
            lambda: write("2.h5", kspace=h5py.ExternalLink("1.h5", "/kspace")),
        ),
        "of which 2.h5 has nothing": (
            parts,
            lambda: (
                h5py.File("2.h5", "w")
                .create_dataset("kspace", SHAPE[1:], np.complex64)
                .file.close()
            ),
        ),
    }
    for words, (made, change) in cases.items():
        for path in here.iterdir():
            path.unlink()
        virtual(made)
        if change is not None:
            change()
        with pytest.raises(
            ValueError, match=f"virtual.h5: kspace is put together from other files.*{words}"
        ):
            read_scan("virtual.h5")
    virtual([*parts[:3], (2, ("3.h5", kspace[3], SHAPE[1:]))])  # one written over, one never
    with pytest.raises(ValueError, match="do not fill it"):
        read_scan("virtual.h5")


def test_virtual_data_of_any_length_are_refused(here, kspace):
    write("a.h5", kspace=kspace)
    layout = h5py.VirtualLayout(SHAPE, np.complex64, maxshape=(None, *SHAPE[1:]))
    source = h5py.VirtualSource("a.h5", "kspace", SHAPE, maxshape=(None, *SHAPE[1:]))
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    with h5py.File("virtual.h5", "w") as file:
        file.create_virtual_dataset("kspace", layout)
    with pytest.raises(ValueError, match=r"virtual.h5: kspace is put together from other files"):
        read_scan("virtual.h5")


def damaged(source, change):
    """`bad.h5`: the file with some bytes replaced, {place: bytes}."""
    data = bytearray(Path(source).read_bytes())
    for place, block in change(data).items():
        data[place : place + len(block)] = block
    Path("bad.h5").write_bytes(data)


def test_heaps_in_which_libhdf5_would_go_round_for_ever(here, make_scan):
    """Objects of length 0 in the heap of texts, and free space that leads back to itself in that of names."""
    scan, _ = make_scan(SHAPE)
    write_scan(scan, "a.mrd")
    damaged("a.mrd", lambda data: {data.index(b"GCOL") + 16: bytes(16)})
    with pytest.raises(ValueError, match=r"bad.h5: the HDF5 file is damaged"):
        read_scan("bad.h5")

    def loop(data):
        size, free, segment = struct.unpack_from("<QQQ", data, data.index(b"HEAP") + 8)
        assert free < size
        return {segment + free: struct.pack("<Q", free)}

    write("a.h5", kspace=np.ones(SHAPE, np.complex64))
    damaged("a.h5", loop)
    with pytest.raises(ValueError, match=r"bad.h5: the HDF5 file is damaged"):
        read_scan("bad.h5")


def test_a_long_heap_is_looked_at_as_a_whole(here):
    """libhdf5 reads 4096 bytes of it first, and then only the rest."""
    texts = [str(n) * 5000 for n in range(10)]
    write("a.h5", texts=np.asarray(texts, dtype=h5py.string_dtype()))
    with reading(here / "a.h5") as file:
        assert [text.decode() for text in file["texts"][()]] == texts

    def last_object(data):
        start = next(
            n for n in range(len(data)) if data[n : n + 4] == b"GCOL" and data[n + 9] > 0x10
        )
        at = start + 16
        while struct.unpack_from("<H6xQ", data, at)[0] and at < start + 4096:
            at += 16 + (struct.unpack_from("<H6xQ", data, at)[1] + 7) // 8 * 8
        return {at: bytes(16)}

    damaged("a.h5", last_object)
    with pytest.raises(ValueError, match="damaged"), reading(here / "bad.h5") as file:
        file["texts"][()]


def test_sizes_of_which_next_to_nothing_is_stored_are_refused(here, kspace):
    with h5py.File("a.h5", "w") as file:
        data = file.create_dataset(
            "kspace", (10**7, *SHAPE[1:]), np.complex64, chunks=(1, *SHAPE[1:])
        )
        data[:4] = kspace
    with pytest.raises(ValueError, match=r"a.h5: kspace is 10000000 x .* 4e-05 % of it"):
        read_scan("a.h5")


UNWRITTEN = {
    "chunks": {"chunks": True},
    "one block": {},
    "compressed": {"chunks": True, "compression": "gzip"},
}


@pytest.mark.parametrize("how", UNWRITTEN)
def test_datasets_of_which_nothing_is_stored_are_refused_before_they_fill_the_memory(here, how):
    readers = {
        "mask": (read_mask, (10**8, 10**8), "?"),
        "maps": (read_maps, (10**4, 10**4, 10**4, 10**4), np.complex64),
        "reconstruction": (read_volume, (10**6, 10**5, 10**5), np.float32),
        "kspace": (read_scan, (10**4, 10**4, 10**4, 10**4), np.complex64),
    }
    for name, (read, shape, dtype) in readers.items():
        for suffix in ("h5", "mat") if name == "kspace" else ("h5",):
            with h5py.File(f"a.{suffix}", "w") as file:
                file.create_dataset(name, shape, dtype, **UNWRITTEN[how])
            options = {"axes": "slice,coil,readout,phase"} if suffix == "mat" else {}
            with pytest.raises(ValueError, match=rf"a.{suffix}: {name} is 10+ x .* 0 % of it"):
                read(f"a.{suffix}", **options)
    write("a.h5", kspace=np.ones(SHAPE, np.complex64))
    with h5py.File("a.h5", "a") as file:
        file.create_dataset("mask", (10**8, 10**8), "?", **UNWRITTEN[how])
    with pytest.raises(ValueError, match=r"a.h5: mask is 10+ x .* 0 % of it"):
        read_scan("a.h5")


def test_zeros_that_were_packed_out_of_all_proportion_are_refused(here):
    """Every chunk is there, of 4096 times as many numbers as the file has bytes for."""
    chunk = (1, 1 << 10, 1 << 10)
    with h5py.File("a.h5", "w") as file:
        data = file.create_dataset(
            "reconstruction", (70, *chunk[1:]), "f4", chunks=chunk, compression="gzip"
        )
        block = zlib.compress(bytes(4 << 20), 9)
        for n in range(70):
            data.id.write_direct_chunk((n, 0, 0), block)
    with pytest.raises(
        ValueError, match=r"reconstruction is 70 x 1024 x 1024, which its \d+ bytes"
    ):
        read_volume("a.h5")
    with h5py.File("a.h5", "w") as file:  # of a size that fits every memory
        file.create_dataset("reconstruction", data=np.zeros((4, 64, 64)), compression="gzip")
    assert read_volume("a.h5").shape == (4, 64, 64)


def test_a_group_is_no_array(here):
    write("a.h5", **{"mask/x": np.ones(3)})
    with pytest.raises(ValueError, match=r"a.h5: 'mask' is a group, expected a dataset"):
        read_mask("a.h5")


def test_a_file_that_is_being_written_is_not_read(here, kspace):
    write("a.h5", kspace=kspace)
    with (here / "a.h5").open("rb+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OSError, match=r"a.h5 is being written by another program"):
            read_scan("a.h5")
    assert np.array_equal(stack(read_scan("a.h5")), kspace)


@pytest.mark.parametrize("suffix", [".mrd", ".h5"])
def test_a_full_disk_at_any_write(tmp_path, make_scan, monkeypatch, suffix):
    """Left to libhdf5, a write that fails may end the process at the close."""
    scan, _ = make_scan((2, 2, 12, 10))
    original, writes = WriteStream._write, []

    def write(self, view):
        writes.append(len(view))
        if len(writes) > limits[0]:
            raise OSError(errno.ENOSPC, "full")
        original(self, view)

    monkeypatch.setattr(WriteStream, "_write", write)
    limits = [10**9]
    write_scan(scan, tmp_path / f"whole{suffix}")
    for limits[0] in range(len(writes)):
        writes.clear()
        with pytest.raises(OSError, match=rf"cannot write .*a{suffix}: No space left"):
            write_scan(scan, tmp_path / f"a{suffix}")
        assert [path.name for path in tmp_path.iterdir()] == [f"whole{suffix}"]


def test_a_full_disk_is_noticed_between_writes(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="too much"), writing(tmp_path / "a.h5") as (file, check):
        file["a"] = np.zeros(10)
        check()
        monkeypatch.setattr(
            WriteStream, "_write", lambda *_: (_ for _ in ()).throw(OSError("too much"))
        )
        file["b"] = np.zeros(100_000)
        check()
        pytest.fail("went on writing")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_wait_while_a_file_is_written(tmp_path, number):
    """An exception within libhdf5 may crash it."""
    seen, before = [], signal.signal(number, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        with pytest.raises(KeyboardInterrupt), writing(tmp_path / "a.h5") as (file, check):
            os.kill(os.getpid(), number)
            file["a"] = np.zeros(10)
            seen.append("written")
            check()
            seen.append("went on")
        assert seen == ["written"]
    finally:
        signal.signal(number, before)


def test_signals_wait_while_a_file_is_read(here, kspace, monkeypatch):
    """An exception within libhdf5 may be taken for a damaged file, or for a dataset that is not there."""
    write("a.h5", kspace=kspace)
    original, reads = hdf5_stream.ReadStream.readinto, []

    def readinto(self, buffer):
        reads.append(len(buffer))
        if len(reads) == limits[0]:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, buffer)

    monkeypatch.setattr(hdf5_stream.ReadStream, "readinto", readinto)
    limits = [0]
    while limits[0] <= len(reads):
        limits[0] += 1
        reads.clear()
        is_whole.cache_clear()
        try:
            stack(read_scan("a.h5"))
        except KeyboardInterrupt:
            continue
        assert len(reads) < limits[0], "the interrupt was lost"
    assert limits[0] > 10
