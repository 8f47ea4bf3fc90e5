"""Where the user says that an image lies: --voxel_size, --orientation, --like."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from scan_cases import array_scan

from mrirecon.geometry import Geometry
from mrirecon.io import read_scan, write_scan, write_volume
from mrirecon.io.place import Placement
from mrirecon.scan import Volume

SHAPE = (3, 2, 8, 6)  # slice, coil, readout, phase


def scan(**known):
    generator = torch.Generator().manual_seed(0)
    return array_scan(torch.randn(SHAPE, dtype=torch.complex64, generator=generator), **known)


def image_like(path, shape=(8, 6, 3), affine=None):
    """A NIfTI image on an oblique grid, by nibabel."""
    if affine is None:
        from scipy.spatial.transform import Rotation

        affine = np.eye(4)
        turn = Rotation.from_euler("z", 12, degrees=True).as_matrix()
        affine[:3, :3] = turn @ np.diag([-1.5, 1.25, 4.0])
        affine[:3, 3] = [11, -22, 33]
    image = nibabel.Nifti1Image(np.ones(shape, np.float32), affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nibabel.save(image, path)
    return affine


def written(placed, path):
    """What nibabel says of the NIfTI of a scan's reconstruction."""
    image = torch.ones(1, SHAPE[0], *SHAPE[2:], dtype=torch.complex64)
    write_volume(Volume(image=image, geometry=placed.geometry, info={}), path)
    return nibabel.load(path)


def test_a_voxel_size_alone_leaves_the_orientation_unknown(tmp_path):
    placed = Placement(voxel_size=(1.0, 2.0, 5.0)).of(scan())
    image = written(placed, tmp_path / "v.nii")
    assert image.header.get_zooms() == (1, 2, 5)
    assert image.header["sform_code"] == image.header["qform_code"] == 0
    assert "geometry given" in str(image.header["descrip"])
    assert placed.geometry.note == "given by --voxel_size: orientation unknown"


@pytest.mark.parametrize("letters", ["LPS", "PLS", "ARI", "IPR", "pls"])
def test_an_orientation_points_where_its_letters_say(tmp_path, letters):
    placed = Placement(voxel_size=(1.0, 2.0, 5.0), orientation=letters).of(scan())
    image = written(placed, tmp_path / "v.nii")
    assert nibabel.aff2axcodes(image.affine) == tuple(letters.upper())
    assert np.allclose(image.affine @ [4, 3, 1, 1], [0, 0, 0, 1])  # the middle
    assert image.header["sform_code"] == 2  # aligned: its position is not the scanner's
    assert "the position is unknown" in placed.geometry.note


def test_an_orientation_needs_a_voxel_size_which_the_file_may_have():
    with pytest.raises(ValueError, match="give --voxel_size"):
        Placement(orientation="LPS").of(scan())
    own = scan(geometry=Geometry(voxel_mm=(1.0, 2.0, 5.0)))
    assert Placement(orientation="LPS").of(own).geometry.voxel_mm == (1, 2, 5)
    other = Placement(voxel_size=(1.0, 2.0, 6.0)).of(own)
    assert other.geometry.voxel_mm == (1, 2, 6)
    assert (
        other.notes[-1] == "the voxel size of the file, 1 x 2 x 5 mm, is replaced by --voxel_size"
    )
    assert Placement(voxel_size=(1.0, 2.0, 5.0)).of(own).notes == own.notes


def test_like_nifti_gives_its_affine_and_says_what_it_cannot_know(tmp_path):
    affine = image_like(tmp_path / "other.nii.gz")
    placed = Placement(like=str(tmp_path / "other.nii.gz")).of(scan())
    np.testing.assert_allclose(written(placed, tmp_path / "v.nii").affine, affine, atol=1e-5)
    assert "cannot be known" in placed.geometry.note and "--orientation" in placed.notes[-1]
    part = placed.select(slice(1, 3))
    assert np.allclose(part.geometry.centers_mm[0], placed.geometry.centers_mm[1])


def test_like_with_an_orientation_is_the_same_grid_in_other_axes(tmp_path):
    """Of an image (slice, phase, readout), flipped: each voxel of ours lies in the middle of one of its."""
    turned = np.array(
        [[0, 0, 4.0, -10], [0, -1.25, 0, 5], [1.5, 0, 0, 7], [0, 0, 0, 1.0]]
    )  # axes that grow to S, P and R
    image_like(tmp_path / "other.nii", (3, 6, 8), turned[:, [2, 1, 0, 3]])
    with pytest.raises(ValueError, match=r"is 3 x 6 x 8, .* 8 x 6 x 3 .*: give an image of this"):
        Placement(like=str(tmp_path / "other.nii")).of(scan())
    placed = Placement(like=str(tmp_path / "other.nii"), orientation="IAR").of(scan())
    image = written(placed, tmp_path / "v.nii")
    assert nibabel.aff2axcodes(image.affine) == ("I", "A", "R")
    ours = image.affine @ [[0], [0], [0], [1]]
    theirs = np.linalg.inv(turned[:, [2, 1, 0, 3]]) @ ours
    assert np.allclose(theirs[:3, 0], [0, 5, 7])  # R is where its first axis grows, I and A are not
    assert placed.geometry.note.endswith("with --orientation IAR")
    assert not any("--like" in note for note in placed.notes)


