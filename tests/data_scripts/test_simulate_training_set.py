"""Training sets from images: against the fastmri package's reader, numpy's FFT, and what the images say themselves."""

import json
import sys
from dataclasses import replace

import h5py
import nibabel
import numpy as np
import pytest
import simulate_training_set as script
import torch
from training_volume import ORIENTATIONS, Ranges, acquire, oriented, thinned

from mrirecon.io import read_scan

AFFINE = np.array([[-1.5, 0, 0, 70], [0, -1.6, 0, 60], [0, 0, 4.0, -20], [0, 0, 0, 1]])
FEW = ("--matrix", "48x40", "--coils", "4", "--slices", "3")


def head(seed=0, shape=(80, 72, 10)):
    """An ellipsoid with inner structure, in air, on an image grid."""
    random = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = (x / 0.75) ** 2 + (y / 0.8) ** 2 + (z / 0.9) ** 2 < 1
    tissue = 600 + 200 * np.sin(9 * x + random.uniform(0, 6)) * np.cos(8 * y)
    return (inside * tissue).astype(np.float32)


def save(path, image, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(image, affine), path)
    return path


@pytest.fixture
def images(tmp_path):
    """Three patients, one of them with two images."""
    root = tmp_path / "images"
    for number, name in enumerate(
        ["patient01/FLAIR", "patient12/T2W", "patient19/T1", "patient19/T2"]
    ):
        save(root / f"{name}.nii.gz", head(number))
    return root


def image_of(kspace):
    """Centred orthonormal inverse FFT by numpy."""
    shifted = np.fft.ifftshift(kspace, axes=(-2, -1))
    return np.fft.fftshift(np.fft.ifft2(shifted, norm="ortho"), axes=(-2, -1))


def rss(kspace):
    return np.sqrt((np.abs(image_of(kspace)) ** 2).sum(axis=-3))


def test_the_fastmri_package_reads_the_set(images, tmp_path, call):
    from fastmri.data import SliceDataset

    out = tmp_path / "set"
    status, printed, _ = call(script, images, "--output", out, "--validation", "patient19", *FEW)
    assert status == 0
    assert "val: 2 files, 6 slices" in printed
    found = {part: set() for part in ("train", "val")}
    for part, patients in found.items():
        data = SliceDataset(root=out / f"multicoil_{part}", challenge="multicoil", transform=None)
        for kspace, mask, target, attributes, _, index in data:
            assert kspace.shape == (4, 48, 40)
            assert kspace.dtype == np.complex64
            assert mask is None
            assert target.shape == (48, 40)
            assert (attributes["padding_left"], attributes["padding_right"]) == (0, 40)
            assert attributes["recon_size"][:2] == (48, 40)
            assert 0 <= index < 3
            patients.add(attributes["patient_id"])
    assert found == {"train": {"patient01", "patient12"}, "val": {"patient19"}}
    with h5py.File(out / "multicoil_train" / "patient12_T2W_axial_0.h5") as file:
        assert file.attrs["acquisition"] == "AXT2"  # and not T1, as in patienT12
        target = file["reconstruction_rss"][()]
        assert file.attrs["max"] == pytest.approx(target.max())
        assert file.attrs["norm"] == pytest.approx(np.linalg.norm(target.astype(float)))
    records = json.loads((out / "dataset.json").read_text())["files"]
    assert {record["patient"] for record in records} == {"patient01", "patient12", "patient19"}


def scan_of(snr_db=200.0, noisy_target=False, matrix=(48, 40), **options):
    image, affine, _ = thinned(*oriented(head(), AFFINE, "axial"), 2.5, 0.5, 3)
    ranges = Ranges([matrix], [6], (snr_db, snr_db), (4.0, 4.0), (0.3, 0.3), (0, 0), 1.0)
    how = ranges.draw(image.shape[:2], (7,))
    return image, acquire(image, affine, how, noisy_target)


def test_target_is_free_of_noise_and_noise_is_as_stated():
    image, clean = scan_of()
    _, noisy = scan_of(snr_db=30.0)
    level = np.quantile(image[image != 0], 0.99)
    noise = []
    for index in range(3):
        kspace = clean.kspace(index).numpy()
        assert noisy.reference(index).numpy() == pytest.approx(rss(kspace), rel=1e-4, abs=1e-3)
        noise.append(noisy.kspace(index).numpy() - kspace)
    noise = np.stack(noise, axis=1).reshape(6, -1)
    count = noise.shape[1]
    stated = 2 * (level / 10 ** (30 / 20)) ** 2  # of a complex sample
    measured = noise @ noise.conj().T / count
    assert np.diag(measured).real == pytest.approx(stated, rel=6 / np.sqrt(count))
    error = np.abs(measured - noisy.noise_covariance.numpy()).max()
    assert error < 6 * stated / np.sqrt(count)
    assert not torch.equal(noisy.kspace(0), noisy.kspace(1))
    assert torch.equal(noisy.kspace(1), noisy.kspace(1))


