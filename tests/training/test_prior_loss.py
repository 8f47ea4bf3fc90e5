"""The losses of priors, and what minimises them where that is known in closed form."""

import math

import pytest
import torch
from torch import nn

from mrirecon.diffusion import denoiser_of
from mrirecon.diffusion.schedules import ddpm_sigmas
from mrirecon.networks import Prior
from mrirecon.tensors import as_channels
from mrirecon.training.prior.loss import PriorLoss

POWER = 0.4**2  # of the toy's images, which are white


class Toy(Prior):
    """a(level) x + b(level), with one pair of numbers for each of a few levels."""

    name = "toy"
    sigma_range = (0.1, 2.0)

    def __init__(self, predicts, levels, channels=2):
        super().__init__()
        self.predicts, self.channels, self.sigma_data = predicts, channels, 0.4  # type: ignore[misc]
        self.register_buffer("levels", levels)
        self.a = nn.Parameter(torch.zeros(len(levels)))

    def forward(self, x, level):
        nearest = (level[:, None] - self.levels).abs().argmin(dim=1)
        return self.a[nearest][:, None, None, None] * x


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("levels", ["lognormal", "loguniform", "ddpm"])
def test_levels_need_no_float64_on_the_device(levels, without_double):
    u = torch.rand(50, generator=stream())
    toy = Toy("clean", torch.ones(1))
    there = PriorLoss(levels=levels).sigmas(without_double(u), toy)
    assert isinstance(there, type(without_double(u))) and there.dtype == torch.float32
    assert there.tolist() == PriorLoss(levels=levels).sigmas(u, toy).tolist()


def test_levels_are_quantiles_of_their_distribution():
    u = (torch.arange(20000) + 0.5) / 20000
    toy = Toy("clean", torch.ones(1))
    logs = PriorLoss(mean=-1.0, std=0.5).sigmas(u, toy).log()
    assert math.log(0.1) <= float(logs.min()) and float(logs.max()) <= math.log(2)
    normal = torch.distributions.Normal(-1.0, 0.5)
    low, high = (float(normal.cdf(torch.tensor(math.log(s)))) for s in toy.sigma_range)
    for share in (0.1, 0.5, 0.9):
        expected = float(normal.icdf(torch.tensor(low + share * (high - low))))
        assert float(logs.quantile(share)) == pytest.approx(expected, abs=1e-3)
    logs = PriorLoss(levels="loguniform").sigmas(u, toy).log()
    assert torch.allclose(logs, math.log(0.1) + u * math.log(2 / 0.1), atol=1e-4)
    steps = PriorLoss(levels="ddpm").sigmas(u, toy)
    values, counts = steps.unique(return_counts=True)
    assert torch.allclose(values.double(), ddpm_sigmas(), rtol=1e-5) and set(counts.tolist()) == {
        20
    }


@pytest.mark.parametrize(
    ("predicts", "levels"), [("clean", "lognormal"), ("score", "loguniform"), ("noise", "ddpm")]
)
def test_each_kind_has_its_usual_levels(predicts, levels):
    toy, u = Toy(predicts, torch.ones(1)), torch.rand(50, generator=stream())
    assert torch.equal(PriorLoss().sigmas(u, toy), PriorLoss(levels=levels).sigmas(u, toy))


def test_lowest_and_highest_uniform_numbers_are_in_range():
    u = torch.tensor([0.0, 1 - 2**-24])
    for levels in ("lognormal", "loguniform", "ddpm"):
        for mean in (-20.0, 0.0, 20.0):
            sigma = PriorLoss(levels=levels, mean=mean).sigmas(u, Toy("clean", torch.ones(1)))
            assert bool(sigma.isfinite().all()) and bool((sigma > 0).all())


def test_weights_by_hand():
    x0, n = (
        torch.randn(2, 2, 8, 8, generator=stream()),
        torch.randn(2, 2, 8, 8, generator=stream(1)),
    )
    sigma = torch.tensor([0.2, 1.5])
    s = sigma[:, None, None, None]
    loss, level = PriorLoss(), torch.zeros(1)

    def with_a(predicts, value):
        toy = Toy(predicts, level)
        toy.a.data.fill_(value)
        return loss(toy, x0, n, sigma)

    x, mean = x0 + s * n, (1, 2, 3)
    edm = (sigma**2 + 0.4**2) / (sigma * 0.4) ** 2 * (0.3 * x - x0).square().mean(mean)
    assert torch.allclose(with_a("clean", 0.3), edm, rtol=1e-4)
    score = sigma**2 * (0.3 * x + n / s).square().mean(mean)
    assert torch.allclose(with_a("score", 0.3), score, rtol=1e-4)
    epsilon = (0.3 * x / torch.sqrt(1 + s**2) - n).square().mean(mean)
    assert torch.allclose(with_a("noise", 0.3), epsilon, rtol=1e-4)


