"""The image of a sampler midway, and its gradient."""

import pytest
import torch

from mrirecon.diffusion.samplers import dds
from mrirecon.diffusion.samplers.midway import PRIOR_WEIGHT, midway
from mrirecon.operators import sense
from mrirecon.tensors import complex_noise_like

SIGMAS = torch.tensor([0.4, 0.2, 0.1, 0.0], dtype=torch.float64)


class Shrink:
    """a x, with a weight a to learn."""

    sigma_range = (0.0, 1.0)

    def __init__(self):
        self.a = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)

    def __call__(self, x, sigma):
        return self.a * x


def problem(coils=3, every=2):
    stream = torch.Generator().manual_seed(1)
    maps = torch.randn(coils, 12, 10, 2, dtype=torch.float64, generator=stream)
    maps = torch.view_as_complex(maps)
    maps = maps / maps.abs().square().sum(0).sqrt()
    mask = torch.zeros(12, 10, dtype=torch.bool)
    mask[:, ::every] = True
    y = torch.view_as_complex(
        torch.randn(1, coils, 12, 10, 2, dtype=torch.float64, generator=stream)
    )
    return y * mask, sense(maps, mask)


@pytest.mark.parametrize("seed", range(6))
def test_it_is_where_dds_ends_that_stops_at_the_level(seed):
    y, A = problem()
    start, stream = A.H(y), torch.Generator().manual_seed(seed)
    found = midway(y, A, Shrink(), SIGMAS, noise_std=0.05, start=start, generator=stream)
    stream = torch.Generator().manual_seed(seed)
    level = int(torch.randint(3, (1,), generator=stream))
    part = torch.cat([SIGMAS[: level + 1], SIGMAS[-1:]])
    expected = dds(y, A, Shrink(), part, noise_std=0.05, start=start, generator=stream)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_all_levels_are_drawn():
    levels = set()

    class Watching(Shrink):
        def __call__(self, x, sigma):
            self.last = float(sigma)
            return super().__call__(x, sigma)

    y, A = problem()
    for seed in range(30):
        stream, denoiser = torch.Generator().manual_seed(seed), Watching()
        midway(y, A, denoiser, SIGMAS, noise_std=0.05, start=A.H(y), generator=stream)
        levels.add(denoiser.last)
    assert levels == {0.4, 0.2, 0.1}


def test_the_gradient_is_that_of_the_last_step():
    """With one coil and all samples A is unitary: the image is (A^H y + w a (start + s n)) / (1 + w)."""
    y, A = problem(coils=1, every=1)
    sigmas, denoiser = SIGMAS[-2:], Shrink()
    start, stream = 0.5 * A.H(y), torch.Generator().manual_seed(4)
    image = midway(y, A, denoiser, sigmas, noise_std=0.05, start=start, generator=stream)
    stream = torch.Generator().manual_seed(4)
    torch.randint(1, (1,), generator=stream)
    noisy = start + 0.1 * complex_noise_like(start, stream)
    weight = PRIOR_WEIGHT * (0.05 / 0.1) ** 2
    expected = (A.H(y) + weight * 0.8 * noisy) / (1 + weight)
    torch.testing.assert_close(image.detach(), expected)
    image.real.sum().backward()
    torch.testing.assert_close(denoiser.a.grad, (weight * noisy / (1 + weight)).real.sum())
