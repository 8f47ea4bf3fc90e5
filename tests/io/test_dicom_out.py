"""DICOM that is written, as dciodvfy, dcm2niix and DCMTK see it."""

import json
import shutil
import subprocess

import nibabel
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mrirecon.geometry import Geometry
from mrirecon.io import check_output, is_complete, read_volume, write_volume
from mrirecon.io.dicom import read_headers, read_series
from mrirecon.scan import Volume

pydicom = pytest.importorskip("pydicom")

OBLIQUE = Rotation.from_euler("xyz", [20, -15, 30], degrees=True).as_matrix()
# Directions of readout, phase and slice in LPS: rows of a matrix.
PLACES = {
    "axial": np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]]),
    "axial, upside down": np.array([[0, -1, 0], [1, 0, 0], [0, 0, -1.0]]),
    "axial, on its side": np.array([[1, 0, 0], [0, 1, 0], [0, 0, -1.0]]),
    "coronal": np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0.0]]),
    "sagittal": np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0.0]]),
    "oblique": OBLIQUE,
    "oblique, left-handed": OBLIQUE * [[1], [-1], [1]],
}
HEADER = {
    "PatientName": "Doe^Jane",
    "PatientID": "17",
    "StudyInstanceUID": "1.2.3.4",
    "StudyDate": "20250102",
    "MagneticFieldStrength": 2.89,
    "RepetitionTime": 500.0,
    "FlipAngle": 90.0,
    "EchoTime": 12.5,
    "InversionTime": 900.0,
    "ScanningSequence": ("RM", "IR"),
    "SliceThickness": 2.5,
    "BodyPartExamined": "HEAD",
}


def volume(place="oblique", shape=(1, 4, 12, 9), scale=100.0, **more):
    """Voxels that all differ; slices 3 mm apart, which are 2.5 mm thick."""
    image = np.random.default_rng(0).uniform(0.1, 1, shape) * scale
    geometry = Geometry(voxel_mm=(1.5, 1.25, 3.0))
    if place is not None:
        directions = PLACES[place]
        centers = [np.array([10.0, -20, 30]) + 3.0 * k * directions[2] for k in range(shape[1])]
        geometry = Geometry(
            voxel_mm=(1.5, 1.25, 3.0),
            directions=tuple(tuple(map(float, row)) for row in directions),
            centers_mm=tuple(tuple(map(float, row)) for row in centers),
        )
    info = {"method": "tv", "notes": []}
    return Volume(
        image=torch.from_numpy(image.astype(np.complex64)), geometry=geometry, info=info, **more
    )


def objects(path):
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [pydicom.dcmread(file) for file in files]


def canonical(path):
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return np.asarray(image.dataobj, dtype=float), image.affine


@pytest.fixture
def dcm2niix(tmp_path):
    if shutil.which("dcm2niix") is None:
        pytest.skip("dcm2niix is not installed")

    def run(path):
        """The NIfTI files that it makes of a file or folder."""
        folder, out = path, tmp_path / f"{path.name}-out"
        out.mkdir()
        if path.is_file():
            folder = tmp_path / f"{path.name}-in"
            folder.mkdir()
            shutil.copy(path, folder)
        command = ["dcm2niix", "-f", "x", "-o", out, folder]
        subprocess.run(command, check=True, capture_output=True)
        return sorted(out.glob("*.nii"))

    return run


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("suffix", [".dcm", ".dicom"])
@pytest.mark.parametrize("scale", [100.0, 1e-6])
@pytest.mark.parametrize("place", ["oblique", None])
@pytest.mark.parametrize("acquisition", [{}, HEADER, {**HEADER, "BodyPartExamined": "KNEE"}])
def test_dciodvfy_has_no_error(tmp_path, suffix, scale, place, acquisition):
    path = tmp_path / f"v{suffix}"
    write_volume(volume(place, scale=scale, acquisition=acquisition), path)
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        done = subprocess.run(["dciodvfy", file], capture_output=True, text=True)
        said = done.stdout + done.stderr
        name = "SCImage" if place is None else "MRImage"
        assert name in said and "Error" not in said, said
    assert done.returncode == 0


