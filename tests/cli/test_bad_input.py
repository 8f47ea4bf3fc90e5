"""Every kind of bad input: one line, status 2, and nothing left behind."""

import os
import shutil

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrirecon.io import write_scan


def save_npy(folder, array, name="in.npy", **options):
    np.save(folder / name, array, **options)
    return folder / name


def truncated(folder, scan_file, kspace):
    path = folder / "in.h5"
    path.write_bytes(scan_file.read_bytes()[:9000])
    return path


def wrong_dataset(folder, scan_file, kspace):
    with h5py.File(folder / "in.h5", "w") as file:
        file["k_space"] = kspace
    return folder / "in.h5"


def with_samples(value):
    def make(folder, scan_file, kspace):
        kspace = kspace.copy()
        kspace[1, 2, 3, 4] = value
        return save_npy(folder, kspace)

    return make


def with_samples_in_hdf5(folder, scan_file, kspace):
    shutil.copy(scan_file, folder / "in.h5")
    with h5py.File(folder / "in.h5", "r+") as file:
        file["kspace"][1, 0, 0, 0] = np.nan
    return folder / "in.h5"


def text_called_h5(folder, scan_file, kspace):
    (folder / "in.h5").write_text("this is a text\n" * 50)
    return folder / "in.h5"


def cfl_without_hdr(folder, scan_file, kspace):
    kspace.tofile(folder / "in.cfl")
    return folder / "in.cfl"


def hdr_without_cfl(folder, scan_file, kspace):
    (folder / "in.hdr").write_text("# Dimensions\n8 8 1 2\n")
    return folder / "in"


def cfl_that_disagrees(folder, scan_file, kspace):
    kspace.tofile(folder / "in.cfl")
    (folder / "in.hdr").write_text("# Dimensions\n32 41 1 4 1 1 1 1 1 1 1 1 1 3\n")
    return folder / "in.cfl"


def header_that_disagrees(folder, scan_file, kspace):
    shutil.copy(scan_file, folder / "in.h5")
    with h5py.File(folder / "in.h5", "r+") as file:
        header = file["ismrmrd_header"][()].decode().replace("<y>32</y>", "<y>320</y>")
        header = header.replace("<x>40</x>", "<x>400</x>")
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = header
    return folder / "in.h5"


def directory(folder, scan_file, kspace):
    (folder / "in.h5").mkdir()
    return folder / "in.h5"


def broken_link(folder, scan_file, kspace):
    (folder / "in.h5").symlink_to(folder / "gone.h5")
    return folder / "in.h5"


def pipe(folder, scan_file, kspace):
    os.mkfifo(folder / "in.npy")
    return folder / "in.npy"


def empty(folder, scan_file, kspace):
    (folder / "in.npy").write_bytes(b"")
    return folder / "in.npy"


def non_cartesian(folder, scan_file, kspace):
    from mrirecon.io import read_scan

    write_scan(read_scan(scan_file), folder / "in.mrd")
    with h5py.File(folder / "in.mrd", "r+") as file:
        text = file["dataset/xml"][0]
        text = text.decode() if isinstance(text, bytes) else text
        assert "cartesian" in text
        file["dataset/xml"][0] = text.replace("cartesian", "spiral")
    return folder / "in.mrd"


BAD_SCANS = {
    "missing file": (lambda f, s, k: f / "in.h5", ["no such file"]),
    "truncated HDF5": (truncated, ["truncated"]),
    "wrong dataset name": (wrong_dataset, ["kspace", "k_space"]),
    "NaN sample": (with_samples(np.nan), ["NaN"]),
    "infinite sample": (with_samples(np.inf), ["infinite"]),
    "NaN sample in HDF5": (with_samples_in_hdf5, ["NaN", "slice 1"]),
    "all zero": (lambda f, s, k: save_npy(f, 0 * k), ["zero"]),
    "1 x 1": (lambda f, s, k: save_npy(f, k[:, :, :1, :1]), ["1 x 1"]),
    "text called .h5": (text_called_h5, [".h5"]),
    "cfl without hdr": (cfl_without_hdr, ["in.hdr"]),
    "hdr without cfl": (hdr_without_cfl, ["in.cfl"]),
    "cfl that disagrees": (cfl_that_disagrees, ["bytes"]),
    "header that disagrees": (header_that_disagrees, ["header", "320", "32"]),
    "folder": (directory, ["folder"]),
    "broken link": (broken_link, ["no such file"]),
    "pipe": (pipe, ["pipe"]),
    "empty file": (empty, ["empty"]),
    "real-valued": (lambda f, s, k: save_npy(f, k.real), ["real-valued"]),
    "two-dimensional": (lambda f, s, k: save_npy(f, k[0, 0]), ["two-dimensional"]),
    "five-dimensional": (lambda f, s, k: save_npy(f, k[None]), ["5 axes"]),
    "no samples": (lambda f, s, k: save_npy(f, k[:0]), ["empty"]),
    "objects": (
        lambda f, s, k: save_npy(f, np.array([[k, None]], dtype=object), allow_pickle=True),
        ["objects"],
    ),
    "non-Cartesian": (non_cartesian, ["spiral"]),
}


