"""Siemens twix: files written by twixtools, with k-space from numpy's own FFT in Siemens' sign convention."""

import contextlib
import io
import pickle
import struct
import sys

import numpy as np
import pytest
import torch

from mrirecon.io import read_scan
from mrirecon.io.twix import read_twix
from mrirecon.tensors import ifft2c

twixtools = pytest.importorskip("twixtools")

AXIAL = (
    1.0,
    0.0,
    0.0,
    0.0,
)  # unit quaternion: phase, readout, slice = sagittal, coronal, transversal
PROTOCOL = {
    "sKSpace.lBaseResolution": 16,
    "sKSpace.lPhaseEncodingLines": 12,
    "sKSpace.lPartitions": 1,
    "sKSpace.lImagesPerSlab": 1,
    "sKSpace.ucDimension": 2,
    "sKSpace.ucTrajectory": 1,
    "sSliceArray.asSlice[0].dReadoutFOV": 160.0,
    "sSliceArray.asSlice[0].dPhaseFOV": 120.0,
    "sSliceArray.asSlice[0].dThickness": 4.0,
    "sRXSPEC.alDwellTime[0]": 5000,
    "alTE[0]": 3000,
}


def protocol(**changes):
    """Header bytes with nothing but an ASCCONV protocol."""
    values = PROTOCOL | {name.replace("__", "."): value for name, value in changes.items()}
    text = "### ASCCONV BEGIN ###\n"
    text += (
        "".join(f"{name} = {value}\n" for name, value in values.items()) + "### ASCCONV END ###\n"
    )
    buffer = b"MeasYaps\0" + struct.pack("<I", len(text)) + text.encode()
    buffer += bytes(48)  # the parser looks at 48 bytes at a time
    content = struct.pack("<II", 8 + len(buffer), 1) + buffer
    return np.frombuffer(content, "S1")


def readout(data, lin=0, flags=(), position=(0, 0, 0), quaternion=AXIAL, center=None, **counters):
    mdb = twixtools.mdb.Mdb_local(np.ascontiguousarray(data, np.complex64))
    mdb.mdh.CenterCol = data.shape[1] // 2 if center is None else center
    mdb.mdh.CenterLin, mdb.mdh.CenterPar = 6, counters.pop("center_par", 0)
    mdb.mdh.Counter.Lin = lin
    for name, value in counters.items():
        setattr(mdb.mdh.Counter, name, value)
    for axis, value in zip(("Sag", "Cor", "Tra"), position, strict=True):
        setattr(mdb.mdh.SliceData.SlicePos, axis, value)
    mdb.mdh.SliceData.Quaternion[:] = quaternion
    for flag in flags:
        mdb.add_flag(flag)
    return mdb


def write_file(path, *measurements):
    """Each measurement is (readouts, protocol bytes)."""
    scans = [{"hdr_str": header, "mdb": readouts} for readouts, header in measurements]
    with contextlib.redirect_stdout(io.StringIO()):
        twixtools.write_twix(scans, str(path))
    return path


def siemens(image, axes=(-2, -1)):
    """K-space of which `image` is the FFT: what a Siemens scanner stores."""
    shifted = np.fft.ifftshift(image, axes=axes)
    return np.fft.fftshift(np.fft.ifftn(shifted, axes=axes, norm="ortho"), axes=axes)


