"""NIfTI images that stand for the scan of one coil: A = I."""

import nibabel
import numpy as np
import pytest

import mrirecon as mr
from mrirecon.io.images import read_scan_or_image
from mrirecon.io.layout import Layout

AFFINE = np.array([[0, 0, 3.0, -10], [-0.9, 0, 0, 30], [0, 1.1, 0, -40], [0, 0, 0, 1]])
NOISE = 0.05


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """(file, noisy image, clean image), (readout, phase, slice, volume); positive everywhere: noise is normal."""
    y, x, z, volume = np.ogrid[-1:1:72j, -1:1:64j, 1:1.2:3j, 0:2]
    clean = (1 + np.cos(np.pi * y) * np.cos(np.pi * x) * z / (2 + volume)).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    path = tmp_path_factory.mktemp("image") / "noisy.nii.gz"
    nibabel.save(nibabel.Nifti1Image(clean + NOISE * noise, AFFINE), path)
    return path, clean + NOISE * noise, clean


def test_what_has_no_prior_gives_the_image_back(noisy, tmp_path):
    path, image, _ = noisy
    for method, options in (("zero_filled", {}), ("cg_sense", {"regularization": 0.0})):
        output = tmp_path / f"{method}.nii.gz"
        volume = mr.reconstruct(path, method=method, **options)
        mr.write_volume(volume, output)
        found = nibabel.load(output)
        np.testing.assert_allclose(found.get_fdata(), image, atol=1e-5)
        np.testing.assert_allclose(found.affine, AFFINE, atol=1e-5)
        assert any("this is an image" in note for note in volume.info["notes"])


def test_its_noise_is_that_of_the_real_part(noisy):
    scan = read_scan_or_image(noisy[0], Layout())
    assert scan.volumes == 2 and scan.shape == (3, 1, 72, 64)
    assert mr.noise_level(scan) == pytest.approx(NOISE, rel=0.1)


def test_a_method_with_a_prior_denoises_it(noisy):
    path, image, clean = noisy
    errors = [
        np.square(x.transpose(2, 0, 1) - clean[..., 0].transpose(2, 0, 1)).mean()
        for x in (
            image[..., 0],
            mr.reconstruct(path, method="unrolled_prior", volume=0)
            .image[0]
            .abs()
            .permute(1, 2, 0)
            .numpy(),
        )
    ]
    assert errors[1] < 0.7 * errors[0]


def test_it_is_no_scan_to_undersample_or_to_take_apart(noisy, tmp_path):
    path = noisy[0]
    with pytest.raises(
        ValueError, match=r"is an image: .* make k-space of it with the command simulate"
    ):
        mr.reconstruct(path, mask="poisson", acceleration=4)
    with pytest.raises(ValueError, match=r"is an image: .*simulate"):
        mr.compare(path, methods=["cg_sense"])
    with pytest.raises(ValueError, match=r"is a NIfTI image.* \(recon denoises it as it is\)"):
        mr.read_scan(path)
    with pytest.raises(ValueError, match="NIfTI, which orders its data itself: leave out --axes"):
        mr.reconstruct(path, axes="slice,coil,readout,phase")
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"\x1f\x8b" + b"\0" * 400)
    with pytest.raises(ValueError, match="no NIfTI image, or a damaged one"):
        mr.reconstruct(broken)


def test_an_image_of_zeros_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((20, 18, 2), np.float32), AFFINE), tmp_path / "o.nii")
    with pytest.raises(ValueError, match=r"o.nii is zero everywhere: there is nothing to denoise"):
        mr.reconstruct(tmp_path / "o.nii", method="tv")