def test_measured_target_is_the_rss_of_the_noisy_data():
    _, scan = scan_of(snr_db=25.0, noisy_target=True)
    assert scan.reference(1).numpy() == pytest.approx(rss(scan.kspace(1).numpy()), rel=1e-4)


def test_the_image_is_the_source_at_lower_resolution():
    """With all coils alike the RSS is the magnitude itself, cut in k-space; here that is done by numpy."""
    image, affine, _ = thinned(*oriented(head(), AFFINE, "axial"), 2.5, 0.5, 3)
    how = Ranges([(48, 40)], [6], (99, 99), (3, 3), (0, 0), (0, 0), 1.0).draw(image.shape[:2], (7,))
    how = replace(how, elements=6, receivers=tuple(range(6)), gains=(1.0,) * 6)
    full = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image[..., 1]), norm="ortho"))
    rows, columns = (n // 2 - m // 2 for n, m in zip(full.shape, (48, 40), strict=True))
    low = full[rows : rows + 48, columns : columns + 40] * np.sqrt(48 * 40 / full.size)
    expected = np.abs(image_of(low))
    error = acquire(image, affine, how).reference(1).numpy() - expected
    # Phase and coils move some energy over the limit of the band, at edges.
    assert np.linalg.norm(error) < 0.05 * np.linalg.norm(expected)


def test_the_objects_phase_is_strong_smooth_and_the_same_for_all_coils():
    image, affine, _ = thinned(*oriented(head(), AFFINE, "axial"), 2.5, 0.5, 3)
    how = Ranges([(48, 40)], [6], (200, 200), (6, 6), (0, 0), (0, 0), 1.0).draw(
        image.shape[:2], (7,)
    )
    with_phase, without = (
        image_of(acquire(image, affine, replace(how, phase_rad=bound)).kspace(1).numpy())
        for bound in (6.0, 0.0)
    )
    level = np.abs(without).max()
    turn = with_phase * without.conj() / level**2
    strong = np.abs(without).min(axis=0) > 0.1 * level
    phase = np.angle(turn[0])
    assert phase[strong].std() > 0.4
    assert np.abs(np.angle(turn * turn[:1].conj()))[:, strong].max() < 0.2
    step = np.angle(turn[0][1:] * turn[0][:-1].conj())
    assert np.abs(step[strong[1:] & strong[:-1]]).max() < 2 * np.pi * 6 / 48  # one period per FOV


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_landmark_stays_where_it_is_in_the_patient(orientation, tmp_path, call):
    image = 0.2 * head(shape=(36, 36, 36))
    image[21:23, 14:16, 20:22] += 3000
    affine = np.array([[0, 0, 2.0, -60], [-2.1, 0, 0, 70], [0, 1.9, 0, -50], [0, 0, 0, 1]])
    save(tmp_path / "sub-01" / "T1.nii.gz", image, affine)
    arguments = ("--matrix", "28x28", "--coils", "4", "--snr_db", "60", "60", "--spacing_mm", "1.9")
    call(script, tmp_path, "--output", tmp_path / "o", "--orientation", orientation, *arguments)
    (path,) = (tmp_path / "o").rglob("*.h5")
    scan = read_scan(path)
    target = np.stack([scan.reference(index).numpy() for index in range(scan.shape[0])], axis=-1)
    found = np.unravel_index(np.argmax(target), target.shape)
    there = scan.geometry.affine_lps(scan.matrix) @ [*found, 1]
    wanted = np.diag([-1, -1, 1, 1]) @ affine @ [21.5, 14.5, 20.5, 1]
    assert np.abs(there - wanted).max() < 2.8  # one pixel of 36 * 2.1 / 28 mm


def test_empty_slices_are_left_out():
    image = head(shape=(40, 40, 30))
    image[..., :6] = image[..., 25:] = 0
    kept, affine, numbers = thinned(image, AFFINE, 2.5, 0.5, 100)
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert 6 <= numbers[0] <= 8
    assert 22 <= numbers[-1] <= 24
    assert affine[:3, 3] == pytest.approx(AFFINE[:3, 3] + numbers[0] * AFFINE[:3, 2])
    assert kept.shape == (40, 40, len(numbers))
    _, affine, numbers = thinned(image, AFFINE, 8.0, 0.5, 4)
    assert len(numbers) == 4
    assert set(np.diff(numbers)) == {2}
    assert np.linalg.norm(affine[:3, 2]) == pytest.approx(8.0)


def test_no_patient_can_be_in_both_parts(images, tmp_path, call, refused):
    out = tmp_path / "set"
    error = refused(script, images, "--output", out, "--validation", "patient91", *FEW)
    assert "patient91 matches no patient" in error
    error = refused(script, images, "--output", out, "--validation", "patient*", *FEW)
    assert "holds out every patient" in error
    save(images / "odd" / "scan.nii.gz", head(5))
    assert "no patient in this path" in refused(script, images, "--output", out, *FEW)
    # The same voxels under another name, in another file.
    (images / "odd" / "scan.nii.gz").unlink()
    save(images / "patient77" / "copy.nii", head(3), np.eye(4))
    error = refused(script, images, "--output", out, "--validation", "Patient_19", *FEW)
    assert "patient77 is the same image as" in error
    (images / "patient77" / "copy.nii").unlink()
    assert call(script, images, "--output", out, "--validation", "patient19", *FEW)[0] == 0
    error = refused(script, images, "--output", out, "--validation", "patient01", *FEW)
    assert "belongs to the other part" in error


def test_a_second_run_goes_on_where_the_first_stopped(images, tmp_path, call, refused):
    out = tmp_path / "set"
    arguments = (images, "--output", out, "--validation", "patient19", *FEW)
    call(script, *arguments)
    files = sorted(out.rglob("*.h5"))
    times = {path: path.stat().st_mtime_ns for path in files}
    with h5py.File(files[0]) as file:
        before = file["kspace"][()]
    files[0].unlink()
    status, printed, _ = call(script, *arguments, "--repeats", "2")
    assert status == 0
    assert "train: 4 files" in printed
    with h5py.File(files[0]) as file:
        assert np.array_equal(file["kspace"][()], before)
    assert all(path.stat().st_mtime_ns == times[path] for path in files[1:])
    assert not list(out.rglob("*partial*"))
    with h5py.File(files[0].with_name("patient01_FLAIR_axial_1.h5")) as file:
        assert not np.allclose(file["kspace"][()], before)
    error = refused(script, *arguments, "--snr_db", "10", "12")
    assert "was made with other options" in error


def test_several_processes_make_the_same(images, tmp_path, call):
    for workers in "12":
        options = ("--matrix", "32x32", "--coils", "4", "--slices", "1", "--exclude", "patient01")
        call(script, images, "--output", tmp_path / workers, "--workers", workers, *options)
    for path in (tmp_path / "1").rglob("*.h5"):
        one, other = (read_scan(tmp_path / w / path.relative_to(tmp_path / "1")) for w in "12")
        assert torch.equal(one.kspace(0), other.kspace(0))


def test_matrices_and_coils_are_drawn_from_what_was_asked(images, tmp_path, call):
    out = tmp_path / "set"
    choice = ("--matrix", "48x40", "40x32", "512x512", "--coils", "3", "5", "--slices", "1")
    call(script, images, "--output", out, "--repeats", "4", *choice)
    shapes = {read_scan(path).shape[1:] for path in out.rglob("*.h5")}
    assert len(shapes) > 2
    assert shapes <= {(c, *m) for c in (3, 5) for m in ((48, 40), (40, 32))}


def test_gradient_and_spin_echoes_are_drawn_in_their_shares():
    ranges = Ranges([(48, 40)], [6], (30, 30), (3, 3), (0, 0), (2.0, 8.0), 0.4)
    echoes = [ranges.draw((64, 64), (number,)).echo for number in range(200)]
    times = [echo.echo_ms for echo in echoes if echo]
    assert 0.3 < echoes.count(None) / 200 < 0.5
    assert min(times) >= 2 and max(times) <= 8 and len(set(times)) > 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "no such file"),
        (("images", "--matrix", "512x512"), "smaller than every --matrix"),
        (("images", "--exclude", "patient"), "no NIfTI file"),
    ],
)
def test_errors_are_one_line(images, tmp_path, refused, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(script, *arguments, "--output", tmp_path / "set")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--matrix", "48"),
        ("--coils", "1"),
        ("--snr_db", "40", "20"),
        ("--echo_ms", "5", "1"),
        ("--spin_echo", "1.5"),
        ("--seed", "-1"),
    ],
)
def test_values_out_of_range_are_usage_errors(arguments):
    with pytest.raises(SystemExit) as status:
        script.options().parse_args(["images", "--output", "set", *arguments])
    assert status.value.code == 2