@pytest.mark.parametrize("suffix", [".dcm", ".dicom"])
@pytest.mark.parametrize("place", PLACES)
def test_dcm2niix_gives_the_nifti_that_is_written(tmp_path, dcm2niix, suffix, place):
    v = volume(place, scale=2000.0)
    for name in (f"v{suffix}", "v.nii.gz"):
        write_volume(v, tmp_path / name)
    (made,) = dcm2niix(tmp_path / f"v{suffix}")
    (got, affine), (want, expected) = canonical(made), canonical(tmp_path / "v.nii.gz")
    np.testing.assert_allclose(affine, expected, atol=1e-4)
    np.testing.assert_allclose(got, want, atol=0.6 * 2000 / 65535)
    # Of axes i, j and k of its image, which runs where our phase encoding does
    said = json.loads(made.with_suffix(".json").read_text())
    if suffix == ".dicom":
        axis = "ijk".index(said["PhaseEncodingAxis"])
        column = nibabel.load(made).affine[:3, axis] / 1.25
        assert np.isclose(abs(column @ (PLACES[place][1] * [-1, -1, 1])), 1, atol=1e-3)


def test_dcm2niix_joins_repetitions_and_parts_echoes(tmp_path, dcm2niix):
    v = volume(shape=(3, 4, 12, 9), scale=2000.0)
    write_volume(v, tmp_path / "v.nii.gz")
    want, _ = canonical(tmp_path / "v.nii.gz")
    write_volume(v, tmp_path / "repetitions.dicom")
    (made,) = dcm2niix(tmp_path / "repetitions.dicom")
    np.testing.assert_allclose(canonical(made)[0], want, atol=0.02)

    echoes = volume(shape=(3, 4, 12, 9), scale=2000.0, acquisition={"EchoTime": [5.0, 10.0, 15.0]})
    write_volume(echoes, tmp_path / "echoes.dicom")
    made = dcm2niix(tmp_path / "echoes.dicom")
    assert [file.name for file in made] == ["x_e1.nii", "x_e2.nii", "x_e3.nii"]
    for echo, file in enumerate(made):
        np.testing.assert_allclose(canonical(file)[0], want[..., echo], atol=0.02)
        assert json.loads(file.with_suffix(".json").read_text())["EchoTime"] == 0.005 * (echo + 1)
    with pytest.raises(ValueError, match=r"\.dcm holds one volume, .* has 3: write \.dicom"):
        write_volume(v, tmp_path / "v.dcm")


