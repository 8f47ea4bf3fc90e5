"""An image that `recon` wrote, to begin with."""

from dataclasses import replace

import numpy as np
import pytest
from sampling_cases import SHORT, begun, random_prior, sample, three_slices
from scan_cases import error, reconstructed

from mrirecon.io import write_volume
from mrirecon.recon import reconstruct


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return random_prior(tmp_path_factory.mktemp("prior"))


@pytest.fixture(scope="module")
def scan():
    return three_slices()


@pytest.mark.parametrize("suffix", [".npy", ".cfl"])
def test_a_file_is_a_first_image(suffix, prior, scan, tmp_path):
    path = tmp_path / f"cg{suffix}"
    volume = reconstructed("cg_sense", scan)
    write_volume(volume, path)
    from_file, from_method = (
        reconstruct(scan, method="dds", weights=prior, device="cpu", start=start, **SHORT).image
        for start in (path, "cg_sense")
    )
    assert error(from_file, from_method) < 1e-3
    image, problem = begun(prior, scan, str(path))
    write_volume(replace(volume, image=volume.image.abs() + 0j), path, overwrite=True)
    magnitude, _ = begun(prior, scan, str(path))
    assert error(magnitude.abs(), image.abs()) < 1e-4
    phase = problem.operator.adjoint(problem.kspace).sgn()
    assert error(magnitude, magnitude.abs() * phase) < 1e-4


def test_files_that_are_no_first_image(prior, scan, tmp_path):
    path = tmp_path / "cg.npy"
    write_volume(reconstructed("cg_sense", scan.select(slice(0, 2))), path)
    with pytest.raises(ValueError, match=r"is 1 x 2 x 32 x 28 .* is 1 x 3 x 32 x 28: start from"):
        sample("dds", prior, scan, start=str(path))
    np.save(path, np.full((3, 32, 28), np.nan, np.complex64))
    with pytest.raises(ValueError, match="NaN or infinite"):
        sample("dds", prior, scan, start=str(path))
    np.save(path, np.zeros((32, 28)))
    with pytest.raises(ValueError, match="32 x 28 of float64: give an image"):
        sample("dds", prior, scan, start=str(path))
    with pytest.raises(FileNotFoundError, match=r"none\.hdr: no such file"):
        sample("dds", prior, scan, start=str(tmp_path / "none.cfl"))