def test_variance_channels_are_left_out():
    class Learned(Toy):
        def forward(self, x, level):
            return torch.cat([super().forward(x, level), torch.full_like(x, 1e3)], dim=1)

    args = (
        torch.randn(1, 2, 4, 4, generator=stream()),
        torch.randn(1, 2, 4, 4, generator=stream(1)),
        torch.tensor([0.5]),
    )
    plain, learned = Toy("noise", torch.zeros(1)), Learned("noise", torch.zeros(1))
    assert torch.equal(PriorLoss()(plain, *args), PriorLoss()(learned, *args))


@pytest.mark.parametrize("predicts", ["clean", "score", "noise"])
def test_training_finds_the_optimum_of_a_gaussian(predicts):
    """White images of power p: the best denoiser is x p / (p + s^2) at every level, whatever is predicted."""
    sigmas = torch.tensor([0.1, 0.4, 1.5])
    from mrirecon.diffusion.schedules import ddpm_time

    toy = Toy(predicts, ddpm_time(sigmas).float() if predicts == "noise" else sigmas)
    loss, random = PriorLoss(), stream()
    optimizer = torch.optim.Adam(toy.parameters(), lr=0.3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    for _ in range(400):
        clean = POWER**0.5 * torch.randn(3, 2, 32, 32, generator=random)
        value = loss(toy, clean, torch.randn(3, 2, 32, 32, generator=random), sigmas).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        decay.step()
    x = torch.randn(3, 2, 8, 8, generator=random)
    shrink = POWER / (POWER + sigmas**2)
    with torch.no_grad():
        found = denoiser_of(toy).clean(x, sigmas)
    assert torch.allclose(found, shrink[:, None, None, None] * x, atol=0.02)


def test_several_draws_of_each_patch():
    """The images again, each time with other noise, at levels that cover [0, 1) evenly."""
    clean, noise = torch.randn(2, 3, 2, 8, 8, generator=stream())
    more, noises, levels = PriorLoss(draws=4).drawn(clean, noise, torch.tensor([0.1, 0.5, 0.9]))
    assert torch.equal(more, torch.cat([clean] * 4)) and torch.equal(noises[:3], noise)
    assert len(torch.unique(noises[:, 0, 0, 0])) == 12
    expected = [0.1, 0.5, 0.9, 0.35, 0.75, 0.15, 0.6, 0.0, 0.4, 0.85, 0.25, 0.65]
    assert torch.allclose(levels, torch.tensor(expected), atol=1e-6)


def test_further_draws_of_a_patch_are_its_own():
    """Whatever process and batch it is in; nothing is drawn from the global stream."""
    clean, noise = torch.randn(2, 6, 2, 8, 8, generator=stream())
    uniform = torch.rand(6, generator=stream(2))
    loss = PriorLoss(draws=3)
    before = torch.get_rng_state()
    together = loss.drawn(clean, noise, uniform)[1].unflatten(0, (3, 6))
    halves = [
        loss.drawn(clean[part], noise[part], uniform[part])[1].unflatten(0, (3, 3))
        for part in (slice(0, 3), slice(3, 6))
    ]
    assert torch.equal(together, torch.cat(halves, dim=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(halves[0], halves[1])  # what two processes see


def test_further_draws_are_white_and_independent():
    clean, noise = torch.randn(2, 40, 2, 32, 32, generator=stream())
    fields = PriorLoss(draws=4).drawn(clean, noise, torch.zeros(40))[1].flatten(1)
    bound = 5 / fields.shape[1] ** 0.5
    correlation = fields @ fields.T / fields.shape[1]
    assert float((correlation - torch.eye(160)).abs().max()) < 1.5 * bound
    assert float(fields.mean().abs()) < bound / 10
    magnitudes = noise[:, :1]  # of a network of magnitudes
    assert PriorLoss(draws=2).drawn(clean[:, :1], magnitudes, torch.zeros(40))[1].shape[1] == 1


@pytest.mark.parametrize("predicts", ["clean", "score", "noise"])
def test_it_denoises_as_samplers_do(predicts):
    toy = Toy(predicts, torch.zeros(1))
    toy.a.data.fill_(0.3)
    x = torch.randn(2, 8, 8, dtype=torch.complex64, generator=stream())
    with torch.no_grad():
        sampled = as_channels(denoiser_of(toy)(x, 0.7))
        trained = denoiser_of(toy).clean(as_channels(x), torch.full((2,), 0.7))
    assert torch.allclose(sampled, trained, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"std": 0.0}, r"loss\.std 0\.0"),
        ({"mean": math.nan}, r"loss\.mean is nan"),
        ({"val_levels": []}, r"loss\.val_levels is \[\]"),
        ({"val_levels": [0.1, 0.0]}, r"loss\.val_levels"),
        ({"draws": 0}, r"loss\.draws is 0"),
    ],
)
def test_impossible_options(options, words):
    with pytest.raises(ValueError, match=words):
        PriorLoss(**options)
