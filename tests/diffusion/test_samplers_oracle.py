"""Each sampler against the closed form of its own recursion, for a Gaussian prior.

Its noise is written down: one run with unit vectors as noise gives the sampler's exact mean and covariance, without
drawing anything; a run with given noise gives the image that belongs to it, at sizes where covariances are too large.
Draws with a generator are then held against the same law, within bounds for their number.
"""

import functools
import math

import pytest
import recursions
import torch
from oracle import Law, Path, Problem, Scripted, columns_mask, complex_normal, moments, points_mask
from recursions import CASES, NO_LAW, PATHS, one_coil
from scipy.stats import chi2

from mrirecon.diffusion import geometric
from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.operators import conjugate_gradient

PROBLEMS = {
    "7x6, columns": ((7, 6), 3, columns_mask((7, 6), 2, 2), 0.1),
    "7x6, points": ((7, 6), 3, points_mask((7, 6), 0.4), 0.05),
    "7x6, loud": ((7, 6), 3, columns_mask((7, 6), 2, 2), 1.5),
    "7x6, one coil": ((7, 6), 1, points_mask((7, 6), 0.3), 0.02),
    "5x4, points": ((5, 4), 3, points_mask((5, 4), 0.3), 0.05),
    "33x33, columns": ((33, 33), 4, columns_mask((33, 33), 3, 5), 0.05),
    "33x33, points": ((33, 33), 4, points_mask((33, 33), 0.25), 0.1),
    "64x48, columns": ((64, 48), 4, columns_mask((64, 48), 3, 6), 0.02),
}
SMALL = [name for name in PROBLEMS if name.startswith(("7x6", "5x4"))]
LARGE = [name for name in PROBLEMS if name not in SMALL]
DRAWS = 300


@functools.cache
def problem(name):
    return Problem(*PROBLEMS[name])


LEVELS = geometric(4, 0.15, 2.0)


def fits(case, name):
    p = PROBLEMS[name]
    lines = bool((p[2] == p[2][:1]).all())
    if case.only is one_coil and p[1] > 1:
        return False
    return not case.spectral or lines or p[1] == 1 or name == "5x4, points"  # exact by Lanczos


def pairs(names):
    made = [(c, n) for c in CASES for n in names if fits(CASES[c], n)]
    return pytest.mark.parametrize(("case", "name"), made, ids=lambda value: value)


def close(actual, expected, tolerance=1e-6):
    error = torch.linalg.vector_norm(actual - expected) / torch.linalg.vector_norm(expected)
    assert float(error) < tolerance


def law(case, name):
    """The oracle's (mean, covariance), and how much noise the recursion draws."""
    p = problem(name)
    draws = 40
    of = Law(p, draws)
    columns = case.expected(p, LEVELS, of)
    return *moments(columns.expand(-1, of.one.shape[1])), of.drawn


@functools.cache
def cached_law(case_name, name):
    return law(CASES[case_name], name)


def unit_vectors(pixels):
    """Noise for a batch whose first item draws none, and each other one unit vector of one draw.

    Smaller images take the first entries of it.
    """

    def script(draw, like):
        noise = torch.zeros_like(like).flatten(-2)
        noise[1 + draw * pixels : 1 + (draw + 1) * pixels] = torch.eye(pixels)[:, : noise.shape[-1]]
        return noise.reshape(like.shape)

    return script


@pairs(SMALL)
def test_mean_and_covariance_are_those_of_the_recursion(case, name, monkeypatch):
    p = problem(name)
    mean, covariance, draws = cached_law(case, name)
    pixels = len(mean)
    noise = Scripted(unit_vectors(pixels)).install(monkeypatch)
    columns = CASES[case].sample(p, LEVELS, 1 + draws * pixels)
    assert noise.drawn == draws
    responses = columns[:, 1:] - columns[:, :1]
    close(columns[:, 0], mean)
    if draws:
        close(responses @ responses.mH, covariance)


@pairs(SMALL)
def test_draws_follow_the_recursion(case, name):
    """Real generators: 40 functionals u^H x, each with known mean and variance.

    u^H (mean of N draws - mean) over its standard error has chi-square's 2 degrees of freedom, the sum of squares of N
    draws has 2 N. Bounds are quantiles of 1e-7, so that one of this test's 6000 fails by
    chance with probability 6e-4; with the fixed seed none does.
    """
    p = problem(name)
    mean, covariance, draws = cached_law(case, name)
    if not draws:
        pytest.skip("draws nothing")
    x = CASES[case].sample(p, LEVELS, DRAWS, torch.Generator().manual_seed(5))
    u = complex_normal(len(mean), 40, seed=6)
    u = u / torch.linalg.vector_norm(u, dim=0)
    variance = (u.conj() * (covariance @ u)).sum(0).real
    off = u.mH @ (x - mean[:, None])
    shift = off.mean(1).abs().square() * DRAWS / variance
    assert float(shift.max()) < chi2.isf(1e-7, 2)
    power = off.abs().square().sum(1) / variance
    assert chi2.ppf(1e-7, 2 * DRAWS) < float(power.min())
    assert float(power.max()) < chi2.isf(1e-7, 2 * DRAWS)


