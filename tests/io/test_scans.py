"""Choosing the reader, refusing what is no scan, and reading and writing no more than a slice at a time."""

import os
import subprocess
import sys
from dataclasses import replace

import h5py
import nibabel
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrirecon.geometry import Geometry
from mrirecon.io import SCAN_SUFFIXES, read_scan, write_scan

FORMATS = (".h5", ".cfl", ".npy", ".npz")


@pytest.fixture
def files(tmp_path, make_scan):
    """The same scan in every format."""
    acquired = torch.ones(6, 5, dtype=torch.bool)
    acquired[:, :1] = False
    columns = np.array([0, 1, 1, 0, 1], bool)
    scan, _ = make_scan(columns=columns, acquired=acquired, geometry=Geometry((1.0, 2.0, 3.0)))
    for suffix in FORMATS:
        write_scan(scan, tmp_path / f"scan{suffix}")
    return scan, tmp_path


@pytest.mark.parametrize("suffix", FORMATS)
def test_samples_and_masks_survive_every_format(files, suffix):
    scan, folder = files
    again = read_scan(folder / f"scan{suffix}")
    assert again.shape == scan.shape
    for index in range(3):
        assert torch.equal(again.kspace(index), scan.kspace(index))
        assert torch.equal(again.mask(index), scan.mask(index))
    assert torch.equal(again.acquired, scan.acquired) == (suffix in (".h5", ".npz"))
    assert again.geometry.voxel_mm == ((1.0, 2.0, 3.0) if suffix == ".h5" else None)


@pytest.mark.parametrize("suffix", [".h5", ".npy", ".npz"])
@pytest.mark.parametrize("other", [".h5", ".npy", ".npz", ".dat", ".bin", ""])
def test_content_decides_not_the_name(files, suffix, other):
    scan, folder = files
    path = (folder / f"scan{suffix}").rename(folder / f"renamed{other}")
    assert torch.equal(read_scan(path).kspace(0), scan.kspace(0))


def test_what_a_format_cannot_hold_is_said(tmp_path, make_scan):
    scan, _ = make_scan((4, 2, 6, 5))
    scan = replace(
        scan,
        is_3d=True,
        crop=(slice(1, 5), slice(0, 5)),
        geometry=Geometry((1.0, 1.0, 1.0)),
        noise_covariance=torch.eye(2, dtype=torch.complex64),
        calibration=scan.read,
        reference=lambda index: torch.ones(6, 5),
    )
    lost = write_scan(scan, tmp_path / "k.npy")
    for words in ("voxel size", "window", "calibration", "noise", "reference", "readout encoding"):
        assert any(words in sentence and sentence.startswith(".npy") for sentence in lost)


def test_unknown_suffix_existing_file_and_folder(tmp_path, make_scan):
    scan, _ = make_scan()
    with pytest.raises(ValueError, match=r"must end in one of \.h5, \.mrd, \.cfl, \.npy, \.npz"):
        write_scan(scan, tmp_path / "k.dat")
    for suffix in SCAN_SUFFIXES:
        (tmp_path / f"k{suffix}").write_text("old")
        with pytest.raises(FileExistsError, match="exists already"):
            write_scan(scan, tmp_path / f"k{suffix}")
        assert (tmp_path / f"k{suffix}").read_text() == "old"
    write_scan(scan, tmp_path / "k.npy", overwrite=True)
    assert read_scan(tmp_path / "k.npy").shape == scan.shape


def test_nothing_is_written_when_the_scan_turns_out_bad(tmp_path, make_scan):
    scan, kspace = make_scan()
    kspace[0, 2, 0, 0, 0] = torch.nan
    for suffix in FORMATS:
        with pytest.raises(ValueError, match="slice 2 holds NaN"):
            write_scan(scan, tmp_path / f"k{suffix}")
    assert not list(tmp_path.iterdir())