@pytest.mark.parametrize("what", BAD_SCANS)
@pytest.mark.parametrize("command", ["recon", "info", "maps", "convert"])
def test_bad_scan(refused, command, what, tmp_path, scan_file, kspace):
    make, words = BAD_SCANS[what]
    path = make(tmp_path, scan_file, kspace)
    before = sorted(tmp_path.iterdir())
    output = tmp_path / "out.npy"
    line = refused(
        *{
            "recon": ("recon", path, "--output", output, "--method", "adjoint"),
            "info": ("info", path),
            "maps": ("maps", path, "--output", output),
            "convert": ("convert", path, output),
        }[command]
    )
    assert "in" in line and all(word in line for word in words), line
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--mask", "poisson"), ["--accel"]),
        (("--mask", "poison", "--accel", 4), ["did you mean poisson?"]),
        (("--mask", "poisson", "--accel", 0.5), ["0.5"]),
        (("--mask", "poisson", "--accel", 1000), ["calibration region", "1 x 1"]),
        (("--mask", "uniform1d", "--accel", 1000), ["1000"]),
        (("--mask", "poisson", "--accel", "nan"), ["nan"]),
        (("--mask", "poisson", "--accel", ".nan"), ["nan"]),
        (("--mask", "poisson", "--accel", ".inf"), ["inf"]),
        (("--mask", "poisson", "--accel", -4), ["-4"]),
        (("--mask", "uniform1d", "--accel", 4, "--center_fraction", 2), ["center_fraction"]),
        (("--mask", "uniform1d", "--accel", 4, "--mask_seed", -1), ["seed"]),
        (("--mask", "equispaced", "--accel", 2.5), ["2.5"]),
        (("--mask", "none.npy"), ["none.npy", "no such file"]),
        (("--accel", 4), ["--mask"]),
        (("--center_fraction", 0.1), ["--mask"]),
        (("--slices", "1"), ["A:B"]),
        (("--slices", "a:b"), ["A:B"]),
        (("--slices", "1:2:3"), ["A:B"]),
        (("--slices", "--1:"), ["slices"]),
        (("--slices", "2:9"), ["2:9", "0:3"]),
        (("--slices", "3:"), ["0:3"]),
        (("--slices", "1:1"), ["1:1"]),
        (("--slices", "2:1"), ["2:1"]),
        (("--maps", "lowress"), ["lowress"]),
        (("--maps", "none.npy"), ["none.npy", "no such file"]),
        (("--calibration.size", 0), ["size", "0"]),
        (("--calibration.kernel", -2), ["kernel", "-2"]),
        (("--calibration.sets", 9), ["9", "4 coils"]),
        (("--calibration.crop", ".nan"), ["crop", "nan"]),
        (("--method.iterations", -1), ["iterations", "-1"]),
        (("--method.iterations", 0), ["iterations", "0", "at least 1"]),
        (("--method.regularization", ".nan"), ["regularization", "nan"]),
        (("--method.regularization", "nan"), ["regularization is 'nan': it takes a number"]),
        (("--method.regularization", "inf"), ["regularization is 'inf': it takes a number"]),
        (("--method.regularization", "-1"), ["regularization", "-1"]),
        (("--report", "none/report.html"), ["none", "folder"]),
        (("--report", "report.png"), ["report.png", ".html"]),
    ],
)
def test_bad_option(refused, options, words, tmp_path, scan_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refused("recon", scan_file, "--output", "out.nii.gz", "--method", "cg_sense", *options)
    assert all(word in line for word in words), line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none/out.npy", ["none", "folder"]),
        ("out.txt", [".nii.gz", ".npy"]),
        ("out", [".nii.gz", ".npy"]),
        (".npy", [".nii.gz"]),
        ("a.file/out.npy", ["a.file"]),
        ("there.npy", ["there.npy", "exists"]),
        ("dir.npy", ["dir.npy", "folder"]),
        ("pipe.npy", ["pipe.npy", "exists"]),
    ],
)
@pytest.mark.parametrize("command", ["recon", "maps", "convert", "simulate"])
def test_bad_output(refused, command, name, words, tmp_path, scan_file, nifti_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.npy").write_text("precious")
    (tmp_path / "a.file").write_text("precious")
    (tmp_path / "dir.npy").mkdir()
    os.mkfifo(tmp_path / "pipe.npy")
    before = sorted(tmp_path.rglob("*"))
    line = refused(
        *{
            "recon": ("recon", scan_file, "--output", name, "--method", "adjoint"),
            "maps": ("maps", scan_file, "--output", name),
            "convert": ("convert", scan_file, name),
            "simulate": ("simulate", nifti_file, "--output", name),
        }[command]
    )
    known = [".npy"] if command != "recon" else words  # the other commands write other suffixes
    assert all(word in line for word in (known if ".nii.gz" in words else words)), line
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "there.npy").read_text() == "precious"