def test_images_that_are_no_single_volume(tmp_path, refused):
    save(tmp_path / "patient1.nii", np.ones((20, 20, 3, 2), np.float32))
    assert "has 2 volumes" in refused(script, tmp_path, "--output", tmp_path / "set")
    save(tmp_path / "patient1.nii", np.zeros((40, 40, 3), np.float32))
    error = refused(script, tmp_path, "--output", tmp_path / "set", "--matrix", "32x32")
    assert "zero everywhere" in error


@pytest.fixture
def series(tmp_path):
    """A folder with an oblique DICOM series by pydicom, its slices in disorder; the volume in order."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    volume = head(shape=(40, 48, 6)).astype(np.uint16)
    turn = np.linalg.qr(np.array([[1, 0.2, 0.1], [0.1, -1, 0.3], [0, 0.2, 1.0]]))[0]
    normal = np.cross(turn[0], turn[1])
    folder = tmp_path / "sub-07"
    folder.mkdir()
    uid = generate_uid()
    for number in range(6):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
        data.SeriesInstanceUID, data.Modality, data.SliceThickness = uid, "MR", 3
        data.ImageOrientationPatient = [round(float(v), 9) for v in (*turn[0], *turn[1])]
        place = np.array([-40.0, -50, 12]) + 3.5 * number * normal
        data.ImagePositionPatient = [round(float(v), 9) for v in place]
        data.PixelSpacing = [1.5, 1.25]
        data.Rows, data.Columns = volume.shape[:2]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.PixelData = np.ascontiguousarray(volume[..., number]).tobytes()
        data.save_as(folder / f"{(number * 5) % 7}.dcm", enforce_file_format=True)
    return folder, volume


@pytest.mark.filterwarnings("ignore:The DICOM readers")
def test_dicom_lies_where_nibabel_says(series):
    from nibabel.nicom.dicomwrappers import wrapper_from_file

    from mrirecon.io.dicom import is_dicom, read_series

    folder, volume = series
    image, affine = read_series(folder)
    assert np.array_equal(image, volume)
    for number in range(6):
        wrapper = wrapper_from_file(folder / f"{(number * 5) % 7}.dcm")
        assert np.array_equal(wrapper.get_data(), image[..., number])
        ours = affine @ [10, 20, number, 1]
        assert ours == pytest.approx(np.diag([-1, -1, 1, 1]) @ wrapper.affine @ [10, 20, 0, 1])
    assert not is_dicom(folder)


@pytest.mark.filterwarnings("ignore:The DICOM readers")
def test_dicom_is_what_simulate_and_messages_say(series, tmp_path):
    from mrirecon.io import read_scan
    from mrirecon.io.dicom import read_series
    from mrirecon.io.images import read_anatomy

    folder, volume = series
    data, affine, frame = read_anatomy(folder)
    assert np.array_equal(data, volume) and frame == "scanner"
    assert np.array_equal(affine, read_series(folder)[1])
    with pytest.raises(ValueError, match=r"is a folder of DICOM images: .* simulate"):
        read_scan(folder)
    damaged = sorted(folder.iterdir())[2]
    damaged.write_bytes(damaged.read_bytes()[:600])
    with pytest.raises(ValueError, match=f"{folder}") as caught:
        read_anatomy(folder)
    assert "\n" not in str(caught.value)


def test_dicom_becomes_a_set(series, tmp_path, call):
    folder, _ = series
    options = ("--matrix", "32x32", "--coils", "4", "--snr_db", "40", "40")
    status, printed, _ = call(script, folder, "--output", tmp_path / "set", *options)
    assert status == 0
    assert "train: 1 files" in printed


def test_dicom_with_gaps_and_without_pydicom(series, tmp_path, refused, monkeypatch):
    folder, _ = series
    options = ("--output", tmp_path / "set", "--matrix", "32x32", "--coils", "4")
    (folder / f"{(2 * 5) % 7}.dcm").unlink()
    assert "slices are missing" in refused(script, folder, *options)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert "pip install pydicom" in refused(script, folder, *options)
