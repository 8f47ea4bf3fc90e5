"""DiracDiffusion against outputs of the official code, and against the law of its own process."""

import math
from itertools import pairwise

import pytest
import torch
from golden_data import golden_arrays, golden_facts
from scan_cases import error

from mrirecon.diffusion.dirac import (
    falling_levels,
    fresh_noise,
    guided,
    nested_mask,
    reverse,
    step,
)
from mrirecon.masks import MASKS, make_mask
from mrirecon.training.end_to_end.loss import incremental_loss

STEPS = 4
LEVELS = [0.02 * 15 ** (n / STEPS) for n in range(STEPS + 1)]


@pytest.fixture(scope="module")
def toy():
    return Toy()


class Toy:
    """The official operator on a Gaussian prior, whose posterior mean is the prediction."""

    def __init__(self):
        self.arrays = golden_arrays("dirac")
        self.mean = self.arrays["in/problem/prior_mean"]
        self.variance = self.arrays["in/problem/prior_variance"]
        self.y = self.arrays["in/reverse/y"]

    def mask(self, t):
        return self.arrays[f"out/operator/mask_t{round(t, 2)}"]

    def degrade(self, x, n):
        return self.mask(n / STEPS) * x

    def mean_of(self, y, mask, sigma):
        gain = self.variance * mask / (self.variance * mask**2 + sigma**2)
        return self.mean + gain * (y - mask * self.mean)

    def predict(self, y, n):
        return self.mean_of(y, self.mask(n / STEPS), LEVELS[n])

    def misfit(self, clean):
        return self.mask(1.0) * clean - self.y

    def noise(self):
        drawn = iter(self.arrays[f"in/reverse/noise{number}"] for number in range(STEPS))
        return lambda: next(drawn)

    def run(self, predict=None, *, stop=0):
        states = []
        found = reverse(
            self.y,
            self.degrade,
            predict or guided(self.predict, self.misfit, 0.0),
            LEVELS,
            noise=self.noise(),
            stop=stop,
            exact=False,
            callback=lambda n, y, clean: states.append(y),
        )
        return found, states

    def steps(self, increment, pull=lambda y, n: 0.0):
        """The reverse process with another increment, or pulled by something else."""
        y, draw, states = self.y, self.noise(), []
        for n in range(STEPS, 0, -1):
            states.append(y)
            clean = self.predict(y, n)
            fresh = fresh_noise(LEVELS[n], LEVELS[n - 1], exact=False) * draw()
            ends = LEVELS[n], LEVELS[n - 1]
            y = step(y, self.degrade(clean, n), increment(clean, n), *ends, pull(y, n)) + fresh
        return y, states


def check(toy, case, found, states):
    for number, state in enumerate(states):
        assert error(state, toy.arrays[f"out/{case}/y_step{number}"]) < 1e-5
    assert error(found, toy.arrays[f"out/{case}/final"]) < 1e-5


@pytest.mark.parametrize(
    ("case", "stop"),
    [("look_ahead", 0), ("look_ahead_last_x0", 1), ("early_stop_0.5", 2), ("early_stop_1", 4)],
)
def test_reverse_runs_equal_the_official_ones(toy, case, stop):
    check(toy, case, *toy.run(stop=stop))


@pytest.mark.parametrize("case", ["small_look_ahead", "look_back", "identity"])
def test_other_increments_equal_the_official_ones(toy, case):
    def difference(clean, later, earlier):
        return (toy.mask(later) - toy.mask(earlier)) * clean

    def increment(clean, n):
        t, dt, delta = n / STEPS, 1 / STEPS, 0.05
        if case == "small_look_ahead":
            return dt / delta * difference(clean, t - delta, t)
        if (
            case == "look_back"
        ):  # the official code looks ahead until there are two steps to look at
            return difference(clean, t, t + dt) if t + dt < 1 else difference(clean, t - dt, t)
        return 0.0

    check(toy, case, *toy.steps(increment))