def test_disk_full(refused, scan_file, tmp_path, monkeypatch):
    from mrirecon.io import volumes

    def full(*args):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(volumes, "write_npy", full)
    output = tmp_path / "out.npy"
    line = refused("recon", scan_file, "--output", output, "--method", "adjoint")
    assert "No space left" in line
    assert not list(tmp_path.iterdir())


def test_mask_of_another_size(refused, scan_file, tmp_path):
    mask = save_npy(tmp_path, np.ones((40, 31), bool), "mask.npy")
    output = tmp_path / "out.npy"
    line = refused("recon", scan_file, "--output", output, "--mask", mask)
    assert "mask.npy" in line and "31" in line and "32" in line
    line = refused("recon", scan_file, "--output", output, "--mask", mask, "--accel", 4)
    assert "mask.npy" in line and "leave out acceleration" in line
    assert [path.name for path in tmp_path.iterdir()] == ["mask.npy"]


def test_mask_that_is_no_mask(refused, scan_file, tmp_path):
    mask = save_npy(tmp_path, np.full((40, 32), 0.5), "mask.npy")
    assert "0 and 1" in refused("recon", scan_file, "--output", tmp_path / "o.npy", "--mask", mask)


def test_maps_of_another_scan(refused, scan_file, tmp_path, kspace):
    maps = save_npy(tmp_path, kspace[:, :, :-2], "maps.npy")
    line = refused("recon", scan_file, "--output", tmp_path / "o.npy", "--maps", maps)
    assert "maps.npy" in line and "38" in line and "40" in line
    maps = save_npy(tmp_path, kspace.real, "real.npy")
    line = refused("recon", scan_file, "--output", tmp_path / "o.npy", "--maps", maps)
    assert "real" in line