@pairs(LARGE)
def test_images_belong_to_their_noise(case, name, monkeypatch):
    """Item 0 draws zeros, so that it is the mean; the other has random noise."""
    p = problem(name)
    made = CASES[case]
    pixels = p.b.shape[0]
    noises = [complex_normal(pixels, 2, seed=n) * torch.tensor([0, 1]) for n in range(40)]
    noise = Scripted(lambda draw, like: noises[draw].mT[:, : like[0].numel()].reshape(like.shape))
    noise.install(monkeypatch)
    images = made.sample(p, LEVELS, 2)
    of = Path(noises)
    expected = made.expected(p, LEVELS, of)
    assert of.drawn == noise.drawn
    close(images, expected.expand(-1, 2), 1e-5)


def test_some_measurements_are_worse_than_the_first_level():
    """Equation 7 of DDRM has a case for them, where s_y / d exceeds it."""
    p = problem("7x6, loud")
    spread = recursions.spread(p, p.values)[p.values > 0.05**2]
    first = float(LEVELS[0])
    assert 5 < int((spread > first).sum()) < len(spread) - 5


def test_every_sampler_has_an_oracle():
    assert {case.sampler for case in (*CASES.values(), *PATHS.values())} == set(SAMPLERS)
    assert {case.sampler for case in CASES.values()} == set(SAMPLERS) - NO_LAW


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_oracle_knows_the_operator(name):
    p = problem(name)
    x = complex_normal(*p.shape, seed=3)
    close(p.gram(x.reshape(-1, 1)), p.A.gram(x).reshape(-1, 1), 1e-10)
    close(p.b, p.A.H(p.y).reshape(-1, 1), 1e-12)
    mean = p.denoiser(x, 0.7).reshape(-1, 1)
    close(recursions.denoised(p, Path([]), x.reshape(-1, 1), 0.7), mean, 1e-12)


def textbook(G, b, x, iterations):
    """Conjugate gradients as in Hestenes & Stiefel's paper, on a matrix."""
    r = b - G @ x
    p = r
    for _ in range(iterations):
        alpha = torch.vdot(r, r) / torch.vdot(p, G @ p)
        x, new = x + alpha * p, r - alpha * (G @ p)
        p = new + torch.vdot(new, new) / torch.vdot(r, r) * p
        r = new
    return x


@pytest.mark.parametrize("noise_std", [None, 0.1])
def test_dds_with_five_conjugate_gradients(noise_std, monkeypatch):
    p = problem("7x6, columns")
    pixels = len(p.b)
    G = p.gram(torch.eye(pixels, dtype=torch.complex128))
    noises = [complex_normal(pixels, 1, seed=n) for n in range(4)]
    Scripted(lambda draw, like: noises[draw].reshape(like.shape)).install(monkeypatch)
    image = SAMPLERS["dds"](p.y, p.A, p.denoiser, LEVELS, noise_std=noise_std, eta=0.7)
    of = Path(noises)
    x = LEVELS[0] * of.noise()
    for high, low in zip(LEVELS[:-1].tolist(), LEVELS[1:].tolist(), strict=True):
        x0 = recursions.denoised(p, of, x, high)
        e = (x - x0) / high
        w = 0.4 * (noise_std / high) ** 2 if noise_std else 0
        matrix = G + w * torch.eye(pixels)
        x = textbook(matrix, (p.b + w * x0).squeeze(1), x0.squeeze(1), 5).unsqueeze(1)
        if low:
            x = x + low * (math.sqrt(1 - 0.7**2) * e + 0.7 * of.noise())
    close(image.reshape(-1, 1), x, 1e-7)


@pytest.mark.parametrize("name", ["7x6, points", "7x6, loud", "33x33, columns", "33x33, points"])
@pytest.mark.parametrize("case", PATHS)
def test_images_of_recursions_that_are_not_linear(case, name, monkeypatch):
    """A norm or Adam in a step: no law, but the image that belongs to given noise, of each item by itself."""
    p, made = problem(name), PATHS[case]
    noises = [complex_normal(len(p.b), 3, seed=n) for n in range(12)]
    noise = Scripted(lambda draw, like: noises[draw].mT.reshape(like.shape))
    noise.install(monkeypatch)
    images = made.sample(p, LEVELS, 3)
    of = Path(noises)
    expected = made.expected(p, LEVELS, of)
    assert of.drawn == noise.drawn
    close(images, expected, 1e-6)


