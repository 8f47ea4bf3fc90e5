import gzip
import math
from contextlib import suppress

import nibabel
import numpy as np
import pytest
import torch

from mrirecon.geometry import Geometry
from mrirecon.io import affine_ras, read_image, read_scan, write_scan, write_volume
from mrirecon.io.images import read_anatomy
from mrirecon.scan import Volume
from mrirecon.simulate import simulate_scan


def volume(shape, geometry, info=None, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    image = torch.from_numpy(image.astype(np.complex64))
    return Volume(image=image, geometry=geometry, info=info or {})


AXIAL = Geometry(
    voxel_mm=(2.0, 3.0, 5.0),
    directions=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    centers_mm=((10.0, 20.0, 30.0), (10.0, 20.0, 35.0)),
)
SAGITTAL = Geometry(
    voxel_mm=(1.0, 2.0, 4.0),
    directions=((0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
    centers_mm=((-20.0, 0.0, 0.0), (-16.0, 0.0, 0.0)),
)
CORONAL = Geometry(
    voxel_mm=(1.5, 2.0, 3.0),
    directions=((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)),
    centers_mm=((0.0, 10.0, 0.0), (0.0, 13.0, 0.0), (0.0, 16.0, 0.0)),
)
DOUBLE_OBLIQUE = Geometry(
    voxel_mm=(3.0, 6.0, 9.0),
    directions=((2 / 3, 1 / 3, 2 / 3), (-2 / 3, 2 / 3, 1 / 3), (-1 / 3, -2 / 3, 2 / 3)),
    centers_mm=((1.0, 2.0, 3.0), (-2.0, -4.0, 9.0)),
)
THREE_D = Geometry(  # readout runs head to foot and has become the slice axis
    voxel_mm=(1.0, 1.2, 0.8),
    directions=((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
    centers_mm=tuple((0.0, 0.0, 8.0 - 0.8 * n) for n in range(20)),
)
GAPPED = Geometry(  # 5 mm slices every 7.5 mm; the reader states the spacing
    voxel_mm=(1.0, 1.0, 7.5),
    directions=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    centers_mm=((0.0, 0.0, 0.0), (0.0, 0.0, 7.5), (0.0, 0.0, 15.0)),
)
REVERSED = Geometry(  # positions fall although the slice direction points up: positions win
    voxel_mm=(1.0, 1.0, 5.0),
    directions=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    centers_mm=((0.0, 0.0, 30.0), (0.0, 0.0, 25.0), (0.0, 0.0, 20.0)),
)

# By hand: columns are direction * voxel, the slice column is the step of the centres; the origin is
# centre - (readout // 2) * column 0 - (phase // 2) * column 1; then the first two rows change sign (LPS to RAS).
CASES = {
    "axial": (AXIAL, (4, 6), [[-2, 0, 0, -6], [0, -3, 0, -11], [0, 0, 5, 30]], "LPS"),
    "sagittal": (SAGITTAL, (8, 10), [[0, 0, -4, 20], [0, -2, 0, 10], [-1, 0, 0, 4]], "IPL"),
    "coronal": (CORONAL, (5, 7), [[-1.5, 0, 0, 3], [0, 0, -3, -10], [0, -2, 0, 6]], "LIP"),
    "double oblique": (
        DOUBLE_OBLIQUE,
        (6, 4),
        [[-2, 4, 3, -3], [-1, -4, 6, 9], [2, 2, 6, -7]],
        None,  # two axes tie: letters mean nothing
    ),
    "3D": (THREE_D, (6, 8), [[0, -1.2, 0, 4.8], [-1, 0, 0, 3], [0, 0, -0.8, 8]], "PLI"),
    "gapped": (GAPPED, (4, 4), [[-1, 0, 0, 2], [0, -1, 0, 2], [0, 0, 7.5, 0]], "LPS"),
    "reversed": (REVERSED, (4, 4), [[-1, 0, 0, 2], [0, -1, 0, 2], [0, 0, -5, 30]], "LPI"),
}


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
@pytest.mark.parametrize("name", CASES)
def test_affines_computed_by_hand(tmp_path, name, suffix):
    geometry, matrix, rows, letters = CASES[name]
    expected = np.asarray([*rows, [0, 0, 0, 1]], dtype=float)
    np.testing.assert_allclose(affine_ras(geometry, matrix), expected, atol=1e-12)
    path = tmp_path / f"v{suffix}"
    v = volume((1, len(geometry.centers_mm), *matrix), geometry)
    write_volume(v, path)
    image = nibabel.load(path)
    for got, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
        assert code == 1
        np.testing.assert_allclose(got, expected, atol=1e-5)
    if letters is not None:
        assert "".join(nibabel.aff2axcodes(image.affine)) == letters
    spacing = np.linalg.norm(expected[:3, :3], axis=0)
    np.testing.assert_allclose(image.header.get_zooms(), spacing, rtol=1e-6)
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert image.get_data_dtype() == np.float32
    truth = v.image[0].abs().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(np.asarray(image.dataobj), truth)


@pytest.mark.parametrize("name", CASES)
def test_a_bright_spot_lands_at_its_patient_position(tmp_path, name):
    """The voxel at a known LPS position is found by nibabel at the same point of RAS space."""
    geometry, matrix, _, _ = CASES[name]
    slices = len(geometry.centers_mm)
    index = (matrix[0] // 2 + 1, matrix[1] // 2 - 2, slices - 1)
    directions, voxel = np.asarray(geometry.directions), np.asarray(geometry.voxel_mm)
    lps = (
        np.asarray(geometry.centers_mm[-1])
        + directions[0] * voxel[0]
        - 2 * directions[1] * voxel[1]
    )
    image = torch.zeros(1, slices, *matrix, dtype=torch.complex64)
    image[0, index[2], index[0], index[1]] = 1j
    write_volume(Volume(image=image, geometry=geometry), tmp_path / "v.nii.gz")
    loaded = nibabel.load(tmp_path / "v.nii.gz")
    brightest = np.unravel_index(np.argmax(loaded.get_fdata()), loaded.shape)
    ras = nibabel.affines.apply_affine(loaded.affine, brightest)
    np.testing.assert_allclose(ras, lps * [-1, -1, 1], atol=1e-4)


def test_the_qform_does_not_lie_about_sheared_slices(tmp_path):
    """Slices stepping 1 mm sideways per 5 mm: no rotation times voxel sizes gives that affine."""
    geometry = Geometry(
        voxel_mm=(1.0, 1.0, 5.0),
        directions=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
        centers_mm=((0.0, 0.0, 0.0), (1.0, 0.0, 5.0), (2.0, 0.0, 10.0)),
    )
    write_volume(volume((1, 3, 4, 4), geometry), tmp_path / "v.nii")
    image = nibabel.load(tmp_path / "v.nii")
    assert image.get_qform(coded=True) == (None, 0)
    sform, code = image.get_sform(coded=True)
    assert code == 1
    np.testing.assert_allclose(sform[:3, 2], [-1, 0, 5])
    np.testing.assert_allclose(image.header.get_zooms(), (1, 1, math.sqrt(26)), rtol=1e-6)


def test_one_slice_uses_the_thickness(tmp_path):
    geometry = Geometry(AXIAL.voxel_mm, AXIAL.directions, AXIAL.centers_mm[:1])
    write_volume(volume((1, 1, 4, 6), geometry), tmp_path / "v.nii")
    expected = [[-2, 0, 0, -6], [0, -3, 0, -11], [0, 0, 5, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(nibabel.load(tmp_path / "v.nii").affine, expected)


@pytest.mark.parametrize(
    ("geometry", "zooms", "words"),
    [
        (Geometry(voxel_mm=(0.5, 0.75, 4.0)), (0.5, 0.75, 4.0), b"orientation unknown"),
        (Geometry(), (1.0, 1.0, 1.0), b"voxel size unknown"),
        (
            Geometry(voxel_mm=(0.5, 0.75, 4.0), directions=AXIAL.directions),
            (0.5, 0.75, 4.0),
            b"orientation unknown",
        ),
    ],
)
def test_unknown_geometry_is_written_as_unknown(tmp_path, geometry, zooms, words):
    v = volume((1, 3, 4, 6), geometry, {"method": "cg_sense", "acceleration": {"achieved": 8.0412}})
    write_volume(v, tmp_path / "v.nii.gz")
    image = nibabel.load(tmp_path / "v.nii.gz")
    assert image.header["sform_code"] == image.header["qform_code"] == 0
    np.testing.assert_allclose(image.header.get_zooms(), zooms)
    description = image.header["descrip"].tobytes().rstrip(b"\0")
    assert description.startswith(b"mrirecon cg_sense R=8.041") and words in description
    assert read_image(tmp_path / "v.nii.gz")[1] is None


def test_volumes_become_the_fourth_axis(tmp_path):
    v = volume((3, 2, 4, 6), AXIAL)
    write_volume(v, tmp_path / "v.nii.gz")
    image = nibabel.load(tmp_path / "v.nii.gz")
    assert image.shape == (4, 6, 2, 3)
    assert image.header.get_zooms() == (2.0, 3.0, 5.0, 0.0)
    np.testing.assert_array_equal(image.get_fdata()[..., 2], v.image[2].abs().permute(1, 2, 0))


def test_tiny_intensities_survive(tmp_path):
    """Raw fastMRI magnitudes are of order 1e-5; integers would round them to black."""
    v = volume((1, 2, 4, 6), AXIAL)
    v = Volume(image=v.image * 1e-7, geometry=AXIAL)
    write_volume(v, tmp_path / "v.nii.gz")
    got = nibabel.load(tmp_path / "v.nii.gz").get_fdata()
    np.testing.assert_allclose(got, v.image[0].abs().permute(1, 2, 0), rtol=1e-6)


def test_a_long_description_is_cut_to_the_field(tmp_path):
    write_volume(volume((1, 2, 4, 6), AXIAL, {"method": "m" * 200}), tmp_path / "v.nii")
    assert len(nibabel.load(tmp_path / "v.nii").header["descrip"].tobytes().rstrip(b"\0")) == 79


def test_positions_of_another_number_of_slices_are_refused(tmp_path):
    with pytest.raises(ValueError, match="2 slice positions, the image 3 slices"):
        write_volume(volume((1, 3, 4, 6), AXIAL), tmp_path / "v.nii")
    assert not list(tmp_path.iterdir())


def test_read_image_scales_and_keeps_the_affine(tmp_path):
    affine = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -120], [0, 0, 3, -70], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), affine)
    image.header.set_slope_inter(2, 1)
    nibabel.save(image, tmp_path / "i.nii.gz")
    data, got = read_image(tmp_path / "i.nii.gz")
    assert data.dtype == np.float32
    np.testing.assert_array_equal(data, nibabel.load(tmp_path / "i.nii.gz").get_fdata())
    np.testing.assert_array_equal(got, affine)


def test_read_image_of_the_real_brain_volume_of_nibabel():
    path = nibabel.__path__[0] + "/tests/data/example4d.nii.gz"
    data, affine = read_image(path)
    assert data.shape == (128, 96, 24, 2)
    np.testing.assert_allclose(affine, nibabel.load(path).affine)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((1, 1, 4), np.float32), "larger than 1 x 1"),
        (np.ones((2, 3, 4, 5, 6), np.float32), "2 x 3 x 4 x 5 x 6"),
        (np.full((2, 3, 4), np.nan, np.float32), "NaN or infinite"),
        (np.ones((2, 3, 4), np.complex64), "magnitude image"),
        (np.ones((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "magnitude image"),
    ],
)
def test_images_that_are_none(tmp_path, array, message):
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "i.nii")
    with pytest.raises(ValueError, match=message):
        read_image(tmp_path / "i.nii")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_truncation_of_an_image_is_one_error(tmp_path, suffix):
    path = tmp_path / f"i{suffix}"
    array = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    whole = path.read_bytes()
    trailer = 16 if suffix == ".nii.gz" else 1  # the checksum of gzip comes after all of the data
    for length in (*range(0, 400, 13), len(whole) // 2, len(whole) - trailer):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="no NIfTI image, or a damaged one"):
            read_image(path)


def test_other_images_are_refused(tmp_path):
    mgh = nibabel.MGHImage(np.ones((2, 3, 4), np.float32), np.eye(4))
    nibabel.save(mgh, tmp_path / "i.mgz")
    with pytest.raises(ValueError, match=r"MGHImage .* nibabel.save"):
        read_image(tmp_path / "i.mgz")
    (tmp_path / "x.dcm").write_bytes(bytes(128) + b"DICM" + bytes(300))
    with pytest.raises(ValueError, match=r"folder of its series, or .* dcm2niix"):
        read_image(tmp_path / "x.dcm")
    (tmp_path / "t.nii.gz").write_bytes(gzip.compress(b"text"))
    with pytest.raises(ValueError, match="no NIfTI"):
        read_image(tmp_path / "t.nii.gz")
    with pytest.raises(IsADirectoryError):
        read_image(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "none.nii")


@pytest.mark.parametrize("frame", ["scanner", "aligned", "talairach", "mni", "template"])
@pytest.mark.parametrize("suffix", [".h5", ".mrd"])
def test_what_positions_refer_to_survives_simulation_and_files(tmp_path, frame, suffix):
    """An image in MNI coordinates does not come back as one in those of the scanner."""
    code = ["scanner", "aligned", "talairach", "mni", "template"].index(frame) + 1
    affine = np.diag([2.0, 2, 3, 1])
    image = nibabel.Nifti1Image(np.random.default_rng(0).random((16, 16, 2)).astype("f4"), None)
    image.set_sform(affine, code)
    image.set_qform(affine, 0)
    nibabel.save(image, tmp_path / "i.nii")
    data, read, found = read_anatomy(tmp_path / "i.nii")
    assert found == frame
    scan = simulate_scan(data, coils=2, affine=read, frame=found).scan
    write_scan(scan, tmp_path / f"k{suffix}")
    write_scan(read_scan(tmp_path / f"k{suffix}"), tmp_path / "again.mrd")
    geometry = read_scan(tmp_path / "again.mrd").geometry
    assert geometry.frame == frame
    write_volume(Volume(image=torch.ones(1, 2, 16, 16) + 0j, geometry=geometry), tmp_path / "o.nii")
    header = nibabel.load(tmp_path / "o.nii").header
    assert (header["sform_code"], header["qform_code"]) == (code, code)
    np.testing.assert_allclose(header.get_sform(), affine, atol=1e-4)


@pytest.mark.parametrize(("place", "block"), [(0, bytes(2)), (70, b"\xff\x00"), (76, bytes(32))])
def test_a_damaged_header_is_said_by_the_error_alone(tmp_path, capfd, place, block):
    """nibabel logs to stderr what it mends, before it gives up or goes on."""
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 2), np.float32), np.eye(4)), path)
    data = bytearray(path.read_bytes())
    data[place : place + len(block)] = block
    path.write_bytes(data)
    with suppress(ValueError):
        read_image(path)
    assert capfd.readouterr() == ("", "")
