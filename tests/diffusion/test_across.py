"""Total variation along the slices, against the closed form for two slices of a fully sampled single-coil scan."""

import pytest
import torch

from mrirecon.diffusion.samplers import dds
from mrirecon.diffusion.samplers.across import TotalVariationAlongZ
from mrirecon.diffusion.schedules import karras
from mrirecon.operators import sense


class Plain:
    sigma_range = (0.0, 10.0)

    def __call__(self, x, sigma):
        return x / (1 + sigma**2)


def problem(slices=2, shape=(6, 5)):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(slices, *shape, dtype=torch.complex128, generator=generator)
    A = sense(torch.ones(1, *shape, dtype=torch.complex128), torch.ones(*shape, dtype=torch.bool))
    return A, x


@pytest.mark.parametrize("strength", [0.3, 1.0, 10.0])
def test_two_slices_have_a_closed_form(strength):
    """(1 + w) (|x1 - a|^2 + |x2 - b|^2) + strength |x1 - x2|: both move towards their mean, until they meet."""
    A, x = problem()
    w, step = 0.5, TotalVariationAlongZ(strength)
    for _ in range(400):
        found = step(A, A.H(A(x)), x, w, 20)
    gap = x[1] - x[0]
    move = (strength / (2 * (1 + w)) / gap.abs()).clamp_max(0.5) * gap
    torch.testing.assert_close(found, torch.stack([x[0] + move, x[1] - move]), rtol=0, atol=1e-6)


def test_dds_with_strong_smoothness_gives_equal_slices():
    A, x = problem(3)
    y, sigmas = A(x), karras(60, 0.01, 1.0)
    options = {"noise_std": 0.5, "eta": 0.0, "generator": torch.Generator().manual_seed(0)}
    rough, smooth = (dds(y, A, Plain(), sigmas, z_smoothness=z, **options) for z in (0.0, 5.0))
    assert float((smooth[1:] - smooth[:-1]).abs().max()) < 0.2 * float(
        (rough[1:] - rough[:-1]).abs().max()
    )


def test_one_slice_has_no_neighbours():
    A, x = problem(1)
    with pytest.raises(ValueError, match="two at least: leave out z_smoothness"):
        dds(A(x), A, Plain(), karras(2, 0.1, 1.0), noise_std=0.1, z_smoothness=1.0)
