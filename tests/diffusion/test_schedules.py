"""Noise levels: their formulas, and DDPM's table."""

import math

import numpy as np
import pytest
import torch

from mrirecon.diffusion import SCHEDULES, geometric, karras, vp
from mrirecon.diffusion.schedules import ddpm_sigmas, ddpm_time


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("levels", [1, 2, 7, 1000])
def test_levels_fall_from_one_end_to_the_other_and_to_zero(name, levels):
    sigmas = SCHEDULES[name](levels, 0.02, 80.0)
    assert sigmas.shape == (levels + 1,)
    assert sigmas.dtype == torch.float64
    assert bool((sigmas.diff() < 0).all())
    assert float(sigmas[0]) == pytest.approx(80, rel=1e-9)
    assert float(sigmas[-1]) == 0
    if levels > 1:
        assert float(sigmas[-2]) == pytest.approx(0.02, rel=1e-9)


def test_karras_is_equation_5():
    n, rho, low, high = 18, 7, 0.002, 80.0
    expected = [
        (high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho
        for i in range(n)
    ]
    np.testing.assert_allclose(karras(n, low, high).tolist(), [*expected, 0], rtol=1e-12)
    straight = karras(5, 1.0, 5.0, rho=1.0)
    np.testing.assert_allclose(straight.tolist(), [5, 4, 3, 2, 1, 0], rtol=1e-12)


def test_geometric_levels_have_one_ratio():
    sigmas = geometric(2000, 0.01, 378.0)
    ratios = sigmas[1:-1] / sigmas[:-2]
    np.testing.assert_allclose(ratios, (0.01 / 378) ** (1 / 1999), rtol=1e-12)


def table():
    """abar = prod (1 - beta) of Ho et al., in numpy, as noise levels."""
    kept = np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000))
    return np.sqrt((1 - kept) / kept)


def test_ddpm_levels():
    np.testing.assert_allclose(ddpm_sigmas().numpy(), table(), rtol=1e-10)
    assert float(ddpm_sigmas()[0]) == pytest.approx(0.01, rel=1e-3)
    assert float(ddpm_sigmas()[-1]) == pytest.approx(157, rel=3e-3)


def test_all_levels_of_vp_are_ddpms():
    np.testing.assert_allclose(vp(1000, 1e-3, 1e3)[:-1], table()[::-1], rtol=1e-9)


@pytest.mark.parametrize("levels", [10, 37, 112])
def test_vp_levels_that_fall_on_steps_are_ddpms(levels):
    """999 = 9 x 111 = 27 x 37: every 111th, 27.75th, 9th step; the first kind falls between steps too."""
    sigmas = vp(levels, 1e-3, 1e3)[:-1].numpy()
    steps = np.linspace(999, 0, levels)
    whole = np.isclose(steps, steps.round())
    assert whole.sum() >= 2
    np.testing.assert_allclose(sigmas[whole], table()[steps[whole].round().astype(int)], rtol=1e-9)
    at = ddpm_time(torch.from_numpy(sigmas))
    np.testing.assert_allclose(at.numpy(), steps, atol=1e-6)


def test_time_is_the_inverse_of_the_table():
    time = ddpm_time(torch.from_numpy(table()))
    np.testing.assert_allclose(time.numpy(), np.arange(1000), atol=1e-8)
    between = math.sqrt(table()[4] * table()[5])
    assert float(ddpm_time(torch.tensor(between, dtype=torch.float64))) == pytest.approx(4.5)
    outside = ddpm_time(torch.tensor([[1e-5, 1e5]]))
    assert outside.tolist() == [[0, 999]]


def test_time_needs_no_float64_on_the_device(without_double):
    sigma = torch.tensor([0.02, 0.4, 90.0])
    time = ddpm_time(without_double(sigma))
    assert isinstance(time, type(without_double(sigma)))
    assert time.dtype == torch.float32 and time.tolist() == ddpm_time(sigma).tolist()


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0.1, 1.0), "a schedule of 0 levels is empty"),
        ((-3, 0.1, 1.0), "a schedule of -3 levels is empty"),
        ((5, 0.0, 1.0), "from 1 down to 0"),
        ((5, -1.0, 1.0), "from 1 down to -1"),
        ((5, 2.0, 1.0), "from 1 down to 2"),
        ((5, 0.1, math.inf), "from inf down to 0.1"),
        ((5, math.nan, 1.0), "from 1 down to nan"),
        ((5, 1.0, 1.0), "5 noise levels all lie at 1"),
    ],
)
def test_errors(schedule, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        schedule(*arguments)
    assert "\n" not in str(error.value)


def test_a_range_that_vp_does_not_know():
    with pytest.raises(ValueError, match="5 noise levels all lie at 157"):
        vp(5, 200.0, 300.0)