def test_guided_runs_equal_the_official_ones_with_their_sign(toy):
    """The official code adds the gradient that ours subtracts."""
    check(toy, "guided_relative", *toy.run(guided(toy.predict, toy.misfit, -1.0)))
    gradient = guided(toy.predict, toy.misfit, 1.0)

    def pull(y, n):
        clean, relative = gradient(y, n)
        return -relative * toy.misfit(clean).norm() * 0.05 * 0.5 / LEVELS[-1] ** 2

    def increment(clean, n):
        return toy.degrade(clean, n - 1) - toy.degrade(clean, n)

    check(toy, "guided_sigma", *toy.steps(increment, pull))


def test_guidance_lowers_the_misfit_of_the_data(toy):
    misfits = [
        float(toy.misfit(toy.run(guided(toy.predict, toy.misfit, weight))[0]).norm())
        for weight in (-10.0, 0.0, 10.0)
    ]
    assert misfits[0] > misfits[1] > misfits[2]


def test_losses_equal_the_official_ones(toy):
    given = {
        name.removeprefix("in/loss/"): a for name, a in toy.arrays.items() if "in/loss/" in name
    }
    masks = {which: given[f"degraded_{which}"] / given["clean"] for which in ("this", "next")}
    sigma = given["noise_std"]
    found = toy.mean_of(given["degraded_noisy"], masks["this"], sigma[:, None, None, None]) + 0.05
    assert error(found, toy.arrays["out/loss/prediction"]) < 1e-6
    values = golden_facts("dirac")["cases"]["loss"]["values"]
    pixels = found.shape[-2] * found.shape[-1]
    for name, mask in (("mse", masks["this"]), ("inc_recon", masks["next"]), ("mse_x", 1.0)):
        for prefix, level in (("weighted_", sigma), ("", torch.ones(2))):
            loss = incremental_loss(mask * found, mask * given["clean"], level)
            wanted = values[f"{prefix}{name}_loss"]
            assert float(loss) * pixels == pytest.approx(wanted, rel=1e-5)


def masks_of_every_kind():
    for kind, known in MASKS.items():
        yield kind, 4 if known.samples == "columns" else 8


@pytest.mark.parametrize(("kind", "acceleration"), list(masks_of_every_kind()))
@pytest.mark.parametrize("transposed", [False, True])
def test_masks_are_nested(kind, acceleration, transposed):
    mask = make_mask(kind, (40, 40), acceleration, center_fraction=0.1, seed=3)
    mask = mask.T if transposed else mask
    masks = [nested_mask(mask, n / 7) for n in range(8)]
    assert bool((masks[-1] == mask).all()) and bool(masks[0].all())
    for lower, higher in pairwise(masks):
        assert bool((higher <= lower).all())
        assert int(lower.sum()) > int(higher.sum())


def test_gaps_close_from_the_centre_in_whole_lines():
    mask = torch.zeros(6, 11, dtype=torch.bool)
    mask[:, ::3] = True
    grown = nested_mask(mask, 0.5)
    assert grown[0].nonzero()[:, 0].tolist() == [0, 2, 3, 4, 5, 6, 7, 9]
    assert bool((grown == grown[:1]).all())
    assert bool((nested_mask(mask.T, 0.5) == grown.T).all())
    points = torch.ones(5, 5, dtype=torch.bool)
    points[2, 1], points[0, 4], points[4, 0], points[1, 3] = False, False, False, False
    assert (~nested_mask(points, 0.5)).nonzero().tolist() == [[0, 4], [4, 0]]


def test_times_beyond_the_process_are_refused():
    with pytest.raises(ValueError, match=r"t is 1\.1"):
        nested_mask(torch.ones(4, 4, dtype=torch.bool), 1.1)


def test_a_step_from_exact_data_lands_on_the_law_of_the_next_time():
    """In mean and variance, at points that were measured at t, that are added, and that stay missing."""
    clean = torch.tensor([2.0, -1.0, 3.0], dtype=torch.float64)
    masks = torch.tensor([[1.0, 1, 1], [1.0, 1, 0], [1.0, 0, 0]], dtype=torch.float64)
    levels, draws = [0.0, 0.3, 0.5], 400_000
    stream = torch.Generator().manual_seed(0)

    def noise():
        return torch.randn(draws, 3, dtype=torch.float64, generator=stream)

    y, seen = masks[2] * clean + levels[2] * noise(), []
    reverse(
        y,
        lambda x, n: masks[n] * x,
        lambda y, n: (clean, 0.0),
        levels,
        noise=noise,
        callback=lambda n, y, clean: seen.append(y),
    )
    found = seen[1] - masks[1] * clean
    assert float(found.mean(0).abs().max()) < 4 * levels[1] / math.sqrt(draws)
    spread = found.var(0) / levels[1] ** 2 - 1
    assert float(spread.abs().max()) < 4 * math.sqrt(2 / draws)


