"""What is written of draws that are known: their mean, standard deviation, moduli and figures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scan_cases import columns, error, phantom, pipeline_of, problems_of, reconstructed

from mrirecon.birdcage import birdcage_maps
from mrirecon.methods import METHODS
from mrirecon.methods.trust import null_space
from mrirecon.networks.denoiser import DenoiserUNet
from mrirecon.recon import GivenMaps
from mrirecon.tensors import complex_noise_like
from mrirecon.weights import card_of, save_weights

SHAPE = (32, 28)
DRAWS = 3


@pytest.fixture
def prior(tmp_path):
    network = DenoiserUNet(widths=(8, 8))
    save_weights(network, tmp_path / "prior.safetensors", card_of(network))
    return str(tmp_path / "prior.safetensors")


@pytest.fixture
def draws(monkeypatch):
    """A sampler whose draws are noise everywhere around one image; gives them as they come."""
    made = []

    def sampler(y, A, denoiser, sigmas, *, start=None, generator=None, **options):
        made.append(start + 0.2 * complex_noise_like(start, generator))
        return made[-1]

    monkeypatch.setattr(METHODS["dds"], "sampler", staticmethod(sampler))
    return made


SUPPORT = torch.zeros(SHAPE, dtype=torch.bool)
SUPPORT[3:28, 4:22] = True


def coil_maps():
    """Of coils that see a part of the image."""
    return GivenMaps(maps=birdcage_maps(SHAPE, 6) * SUPPORT, source="here")


def noisy_scan():
    """Coils of different noise."""
    whole = phantom(slices=1, shape=SHAPE).scan
    scan = whole.undersample(columns(whole, calibration=12))
    covariance = torch.diag(torch.linspace(1, 5, 6, dtype=torch.float64)).to(torch.complex128)
    return replace(scan, noise_covariance=1e-3 * covariance)


def zero_filled(images, matrix):
    """Interpolated by padding k-space, keeping intensities, in numpy."""
    before = [
        (new - old) // 2 + (new % 2 < old % 2) for new, old in zip(matrix, SHAPE, strict=True)
    ]
    after = [n - o - b for n, o, b in zip(matrix, SHAPE, before, strict=True)]
    shifted = np.fft.ifftshift(images, axes=(-2, -1))
    kspace = np.fft.fftshift(np.fft.fft2(shifted), axes=(-2, -1))
    kspace = np.pad(kspace, [(0, 0), *zip(before, after, strict=True)])
    larger = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=(-2, -1))), axes=(-2, -1))
    return larger * (matrix[0] * matrix[1]) / (SHAPE[0] * SHAPE[1])


@pytest.mark.parametrize("matrix", [SHAPE, (64, 60)])
@pytest.mark.parametrize("whiten", [True, False])
def test_draws_are_written_in_the_units_of_the_image(whiten, matrix, prior, draws):
    """Cut to the support, times what whitening took away, interpolated as complex images; then moduli and moments."""
    scan = replace(noisy_scan(), matrix=matrix)
    options = {
        "samples": DRAWS,
        "draws": True,
        "trust": True,
        "maps": coil_maps(),
        "whiten": whiten,
    }
    pipeline = pipeline_of("dds", scan, weights=prior, **options)
    volume = pipeline.run()
    scale = pipeline.problems.scales[0]
    gain = torch.ones(SHAPE)
    if whiten:  # the norm of the maps as they were, over that of the prewhitened ones
        maps = birdcage_maps(SHAPE, 6)[0].flatten(1).to(torch.complex128)
        mixed = torch.linalg.cholesky(scan.noise_covariance / 2).inverse() @ maps
        gain = (maps.norm(dim=0) / mixed.norm(dim=0)).reshape(SHAPE).float()
        assert float(gain[SUPPORT].std() / gain[SUPPORT].mean()) > 0.02
    inner = draws[0][:, 0] * scale * SUPPORT
    images = zero_filled((inner * gain).numpy(), matrix)
    assert len(images) == DRAWS
    assert error(volume.image[0, 0], torch.from_numpy(images.mean(0))) < 1e-5
    for number, image in enumerate(images, 1):
        assert error(volume.extras[f"draw{number}"][0, 0], torch.from_numpy(abs(image))) < 1e-5
    std = torch.from_numpy(np.std(abs(images), axis=0, ddof=1))
    assert error(volume.extras["std"][0, 0], std) < 1e-4
    (problem,) = problems_of(pipeline, 1)
    _, part = null_space(problem.operator, inner.mean(0), volume.info["null_space_delta"])
    part = torch.from_numpy(abs(zero_filled((part * gain).numpy()[None], matrix)[0]))
    assert error(volume.extras["null_space"][0, 0], part) < 1e-4
    spread = np.std(abs(inner.numpy()), axis=0, ddof=1)[SUPPORT.numpy()]
    figure = np.sqrt(np.mean(spread**2)) / scale
    assert volume.info["posterior_std"] == pytest.approx(figure, rel=1e-4)
    if matrix == SHAPE:
        for image in (*volume.extras.values(), volume.image):
            assert not image[0, 0][~SUPPORT].any()


def test_the_figure_does_not_depend_on_the_number_of_draws(prior, draws):
    """The spread of two draws is on average that of many: it is the variance that is averaged."""
    scan = noisy_scan()
    two, many = (
        reconstructed("dds", scan, weights=prior, samples=n, maps=coil_maps()).info["posterior_std"]
        for n in (2, 30)
    )
    assert two == pytest.approx(many, rel=0.1)


def test_one_draw_has_no_standard_deviation(prior, draws):
    volume = reconstructed("dds", noisy_scan(), weights=prior, maps=coil_maps())
    assert "std" not in volume.extras and "posterior_std" not in volume.info
