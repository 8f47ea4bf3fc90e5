"""Files of vendors and images: what is said of them names what makes them readable."""

import h5py
import nibabel
import numpy as np
import pytest

from mrirecon.io import read_image, read_scan

PFILE = np.float32(20.007).tobytes() + bytes(2000)
FILES = {
    "P20480.7": (PFILE, "is a GE P-file: .* ge_to_ismrmrd"),
    "P00512.7.anon": (PFILE, "is a GE P-file: .* ge_to_ismrmrd"),
    "scan.PAR": (b"# === DATA DESCRIPTION FILE ======\n", "a Philips PAR/REC image: .* dcm2niix"),
    "renamed.txt": (b"# === DATA DESCRIPTION FILE ======\n", "a Philips PAR/REC image: .*dcm2niix"),
    "scan.REC": (b"12345678", "a Philips PAR/REC image: .* dcm2niix"),
    "raw.lab": (b"12345678", "a Philips raw file .* philips_to_ismrmrd"),
    "i.mgz": (b"\x1f\x8b12", "is a FreeSurfer image: .* mri_convert"),
    "2dseq": (b"12345678", "is a Bruker image"),
    "x.dcm": (bytes(128) + b"DICM" + bytes(300), "folder of its series .*dcm2niix"),
    "x.png": (b"\x89PNG\r\n", "is a picture: .* NIfTI"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_way_out_is_named(tmp_path, name):
    content, message = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_scan(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "beside", "message"),
    [
        ("fid", "acqp", "is a Bruker raw file: .* bruker_to_ismrmrd"),
        ("rawdata.job0", "method", "is a Bruker raw file: .* bruker_to_ismrmrd"),
        ("fid", "procpar", "is an Agilent or Varian fid: .* nmrglue"),
        ("scan.data", "scan.list", r"is a Philips raw file .* philips_to_ismrmrd"),
        ("scan.raw", "scan.lab", "is a Philips raw file .* philips_to_ismrmrd"),
    ],
)
def test_files_known_by_what_lies_beside(tmp_path, name, beside, message):
    (tmp_path / name).write_bytes(bytes(100))
    with pytest.raises(ValueError, match="of no kind that can be read"):
        read_scan(tmp_path / name)
    (tmp_path / beside).write_text("##TITLE")
    with pytest.raises(ValueError, match=message):
        read_scan(tmp_path / name)
    if not name.startswith("scan"):
        with pytest.raises(ValueError, match=message):
            read_scan(tmp_path)


def test_a_ge_scan_archive_and_a_mask_in_hdf5(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("ArchiveMetaData")
        file["Header.xml"] = "x"
    with pytest.raises(ValueError, match=r"is a GE ScanArchive: .* ge_to_ismrmrd"):
        read_scan(tmp_path / "a.h5")
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["mask"] = np.ones(20)
    with pytest.raises(ValueError, match=r"is a sampling mask, no k-space: .* --mask"):
        read_scan(tmp_path / "m.h5")


@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Nifti2Pair, nibabel.Spm2AnalyzeImage])
def test_hdr_and_img_go_by_content(tmp_path, kind):
    """Not by their name, which BART's files have too."""
    nibabel.save(kind(np.ones((4, 5, 6), np.float32), np.eye(4)), tmp_path / "x.img")
    analyze = kind is nibabel.Spm2AnalyzeImage
    for name in ("x.hdr", "x.img"):
        with pytest.raises(ValueError, match="an Analyze image" if analyze else "a NIfTI image"):
            read_scan(tmp_path / name)
    (tmp_path / "y.hdr").write_text("# Dimensions\n4 4 1 2\n")
    with pytest.raises(FileNotFoundError, match=r"no y.cfl beside it"):
        read_scan(tmp_path / "y.hdr")


def test_what_nibabel_writes_as_nifti_is_said_and_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = nibabel.Spm2AnalyzeImage(np.ones((4, 5, 6), np.float32), np.eye(4))
    nibabel.save(image, "x.img")
    with pytest.raises(ValueError, match=r"no NIfTI image: make it one with (.*)") as caught:
        read_image("x.img")
    eval(str(caught.value).partition("with ")[2], {"nibabel": nibabel})
    assert read_image("x.nii.gz")[0].shape == (4, 5, 6)
