"""Runs commands in this process, and a small scan to run them on."""

from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from mrirecon.cli import main
from mrirecon.io import write_scan
from mrirecon.phantom import shepp_logan
from mrirecon.simulate import simulate_scan

SHAPE = (40, 32)  # readout, phase
SLICES, COILS = 3, 4
AFFINE = np.array([[-2.0, 0, 0, 40], [0, 2.5, 0, -30], [0, 0, 4, 10], [0, 0, 0, 1]])


def phantom_image():
    dimmer = np.linspace(1, 0.6, SLICES)
    return (shepp_logan(SHAPE).numpy()[:, :, None] * dimmer).astype(np.float32)


@pytest.fixture
def mrirecon(capsys):
    """Runs a command; gives its status, what it printed, and the lines on stderr that are no progress."""

    def run(*args):
        with pytest.raises(SystemExit) as end:
            main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if line.strip() and " elapsed " not in line]
        return SimpleNamespace(status=end.value.code or 0, out=out, errors=lines)

    return run


@pytest.fixture
def refused(mrirecon):
    """Runs a command that must be refused: status 2 and one line, which is returned."""

    def run(*args):
        result = mrirecon(*args)
        assert result.status == 2, (result.out, result.errors)
        assert len(result.errors) == 1, result.errors
        line = result.errors[0]
        assert line.startswith("mrirecon") and ": error: " in line
        assert "a mistake in mrirecon" not in line and "Traceback" not in line
        assert len(line) < 400
        return line

    return run


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scans")


@pytest.fixture(scope="session")
def scan_file(session_folder):
    """A fastMRI file with reference and geometry; nobody may write to it."""
    path = session_folder / "scan.h5"
    scan = simulate_scan(phantom_image(), coils=COILS, snr=60.0, affine=AFFINE).scan
    write_scan(scan, path)
    return path


@pytest.fixture(scope="session")
def nifti_file(session_folder):
    path = session_folder / "image.nii.gz"
    nibabel.save(nibabel.Nifti1Image(phantom_image(), AFFINE), path)
    return path


@pytest.fixture(scope="session")
def kspace(scan_file):
    """The samples of `scan_file`: (slice, coil, readout, phase)."""
    import h5py

    with h5py.File(scan_file) as file:
        return file["kspace"][()]