# Single steps of DPS and MCG with a denoiser that is no Gaussian's.


def crooked(x, sigma):
    """A denoiser that is neither linear nor holomorphic, and mixes pixels."""
    mixed = x + 0.3 * x.roll(1, -1) + 0.2j * x.roll(2, -2)
    return torch.complex(torch.tanh(mixed.real) + 0.1 * mixed.imag, 0.5 * mixed.imag) / (1 + sigma)


crooked.sigma_range = (0.0, math.inf)


def norm_gradient(p, x, sigma):
    """d ||y - A D(x)|| / dx by central differences in the real and in the imaginary part of every pixel."""
    step, pixels = 1e-5, x.numel()
    directions = torch.eye(pixels, dtype=x.dtype).reshape(pixels, *x.shape)

    def norm(at):
        return (p.y - p.A(crooked(at, sigma))).flatten(1).norm(dim=1)

    real, imaginary = (
        (norm(x + step * d) - norm(x - step * d)) / (2 * step)
        for d in (directions, 1j * directions)
    )
    return torch.complex(real, imaginary).reshape(x.shape)


@pytest.mark.parametrize("sampler", ["dps", "mcg"])
@pytest.mark.parametrize("levels", [[0.8, 0.0], [0.8, 0.3, 0.0]])
def test_gradient_steps(sampler, levels, monkeypatch):
    """x0 + (s'^2 - t^2)^1/2 e + t z - zeta ((1 + s^2)(1 + s'^2))^1/2 grad; MCG then puts the data in."""
    p = problem("7x6, points")
    x = complex_normal(*p.shape, seed=1)
    zs = [complex_normal(*p.shape, seed=n) for n in range(2, 8)]
    Scripted(lambda draw, like: 0 * like if draw == 0 else zs[draw - 1]).install(monkeypatch)
    seen = []
    parameters = {"zeta": 0.4, "eta": 0.9}
    parameters |= {"damping": 0.1, "cg_steps": 60} if sampler == "mcg" else {}
    result = SAMPLERS[sampler](
        p.y,
        p.A,
        crooked,
        torch.tensor(levels, dtype=torch.float64),
        start=x,
        callback=lambda step, sigma, x, x0: seen.append(x),
        **parameters,
    )
    after = result if len(levels) == 2 else seen[1]
    s, t = levels[:2]
    clean = crooked(x, s)
    fresh = 0.9 * t * math.sqrt(1 - t**2 / s**2)
    expected = clean + math.sqrt(t**2 - fresh**2) * (x - clean) / s + fresh * zs[0]
    factor = math.sqrt((1 + s**2) * (1 + t**2))
    expected = expected - 0.4 * factor * norm_gradient(p, x, s)
    if sampler == "mcg":
        of = Path([zs[1].reshape(-1, 1)])
        expected = recursions.replaced(p, expected.reshape(-1, 1), t, 0.1, of).reshape(p.shape)
    close(after, expected, 1e-7)


def test_pigdm_differentiates_the_denoiser(monkeypatch):
    """One step to the clean image with a denoiser whose Jacobian has no symmetry."""
    p = problem("7x6, points")
    x = complex_normal(*p.shape, seed=1)
    Scripted().install(monkeypatch)
    levels = torch.tensor([0.8, 0.0], dtype=torch.float64)
    options = {"noise_std": 0.3, "prior_variance": 1.0, "cg_steps": 60}
    image = SAMPLERS["pigdm"](p.y, p.A, crooked, levels, start=x, **options)
    clean, r2 = crooked(x, 0.8), 0.64 / 1.64
    back = p.b - p.gram(clean.reshape(-1, 1))
    direction = p.of_gram(lambda e: 1 / (r2 * e + 0.09), back).reshape(p.shape)
    step, pixels = 1e-5, x.numel()
    unit = torch.eye(pixels, dtype=x.dtype).reshape(pixels, *p.shape)
    slopes = [
        (crooked(x + step * d, 0.8) - crooked(x - step * d, 0.8)) / (2 * step)
        for d in (unit, 1j * unit)
    ]
    real, imaginary = ((slope * direction.conj()).real.sum((-2, -1)) for slope in slopes)
    expected = clean + 0.64 * torch.complex(real, imaginary).reshape(p.shape)
    close(image, expected, 1e-7)


def test_solver_of_the_oracle_agrees_with_conjugate_gradients():
    p = problem("33x33, points")
    v = complex_normal(*p.shape, seed=2)
    by_steps = conjugate_gradient(lambda x: p.A.gram(x) + 0.1 * x, v, iterations=60)
    close(p.solve(0.1, v.reshape(-1, 1)), by_steps.reshape(-1, 1), 1e-9)
