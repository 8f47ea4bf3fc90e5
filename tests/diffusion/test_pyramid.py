"""The small problems of `pyramid`: brightness, noise and maps of images whose outer k-space is cut away."""

import math

import pytest
import torch
from oracle import columns_mask, complex_normal

from mrirecon.birdcage import birdcage_maps
from mrirecon.diffusion import GaussianDenoiser, geometric
from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.methods import METHODS
from mrirecon.operators import sense
from mrirecon.tensors import complex_noise_like, resized

SHAPE = (48, 40)
LEVELS = geometric(8, 0.05, 0.4)


def waves(shape):
    """A sum of a few slow waves on a grid of any size: continuous, so that both sizes sample one image."""
    y, x = (torch.arange(n, dtype=torch.float64) / n - n // 2 / n for n in shape)
    slow = torch.cos(2 * math.pi * (2 * y[:, None] - x)) + 1j * torch.sin(2 * math.pi * 3 * x)
    return 1 + 0.3 * slow


class Asked:
    """A prior of any size that writes down what it is asked."""

    sigma_range = (0.0, math.inf)

    def __init__(self, clean):
        self.clean, self.shapes, self.levels, self.errors = clean, [], [], []

    def __call__(self, x, sigma):
        shape = tuple(x.shape[-2:])
        clean = self.clean(shape).to(x.dtype).expand(x.shape)
        self.shapes.append(shape)
        self.levels.append(float(sigma))
        self.errors.append(float((x - clean).abs().square().mean() / 2) ** 0.5)
        return clean


def scan(coils=4):
    maps = birdcage_maps(SHAPE, coils)[0].to(torch.complex128)
    A = sense(maps, columns_mask(SHAPE, 2, 12))
    return A, A(waves(SHAPE))


def test_resized_images_sample_the_same_waves():
    for shape in ((24, 20), (12, 10), (13, 11), (96, 80)):
        torch.testing.assert_close(resized(waves(SHAPE), shape), waves(shape))


def test_white_noise_of_a_smaller_image_is_weaker():
    noise = complex_noise_like(torch.zeros(400, *SHAPE, dtype=torch.complex128))
    small = resized(noise, (12, 10))
    assert abs(float(small.abs().square().mean() / 2) ** 0.5 - 0.25) < 0.005


def test_every_size_is_asked_for_the_noise_that_it_has():
    """The true image is the prior: x - D is the noise of the level, at each size."""
    A, y = scan()
    prior = Asked(waves)
    stream = torch.Generator().manual_seed(0)
    image = SAMPLERS["pyramid"](
        y, A, prior, LEVELS, noise_std=0.01, generator=stream, start=waves(SHAPE)
    )
    sizes = sorted(set(prior.shapes))
    assert sizes == [(12, 10), (24, 20), SHAPE]
    assert prior.shapes == sorted(prior.shapes)
    levels = dict(zip(prior.shapes, prior.levels, strict=True))  # the last of each size
    assert [round(levels[shape] / levels[SHAPE], 6) for shape in sizes] == [0.25, 0.5, 1.0]
    assert prior.shapes.count(sizes[0]) == 8
    assert max(level for shape, level in zip(prior.shapes, prior.levels, strict=True)
               if shape == SHAPE) <= 0.1  # fmt: skip
    for level, error in zip(prior.levels, prior.errors, strict=True):
        assert 0.75 < error / level < 1.25
    assert float((image - waves(SHAPE)).abs().max()) < 0.02


def test_it_corrects_the_first_image_where_its_sizes_reach():
    """Half the matrix alone, by a schedule above `restart`: the outer k-space of the start is kept."""
    A, y = scan()
    start = waves(SHAPE) + resized(0.2 * complex_normal(12, 10, seed=1), SHAPE)
    fine = 0.1 * torch.cos(math.pi * torch.arange(SHAPE[1], dtype=torch.float64))
    stream = torch.Generator().manual_seed(0)
    seen = []
    SAMPLERS["pyramid"](
        y, A, Asked(waves), LEVELS, noise_std=0.01, generator=stream, start=start + fine,
        callback=lambda step, sigma, x, x0: seen.append(x0),
    )  # fmt: skip
    torch.testing.assert_close(seen[0], waves(SHAPE) + fine)


def test_one_size_is_dds():
    A, y = scan()
    prior = GaussianDenoiser(waves(SHAPE), torch.ones(SHAPE, dtype=torch.float64))
    images = [
        SAMPLERS[name](
            y, A, prior, LEVELS, noise_std=0.1, generator=torch.Generator().manual_seed(2), **more
        )
        for name, more in (("pyramid", {"sizes": 1}), ("dds", {}))
    ]
    assert torch.equal(*images)


def test_a_smaller_gaussian_prior_has_the_moments_of_its_images():
    """Mean and power of cropped draws, at an odd size too."""
    power = torch.rand(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) + 0.1
    prior = GaussianDenoiser(waves(SHAPE), power)
    white = complex_noise_like(torch.zeros(4000, *SHAPE, dtype=torch.complex128))
    small = resized(prior.mean + torch.fft.ifft2(power.sqrt() * white, norm="ortho"), (7, 6))
    noise_free = prior(resized(prior.mean, (7, 6)), 0.1)
    torch.testing.assert_close(noise_free, resized(prior.mean, (7, 6)))
    off = torch.fft.fft2(small - small.mean(0), norm="ortho")
    spread = off.abs().square().mean(0) / 2
    basis = torch.fft.ifft2(torch.eye(42, dtype=power.dtype).reshape(42, 7, 6) + 0j, norm="ortho")
    kept = torch.fft.fft2(prior(basis + noise_free, 0.1) - noise_free, norm="ortho")
    shrink = kept.reshape(42, 42).diagonal().real
    expected = spread.flatten() / (spread.flatten() + 0.01)
    assert float((shrink - expected).abs().max()) < 0.02


def test_no_highest_level_is_refused_before_a_scan_is_read():
    with pytest.raises(ValueError, match=r"pyramid: restart is 0\.0: give more than 0"):
        METHODS["pyramid"](restart=0.0)