def test_no_calibration_region(refused, mrirecon, tmp_path, kspace):
    kspace = kspace.copy()
    kspace[..., 15:18] = 0
    path = save_npy(tmp_path, kspace)
    line = refused("recon", path, "--output", tmp_path / "o.npy", "--method", "cg_sense")
    assert "calibration region" in line and "--maps" in line
    assert "none possible" in mrirecon("info", path).out
    assert (
        mrirecon("recon", path, "--output", tmp_path / "o.npy", "--method", "zero_filled").status
        == 0
    )


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("simulate", "scan.h5", "--output", "o.h5"), ["scan.h5", "NIfTI"]),
        (("simulate", "none.nii", "--output", "o.h5"), ["none.nii"]),
        (("simulate", "image.nii.gz", "--output", "o.h5", "--volume", 1), ["--volume", "1"]),
        (("simulate", "image.nii.gz", "--output", "o.h5", "--coils", 0), ["coils"]),
        (("simulate", "image.nii.gz", "--output", "o.h5", "--snr", 0), ["snr"]),
        (("simulate", "image.nii.gz", "--output", "o.h5", "--partial_fourier", 0.3), ["0.3"]),
        (("simulate", "image.nii.gz", "--output", "o.h5", "--correlation", 1.5), ["correlation"]),
        (("simulate", "image.nii.gz", "--output", "o.h5", "--readout_oversampling", 0.5), ["0.5"]),
        (("simulate", "image.nii.gz", "--output", "o.h5", "--slices", "5:6"), ["5:6", "0:3"]),
        (("simulate", "image.nii.gz", "--output", "o.h5", "--seed", -1), ["seed"]),
        (("info", "image.nii.gz"), ["NIfTI", "simulate"]),
        (("maps", "image.nii.gz", "--output", "o.npy"), ["NIfTI", "simulate"]),
        (
            ("recon", "image.nii.gz", "--mask", "poisson", "--accel", 4, "--output", "o.npy"),
            ["image", "simulate"],
        ),
        (("evaluate", "none.npy", "scan.h5"), ["none.npy"]),
        (("evaluate", "scan.h5", "."), ["folders"]),
        (("evaluate", ".", "empty"), ["empty"]),
        (("evaluate", "scan.h5", "image.nii.gz", "--output", "no/o.json"), ["no"]),
        (("evaluate", "small.npy", "scan.h5"), ["3"]),
        (("evaluate", "nan.npy", "scan.h5"), ["finite"]),
        (("evaluate", "scan.h5", "text.npy"), ["text.npy"]),
        (("convert", "scan.h5", "o.dat"), [".mrd", ".npz"]),
        (("convert", "scan.h5", "scan.h5"), ["scan.h5 is the input itself"]),
        (("maps", "scan.h5", "--output", "o.nii"), [".npy", ".cfl"]),
        (("maps", "scan.h5", "--output", "o.npy", "--slices", "8:9"), ["8:9"]),
        (("view", "scan.h5"), ["scan.h5", "NIfTI"]),
        (("view", "text.npy"), ["text.npy", "NIfTI"]),
        (("view", "none.nii"), ["none.nii"]),
        (("view", "image.nii.gz", "--output", "v.png"), ["v.png", ".html"]),
        (("view", "image.nii.gz", "--output", "no/v.html"), ["no", "folder"]),
        (("view", "image.nii.gz", "--overlay", "scan.h5"), ["scan.h5", "NIfTI"]),
        (("demo", "--output", "text.npy"), ["text.npy", "file"]),
        (("demo", "--slices", "1:40"), ["1:40", "24"]),
    ],
)
def test_other_commands(refused, args, words, tmp_path, scan_file, nifti_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(scan_file, "scan.h5")
    shutil.copy(nifti_file, "image.nii.gz")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npy").write_text("text")
    save_npy(tmp_path, np.ones((3, 40, 31), np.float32), "small.npy")
    save_npy(tmp_path, np.full((3, 40, 32), np.nan, np.float32), "nan.npy")
    before = sorted(tmp_path.iterdir())
    line = refused(*args)
    assert all(word in line for word in words), line
    assert [path for path in sorted(tmp_path.iterdir()) if path.name != "demo"] == before


def test_overwriting_the_scan_itself(refused, scan_file, tmp_path):
    """A conversion onto its own source would read what it is replacing."""
    path = tmp_path / "scan.h5"
    shutil.copy(scan_file, path)
    refused("convert", path, path)
    assert path.read_bytes() == scan_file.read_bytes()


@pytest.mark.parametrize(
    "suffix", [".h5", ".mrd", ".npy", ".npz", ".cfl", ".hdr", ".dat", ".nii.gz", ""]
)
@settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_garbage_never_hangs_nor_tracebacks(refused, suffix, tmp_path, data):
    """Random bytes, with or without the first bytes of a known format."""
    head = data.draw(
        st.sampled_from(
            [
                b"",
                b"\x93NUMPY\x01\x00",
                b"PK\x03\x04",
                b"\x89HDF\r\n\x1a\n",
                b"\0\0\0\0\1\0\0\0",
                b"# Dimensions\n",
            ]
        )
    )
    path = tmp_path / f"garbage{suffix}"
    for part in (path, tmp_path / "garbage.hdr") if suffix == ".cfl" else (path,):
        part.write_bytes(head + data.draw(st.binary(max_size=600)))
    refused("info", path)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_mangled_scan_is_read_or_refused(mrirecon, scan_file, tmp_path, data):
    """A few bytes of a good file overwritten, or its end missing."""
    content = bytearray(scan_file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(content), 6000) - 1))
        part = data.draw(st.binary(min_size=1, max_size=8))
        content[at : at + len(part)] = part
    cut = data.draw(st.one_of(st.none(), st.integers(1, len(content))))
    path = tmp_path / "mangled.h5"
    path.write_bytes(bytes(content[:cut]))
    result = mrirecon("info", path)
    assert result.status in (0, 2)
    assert len(result.errors) == (result.status == 2), result.errors
    assert "a mistake in mrirecon" not in "".join(result.errors), result.errors


@pytest.mark.parametrize("shape", [(1, 1, 7, 9), (1, 1, 40, 1), (1, 1, 1, 33), (2, 3, 31, 17)])
def test_small_odd_and_single_coil_work(mrirecon, tmp_path, shape):
    rng = np.random.default_rng(0)
    kspace = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    path, output = save_npy(tmp_path, kspace), tmp_path / "o.nii.gz"
    assert mrirecon("info", path).status == 0
    for method in ("zero_filled", "cg_sense", "l1_wavelet", "tv"):
        args = ("recon", path, "--output", output, "--method", method, "--overwrite")
        result = mrirecon(*args, "--maps", "lowres")
        assert result.status == 0, result.errors