def test_a_position_of_its_own_is_never_overridden(tmp_path):
    image_like(tmp_path / "other.nii")
    own = Placement(voxel_size=(1.0, 1.0, 5.0), orientation="LPS").of(scan())
    for place, name in (
        (Placement(voxel_size=(1.0, 1.0, 5.0)), "voxel_size"),
        (Placement(orientation="LPS"), "orientation"),
        (Placement(like=str(tmp_path / "other.nii")), "like"),
    ):
        with pytest.raises(ValueError, match=f"of its own: leave out --{name}"):
            place.of(own)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"voxel_size": (1.0, 0.0, 5.0)}, "voxel_size is 1.0 0.0 5.0: give mm along readout"),
        ({"voxel_size": (1.0, float("nan"), 5.0)}, "voxel_size is"),
        ({"orientation": "LPP"}, "orientation is 'LPP'"),
        ({"orientation": "XYZ"}, "orientation is 'XYZ'"),
        ({"orientation": "LP"}, "orientation is 'LP'"),
        ({"voxel_size": (1.0, 1.0, 5.0), "like": "a.nii"}, "both say the voxel size"),
    ],
)
def test_what_cannot_be_is_refused_before_a_scan_is_read(options, said):
    with pytest.raises(ValueError, match=said):
        Placement(**options)


def test_like_without_an_affine_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((8, 6, 3)), None), tmp_path / "other.nii")
    with pytest.raises(ValueError, match="says nothing of its orientation"):
        _ = Placement(like=str(tmp_path / "other.nii")).reference
    with pytest.raises(FileNotFoundError, match="no such file"):
        _ = Placement(like=str(tmp_path / "none.nii")).reference


def test_a_given_geometry_goes_through_mrd(tmp_path):
    placed = Placement(voxel_size=(1.0, 2.0, 5.0), orientation="PLS").of(scan())
    write_scan(placed, tmp_path / "scan.mrd")
    back = read_scan(tmp_path / "scan.mrd").geometry
    np.testing.assert_allclose(
        back.affine_lps((8, 6)), placed.geometry.affine_lps((8, 6)), atol=1e-4
    )
    assert back.frame == "aligned"


HEADER = """<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<subjectInformation><patientName>Doe^Jane</patientName><patientID>1</patientID></subjectInformation>
<studyInformation><studyDate>2025-01-02</studyDate><studyInstanceUID>1.2.3</studyInstanceUID></studyInformation>
<measurementInformation><protocolName>t2_tse</protocolName><patientPosition>HFS</patientPosition>
<frameOfReferenceUID>1.2.4</frameOfReferenceUID></measurementInformation>
<acquisitionSystemInformation><systemFieldStrength_T>2.89</systemFieldStrength_T></acquisitionSystemInformation>
<sequenceParameters><TR>500</TR><TE>5</TE><TE>10</TE><TI>300</TI></sequenceParameters>
</ismrmrdHeader>"""


def test_a_header_says_whom_and_what_was_scanned():
    found = Placement().of(scan(header=HEADER)).acquisition
    assert (found["PatientName"], found["StudyDate"]) == ("Doe^Jane", "20250102")
    assert (found["RepetitionTime"], found["EchoTime"]) == (500, 5)
    assert "InversionTime" not in found  # Siemens headers have one of every sequence
    flair = HEADER.replace("t2_tse", "t2_tirm_FLAIR")
    assert Placement().of(scan(header=flair)).acquisition["InversionTime"] == 300
    two = replace(scan(header=HEADER), volumes=2, volume_names=("contrast 1", "contrast 0"))
    assert Placement().of(two).acquisition["EchoTime"] == [10, 5]
    bad = HEADER.replace("1.2.3", "unknown").replace("2025-01-02", "yesterday")
    assert not {"StudyInstanceUID", "StudyDate"} & set(Placement().of(scan(header=bad)).acquisition)


def test_like_dicom_gives_place_patient_and_frame(tmp_path):
    """Of a series that says along which axis phase encoding is; ours are the columns of its rows."""
    pydicom = pytest.importorskip("pydicom")
    affine = image_like(tmp_path / "other.nii")
    first = Placement(like=str(tmp_path / "other.nii")).of(scan())
    series = tmp_path / "series.dicom"
    acquisition = {"PatientID": "17", "EchoTime": 12.0, "FrameOfReferenceUID": "1.2.9"}
    image = torch.ones(1, SHAPE[0], *SHAPE[2:], dtype=torch.complex64)
    made = Volume(image=image, geometry=first.geometry, info={}, acquisition=acquisition)
    write_volume(made, series)
    one = pydicom.dcmread(series / "0001.dcm")  # readout runs to the left: along rows
    assert (one.Rows, one.Columns, one.InPlanePhaseEncodingDirection) == (6, 8, "COL")
    for like in (series, series / "0002.dcm"):
        placed = Placement(like=str(like)).of(scan(header=HEADER))
        got = written(placed, tmp_path / f"{like.stem}.nii").affine
        assert np.allclose(np.linalg.norm(got[:3, :3], axis=0), [1.5, 1.25, 4], atol=1e-4)
        assert np.allclose(np.abs(got[:3, 0]), np.abs(affine[:3, 0]), atol=1e-4)
        assert placed.acquisition["PatientID"] == "17" and placed.acquisition["EchoTime"] == 12
        assert placed.acquisition["FrameOfReferenceUID"] == "1.2.9"
    assert len(Placement(like=str(series / "0002.dcm")).files()) == 3
    # A scan that knows where it lies keeps that, and the frame that its own header names.
    own = scan(header=HEADER, geometry=first.geometry)
    kept = Placement(like=str(series)).of(own)
    assert kept.geometry == first.geometry and kept.acquisition["PatientID"] == "17"
    assert kept.acquisition["FrameOfReferenceUID"] == "1.2.4"
    assert "position and orientation the scan's own" in kept.notes[-1]
    headless = Placement(like=str(series)).of(scan(geometry=first.geometry))
    assert "FrameOfReferenceUID" not in headless.acquisition
