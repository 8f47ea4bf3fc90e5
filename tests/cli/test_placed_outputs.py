"""Where images lie and whom they show, from the command line to DICOM and BIDS."""

import json

import nibabel
import numpy as np
import pytest
from conftest import AFFINE, SHAPE, SLICES, phantom_image

import mrirecon as mr
from mrirecon.io import read_scan, write_scan

ADJOINT = ("--method", "adjoint")


@pytest.fixture
def bare(scan_file, tmp_path):
    """A scan of which nothing is known but its k-space."""
    write_scan(read_scan(scan_file), tmp_path / "bare.cfl")
    return tmp_path / "bare.cfl"


@pytest.fixture
def head(tmp_path):
    path = tmp_path / "head.nii.gz"
    nibabel.save(nibabel.Nifti1Image(phantom_image(), AFFINE), path)
    return path


def note(path):
    return json.loads(path.with_name(path.name + ".json").read_text())["geometry"]["note"]


@pytest.mark.parametrize("typed", [("1", "2", "5"), ("1,2,5",), ("[1, 2, 5]",)])
def test_a_voxel_size_is_typed_in_any_usual_way(mrirecon, bare, tmp_path, typed):
    out = tmp_path / "o.nii.gz"
    given = ("--voxel_size", *typed, bare, "--orientation", "pls", "--output", out)
    assert mrirecon("recon", *given, *ADJOINT).status == 0
    image = nibabel.load(out)
    assert image.header.get_zooms() == (1, 2, 5)
    assert nibabel.aff2axcodes(image.affine) == ("P", "L", "S")
    assert note(out).startswith("given by --voxel_size and --orientation PLS")
    assert json.loads(out.with_name("o.nii.gz.json").read_text())["request"]["place"] == {
        "voxel_size": [1, 2, 5],
        "like": None,
        "orientation": "pls",
    }


@pytest.mark.parametrize(
    "given, words",
    [
        (("--voxel_size", "1", "2"), ["--voxel_size", "3 numbers"]),
        (("--voxel_size", "1", "2", "x"), ["--voxel_size", "3 numbers"]),
        (("--voxel_size", "1,2,x"), ["--voxel_size", "3 numbers"]),
        (("--voxel_size", "1", "2", "-5"), ["voxel_size", "give mm along readout"]),
        (("--orientation", "PLX"), ["orientation is 'PLX'", "such as PLS"]),
        (("--orientation", "PLS"), ["no voxel size", "--voxel_size"]),
        (("--like", "none.nii"), ["none.nii", "no such file"]),
        (("--subject", "1"), ["give --bids FOLDER too"]),
    ],
)
def test_mistakes_are_one_line(refused, bare, tmp_path, given, words):
    line = refused("recon", bare, *given, "--output", tmp_path / "o.nii.gz", *ADJOINT)
    assert all(word in line for word in words), line
    assert not list(tmp_path.glob("*o.nii*"))


def test_like_and_the_file_itself(mrirecon, refused, bare, head, scan_file, tmp_path):
    out = tmp_path / "o.nii.gz"
    done = mrirecon("recon", bare, "--like", head, "--output", out, *ADJOINT)
    assert done.status == 0 and "whether axes are flipped" in done.out
    assert np.allclose(nibabel.load(out).affine, AFFINE, atol=1e-5)
    line = refused("recon", scan_file, "--like", head, "--output", tmp_path / "p.nii", *ADJOINT)
    assert "position and orientation of its own: leave out --like" in line
    # Another image of the same name is another reconstruction.
    again = ("recon", bare, "--like", head, "--output", out, *ADJOINT)
    assert "complete, skipped" in mrirecon(*again).out
    nibabel.save(nibabel.Nifti1Image(phantom_image(), 2 * AFFINE), head)
    assert "made with other settings" in refused(*again)