def random_complex(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def test_image_is_the_fft_of_siemens_samples(tmp_path):
    image = random_complex(np.random.default_rng(1), 2, 32, 12)
    # Conjugation turns the image's phase as well, which no magnitude shows.
    kspace = siemens(np.conj(image))
    lines = [readout(kspace[..., lin], lin, position=(10, 20, 30)) for lin in range(12)]
    scan = read_twix(write_file(tmp_path / "plain.dat", (lines, protocol())))
    assert (scan.shape, scan.matrix, scan.oversampling) == ((1, 2, 32, 12), (16, 12), 2.0)
    assert scan.crop == (slice(8, 24), slice(0, 12))
    np.testing.assert_allclose(ifft2c(scan.kspace(0)).numpy(), image, atol=1e-5)
    with contextlib.redirect_stdout(io.StringIO()):
        measured = twixtools.read_twix(
            str(tmp_path / "plain.dat"), parse_pmu=False, parse_geometry=False, verbose=False
        )[-1]["mdb"]
    expected = np.stack([np.conj(mdb.data) for mdb in measured], axis=-1)
    np.testing.assert_array_equal(scan.kspace(0).numpy(), expected)
    geometry = scan.geometry
    assert geometry.voxel_mm == pytest.approx((10, 10, 4))
    assert geometry.directions == ((0, 1, 0), (1, 0, 0), (0, 0, 1))
    assert geometry.centers_mm == ((10, 20, 30),)
    assert scan.attributes["te_ms"] == (3.0,)
    assert any("conjugated" in note for note in scan.notes)
    again = pickle.loads(pickle.dumps(scan))
    assert torch.equal(again.kspace(0), scan.kspace(0))


def test_slices_repetitions_averages_and_partial_echo(tmp_path):
    truth = random_complex(np.random.default_rng(2), 2, 3, 2, 32, 12)  # repetition, place, coil
    lines = []
    for rep, sli, lin in np.ndindex(2, 3, 12):
        place = (1, 2, 0)[sli]
        data = truth[rep, place, :, 8:, lin]
        where = {"position": (0, 0, 7.0 * place), "Sli": sli, "Rep": rep}
        for average, offset in enumerate((0.25, -0.25)):
            lines.append(readout(data + offset, lin, center=8, Ave=average, **where))
    scan = read_twix(write_file(tmp_path / "slices.dat", (lines, protocol())))
    assert scan.shape == (3, 2, 32, 12)
    assert scan.volume_names == ("repetition 0", "repetition 1")
    for rep, place in np.ndindex(2, 3):
        kspace = scan.kspace(place, rep).numpy()
        np.testing.assert_allclose(kspace[:, 8:], truth[rep, place, :, 8:].conj(), atol=1e-6)
        assert np.abs(kspace[:, :8]).max() == 0
    assert scan.geometry.voxel_mm == pytest.approx((10, 10, 7))


def test_reflected_lines_and_lines_that_are_no_image(tmp_path):
    truth = random_complex(np.random.default_rng(3), 1, 32, 12)
    lines = [readout(np.ones((1, 32)), 6, ["PHASCOR", "RTFEEDBACK", "REFLECT"])]
    for lin in range(12):
        odd = lin % 2
        lines.append(readout(truth[:, :: -1 if odd else 1, lin], lin, ["REFLECT"] if odd else []))
    scan = read_twix(write_file(tmp_path / "epi.dat", (lines, protocol())))
    np.testing.assert_array_equal(scan.kspace(0).numpy(), truth.conj())
    assert any("1 phase correction" in note for note in scan.notes)
    assert any("ghost" in note for note in scan.notes)


def test_calibration_and_noise_of_another_measurement(tmp_path):
    rng = np.random.default_rng(4)
    truth, noise = random_complex(rng, 2, 32, 12), random_complex(rng, 2, 4096)
    both = ["PATREFSCAN", "PATREFANDIMASCAN"]
    lines = [readout(truth[..., lin], lin, both if lin == 6 else []) for lin in range(0, 12, 2)]
    lines += [readout(truth[..., lin], lin, ["PATREFSCAN"]) for lin in (5, 7)]
    noisy = [readout(part, 0, ["NOISEADJSCAN"]) for part in np.split(noise, 8, axis=1)]
    adjust = protocol(**{"sRXSPEC.alDwellTime[0]": 10000})
    separate = protocol(**{"sPat.ucRefScanMode": 4})
    path = write_file(tmp_path / "multi.dat", (noisy, adjust), (lines, separate))
    scan = read_twix(path)
    expected = np.zeros_like(truth)
    expected[..., ::2] = truth[..., ::2]
    np.testing.assert_array_equal(scan.kspace(0).numpy(), expected.conj())
    expected = np.zeros_like(truth)
    expected[..., 5:8] = truth[..., 5:8]
    np.testing.assert_array_equal(scan.calibration(0, 0).numpy(), expected.conj())
    covariance = 2 * noise.conj() @ noise.T / 4095  # half the bandwidth; samples are conjugated
    np.testing.assert_allclose(scan.noise_covariance.numpy(), covariance, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode, embedded", [(1, True), (2, True), (4, False), (16, True)])
def test_reference_lines_in_place_or_of_their_own(tmp_path, mode, embedded):
    """Integrated reference lines: on the lattice also flagged as imaging, between only as reference."""
    truth = random_complex(np.random.default_rng(7), 2, 32, 12)
    lines = []
    for lin in [0, 3, 4, 5, 6, 7, 8, 9]:
        lattice, block = lin % 3 == 0, 4 <= lin <= 8
        flags = ["PATREFSCAN"] if block else []
        flags += ["PATREFANDIMASCAN"] if block and lattice else []
        lines.append(readout(truth[..., lin], lin, flags))
    header = protocol(**{"sPat.ucRefScanMode": mode})
    scan = read_twix(write_file(tmp_path / "acs.dat", (lines, header)))
    columns = np.flatnonzero(scan.mask(0).numpy().any(axis=0)).tolist()
    assert columns == ([0, 3, 4, 5, 6, 7, 8, 9] if embedded else [0, 3, 6, 9])
    np.testing.assert_array_equal(scan.kspace(0)[..., columns].numpy(), truth[..., columns].conj())
    assert (scan.calibration is None) == embedded


@pytest.mark.parametrize("center", [2, 6])
def test_reference_lines_with_a_centre_of_their_own(tmp_path, center):
    """Line 6 of 12 is k = 0; five lines about it are counted about `center`."""
    truth, lines = random_complex(np.random.default_rng(8), 2, 32, 12), []
    for lin in range(0, 12, 3):
        lines.append(readout(truth[..., lin], lin))
    for lin in range(4, 9):
        lines.append(readout(truth[..., lin], lin - 6 + center, ["PATREFSCAN"]))
        lines[-1].mdh.CenterLin = center
    header = protocol(**{"sPat.ucRefScanMode": 4})
    scan = read_twix(write_file(tmp_path / "acs.dat", (lines, header)))
    expected = np.zeros_like(truth)
    expected[..., 4:9] = truth[..., 4:9]
    np.testing.assert_array_equal(scan.calibration(0, 0).numpy(), expected.conj())


def smooth_object(rows, columns):
    """Two ellipses without symmetry."""
    y, x = np.mgrid[:rows, :columns]
    y, x = (y - rows // 2) / (rows / 2), (x - columns // 2) / (columns / 2)
    inside = ((x - 0.2) / 0.2) ** 2 + ((y + 0.3) / 0.3) ** 2 < 1
    return (((x / 0.6) ** 2 + (y / 0.8) ** 2 < 1) + 1.0 * inside).astype(np.complex64)


@pytest.mark.parametrize("alternating", [False, True])
@pytest.mark.parametrize("rows, oversampling", [(40, 1.0), (80, 2.0)])
def test_pulseq_leaves_the_matrix_of_its_interpreter(tmp_path, alternating, rows, oversampling):
    """40 lines of 200 mm under the interpreter's 16 x 12 and centre 0; EPI has no reflect flags."""
    image = smooth_object(rows, 40)[None]
    kspace = siemens(image)
    lines = []
    for lin in range(40):
        step = -1 if alternating and lin % 2 else 1
        mdb = readout(kspace[:, ::step, lin], lin)
        mdb.mdh.CenterLin = 0
        lines.append(mdb)
    changes = {
        "tSequenceFileName": '"%CustomerSeq%\\pulseq"',
        "sSliceArray.asSlice[0].dReadoutFOV": 200.0,
        "sSliceArray.asSlice[0].dPhaseFOV": 200.0,
    }
    scan = read_twix(write_file(tmp_path / "pulseq.dat", (lines, protocol(**changes))))
    assert scan.shape == (1, 1, rows, 40) and scan.matrix == (40, 40)
    assert scan.oversampling == oversampling
    assert scan.geometry.voxel_mm == pytest.approx((5, 5, 4))
    np.testing.assert_allclose(ifft2c(scan.kspace(0)).numpy(), image.conj(), atol=1e-5)
    text = "; ".join(scan.notes)
    assert "describes the interpreter" in text and ("EPI without its flags" in text) == alternating


def test_3d_with_phase_oversampling(tmp_path):
    image = random_complex(np.random.default_rng(5), 1, 32, 12, 4)
    kspace = siemens(image.conj(), axes=(1, 2, 3))
    lines = [
        readout(kspace[:, :, lin, par], lin, Par=par, center_par=2)
        for lin in range(12)
        for par in range(4)
    ]
    changes = {
        "sKSpace.ucDimension": 4,
        "sKSpace.lPartitions": 4,
        "sKSpace.lImagesPerSlab": 4,
        "sKSpace.dPhaseOversamplingForDialog": 0.5,
        "sSliceArray.asSlice[0].dPhaseFOV": 80.0,
        "sSliceArray.asSlice[0].dThickness": 20.0,
    }
    scan = read_twix(write_file(tmp_path / "3d.dat", (lines, protocol(**changes))))
    assert scan.is_3d and scan.shape == (16, 1, 12, 4)
    assert scan.crop == (slice(2, 10), slice(0, 4)) and scan.matrix == (8, 4)
    assert scan.geometry.voxel_mm == pytest.approx((10, 5, 10))
    for index in range(16):
        np.testing.assert_allclose(
            ifft2c(scan.kspace(index)).numpy(), image[:, 8 + index], atol=1e-5
        )


def test_bad_twix_files(tmp_path):
    lines = [readout(np.ones((1, 32)), lin) for lin in range(12)]
    radial = protocol(**{"sKSpace.ucTrajectory": 2})
    with pytest.raises(ValueError, match="not Cartesian"):
        read_twix(write_file(tmp_path / "radial.dat", (lines, radial)))
    for name, value in (("dReadoutFOV", 0.0), ("dPhaseFOV", -120.0), ("dThickness", 0.0)):
        flat = protocol(**{f"sSliceArray.asSlice[0].{name}": value})
        with pytest.raises(ValueError, match=rf"{name}.dat: the protocol has {name} {value:g} mm"):
            read_twix(write_file(tmp_path / f"{name}.dat", (lines, flat)))
    for name, value in (
        ("lBaseResolution", 0),
        ("lPhaseEncodingLines", 0),
        ("lPhaseEncodingLines", 10**30),
        ("dPhaseOversamplingForDialog", -1.0),
    ):
        flat = protocol(**{f"sKSpace.{name}": value})
        with pytest.raises(ValueError, match=rf"of.dat: the protocol has {name} {value}: exp"):
            read_twix(write_file(tmp_path / f"{name}{value}of.dat", (lines, flat)))
    for name in ("lPartitions", "lImagesPerSlab"):
        flat = protocol(**{"sKSpace.ucDimension": 4, f"sKSpace.{name}": 0})
        with pytest.raises(ValueError, match=rf"{name}.dat: the protocol has {name} 0: exp"):
            read_twix(write_file(tmp_path / f"{name}.dat", (lines, flat)))
    mixed = [readout(np.ones((1, 32)), 5), readout(np.ones((2, 32)), 6)]
    with pytest.raises(ValueError, match="1 and 2 coils"):
        read_twix(write_file(tmp_path / "mixed.dat", (mixed, protocol())))
    with pytest.raises(ValueError, match="imaging readout"):
        noise = [readout(np.ones((1, 32)), 0, ["NOISEADJSCAN"])]
        read_twix(write_file(tmp_path / "noise.dat", (noise, protocol())))
    (tmp_path / "text.dat").write_text("this is no raw data\n" * 100)
    with pytest.raises(ValueError, match=r"text\.dat"):
        read_twix(tmp_path / "text.dat")
    with pytest.raises(FileNotFoundError):
        read_twix(tmp_path / "none.dat")
    with pytest.raises(IsADirectoryError):
        read_twix(tmp_path)


def test_truncated_or_mangled_files_never_hang(tmp_path):
    lines = [readout(np.ones((1, 32)), lin) for lin in range(12)]
    content = write_file(tmp_path / "whole.dat", (lines, protocol())).read_bytes()
    path = tmp_path / "cut.dat"
    end = len(content.rstrip(b"\0"))
    for size in np.linspace(0, end - 600, 60).astype(int):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"cut\.dat"):
            read_twix(path)
    rng = np.random.default_rng(6)
    failed = 0
    for _ in range(60):
        mangled = np.frombuffer(content, np.uint8).copy()
        mangled[rng.integers(10240, len(content), 20)] = rng.integers(0, 256, 20)
        path.write_bytes(mangled.tobytes())
        try:
            scan = read_twix(path)
            [scan.kspace(i, v) for v in range(scan.volumes) for i in range(scan.shape[0])]
        except ValueError as error:
            failed += 1
            assert "\n" not in str(error) and str(error).startswith(str(path))
    assert failed > 0


def test_without_twixtools_the_extra_is_named(tmp_path, monkeypatch):
    path = tmp_path / "scan.dat"
    path.write_bytes(struct.pack("<II", 0, 1))
    for name in [name for name in sys.modules if name.split(".")[0] == "twixtools"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install twixtools$"):
        read_twix(path)
    for content in (b"this is no raw data", b"x", struct.pack("<II", 90000, 6)):  # the last is cut
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"scan\.dat is no Siemens twix file"):
            read_scan(path)
    path.write_bytes(struct.pack("<II", 90000, 6) + bytes(90000))
    with pytest.raises(ImportError, match="pip install twixtools"):
        read_scan(path)