@pytest.mark.parametrize("suffix", [".dcm", ".dicom"])
def test_what_it_says(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    write_volume(volume(acquisition=HEADER), path)
    made = objects(path)
    uids = {one.SOPInstanceUID for one in made}
    assert len(uids) == len(made) and all(uid.startswith("2.25.") for uid in uids)
    assert len({one.SeriesInstanceUID for one in made}) == 1
    first = made[0]
    assert (str(first.PatientName), first.PatientID) == ("Doe^Jane", "17")
    assert first.StudyInstanceUID == "1.2.3.4" and first.SeriesInstanceUID.startswith("2.25.")
    assert first.SeriesDescription == "mrirecon tv: research only, not for diagnosis"
    assert first.ImageType[0] == "DERIVED"
    assert (first.BurnedInAnnotation, first.LossyImageCompression) == ("NO", "00")
    assert (first.RepetitionTime, first.MagneticFieldStrength) == (500, 2.89)
    measures = first
    if suffix == ".dcm":
        measures = first.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (2.5, 3)
    # Nothing of the scan's position may stand for this series if its frame is not known.
    assert first.FrameOfReferenceUID.startswith("2.25.")
    assert "Jane" not in path.with_name(f"v{suffix}.json").read_text()


@pytest.mark.parametrize("place", ["axial, upside down", "axial, on its side"])
def test_viewers_show_the_patients_right_at_the_left_and_anterior_at_the_top(tmp_path, place):
    write_volume(volume(place), tmp_path / "v.dicom")
    for one in objects(tmp_path / "v.dicom"):
        assert one.ImageOrientationPatient == [1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("suffix", [".dcm", ".dicom"])
@pytest.mark.parametrize("scale", [1e5, 100.0, 1e-6])
def test_values_come_back(tmp_path, suffix, scale):
    """Where the intensities are small, as real world values: viewers cannot show windows narrower than 1."""
    v = volume("axial", scale=scale)
    lost = write_volume(v, tmp_path / f"v{suffix}")
    made = objects(tmp_path / f"v{suffix}")
    groups = made[0].SharedFunctionalGroupsSequence[0] if suffix == ".dcm" else made[0]
    pixels = np.concatenate([one.pixel_array.reshape(-1, 12, 9) for one in made])
    shown = groups.PixelValueTransformationSequence[0] if suffix == ".dcm" else groups
    window = groups.FrameVOILUTSequence[0] if suffix == ".dcm" else groups
    assert 500 < window.WindowWidth <= 1.001 * pixels.max() * shown.RescaleSlope
    slope = float(shown.RescaleSlope)
    if scale < 1000:
        assert any("times 1e+" in sentence for sentence in lost)
        slope = groups.RealWorldValueMappingSequence[0].RealWorldValueSlope
    want = v.image[0].abs().numpy()
    np.testing.assert_allclose(slope * pixels, want, atol=0.51 * want.max() / 65535)


@pytest.mark.parametrize("suffix", [".dcm", ".dicom"])
def test_without_an_orientation_it_is_secondary_capture_and_says_so(tmp_path, suffix):
    (said,) = write_volume(volume(None, scale=2000.0), tmp_path / f"v{suffix}")
    assert "Secondary Capture" in said
    assert said in json.loads((tmp_path / f"v{suffix}.json").read_text())["notes"]
    for one in objects(tmp_path / f"v{suffix}"):
        assert "Secondary Capture" in one.SOPClassUID.name
        assert not {"ImagePositionPatient", "ImageOrientationPatient"} & set(one.dir())
        assert "SharedFunctionalGroupsSequence" not in one
        assert one.PixelSpacing == [1.5, 1.25]


@pytest.mark.parametrize("suffix", [".dcm", ".dicom"])
def test_it_is_read_back_where_it_lies(tmp_path, suffix):
    """By this package's reader, for --like and simulate."""
    v = volume("oblique", scale=2000.0)
    write_volume(v, tmp_path / f"v{suffix}")
    write_volume(v, tmp_path / "v.nii.gz")
    path = tmp_path / f"v{suffix}"
    if suffix == ".dicom":
        data, affine = read_series(path)
        image = nibabel.as_closest_canonical(nibabel.Nifti1Image(data, affine))
        np.testing.assert_allclose(image.get_fdata(), canonical(tmp_path / "v.nii.gz")[0], atol=0.1)
    headers = read_headers(path)
    assert headers.shape[2] == 4 and sorted(headers.shape) == [4, 9, 12]
    image = nibabel.Nifti1Image(np.zeros(headers.shape, np.float32), headers.affine)
    expected = canonical(tmp_path / "v.nii.gz")[1]
    np.testing.assert_allclose(nibabel.as_closest_canonical(image).affine, expected, atol=1e-3)


def test_images_beside_it_are_series_of_their_own(tmp_path):
    std = torch.full((1, 4, 12, 9), float("nan"))
    std[0, 0] = 3.0
    lost = write_volume(volume(extras={"std": std}, scale=2000.0), tmp_path / "v.dicom")
    assert lost == ("voxels that are not a number are 0 in DICOM",)
    image, beside = objects(tmp_path / "v.dicom"), objects(tmp_path / "v_std.dicom")
    assert beside[0].SeriesDescription.startswith("mrirecon tv std:")
    assert beside[0].SeriesInstanceUID != image[0].SeriesInstanceUID
    assert beside[0].StudyInstanceUID == image[0].StudyInstanceUID
    assert beside[0].FrameOfReferenceUID == image[0].FrameOfReferenceUID
    slope = float(beside[0].RescaleSlope)
    assert {float(np.round(slope * one.pixel_array.max(), 3)) for one in beside} == {0.0, 3.0}


def test_a_folder_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    from mrirecon.io import dicom_writer

    path = tmp_path / "v.dicom"
    write_volume(volume(), path)
    before = {file: file.read_bytes() for file in path.iterdir()}
    saved, save = [], dicom_writer.save

    def fails(made, file):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(file)
        save(made, file)

    monkeypatch.setattr(dicom_writer, "save", fails)
    with pytest.raises(KeyboardInterrupt):
        write_volume(volume("axial"), path, overwrite=True)
    assert len(saved) == 2 and saved[0].parent != path
    assert {file: file.read_bytes() for file in path.iterdir()} == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["v.dicom", "v.dicom.json"]
    monkeypatch.undo()
    write_volume(volume("axial", shape=(1, 2, 12, 9)), path, overwrite=True)
    assert sorted(file.name for file in path.iterdir()) == ["0001.dcm", "0002.dcm"]
    assert is_complete(path) and len(list(tmp_path.iterdir())) == 2


def test_no_folder_of_somebody_else_is_replaced(tmp_path):
    path = tmp_path / "v.dicom"
    path.mkdir()
    (path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds thesis\.txt, which was not written here"):
        check_output(path, overwrite=True)
    (path / "thesis.txt").rename(path / "0001.dcm")
    with pytest.raises(FileExistsError, match="give --overwrite"):
        check_output(path)
    with pytest.raises(ValueError, match="is the input itself"):
        check_output(path, overwrite=True, inputs=[path / "0001.dcm"])
    with pytest.raises(ValueError, match=r"is DICOM, .* give the volume as \.nii\.gz"):
        read_volume(path)


def test_without_pydicom_it_is_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pydicom"):
        check_output(tmp_path / "v.dcm")