def test_dicom_of_a_scan_and_of_another_like_it(mrirecon, refused, scan_file, bare, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    first, second = tmp_path / "first.dicom", tmp_path / "second.dicom"
    assert mrirecon("recon", scan_file, "--output", first, *ADJOINT).status == 0
    assert len(list(first.iterdir())) == SLICES
    assert mrirecon("recon", bare, "--like", first, "--output", second, *ADJOINT).status == 0
    a, b = (pydicom.dcmread(folder / "0001.dcm") for folder in (first, second))
    assert a.ImagePositionPatient == b.ImagePositionPatient
    assert (a.StudyInstanceUID, a.FrameOfReferenceUID) == (
        b.StudyInstanceUID,
        b.FrameOfReferenceUID,
    )
    assert a.SeriesInstanceUID != b.SeriesInstanceUID
    other = ("--method", "zero_filled", "--output", tmp_path / "other.dcm")
    assert mrirecon("recon", scan_file, *other).status == 0  # of the same scan: the same study
    c = pydicom.dcmread(tmp_path / "other.dcm")
    assert (a.StudyInstanceUID, a.FrameOfReferenceUID) == (
        c.StudyInstanceUID,
        c.FrameOfReferenceUID,
    )
    placed = ("--voxel_size", "1,2,5", "--orientation", "PLS", "--output", tmp_path / "placed.dcm")
    assert mrirecon("recon", bare, *placed, *ADJOINT).status == 0  # another scan at another place
    d = pydicom.dcmread(tmp_path / "placed.dcm")
    assert d.StudyInstanceUID != a.StudyInstanceUID
    assert d.FrameOfReferenceUID != a.FrameOfReferenceUID
    done = mrirecon("recon", bare, "--output", tmp_path / "unknown.dcm", *ADJOINT)
    assert "Secondary Capture" in done.out
    line = refused(*("recon", bare, "--like", first, "--output", first, "--overwrite", *ADJOINT))
    assert "is the input itself" in line
    several = ("recon", scan_file, bare, "--format", "dicom", "--output", tmp_path / "all")
    assert mrirecon(*several, *ADJOINT).status == 0
    assert {one.suffix for one in (tmp_path / "all").iterdir()} == {".dicom", ".json"}


def test_bids_in_place_of_an_output(mrirecon, refused, scan_file, tmp_path):
    folder = tmp_path / "set"
    given = ("recon", scan_file, "--bids", folder, "--subject", "01", "--contrast", "T1w")
    assert mrirecon(*given, "--method", "adjoint", "zero_filled").status == 0
    anat = folder / "sub-01" / "anat"
    image = nibabel.load(anat / "sub-01_rec-adjoint_T1w.nii.gz")
    assert image.shape == (*SHAPE, SLICES)
    said = json.loads((anat / "sub-01_rec-zerofilled_T1w.json").read_text())
    assert said["ReconMethod"] == "zero_filled" and said["MRAcquisitionType"] == "2D"
    assert "complete, skipped" in mrirecon(*given, *ADJOINT).out
    assert "leave one out" in refused(*given, "--output", tmp_path / "o.nii")
    (anat / "sub-01_rec-tv_T1w.json").write_text("{}")
    assert "exists already" in refused(*given, "--method", "tv")


def test_convert_and_python_take_the_same_options(mrirecon, bare, tmp_path):
    given = ("--voxel_size", "1,2,5", "--orientation", "PLS")
    assert mrirecon("convert", bare, tmp_path / "placed.mrd", *given).status == 0
    placed = read_scan(tmp_path / "placed.mrd").geometry
    volume = mr.reconstruct(
        bare, method="adjoint", voxel_size=(1.0, 2.0, 5.0), orientation="PLS", device="cpu"
    )
    assert np.allclose(volume.geometry.affine_lps(SHAPE), placed.affine_lps(SHAPE), atol=1e-4)
    with pytest.raises(ValueError, match="did you mean voxel_size"):
        mr.reconstruct(bare, method="adjoint", voxelsize=(1.0, 2.0, 5.0))
    with pytest.raises(ValueError, match="voxel_size is 'big': it takes 3 numbers"):
        mr.reconstruct(bare, method="adjoint", voxel_size="big")
