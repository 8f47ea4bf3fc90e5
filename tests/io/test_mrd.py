"""MRD against files by the ISMRMRD tools and by the `ismrmrd` package, with k-space from numpy's own FFT."""

import pickle
import shutil
import subprocess
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mrirecon.geometry import Geometry
from mrirecon.io.mrd import read_mrd, write_mrd
from mrirecon.io.mrd_header import parse_header
from mrirecon.scan import Scan
from mrirecon.tensors import ifft2c

TOOL = "ismrmrd_generate_cartesian_shepp_logan"
needs_tools = pytest.mark.skipif(shutil.which(TOOL) is None, reason="ismrmrd-tools not installed")

EYE = {"read_dir": (1, 0, 0), "phase_dir": (0, 1, 0), "slice_dir": (0, 0, 1)}


def header_xml(encoded, recon, encoded_fov, recon_fov, limits=(), trajectory="cartesian", extra=""):
    def space(name, matrix, fov):
        fields = [("matrixSize", matrix), ("fieldOfView_mm", fov)]
        inner = "".join(
            f"<{tag}>"
            + "".join(f"<{k}>{v}</{k}>" for k, v in zip("xyz", values, strict=True))
            + f"</{tag}>"
            for tag, values in fields
        )
        return f"<{name}>{inner}</{name}>"

    ranges = "".join(
        f"<{name}><minimum>{low}</minimum><maximum>{high}</maximum><center>{center}</center></{name}>"
        for name, (low, high, center) in dict(limits).items()
    )
    return (
        '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
        "<experimentalConditions><H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz>"
        f"</experimentalConditions><encoding>{space('encodedSpace', encoded, encoded_fov)}"
        f"{space('reconSpace', recon, recon_fov)}<encodingLimits>{ranges}</encodingLimits>"
        f"<trajectory>{trajectory}</trajectory></encoding>{extra}</ismrmrdHeader>"
    )


def acquisition(data, ky=0, kz=0, flags=(), idx=None, **head):
    """One acquisition by the ismrmrd package; samples (coil, readout)."""
    acq = ismrmrd.Acquisition.from_array(np.ascontiguousarray(data, dtype=np.complex64))
    acq.center_sample = data.shape[1] // 2
    acq.sample_time_us = 5.0
    acq.idx.kspace_encode_step_1, acq.idx.kspace_encode_step_2 = ky, kz
    for name, value in (idx or {}).items():
        setattr(acq.idx, name, value)
    for name, value in head.items():
        if isinstance(value, tuple):
            getattr(acq, name)[:] = value
        else:
            setattr(acq, name, value)
    for flag in flags:
        acq.set_flag(getattr(ismrmrd, f"ACQ_IS_{flag}"))
    return acq


def write_file(path, xml, acquisitions, group="dataset"):
    with ismrmrd.Dataset(str(path), group) as file:
        file.write_xml_header(xml.encode())
        for acq in acquisitions:
            file.append_acquisition(acq)
    return path


def fft(image, axes=(-2, -1)):
    """Centred orthonormal FFT by numpy: the convention of the ISMRMRD tools."""
    shifted = np.fft.ifftshift(image, axes=axes)
    return np.fft.fftshift(np.fft.fftn(shifted, axes=axes, norm="ortho"), axes=axes)