def test_missing_folder_and_empty(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.h5: no such file"):
        read_scan(tmp_path / "none.h5")
    with pytest.raises(IsADirectoryError, match="is a folder: give a file"):
        read_scan(tmp_path)
    for suffix in (".h5", ".npy", ".mat", ".dat"):
        (tmp_path / f"empty{suffix}").touch()
        with pytest.raises(ValueError, match="is empty"):
            read_scan(tmp_path / f"empty{suffix}")


def test_unreadable(tmp_path, monkeypatch):
    (tmp_path / "k.h5").write_text("x")
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may read anything
    with pytest.raises(PermissionError, match="may not be read"):
        read_scan(tmp_path / "k.h5")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("k.h5", b"just text, no data", r"is named \.h5 but is no HDF5 file"),
        ("k.mrd", b"just text, no data", r"is named \.mrd but is no HDF5 file"),
        ("k.npy", b"just text, no data", r"is named \.npy but is no npy file"),
        ("k.npz", b"just text, no data", r"is named \.npz but is no npz file"),
        ("k.txt", b"just text, no data", "is of no kind that can be read: fastMRI and MRD|fastMRI"),
        ("k.dcm", b"\0" * 128 + b"DICM" + b"\0" * 300, "is a DICOM image.*command simulate"),
        ("k.nii.gz", b"\x1f\x8b" + b"\0" * 300, "is a NIfTI image.*lost the coils and the phase"),
        ("photo.mat", b"\xff\xd8\xff\xe0" + b"\0" * 300, "is a picture"),
        ("k.mat", b"just text, no data", "the MATLAB file is truncated or damaged"),
        ("k.png", b"\x89PNG\r\n" + b"\0" * 300, "is a picture"),
    ],
)
def test_files_of_another_kind(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_scan(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_nifti_image_is_recognised_under_any_name(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)), tmp_path / "i.nii")
    (tmp_path / "i.nii").rename(tmp_path / "scan.h5")
    with pytest.raises(ValueError, match="is a NIfTI image"):
        read_scan(tmp_path / "scan.h5")


def read_everything(path):
    scan = read_scan(path)
    return [(scan.kspace(index), scan.mask(index)) for index in range(scan.shape[0])]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
@pytest.mark.parametrize("name", ["scan.h5", "scan.npy", "scan.npz", "scan.cfl", "scan.hdr"])
def test_truncated_anywhere_is_one_sentence(files, name, data):
    _, folder = files
    whole = (folder / name).read_bytes()
    expected = read_everything(folder / name)
    length = data.draw(st.integers(0, len(whole) - 1))
    (folder / name).write_bytes(whole[:length])
    try:
        got = read_everything(folder / name)
    except (ValueError, OSError) as error:
        assert "\n" not in str(error) and "scan" in str(error)
    else:  # a shorter BART header may still say all that matters
        assert name == "scan.hdr"
        for (kspace, mask), (k, m) in zip(got, expected, strict=True):
            assert torch.equal(kspace, k) and torch.equal(mask, m)
    finally:
        (folder / name).write_bytes(whole)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
@pytest.mark.parametrize("name", ["scan.h5", "scan.npy", "scan.npz", "scan.hdr"])
def test_bytes_mangled_anywhere_read_or_say_so(files, name, data):
    _, folder = files
    whole = (folder / name).read_bytes()
    mangled = bytearray(whole)
    heap = whole.find(b"GCOL")  # a mangled heap of strings makes the HDF5 library itself hang
    end = min(heap if heap > 0 else len(whole), 4000) - 1
    for _ in range(data.draw(st.integers(1, 8))):
        mangled[data.draw(st.integers(0, end))] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(mangled)
    try:
        read_everything(folder / name)
    except (ValueError, OSError) as error:
        assert "\n" not in str(error) and "scan" in str(error)
    finally:
        (folder / name).write_bytes(whole)


PEAK = """
import sys
from pathlib import Path
from mrirecon.io import read_scan, write_scan
task, source, target = sys.argv[1:]
def kib(name):
    text = Path("/proc/self/status").read_text()
    return int(text.partition(name + ":")[2].split()[0])
scan = read_scan("warm.npy")  # everything imported before the first measurement
import h5py
before = kib("VmRSS")
if task == "read":
    scan = read_scan(source)
    for index in range(scan.shape[0]):
        scan.kspace(index)
elif task == "write":
    from mrirecon.io.arrays import plain_scan
    import torch
    make = lambda volume, index: torch.full((32, 256, 128), 1 + 1j, dtype=torch.complex64)
    write_scan(plain_scan("made", "test", (12, 32, 256, 128), make), target)
print(kib("VmHWM") - before)
"""
SLICE_KIB = 32 * 256 * 128 * 8 // 1024  # 8 MiB; the scan has 12 of them


def peak_kib(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, arguments)],
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"},  # give slices back when freed
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is measured in Linux units")
def test_one_slice_at_a_time_is_in_memory(tmp_path):
    """12 slices of 32 coils: reading and writing keep the slice, its checks and the one before."""
    np.save(tmp_path / "warm.npy", np.ones((1, 4, 4), np.complex64))
    with h5py.File(tmp_path / "k.h5", "w") as file:
        kspace = file.create_dataset("kspace", (12, 32, 256, 128), np.complex64)
        for index in range(12):
            kspace[index] = np.full((32, 256, 128), 1 + 1j, np.complex64)
    assert peak_kib(tmp_path, "read", "k.h5", "-") < 5 * SLICE_KIB
    (tmp_path / "k.h5").unlink()
    for suffix in (".h5", ".cfl"):
        assert peak_kib(tmp_path, "write", "-", f"made{suffix}") < 5 * SLICE_KIB
        for file in tmp_path.glob("made*"):
            file.unlink()