def test_the_noise_of_the_paper_is_that_of_short_steps():
    exact, paper = (fresh_noise(0.5, 0.3, exact) for exact in (True, False))
    kept = (0.3 / 0.5) ** 2
    assert kept**2 * 0.25 + exact**2 == pytest.approx(0.09)
    assert kept**2 * 0.25 + paper**2 > 0.09 * 1.5
    assert fresh_noise(0.5, 0.499, True) == pytest.approx(fresh_noise(0.5, 0.499, False), rel=3e-3)


def test_levels_fall_from_the_noise_of_the_scan():
    levels = falling_levels(0.4, 0.1, 4)
    assert levels[0] == pytest.approx(0.04) and levels[-1] == 0.4
    assert levels[2] == pytest.approx(0.4 * math.sqrt(0.1))


def test_without_noise_it_is_cold_diffusion():
    """Algorithm 2 of Bansal et al.: x <- x - D(x0, s) + D(x0, s - 1); measured points never change."""
    stream = torch.Generator().manual_seed(1)
    clean = torch.randn(4, 6, generator=stream)
    order = torch.randperm(24, generator=stream).view(4, 6)
    masks = [order < 24 - 4 * n for n in range(5)]
    guesses, seen = iter([clean + 0.1 * k for k in range(4)]), []
    found = reverse(
        masks[-1] * clean,
        lambda x, n: masks[n] * x,
        lambda y, n: (next(guesses), 0.0),
        [0.0] * 5,
        noise=lambda: torch.ones(4, 6),
        callback=lambda n, y, x: seen.append(y),
    )
    expected = masks[-1] * clean
    for n, k in zip((4, 3, 2, 1), range(4), strict=True):
        guess = clean + 0.1 * k
        expected = expected - masks[n] * guess + masks[n - 1] * guess
    torch.testing.assert_close(found, expected)
    for y in (*seen, found):
        assert bool((y[masks[-1]] == clean[masks[-1]]).all())


@pytest.mark.parametrize(("noise_end", "posterior"), [(0.02, True), (0.5, False)])
def test_what_was_not_measured_follows_the_posterior_mean(noise_end, posterior):
    """With the exact posterior mean of a Gaussian prior as the network: its spread is no uncertainty."""
    steps, prior, draws, noise_std = 200, 1.0, 4000, 0.5
    stream = torch.Generator().manual_seed(0)

    def noise():
        return torch.randn(draws, 8, dtype=torch.float64, generator=stream)

    order = torch.arange(8)
    masks = [(order < 8 - round(4 * n / steps)).double() for n in range(steps + 1)]
    levels = falling_levels(noise_std, noise_end, steps)
    clean = prior * noise()

    def mean(y, n):
        gain = prior**2 * masks[n] / (prior**2 * masks[n] + levels[n] ** 2)
        return gain * y, 0.0

    y = masks[-1] * clean + levels[-1] * noise()
    found = reverse(y, lambda x, n: masks[n] * x, mean, levels, noise=noise)
    posterior_variance = 1 / (1 / prior**2 + 1 / noise_std**2)
    if posterior:  # a sample of the posterior is off by twice its variance
        error = (found - clean)[:, :4].square().mean() / posterior_variance
        assert float(error) == pytest.approx(2, rel=0.05)
    spread = found[:, 4:].var() / prior**2
    assert float(spread) < 0.3


def test_guidance_that_overflows_is_refused(toy):
    """Conjugate gradients give up on such y, and what is predicted then depends on it no more."""
    blind = guided(
        lambda y, n: torch.zeros_like(toy.mean), lambda clean: clean.requires_grad_(), 1e30
    )
    with pytest.raises(ValueError, match=r"guidance is 1e\+30, .*: lower it"):
        blind(toy.y, 1)