def random_complex(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def plain_header(nx=16, ny=12, fov=160.0, **kwargs):
    """Matrix nx x ny, no oversampling, 10 mm pixels along x."""
    limits = {"kspace_encoding_step_1": (0, ny - 1, ny // 2)}
    space = ((nx, ny, 1), (nx, ny, 1), (fov, 120.0, 4.0), (fov, 120.0, 4.0))
    return header_xml(*space, limits, **kwargs)


def calibration_header(mode):
    """`plain_header` with a calibrationMode."""
    inner = (
        "<accelerationFactor><kspace_encoding_step_1>2</kspace_encoding_step_1><kspace_encoding_step_2>1"
        f"</kspace_encoding_step_2></accelerationFactor><calibrationMode>{mode}</calibrationMode>"
    )
    parallel = f"<parallelImaging>{inner}</parallelImaging></encoding>"
    return plain_header().replace("</encoding>", parallel)


def full_slice(kspace, **kwargs):
    """All lines of a (coil, readout, phase) k-space."""
    return [acquisition(kspace[..., ky], ky, **kwargs) for ky in range(kspace.shape[-1])]


# ---- the ISMRMRD tools


@needs_tools
@pytest.mark.parametrize(
    "options",
    [
        ["-m", "64", "-c", "4"],
        ["-m", "48", "-c", "1", "-O", "1"],
        ["-m", "64", "-c", "3", "-r", "3", "-C"],
        ["-m", "64", "-c", "4", "-k"],
        ["-m", "63", "-c", "2"],
    ],
)
def test_shepp_logan_is_the_tools_phantom(tmp_path, options):
    path = tmp_path / "shepp_logan.h5"
    subprocess.run([TOOL, *options, "-n", "0", "-o", path], check=True, capture_output=True)
    with h5py.File(path) as file:
        arrays = [file["dataset"][name][()].squeeze() for name in ("phantom", "csm", "coil_images")]
    phantom, maps, coil_images = (array["real"] + 1j * array["imag"] for array in arrays)
    maps, coil_images = (x.reshape(-1, *x.shape[-2:]) for x in (maps, coil_images))
    scan = read_mrd(path)
    n = phantom.shape[0]
    # With -O 1 the tool's header still says that half of the readout FOV is the image: so it is cropped.
    rows = n // 2 if "-O" in options else n
    assert scan.matrix == (rows, n)
    assert scan.volumes == (3 if "-r" in options else 1)
    assert scan.oversampling == 2.0
    kept = slice(n // 2 - rows // 2, n // 2 - rows // 2 + rows)
    phantom, maps = phantom[:, kept], maps[:, :, kept]
    assert scan.geometry.voxel_mm == pytest.approx((300 / rows, 300 / n, 6.0))
    assert not scan.geometry.known and any(
        "unknown" in note for note in scan.notes
    )  # T47: zero directions
    for volume in range(scan.volumes):
        kspace = scan.kspace(0, volume)
        full = ifft2c(kspace).numpy().transpose(0, 2, 1)
        full = np.roll(full, n % 2, axis=1)  # the tool's own shift of an odd axis is one pixel off
        np.testing.assert_allclose(np.abs(full), np.abs(coil_images), atol=2e-6)
        if n % 2:  # and so is its padding of the readout
            continue
        image = scan.to_output(ifft2c(kspace)).numpy().transpose(0, 2, 1)
        combined = (image * maps.conj()).sum(0) / (np.abs(maps) ** 2).sum(0)
        np.testing.assert_allclose(np.abs(combined), np.abs(phantom), atol=2e-6)


@needs_tools
def test_acceleration_repetitions_and_noise_of_the_tool(tmp_path):
    path = tmp_path / "accelerated.h5"
    options = ["-m", "64", "-c", "4", "-a", "2", "-w", "16", "-r", "2", "-C", "-n", "2"]
    subprocess.run([TOOL, *options, "-o", path], check=True, capture_output=True)
    scan = read_mrd(path)
    assert scan.volumes == 4  # T47: every repetition is written once per interleave
    columns = [scan.mask(0, volume).all(dim=0) for volume in range(4)]
    assert [int(mask.sum()) for mask in columns] == [40, 40, 40, 40]  # 8 of 16 ACS lines between
    assert not torch.equal(columns[0], columns[1])
    assert scan.acquired.all()
    assert scan.calibration is None  # every volume holds its own
    reference = np.zeros((4, 128, 64), np.complex64)  # by the ismrmrd package, line by line
    with ismrmrd.Dataset(str(path), mode="r") as file:
        for row in range(file.number_of_acquisitions()):
            acq = file.read_acquisition(row)
            if not acq.is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT) and acq.idx.repetition == 1:
                reference[:, :, acq.idx.kspace_encode_step_1] = acq.data
    np.testing.assert_array_equal(scan.kspace(0, 1).numpy(), reference)
    assert scan.noise_covariance is not None
    white = scan.noise_covariance.diagonal().real
    outside = scan.kspace(0, 1)[:, :, columns[1]][:, :8]  # corners of k-space: almost only noise
    measured = outside.abs().square().mean(dim=(1, 2))
    assert (measured / white).mean() == pytest.approx(1.0, abs=0.25)


# ---- what an acquisition may look like


def test_interleaved_slices_reversed_lines_and_volumes(tmp_path):
    rng = np.random.default_rng(1)
    truth = random_complex(rng, 2, 2, 4, 3, 16, 12)  # repetition, contrast, slice, coil
    acquisitions = []
    for repetition, contrast in np.ndindex(2, 2):
        for number, place in enumerate((2, 0, 3, 1)):  # slice counter is not the place
            for ky in rng.permutation(12):
                line = truth[repetition, contrast, place, :, :, ky]
                flags = ["REVERSE"] if ky % 2 else []
                line = line[:, ::-1] if ky % 2 else line
                idx = {"slice": number, "repetition": repetition, "contrast": contrast}
                position = (1.0, 2.0, 7.5 * place)
                acquisitions.append(acquisition(line, ky, 0, flags, idx, position=position, **EYE))
    rng.shuffle(acquisitions)
    path = write_file(tmp_path / "interleaved.h5", plain_header(), acquisitions)
    scan = read_mrd(path)
    assert scan.shape == (4, 3, 16, 12)
    names = [f"contrast {c} repetition {r}" for c in (0, 1) for r in (0, 1)]
    assert list(scan.volume_names) == names
    for contrast, repetition, place in np.ndindex(2, 2, 4):
        kspace = scan.kspace(place, 2 * contrast + repetition)
        np.testing.assert_array_equal(kspace.numpy(), truth[repetition, contrast, place])
    assert scan.geometry.voxel_mm == pytest.approx((10, 10, 7.5))
    assert scan.geometry.centers_mm == tuple((1.0, 2.0, 7.5 * place) for place in range(4))
    again = pickle.loads(pickle.dumps(scan))
    assert torch.equal(again.kspace(3, 2), scan.kspace(3, 2))


def test_partial_fourier_asymmetric_echo_discard_and_undersampling(tmp_path):
    rng = np.random.default_rng(2)
    truth = random_complex(rng, 2, 16, 12)
    lines = [
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        11,
    ]  # counters 0..8, centre 3: the first quarter was never planned
    acquisitions = []
    for ky in lines:
        noise = random_complex(rng, 2, 2)
        data = np.concatenate([noise, truth[:, 4:, ky], noise[:, :1]], axis=1)
        head = {"center_sample": 2 + 4, "discard_pre": 2, "discard_post": 1}
        acquisitions.append(acquisition(data, ky - 3, **head))
    xml = header_xml(
        (16, 12, 1), (16, 12, 1), (320, 240, 5), (320, 240, 5),
        {"kspace_encoding_step_1": (0, 8, 3)},
    )  # fmt: skip
    scan = read_mrd(write_file(tmp_path / "partial.h5", xml, acquisitions))
    expected = np.zeros_like(truth)
    expected[:, 4:, lines] = truth[:, 4:, lines]
    np.testing.assert_array_equal(scan.kspace(0).numpy(), expected)
    np.testing.assert_array_equal(scan.mask(0).numpy(), expected[0] != 0)
    acquired = np.zeros((16, 12), bool)
    acquired[4:, 3:] = True  # the header plans counters 0..8 = columns 3..11
    np.testing.assert_array_equal(scan.acquired.numpy(), acquired)


def test_reversed_asymmetric_echo_is_mirrored(tmp_path):
    truth = random_complex(np.random.default_rng(3), 1, 16, 12)
    forward = full_slice(truth[:, 4:, :6], center_sample=4)
    mirrored = [
        acquisition(truth[:, 5:, ky][:, ::-1], ky, flags=["REVERSE"], center_sample=11 - 4)
        for ky in range(6, 12)  # 11 samples, of which k = 0 is stored last but three
    ]
    scan = read_mrd(write_file(tmp_path / "mirror.h5", plain_header(), [*forward, *mirrored]))
    assert scan.mask(0).numpy()[:, 0].tolist() == [False] * 4 + [True] * 12
    columns = scan.kspace(0).numpy()[0]
    np.testing.assert_array_equal(columns[4:, :6], truth[0, 4:, :6])
    assert np.flatnonzero(columns[:, 7]).tolist() == list(range(5, 16))
    np.testing.assert_array_equal(columns[5:, 6:], truth[0, 5:, 6:])


def test_averages_are_averaged_by_their_own_count(tmp_path):
    rng = np.random.default_rng(4)
    counts = [1, 2, 3] * 4
    repeats = [random_complex(rng, count, 2, 16) for count in counts]
    acquisitions = [
        acquisition(data, ky, idx={"average": average, "segment": ky % 3})
        for ky, lines in enumerate(repeats)
        for average, data in enumerate(lines)
    ]
    scan = read_mrd(write_file(tmp_path / "averages.h5", plain_header(), acquisitions))
    expected = np.stack([lines.mean(axis=0) for lines in repeats], axis=-1)
    np.testing.assert_allclose(scan.kspace(0).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert any("own count" in note for note in scan.notes)


def test_noise_covariance_with_bandwidth_and_averages(tmp_path):
    rng = np.random.default_rng(5)
    noise = random_complex(rng, 3, 4000)
    noise[1] += 0.5 * noise[0]
    kspace = random_complex(rng, 3, 16, 12)
    blocks = [
        acquisition(part, flags=["NOISE_MEASUREMENT"], sample_time_us=10.0, center_sample=0)
        for part in np.split(noise, 4, axis=1)
    ]
    acquisitions = [*blocks, *full_slice(kspace), *full_slice(kspace, idx={"average": 1})]
    scan = read_mrd(write_file(tmp_path / "noise.h5", plain_header(), acquisitions))
    # Twice the dwell time is half the bandwidth: the imaging has twice the variance; two averages halve it.
    expected = 2 * noise @ noise.conj().T / 3999 / 2
    np.testing.assert_allclose(scan.noise_covariance.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert any("10 / 5 us" in note for note in scan.notes)
    np.testing.assert_allclose(scan.kspace(0).numpy(), kspace, rtol=1e-6)


def test_calibration_lines_and_lines_that_are_no_image(tmp_path):
    rng = np.random.default_rng(6)
    truth, separate, other = (random_complex(rng, 2, 16, 12) for _ in range(3))
    acquisitions = [acquisition(other[..., 0], 0, flags=["DUMMYSCAN_DATA"])]
    acquisitions += [acquisition(other[..., 1], 6, flags=["NAVIGATION_DATA"]) for _ in range(3)]
    acquisitions += [acquisition(other[..., 2], 6, flags=["PHASECORR_DATA", "REVERSE"])]
    acquisitions += [
        acquisition(separate[..., ky], ky, flags=["PARALLEL_CALIBRATION"]) for ky in (5, 7)
    ]
    both = ["PARALLEL_CALIBRATION_AND_IMAGING"]
    for repetition in (0, 1):
        acquisitions += [
            acquisition(truth[..., ky], ky, flags=both if ky == 6 and not repetition else [],
                        idx={"repetition": repetition})
            for ky in range(0, 12, 2)
        ]  # fmt: skip
    xml = calibration_header("separate")
    scan = read_mrd(write_file(tmp_path / "calibration.h5", xml, acquisitions))
    assert scan.volumes == 2
    np.testing.assert_array_equal(scan.kspace(0)[..., ::2].numpy(), truth[..., ::2])
    assert scan.kspace(0)[..., 1::2].abs().max() == 0
    expected = np.zeros_like(truth)
    expected[..., [5, 7]], expected[..., 6] = separate[..., [5, 7]], truth[..., 6]
    for volume in (0, 1):  # the second repetition has none of its own
        np.testing.assert_array_equal(scan.calibration(volume, 0).numpy(), expected)
    text = "; ".join(scan.notes)
    assert "3 navigator" in text and "1 dummy" in text and "1 phase correction" in text


def test_low_resolution_calibration_scan_lies_at_the_centre(tmp_path):
    rng = np.random.default_rng(7)
    truth, small = random_complex(rng, 1, 16, 12), random_complex(rng, 1, 8, 12)
    acquisitions = full_slice(truth)
    acquisitions += [
        acquisition(small[..., ky], ky, flags=["PARALLEL_CALIBRATION"]) for ky in range(4, 9)
    ]
    scan = read_mrd(write_file(tmp_path / "small.h5", plain_header(), acquisitions))
    expected = np.zeros_like(truth)
    expected[:, 4:12, 4:9] = small[..., 4:9]
    np.testing.assert_array_equal(scan.calibration(0, 0).numpy(), expected)


# ---- header against data


def test_oversampled_samples_with_a_header_after_removal(tmp_path):
    """Header 16 points on 160 mm, 32 samples were stored: the k-space FOV is 320 mm (neurocontainers PR 3206)."""
    image = random_complex(np.random.default_rng(8), 1, 32, 12)
    scan = read_mrd(write_file(tmp_path / "os.h5", plain_header(), full_slice(fft(image))))
    assert scan.shape == (1, 1, 32, 12)
    assert scan.oversampling == 2.0
    assert scan.matrix == (16, 12)
    assert scan.geometry.voxel_mm == pytest.approx((10, 10, 4))
    output = scan.to_output(ifft2c(scan.kspace(0)))
    np.testing.assert_allclose(output.numpy(), image[:, 8:24], atol=1e-5)
    assert any("data win" in note for note in scan.notes)


def test_recon_matrix_larger_than_the_window_is_interpolated(tmp_path):
    xml = header_xml((32, 12, 1), (32, 24, 1), (320, 120, 4), (160, 120, 4), {})
    image = np.ones((1, 32, 12), np.complex64)
    scan = read_mrd(write_file(tmp_path / "zip.h5", xml, full_slice(fft(image))))
    assert scan.crop == (slice(8, 24), slice(0, 12))
    assert scan.matrix == (32, 24)
    assert scan.geometry.voxel_mm == pytest.approx((5, 5, 4))
    output = scan.to_output(ifft2c(scan.kspace(0)))
    np.testing.assert_allclose(output.numpy(), np.ones((1, 32, 24)), atol=1e-5)


@pytest.mark.parametrize("place", [0, 1])
def test_a_recon_matrix_that_no_interpolation_has_is_ignored(tmp_path, place):
    """An image of a thousand million pixels would be made of it."""
    matrix = [16, 12, 1]
    matrix[place] = 999999999
    xml = header_xml((32, 12, 1), matrix, (320, 120, 4), (160, 120, 4), {})
    scan = read_mrd(write_file(tmp_path / "huge.h5", xml, full_slice(np.ones((1, 32, 12)))))
    assert scan.matrix == (16, 12)
    said = f"recon matrix along {'xy'[place]} is 999999999: the image keeps its {(16, 12)[place]} pixels"
    assert said in scan.notes


@pytest.mark.parametrize("number", ["1e30", "4" * 40, "-1e30", "2147483648"])
def test_numbers_beyond_any_scan_are_refused(tmp_path, number):
    xml = plain_header().replace("<x>16</x>", f"<x>{number}</x>")
    with pytest.raises(
        ValueError, match=rf"x = '{number}', larger than any scan has: correct the header"
    ):
        read_mrd(write_file(tmp_path / "a.h5", xml, full_slice(np.ones((1, 16, 12)))))


@pytest.mark.parametrize("fov", [(0, 0, 0), (-1, 12, 5), (4e20, 12, 5)])
def test_fov_unknown_crops_to_the_recon_matrix(tmp_path, fov):
    xml = header_xml((32, 12, 1), (16, 12, 1), fov, fov)
    scan = read_mrd(write_file(tmp_path / "nofov.h5", xml, full_slice(np.ones((1, 32, 12)))))
    assert scan.crop == (slice(8, 24), slice(0, 12))
    assert scan.geometry.voxel_mm is None
    assert any("no FOV" in note for note in scan.notes)


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_any_header_puts_k_space_centre_at_the_grid_centre(tmp_path_factory, data):
    """A point object has the same phase everywhere in k-space only if k = 0 lies at N // 2."""
    nx = data.draw(st.integers(4, 20))
    ny = data.draw(st.integers(4, 20))
    start = data.draw(st.integers(0, nx // 2 - 1))  # samples start..stop-1 of the full readout
    stop = data.draw(st.integers(nx // 2 + 2, nx)) if nx > 4 else nx
    first = data.draw(st.integers(0, ny // 2 - 1))
    last = data.draw(st.integers(ny // 2 + 1, ny - 1))
    shift = data.draw(st.integers(0, 9))  # the file's counter of the first planned line
    step = data.draw(st.integers(1, 3))
    truth = random_complex(np.random.default_rng(nx * ny), 2, nx, ny)
    lines = sorted({*range(first, last + 1, step), ny // 2, last})
    reverse = data.draw(st.booleans())
    acquisitions = []
    for ky in lines:
        samples, center = truth[:, start:stop, ky], nx // 2 - start
        if reverse:
            samples, center = samples[:, ::-1], stop - start - 1 - center
        acquisitions.append(
            acquisition(samples, ky - first + shift, center_sample=center,
                        flags=["REVERSE"] if reverse else [])
        )  # fmt: skip
    limits = {"kspace_encoding_step_1": (shift, last - first + shift, ny // 2 - first + shift)}
    xml = header_xml((nx, ny, 1), (nx, ny, 1), (200, 200, 5), (200, 200, 5), limits)
    path = tmp_path_factory.mktemp("any") / "any.h5"
    if not 0 < center < stop - start:  # centre 0 means "not set"
        return
    scan = read_mrd(write_file(path, xml, acquisitions))
    expected = np.zeros_like(truth)
    expected[:, start:stop, lines] = truth[:, start:stop, lines]
    np.testing.assert_array_equal(scan.kspace(0).numpy(), expected)
    np.testing.assert_array_equal(scan.mask(0).numpy(), expected[0] != 0)
    acquired = np.zeros((nx, ny), bool)
    acquired[start:stop, first : last + 1] = True
    np.testing.assert_array_equal(scan.acquired.numpy(), acquired)


# ---- 3D


def write_3d(path, volume, xml, points=None, **head):
    """Acquisitions of the FFT of an image volume (coil, x, y, z)."""
    kspace = fft(volume, axes=(1, 2, 3))
    points = np.ndindex(*volume.shape[2:]) if points is None else points
    lines = [acquisition(kspace[:, :, ky, kz], ky, kz, **head) for ky, kz in points]
    return write_file(path, xml, lines)


def header_3d(nx, ny, nz, recon_x):
    limits = {
        "kspace_encoding_step_1": (0, ny - 1, ny // 2),
        "kspace_encoding_step_2": (0, nz - 1, nz // 2),
    }
    fov = (nx * 1.5, ny * 2.0, nz * 3.0)
    return header_xml((nx, ny, nz), (recon_x, ny, nz), fov, (recon_x * 1.5, *fov[1:]), limits)


def test_3d_becomes_slices_along_the_readout(tmp_path):
    volume = random_complex(np.random.default_rng(9), 2, 16, 6, 5)
    angle = np.deg2rad(30)
    read = (float(np.cos(angle)), float(np.sin(angle)), 0.0)
    phase = (float(-np.sin(angle)), float(np.cos(angle)), 0.0)
    head = {"read_dir": read, "phase_dir": phase, "slice_dir": (0, 0, -1), "position": (5, 6, 7)}
    points = [(ky, kz) for ky in range(6) for kz in range(5) if (ky + kz) % 2 or ky == 3]
    path = write_3d(tmp_path / "3d.h5", volume, header_3d(16, 6, 5, 8), points, **head)
    scan = read_mrd(path)
    assert scan.is_3d
    assert scan.shape == (8, 2, 6, 5)
    mask = np.zeros((6, 5), bool)
    mask[tuple(zip(*points, strict=True))] = True
    for index in range(8):
        expected = fft(volume[:, 4 + index], axes=(1, 2)) * mask
        np.testing.assert_allclose(scan.kspace(index).numpy(), expected, atol=1e-5)
        np.testing.assert_array_equal(scan.mask(index).numpy(), mask)
    geometry = scan.geometry
    assert geometry.voxel_mm == pytest.approx((2.0, 3.0, 1.5))
    np.testing.assert_allclose(geometry.directions, [phase, (0, 0, -1), read], atol=1e-6)
    affine = geometry.affine_lps(scan.matrix)
    centre = affine @ [
        3,
        2,
        4,
        1,
    ]  # the pixel N // 2 of each axis lies at the excited slab's centre
    np.testing.assert_allclose(centre[:3], (5, 6, 7), atol=1e-5)
    step = affine @ [4, 2, 5, 1] - centre
    np.testing.assert_allclose(step[:3], 2 * np.array(phase) + 1.5 * np.array(read), atol=1e-5)
    again = pickle.loads(pickle.dumps(scan))
    assert torch.equal(again.kspace(2), scan.kspace(2))


def test_3d_averages_and_many_lines(tmp_path, monkeypatch):
    monkeypatch.setattr("mrirecon.io.readouts._LINES_AT_ONCE", 7)
    volume = random_complex(np.random.default_rng(10), 1, 8, 6, 4)
    kspace = fft(volume, axes=(1, 2, 3))
    lines = [
        acquisition((1 + average) / 2 * kspace[:, :, ky, kz], ky, kz, idx={"average": average})
        for average in range(3)
        for ky, kz in np.ndindex(6, 4)
    ]
    scan = read_mrd(write_file(tmp_path / "3d.h5", header_3d(8, 6, 4, 8), lines))
    for index in range(8):
        expected = fft(volume[:, index], axes=(1, 2))
        np.testing.assert_allclose(scan.kspace(index).numpy(), expected, atol=1e-5)
    assert "every line is the average of 3 readouts" in scan.notes


# ---- where it lies


def stack(tmp_path, positions, directions=EYE, thickness_header=None):
    line = np.ones((1, 16), np.complex64)
    acquisitions = [
        acquisition(
            line * (number + 1), 6, idx={"slice": number}, position=tuple(position), **directions
        )
        for number, position in enumerate(positions)
    ]
    path = tmp_path / "stack.h5"
    return read_mrd(write_file(path, thickness_header or plain_header(), acquisitions))


def test_oblique_gapped_reversed_slices(tmp_path):
    """Affine against one computed by hand; counters run against the slice direction, 4 mm slices 6 mm apart."""
    rotation = np.linalg.qr(np.random.default_rng(11).standard_normal((3, 3)))[0]
    read, phase, normal = rotation
    directions = {"read_dir": tuple(read), "phase_dir": tuple(phase), "slice_dir": tuple(normal)}
    positions = [np.array([10.0, -20.0, 30.0]) + 6 * normal * place for place in (2, 1, 0, -1)]
    scan = stack(tmp_path, positions, directions)
    assert [float(scan.kspace(i).abs().max()) for i in range(4)] == [4, 3, 2, 1]
    affine = scan.geometry.affine_lps(scan.matrix)
    expected = np.eye(4)
    expected[:3, 0], expected[:3, 1], expected[:3, 2] = 10 * read, 10 * phase, 6 * normal
    expected[:3, 3] = positions[3] - 8 * 10 * read - 6 * 10 * phase
    np.testing.assert_allclose(affine, expected, atol=1e-4)
    assert scan.geometry.voxel_mm == pytest.approx((10, 10, 6))


def test_slices_are_ordered_along_their_own_direction(tmp_path):
    """Sagittal ones, from left to right, counted in another order: all have one z."""
    directions = {"read_dir": (0, 0, 1), "phase_dir": (0, 1, 0), "slice_dir": (1, 0, 0)}
    scan = stack(tmp_path, [(x, 0, 0) for x in (10, -5, 0, 5)], directions)
    assert [float(scan.kspace(i).abs().max()) for i in range(4)] == [2, 3, 4, 1]
    assert [center[0] for center in scan.geometry.centers_mm] == [-5, 0, 5, 10]


@pytest.mark.parametrize(
    "positions, directions, word",
    [
        ([(0, 0, 0), (0, 0, 5), (0, 0, 11)], EYE, "equidistant"),
        ([(0, 0, 0), (0, 0, 0)], EYE, "one position"),
        ([(0, 0, 0), (0, 0, 5)], {}, "unknown"),
        ([(0, 0, float("nan")), (0, 0, 5)], EYE, "unknown"),
        ([(0, 0, 0)], {**EYE, "phase_dir": (1, 0, 0)}, "unknown"),
    ],
)
def test_geometry_that_cannot_be_known(tmp_path, positions, directions, word):
    scan = stack(tmp_path, positions, directions)
    assert not scan.geometry.known
    assert sum(word in note for note in (*scan.notes, scan.geometry.note)) == 1  # info prints both
    assert scan.geometry.voxel_mm == pytest.approx((10, 10, 4))  # thickness, said to be assumed


def test_tilted_slices_have_no_affine(tmp_path):
    turned = {"read_dir": (1, 0, 0), "phase_dir": (0, 0, 1), "slice_dir": (0, -1, 0)}
    acquisitions = [
        acquisition(
            np.ones((1, 16)), 6, idx={"slice": i}, position=(0.0, 0.0, 5.0 * i), **directions
        )
        for i, directions in enumerate((EYE, turned))
    ]
    scan = read_mrd(write_file(tmp_path / "tilted.h5", plain_header(), acquisitions))
    assert not scan.geometry.known and any("not parallel" in note for note in scan.notes)


# ---- bad input


def bad_files(tmp_path):
    line = np.ones((2, 16), np.complex64)
    slab = [
        acquisition(line, ky, kz, idx={"slice": s})
        for ky in (5, 6)
        for kz in (0, 1)
        for s in (0, 1)
    ]
    limits = {"kspace_encoding_step_1": (0, 11, 6), "kspace_encoding_step_2": (0, 1, 1)}
    xml_3d = header_xml((16, 12, 2), (16, 12, 2), (160, 120, 8), (160, 120, 8), limits)
    spiral = plain_header(trajectory="spiral")
    return {
        "radial": (plain_header(trajectory="radial"), [acquisition(line, 6)], "only Cartesian"),
        "spiral": (spiral, [acquisition(line, 6)], "spiral"),
        "coils": (plain_header(), [acquisition(line, 6), acquisition(line[:1], 7)], "1 and 2 coils"),
        "noise": (plain_header(), [acquisition(line, flags=["NOISE_MEASUREMENT"])], "imaging readout"),
        "center": (plain_header(), [acquisition(line, 6, center_sample=16)], "center_sample 16"),
        "discard": (plain_header(), [acquisition(line, 6, discard_pre=9, discard_post=7)], "discarded"),
        "far": (plain_header(), [acquisition(line, 6), acquisition(line, 60000)], "60000"),
        "slabs": (xml_3d, slab, "2 slabs"),
        "xml": ("<ismrmrdHeader><encoding>", [acquisition(line, 6)], "not valid XML"),
        "other": ("<html></html>", [acquisition(line, 6)], "<html>"),
        "number": (plain_header().replace(">16<", ">many<"), [acquisition(line, 6)], "'many'"),
        "pixel": (plain_header(1, 1), [acquisition(line[:, :1], 0)], "1 x 1"),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(bad_files(None)))
def test_what_cannot_be_read_says_so_in_one_sentence(tmp_path, name):
    xml, acquisitions, words = bad_files(tmp_path)[name]
    path = write_file(tmp_path / "bad.h5", xml, acquisitions)
    with pytest.raises(ValueError, match=words) as caught:
        read_mrd(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_compressed_readouts_are_refused(tmp_path):
    acq = acquisition(np.ones((1, 16)), 6)
    acq.set_flag(ismrmrd.ACQ_COMPRESSION1)
    path = write_file(tmp_path / "compressed.h5", plain_header(), [acq])
    with pytest.raises(ValueError, match="compressed"):
        read_mrd(path)


def test_hdf5_that_is_no_mrd(tmp_path):
    line = acquisition(np.ones((1, 16)), 6)
    path = write_file(tmp_path / "named.h5", plain_header(), [line], group="scan7")
    assert any("scan7" in note for note in read_mrd(path).notes)
    write_file(path, plain_header(), [line], group="scan8")
    with pytest.raises(ValueError, match="several measurements"):
        read_mrd(path)
    cases = {
        "no MRD group": lambda file: file.create_dataset("kspace", data=np.zeros(3)),
        "'xml'": lambda file: file.create_group("dataset").create_dataset("data", data=[1.0]),
        "no 'data'": lambda file: file.create_group("dataset"),
        "not one string": lambda file: file.create_group("dataset").update(
            {"data": np.zeros(3), "xml": np.zeros(1)}
        ),
        "other than MRD": lambda file: file.create_group("dataset").update(
            {"data": np.zeros(3), "xml": [b"<ismrmrdHeader/>"]}
        ),
        "no acquisitions": lambda file: (
            file.create_dataset("dataset/data", (0,), dtype=ismrmrd.hdf5.acquisition_dtype),
            file.create_dataset("dataset/xml", data=[b"<ismrmrdHeader/>"]),
        ),
    }
    for number, (words, make) in enumerate(cases.items()):
        path = tmp_path / f"other{number}.h5"
        with h5py.File(path, "w") as file:
            make(file)
        with pytest.raises(ValueError, match=words):
            read_mrd(path)
    with pytest.raises(FileNotFoundError):
        read_mrd(tmp_path / "none.h5")
    with pytest.raises(IsADirectoryError):
        read_mrd(tmp_path)
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(ValueError, match=r"text\.h5"):
        read_mrd(tmp_path / "text.h5")


def test_samples_that_do_not_fit_their_head(tmp_path):
    path = write_file(tmp_path / "short.h5", plain_header(), full_slice(np.ones((2, 16, 12))))
    with h5py.File(path, "r+") as file:
        row = file["dataset/data"][3]
        row["data"] = row["data"][:-2]
        file["dataset/data"][3] = row
    with pytest.raises(ValueError, match="acquisition 3 holds 62 numbers"):
        read_everything(path)


def read_everything(path):
    scan = read_mrd(path)
    return [scan.kspace(i, v) for v in range(scan.volumes) for i in range(min(scan.shape[0], 20))]


def test_truncated_files_give_one_clear_error(tmp_path):
    whole = write_file(tmp_path / "whole.h5", plain_header(), full_slice(np.ones((2, 16, 12))))
    content = whole.read_bytes()
    path = tmp_path / "cut.h5"
    for size in [*range(0, 2000, 97), *np.linspace(2000, len(content) - 1, 60).astype(int)]:
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"cut\.h5"):
            read_everything(path)


def test_mangled_bytes_never_crash(tmp_path):
    """Bytes overwritten at random: it reads, or one ValueError; HDF5 has no checksum that would notice all."""
    rng = np.random.default_rng(12)
    whole = write_file(tmp_path / "whole.h5", plain_header(), full_slice(np.ones((1, 16, 12))))
    content = np.frombuffer(whole.read_bytes(), np.uint8)
    path = tmp_path / "mangled.h5"
    failed = 0
    for _ in range(150):
        mangled = content.copy()
        where = rng.integers(0, min(len(content), 8000), 6)
        mangled[where] = rng.integers(0, 256, 6)
        path.write_bytes(mangled.tobytes())
        try:
            read_everything(path)
        except ValueError as error:
            failed += 1
            assert "\n" not in str(error) and str(error).startswith(str(path))
    assert 0 < failed < 150


def test_only_the_slice_asked_for_is_read(tmp_path):
    """Samples of another slice are damaged, which nobody notices until that slice is read."""
    acquisitions = [
        acquisition(np.ones((1, 16)), ky, idx={"slice": number})
        for ky in range(12)
        for number in (0, 1)
    ]
    path = write_file(tmp_path / "lazy.h5", plain_header(), acquisitions)
    with h5py.File(path, "r+") as file:
        row = file["dataset/data"][1]
        row["data"] = row["data"][:-2]
        file["dataset/data"][1] = row
    scan = read_mrd(path)
    assert scan.kspace(0).shape == (1, 16, 12)
    assert scan.mask(1).all()
    with pytest.raises(ValueError, match="damaged"):
        scan.kspace(1)


@pytest.mark.parametrize("layout", [{"chunks": (5,), "compression": "gzip"}, {"chunks": (7,)}, {}])
def test_any_storage_layout_of_the_acquisitions(tmp_path, layout):
    truth = random_complex(np.random.default_rng(20), 2, 16, 12)
    path = write_file(tmp_path / "layout.h5", plain_header(), full_slice(truth))
    with h5py.File(path, "r+") as file:
        records = file["dataset/data"][()]
        del file["dataset/data"]
        file["dataset"].create_dataset("data", data=records, **layout)
    np.testing.assert_array_equal(read_mrd(path).kspace(0).numpy(), truth)


def test_reading_does_not_leak(tmp_path):
    """h5py leaks what it converts without handing it out: 4 MB of samples, read 30 times."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc")
    line = np.ones((16, 2048), np.complex64)
    acquisitions = [acquisition(line, ky) for ky in range(16)]
    path = write_file(tmp_path / "big.h5", plain_header(2048, 16), acquisitions)

    def resident():
        return int(statm.read_text().split()[1]) * 4096

    for _ in range(10):
        read_mrd(path).kspace(0)
    before = resident()
    for _ in range(30):
        read_mrd(path).kspace(0)
    assert resident() - before < 40e6


# ---- writing


def make_scan(kspace, mask, **kwargs):
    """A scan in memory from k-space (volume, slice, coil, readout, phase) and mask (readout, phase)."""
    tensor, mask = torch.from_numpy(kspace), torch.from_numpy(mask)
    _, slices, coils, rows, columns = kspace.shape
    defaults = {
        "acquired": torch.ones(rows, columns, dtype=torch.bool),
        "crop": (slice(0, rows), slice(0, columns)),
        "matrix": (rows, columns),
        "volumes": len(kspace),
    }
    return Scan(
        source="memory",
        format="test",
        shape=(slices, coils, rows, columns),
        read=lambda volume, index: tensor[volume, index] * mask,
        sampling=lambda volume, index: mask,
        **(defaults | kwargs),
    )


ROTATION = np.linalg.qr(np.random.default_rng(13).standard_normal((3, 3)))[0]
OBLIQUE = Geometry(
    voxel_mm=(1.25, 1.5, 5.0),
    directions=tuple(tuple(map(float, row)) for row in ROTATION),
    centers_mm=tuple(tuple(map(float, 5.0 * i * ROTATION[2] + [1, 2, 3])) for i in range(3)),
)


def test_what_is_written_is_read_by_the_ismrmrd_package(tmp_path):
    rng = np.random.default_rng(14)
    kspace = random_complex(rng, 2, 3, 2, 16, 12)
    mask = np.zeros((16, 12), bool)
    mask[3:, ::2] = True  # partial echo and every second line
    acquired = torch.zeros(16, 12, dtype=torch.bool)
    acquired[3:, :11] = True
    scan = make_scan(
        kspace,
        mask,
        geometry=OBLIQUE,
        acquired=acquired,
        crop=(slice(4, 12), slice(0, 12)),
        matrix=(8, 12),
        volume_names=("contrast 0", "contrast 1"),
    )
    path = tmp_path / "out.h5"
    write_mrd(scan, path)
    with ismrmrd.Dataset(str(path), mode="r") as file:
        header = ismrmrd.xsd.CreateFromDocument(file.read_xml_header())
        count = file.number_of_acquisitions()
        acquisitions = [file.read_acquisition(row) for row in range(count)]
    encoding = header.encoding[0]
    assert encoding.encodedSpace.matrixSize.x == 16
    assert encoding.reconSpace.matrixSize.x == 8
    assert encoding.encodedSpace.fieldOfView_mm.x == pytest.approx(2 * 8 * 1.25)
    assert encoding.reconSpace.fieldOfView_mm.y == pytest.approx(12 * 1.5)
    assert encoding.encodingLimits.kspace_encoding_step_1.maximum == 10
    assert encoding.encodingLimits.contrast.maximum == 1
    assert encoding.parallelImaging.accelerationFactor.kspace_encoding_step_1 == 2
    assert header.acquisitionSystemInformation.receiverChannels == 2
    assert count == 2 * 3 * 6
    for acq in acquisitions:
        ky, place, volume = acq.idx.kspace_encode_step_1, acq.idx.slice, acq.idx.contrast
        assert (acq.number_of_samples, acq.center_sample) == (13, 5)
        np.testing.assert_array_equal(acq.data, kspace[volume, place, :, 3:, ky])
        np.testing.assert_allclose(list(acq.position), OBLIQUE.centers_mm[place], rtol=1e-6)
        np.testing.assert_allclose(list(acq.phase_dir), OBLIQUE.directions[1], rtol=1e-6)

    again = read_mrd(path)
    assert again.shape == scan.shape and again.crop == scan.crop and again.matrix == scan.matrix
    assert again.volume_names == ("contrast 0", "contrast 1")
    assert torch.equal(again.acquired, acquired)
    assert again.geometry.voxel_mm == pytest.approx(OBLIQUE.voxel_mm, rel=1e-5)
    np.testing.assert_allclose(
        again.geometry.affine_lps(again.matrix), OBLIQUE.affine_lps((8, 12)), atol=1e-4
    )
    for volume, index in np.ndindex(2, 3):
        assert torch.equal(again.kspace(index, volume), scan.kspace(index, volume))
        assert torch.equal(again.mask(index, volume), scan.mask(index, volume))


@needs_tools
def test_the_ismrmrd_tools_reconstruct_what_is_written(tmp_path):
    rng = np.random.default_rng(15)
    image = random_complex(rng, 3, 32, 16)
    geometry = Geometry(voxel_mm=(1.0, 1.0, 4.0))
    crop = {"crop": (slice(8, 24), slice(0, 16)), "matrix": (16, 16)}
    kspace = fft(image)[None, None].astype(np.complex64)
    scan = make_scan(kspace, np.ones((32, 16), bool), geometry=geometry, **crop)
    path = tmp_path / "tool.h5"
    write_mrd(scan, path)
    subprocess.run(["ismrmrd_recon_cartesian_2d", path], check=True, capture_output=True)
    with h5py.File(path) as file:
        tool = file["dataset/cpp/data"][()].squeeze().T
    rss = np.sqrt((np.abs(image[:, 8:24]) ** 2).sum(axis=0))
    gain = np.vdot(tool, rss) / np.vdot(tool, tool)
    np.testing.assert_allclose(gain * tool, rss, rtol=1e-4)


def test_3d_and_two_dimensional_masks_survive_writing(tmp_path):
    rng = np.random.default_rng(16)
    volume = random_complex(rng, 2, 12, 6, 5)
    path = write_3d(tmp_path / "3d.h5", volume, header_3d(12, 6, 5, 8), position=(1, 2, 3), **EYE)
    scan = read_mrd(path)
    mask = torch.from_numpy(rng.random((6, 5)) < 0.6)
    mask[3, 2] = True
    for number, one in enumerate((scan, scan.undersample(mask))):
        out = tmp_path / f"out{number}.h5"
        write_mrd(one, out)
        again = read_mrd(out)
        assert again.is_3d and again.shape == one.shape
        np.testing.assert_allclose(
            again.geometry.affine_lps(again.matrix), one.geometry.affine_lps(one.matrix), atol=1e-4
        )
        for index in range(8):
            np.testing.assert_allclose(again.kspace(index), one.kspace(index), atol=1e-5)
            assert torch.equal(again.mask(index), one.mask(index))

    flat = make_scan(random_complex(rng, 1, 1, 2, 9, 7), rng.random((9, 7)) < 0.5)
    write_mrd(
        flat, tmp_path / "flat.h5"
    )  # one slice with a 2D mask: every sample is an acquisition
    again = read_mrd(tmp_path / "flat.h5")
    assert again.shape == flat.shape
    np.testing.assert_allclose(again.kspace(0), flat.kspace(0), atol=1e-6)
    assert torch.equal(again.mask(0), flat.mask(0))


def test_mask_with_holes_that_varies_with_the_slice_is_refused(tmp_path):
    rng = np.random.default_rng(17)
    masks = torch.from_numpy(rng.random((2, 8, 6)) < 0.5)
    scan = Scan(
        source="memory",
        format="test",
        shape=(2, 1, 8, 6),
        read=lambda volume, index: masks[index][None].to(torch.complex64),
        acquired=torch.ones(8, 6, dtype=torch.bool),
        crop=(slice(0, 8), slice(0, 6)),
        matrix=(8, 6),
    )
    with pytest.raises(ValueError, match="varies from slice to slice"):
        write_mrd(scan, tmp_path / "holes.h5")


def test_calibration_and_header_survive_writing(tmp_path):
    rng = np.random.default_rng(18)
    truth, separate = random_complex(rng, 2, 16, 12), random_complex(rng, 2, 16, 12)
    acquisitions = [acquisition(truth[..., ky], ky) for ky in range(0, 12, 3)]
    acquisitions += [
        acquisition(separate[..., ky], ky, flags=["PARALLEL_CALIBRATION"]) for ky in range(4, 8)
    ]
    extra = "<sequenceParameters><TR>500</TR><TE>10</TE><TE>20</TE></sequenceParameters>"
    path = write_file(tmp_path / "in.h5", plain_header(extra=extra), acquisitions)
    scan = read_mrd(path)
    assert scan.attributes["te_ms"] == (10.0, 20.0)
    write_mrd(scan, tmp_path / "out.h5")
    again = read_mrd(tmp_path / "out.h5")
    assert torch.equal(again.kspace(0), scan.kspace(0))
    assert torch.equal(again.calibration(0, 0), scan.calibration(0, 0))
    assert again.attributes["te_ms"] == (10.0, 20.0)
    assert again.attributes["resonance_frequency_hz"] == 63500000.0
    assert again.crop == scan.crop and again.geometry.voxel_mm == scan.geometry.voxel_mm


def test_unknown_voxel_size_stays_unknown(tmp_path):
    scan = make_scan(np.ones((1, 1, 1, 8, 6), np.complex64), np.ones((8, 6), bool))
    write_mrd(scan, tmp_path / "unknown.h5")
    again = read_mrd(tmp_path / "unknown.h5")
    assert again.geometry.voxel_mm is None and not again.geometry.known
    assert again.matrix == (8, 6) and torch.equal(again.kspace(0), scan.kspace(0))


@settings(deadline=None, max_examples=25)
@given(
    shape=st.tuples(*(st.integers(1, top) for top in (2, 3, 3))),
    size=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    density=st.floats(0.1, 1.0),
    seed=st.integers(0, 2**16),
)
def test_any_scan_with_full_readouts_survives(tmp_path_factory, shape, size, density, seed):
    rng = np.random.default_rng(seed)
    columns = rng.random(size[1]) < density
    columns[size[1] // 2] = True
    mask = np.broadcast_to(columns, size).copy()
    scan = make_scan(random_complex(rng, *shape, *size), mask)
    path = Path(tmp_path_factory.mktemp("any")) / "any.mrd"
    write_mrd(scan, path)
    again = read_mrd(path)
    assert again.shape == scan.shape and again.volumes == scan.volumes
    for volume, index in np.ndindex(*shape[:2]):
        assert torch.equal(again.kspace(index, volume), scan.kspace(index, volume))
        assert torch.equal(again.mask(index, volume), scan.mask(index, volume))


# ---- the header


def test_header_fields_and_missing_fields():
    extra = "<sequenceParameters><flipAngle_deg>15</flipAngle_deg></sequenceParameters>"
    info = parse_header(plain_header(extra=extra).replace("63500000", "123200000"))
    encoding = info.encoding
    assert encoding.encoded_matrix == (16, 12, 1)
    assert encoding.recon_fov_mm == (160.0, 120.0, 4.0)
    limit = encoding.limits["kspace_encoding_step_1"]
    assert (limit.minimum, limit.maximum, limit.center) == (0, 11, 6)
    assert (encoding.trajectory, info.flip_deg) == ("cartesian", (15.0,))
    assert info.attributes() == {"resonance_frequency_hz": 123200000.0, "flip_deg": (15.0,)}
    empty = parse_header("<ismrmrdHeader/>")
    assert empty.encoding.encoded_matrix is None and empty.attributes() == {}
    bare = parse_header(
        b"<?xml version='1.0' encoding='latin-1'?><ismrmrdHeader><encoding/></ismrmrdHeader>"
    )
    assert bare.encoding.limits == {} and bare.coils is None


def test_header_without_encoding_still_reads(tmp_path):
    image = random_complex(np.random.default_rng(19), 2, 16, 12)
    path = write_file(tmp_path / "bare.h5", "<ismrmrdHeader/>", full_slice(fft(image)))
    scan = read_mrd(path)
    np.testing.assert_allclose(ifft2c(scan.kspace(0)).numpy(), image, atol=1e-5)
    assert scan.matrix == (16, 12) and scan.geometry.voxel_mm is None
