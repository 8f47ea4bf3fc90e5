"""Every sampler written down a second time, from its paper's formulas, and the parameters with which it is tested.

A sampler of your own gets a recursion here, and an entry of `CASES`, or of `PATHS` and `NO_LAW` where it is not linear.
`p` is the problem (`oracle.Problem`), `s` the noise levels, `of` the columns of noise (`oracle.Law` or `oracle.Path`);
the other arguments are the paper's parameters.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import torch

from mrirecon.diffusion.samplers import SAMPLERS


def denoised(p, of, x, sigma):
    mean = p.mean.reshape(-1, 1) * of.one
    return mean + p.shrunk(x - mean, sigma)


def reverse_diffusion(x, x0, s, t, of):
    """x + (s^2 - t^2) score + sqrt(s^2 - t^2) z; at the last level its mean, which is x0."""
    gap = s**2 - t**2
    mean = x + gap * (x0 - x) / s**2
    return mean + math.sqrt(gap) * of.noise() if t else mean


def ddpm(x, x0, s, t, of):
    """DDPM's posterior q(x_t-1 | x_t, x_0) (Ho et al. 2020, equations 6 and 7), in its variance-preserving images."""
    if not t:
        return x0
    kept, then = 1 / (1 + s**2), 1 / (1 + t**2)  # alpha bar of the two levels
    alpha = kept / then
    mean = math.sqrt(then) * (1 - alpha) / (1 - kept) * x0
    mean = mean + math.sqrt(alpha) * (1 - then) / (1 - kept) * (math.sqrt(kept) * x)
    variance = (1 - then) / (1 - kept) * (1 - alpha)
    return (mean + math.sqrt(variance) * of.noise()) / math.sqrt(then)


def score_mri(p, s, of, weight, corrections=0, snr=None):
    """With corrections it is a path only: their steps depend on norms."""

    def consistent(x):
        return x + weight * (p.b * of.one - p.gram(x))

    x = s[0] * of.noise()
    for high, low in pairwise(s):
        x = consistent(reverse_diffusion(x, denoised(p, of, x, high), high, low, of))
        for _ in range(corrections if low else 0):
            score, z = (denoised(p, of, x, low) - x) / low**2, of.noise()
            epsilon = 2 * (snr * z.norm(dim=0) / score.norm(dim=0)) ** 2
            x = consistent(x + epsilon * score + (2 * epsilon).sqrt() * z)
    return x


def ddim(x, x0, s, t, of, eta):
    """DDIM (Song et al. 2021, equations 12 and 16), in its variance-preserving images."""
    kept, then = 1 / (1 + s**2), 1 / (1 + t**2)
    e = (math.sqrt(kept) * x - math.sqrt(kept) * x0) / math.sqrt(1 - kept)
    sigma = eta * math.sqrt((1 - then) / (1 - kept)) * math.sqrt(1 - kept / then)
    image = math.sqrt(then) * x0 + math.sqrt(1 - then - sigma**2) * e
    return (image + sigma * of.noise() if t else x0) / math.sqrt(then)


def dps(p, s, of, zeta, eta, damping=None):
    """A path: the step is over a norm. With `damping` MCG, which then puts the data in."""
    x = s[0] * of.noise()
    for high, low in pairwise(s):
        x0 = denoised(p, of, x, high)
        back, energy = p.b * of.one - p.gram(x0), p.y.norm() ** 2
        misfit = energy - (x0.conj() * (p.b + back)).real.sum(0)
        # d ||y - A D|| / dx_vp of x = x_vp sqrt(1 + s^2); the image that moves is that of the next level
        gradient = -math.sqrt(1 + high**2) * p.shrunk(back, high) / misfit.sqrt()
        x = ddim(x, x0, high, low, of, eta) - math.sqrt(1 + low**2) * zeta * gradient
        if damping is not None:
            x = replaced(p, x, low, damping, of)
    return x


def red_diff(p, s, of, weight, learning_rate):
    """Adam with betas (0.9, 0.99), on real and imaginary parts; a path."""
    mu, first, second = p.b * of.one, 0, 0
    for step, high in enumerate(s[:-1], 1):
        z = of.noise()
        x = mu + high * z
        e = (x - denoised(p, of, x, high)) / high
        gradient = torch.view_as_real(p.gram(mu) - p.b * of.one + weight * high * (e - z))
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        move = first / (1 - 0.9**step) / ((second / (1 - 0.99**step)).sqrt() + 1e-8)
        mu = mu - learning_rate * torch.view_as_complex(move)
    return mu


def dds(p, s, of, eta, prior):
    """`prior` gives the weight of ||x - D||^2 at a level; None is the noiseless algorithm, run until it converges."""
    x = s[0] * of.noise()
    for high, low in pairwise(s):
        x0 = denoised(p, of, x, high)
        e = (x - x0) / high
        if prior is None:
            x0 = x0 + pseudo_inverse(p, p.b * of.one - p.gram(x0))
        else:
            x0 = p.solve(prior(high), p.b * of.one + prior(high) * x0)
        x = x0
        if low:
            x = x0 + low * (math.sqrt(1 - eta**2) * e + eta * of.noise())
    return x


def pyramid(p, s, of, sizes, restart, stride, eta=1.0):
    """Each size through its levels, times (h / N)^1/2; its image replaces the centre of the k-space of the last one."""
    image = torch.zeros_like(p.b)
    for halvings in range(sizes - 1, -1, -1):
        small = p.smaller(tuple(math.ceil(n / 2**halvings) for n in p.shape))
        root = math.sqrt(small.share)
        walk = s[:-1]
        if halvings < sizes - 1:
            walk = [level for level in walk if level <= restart * 2**halvings]
            walk = walk[(len(walk) - 1) % stride :: stride]
        before = small.share * small.U.mH @ image
        b = small.b * of.one
        if halvings < sizes - 1:
            b = b + small.gram(before) - small.seen(image)
        x = before + root * walk[0] * of.noise()[: len(small.b)]
        for high, low in pairwise([*(root * level for level in walk), 0.0]):
            noisy, weight = x, 0.4 * (small.noise_std / high) ** 2
            x0 = denoised(small, of, noisy, high)
            x = small.solve(weight, b + weight * x0)
            if low:
                z = of.noise()[: len(small.b)]
                x = x + low * (math.sqrt(1 - eta**2) * (noisy - x0) / high + eta * z)
        image = image + small.U @ (x - before)
    return image


def guided(p, s, of, eta, weight):
    """x0' = D - w/2 grad ||y - A D||^2, whose score is (x0' - x) / s^2; DDIM's step as in its paper."""
    x = s[0] * of.noise()
    for high, low in pairwise(s):
        x0 = denoised(p, of, x, high)
        x0 = x0 + weight(high) * p.shrunk(p.b * of.one - p.gram(x0), high)
        x = ddim(x, x0, high, low, of, eta)
    return x


def exact_weight(p, v):
    """w = s^2 / (r^2 + s_y^2), r^2 the variance that v and the level leave."""
    return lambda s: 1 / (1 / (1 + s**2 / v) + (p.noise_std / s) ** 2)


def pseudo_inverse(p, v):
    return p.of_gram(lambda e: torch.where(e > 0, 1 / e.clamp_min(1e-300), 0), v)


def langevin(p, s, of, step_size, steps, annealing):
    x = s[0] * of.noise()
    for high, _ in pairwise(s):
        a = step_size * high**2
        for _ in range(steps):
            prior = (denoised(p, of, x, high) - x) / high**2
            data = (p.b * of.one - p.gram(x)) / (p.noise_std**2 + annealing**2 * high**2)
            x = x + a * (prior + data) + math.sqrt(2 * a) * of.noise()
    return denoised(p, of, x, s[-2])


def replaced(p, x, level, damping, of, weight=1.0):
    """x + weight (G + damping)^-1 A^H (y + level A z - A x)."""
    back = p.b * of.one - p.gram(x)
    if level:
        back = back + level * p.gram(of.noise())
    return x + weight * p.solve(damping, back)


def projection(p, s, of, weight, damping):
    x = s[0] * of.noise()
    for high, low in pairwise(s):
        x = replaced(p, x, high, damping, of, weight)
        x = reverse_diffusion(x, denoised(p, of, x, high), high, low, of)
    return x


def ilvr(p, s, of, damping):
    x = s[0] * of.noise()
    for high, low in pairwise(s):
        x = ddpm(x, denoised(p, of, x, high), high, low, of)
        x = replaced(p, x, low, damping, of)
    return x


def repaint(p, s, of, damping, jump, repeats):
    """The walk as a list of levels, down and up again, then the steps between neighbours."""
    walk = [s[0]]
    for first in range(0, len(s) - 1, jump):
        run = s[first : first + jump + 1]
        for again in range(repeats):
            walk += run[1:] if not again else [run[0], *run[1:]]
    x = s[0] * of.noise()
    for now, then in pairwise(walk):
        if then > now:
            x = x + math.sqrt(then**2 - now**2) * of.noise()
        else:
            x = ddpm(x, denoised(p, of, x, now), now, then, of)
            x = replaced(p, x, then, damping, of)
    return x


def ddnm(p, s, of, eta, damping):
    x = s[0] * of.noise()
    for high, low in pairwise(s):
        x0 = denoised(p, of, x, high)
        e = (x - x0) / high
        x = x0 - p.solve(damping, p.gram(x0) - p.b * of.one)
        if low:
            x = x + low * (math.sqrt(1 - eta**2) * e + eta * of.noise())
    return x


def diffpir(p, s, of, prior_weight, zeta):
    x = s[0] * of.noise()
    for high, low in pairwise(s):
        rho = prior_weight * p.noise_std**2 / high**2
        x0 = p.solve(rho, p.b * of.one + rho * denoised(p, of, x, high))
        e = (x - x0) / high
        x = x0
        if low:
            x = x0 + low * (math.sqrt(1 - zeta) * e + math.sqrt(zeta) * of.noise())
    return x


def pnp_admm(p, s, of, prior_weight):
    v = u = torch.zeros_like(p.b)
    for high, _ in pairwise(s):
        rho = prior_weight * p.noise_std**2 / high**2
        x = p.solve(rho, p.b + rho * (v - u))
        v = denoised(p, of, x + u, high)
        u = u + x - v
    return v


def pigdm(p, s, of, prior_variance, eta):
    """The score of p(x | y) is that of p(x) plus J^H A^H (r^2 A A^H + s_y^2)^-1 (y - A D); then DDIM's step."""
    x = s[0] * of.noise()
    for high, low in pairwise(s):
        x0 = denoised(p, of, x, high)
        r2 = high**2 * prior_variance / (high**2 + prior_variance)
        inner = p.of_gram(lambda e, r2=r2: 1 / (r2 * e + p.noise_std**2), p.b * of.one - p.gram(x0))
        score = (x0 - x) / high**2 + p.shrunk(inner, high)
        clean, e = x + high**2 * score, -high * score
        fresh = eta * low * math.sqrt(1 - low**2 / high**2)
        x = clean
        if low:
            x = clean + math.sqrt(low**2 - fresh**2) * e + fresh * of.noise()
    return x


def spread(p, e):
    """s_y / d of eigenvalues e = d^2, where that is not 0."""
    return p.noise_std / torch.where(e > 1e-6, e, 1).sqrt()


def ddrm(p, s, of, eta, eta_b, weakest):
    """All cases of equations 7 and 8 as functions of G: `part` gives those singular vectors for which a test holds."""

    def part(test, scale, v):
        def function(e):
            r = spread(p, e)
            seen = (e > 1e-6) & (e > weakest**2)
            return torch.where(seen & test(r), scale(r), 0)

        return p.of_gram(function, v)

    def same(r):
        return torch.ones_like(r)

    def every(r):
        return torch.ones_like(r, dtype=torch.bool)

    measured = pseudo_inverse(p, p.b * of.one)
    z = s[0] * of.noise()
    x = z - part(lambda r: r <= s[0], same, z)
    x = x + part(lambda r: r <= s[0], same, measured)
    x = x + part(lambda r: r <= s[0], lambda r: (1 - (r / s[0]) ** 2).clamp_min(0).sqrt(), z)
    for high, low in pairwise(s):
        x0, z = denoised(p, of, x, high), of.noise()
        kept = math.sqrt(1 - eta**2) * low
        unseen = x0 + kept * (x - x0) / high + eta * low * z
        new = unseen - part(every, same, unseen)

        def worse(r, low=low):
            return r > low

        def better(r, low=low):
            return r <= low

        new = new + part(worse, same, x0 + eta * low * z)
        new = new + part(worse, lambda r, kept=kept: kept / r, measured - x0)
        new = new + part(better, same, (1 - eta_b) * x0 + eta_b * measured)
        x = new + part(better, lambda r, low=low: (low**2 - eta_b**2 * r**2).clamp_min(0).sqrt(), z)
    return x


def snips(p, s, of, step_size, steps):
    measured = pseudo_inverse(p, p.b * of.one)
    x = s[0] * of.noise()
    for high, _ in pairwise(s):

        def size(e, high=high):
            """The paper's step for s = 0, for s sigma > sigma_0 and for s sigma < sigma_0."""
            r2 = spread(p, e) ** 2
            early, late = high**2 - r2, high**2 * (1 - high**2 / r2)
            a = torch.where(r2 < high**2, early, late)
            return step_size * torch.where(e > 1e-6, a, high**2)

        def pull(e, high=high):
            gap = (high**2 - spread(p, e) ** 2).abs()
            return torch.where(e > 1e-6, size(e) / gap, 0)

        def by_prior(e, high=high):
            late = (e <= 1e-6) | (spread(p, e) > high)
            return torch.where(late, size(e), 0)

        for _ in range(steps):
            score = (denoised(p, of, x, high) - x) / high**2
            move = p.of_gram(pull, measured - x) + p.of_gram(by_prior, score)
            x = x + move + p.of_gram(lambda e: (2 * size(e)).sqrt(), of.noise())
    return denoised(p, of, x, s[-2])


def ddnm_plus(p, s, of, eta, weakest):
    measured = pseudo_inverse(p, p.b * of.one)
    x = s[0] * of.noise()
    for high, low in pairwise(s):
        x0 = denoised(p, of, x, high)
        fresh = eta * low

        def trust(e, fresh=fresh):
            seen = (e > 1e-6) & (e > weakest**2)
            return torch.where(seen, (fresh / spread(p, e)).clamp_max(1), 0)

        def left(e, fresh=fresh):
            return (fresh**2 - (trust(e) * spread(p, e)) ** 2).clamp_min(0).sqrt()

        e = (x - x0) / high
        x = x0 + p.of_gram(trust, measured - x0) + math.sqrt(1 - eta**2) * low * e
        x = x + p.of_gram(left, of.noise())
    return x


@dataclass(frozen=True)
class Case:
    """Parameters of a sampler (`noise_std` is added from the problem), and its recursion."""

    sampler: str
    recursion: Callable
    parameters: dict = field(default_factory=dict)
    noise_std: bool = False
    spectral: bool = False
    only: Callable | None = None  # which problems; all when None
    steps: int = 0  # conjugate gradients until they have converged; 0 where it has none

    def sample(self, p, sigmas, batch, generator=None):
        arguments = dict(self.parameters)
        if self.noise_std:
            arguments["noise_std"] = p.noise_std
        if self.steps:
            arguments["cg_steps"] = min(self.steps, 3 * len(p.b))
        if self.spectral:
            arguments["lanczos_steps"] = len(p.b)  # as many as make it exact
        y = p.y.expand(batch, *p.y.shape)
        out = SAMPLERS[self.sampler](y, p.A, p.denoiser, sigmas, generator=generator, **arguments)
        return out.reshape(batch, -1).mT

    def expected(self, p, sigmas, of):
        return self.recursion(p, sigmas.tolist(), of)


def damped(recursion, **more):
    return functools.partial(recursion, damping=0.1, **more)


def one_coil(p):
    return len(p.maps) == 1


def by_level(p, k=0.4):
    return lambda sigma: k * (p.noise_std / sigma) ** 2


CASES = {
    "score_mri": Case(
        "score_mri",
        lambda p, s, of: score_mri(p, s, of, 0.7),
        {"weight": 0.7, "corrections": 0},
    ),
    "dds, noiseless": Case(
        "dds",
        lambda p, s, of: dds(p, s, of, 0.85, None),
        {"eta": 0.85},
        steps=12,
        only=one_coil,
    ),
    "dds, constant gamma": Case(
        "dds",
        lambda p, s, of: dds(p, s, of, 0.6, lambda _: 1 / 5),
        {"gamma": 5.0, "eta": 0.6},
        steps=60,
    ),
    "dds, gamma by level": Case(
        "dds",
        lambda p, s, of: dds(p, s, of, 0.85, by_level(p)),
        {"eta": 0.85},
        noise_std=True,
        steps=300,
    ),
    "langevin": Case(
        "langevin",
        lambda p, s, of: langevin(p, s, of, 0.3, 2, 0.8),
        {"step_size": 0.3, "steps_per_level": 2, "annealing": 0.8},
        noise_std=True,
    ),
    "projection": Case(
        "projection", damped(projection, weight=0.8), {"weight": 0.8, "damping": 0.1}, steps=60
    ),
    "projection, one coil": Case(
        "projection",
        lambda p, s, of: projection(p, s, of, 1.0, 1e-8),
        {"damping": 0.0},
        steps=12,
        only=one_coil,
    ),
    "repaint": Case(
        "repaint",
        damped(repaint, jump=2, repeats=2),
        {"jump": 2, "repeats": 2, "damping": 0.1},
        steps=60,
    ),
    "ilvr": Case("ilvr", damped(ilvr), {"damping": 0.1}, steps=60),
    "ddnm": Case("ddnm", damped(ddnm, eta=0.85), {"damping": 0.1, "eta": 0.85}, steps=60),
    "ddnm_plus": Case(
        "ddnm_plus",
        lambda p, s, of: ddnm_plus(p, s, of, 0.85, 0.0),
        {"eta": 0.85, "weakest": 0.0},
        noise_std=True,
        spectral=True,
    ),
    "pigdm": Case(
        "pigdm",
        lambda p, s, of: pigdm(p, s, of, 1.5, 0.8),
        {"prior_variance": 1.5, "eta": 0.8},
        noise_std=True,
        steps=300,
    ),
    "reconstruction_guidance": Case(
        "reconstruction_guidance",
        lambda p, s, of: guided(p, s, of, 0.8, lambda _: 0.6),
        {"weight": 0.6, "eta": 0.8},
        noise_std=True,
    ),
    "reconstruction_guidance, auto": Case(
        "reconstruction_guidance",
        lambda p, s, of: guided(p, s, of, 1.0, exact_weight(p, 1.5)),
        {"weight": "auto", "prior_variance": 1.5},
        noise_std=True,
    ),
    "pyramid": Case(
        "pyramid",
        lambda p, s, of: pyramid(p, s, of, 3, 1.0, 2),
        {"restart": 1.0, "stride": 2},
        noise_std=True,
        steps=300,
    ),
    "pyramid, two sizes": Case(
        "pyramid",
        lambda p, s, of: pyramid(p, s, of, 2, 0.5, 1, 0.7),
        {"sizes": 2, "restart": 0.5, "eta": 0.7},
        noise_std=True,
        steps=300,
    ),
    "ddnm_plus, by default": Case(
        "ddnm_plus",
        lambda p, s, of: ddnm_plus(p, s, of, 1.0, 0.15),
        noise_std=True,
        spectral=True,
    ),
    "ddrm": Case(
        "ddrm",
        lambda p, s, of: ddrm(p, s, of, 0.7, 0.9, 0.0),
        {"eta": 0.7, "eta_b": 0.9, "weakest": 0.0},
        noise_std=True,
        spectral=True,
    ),
    "ddrm, by default": Case(
        "ddrm",
        lambda p, s, of: ddrm(p, s, of, 0.85, 1.0, 0.05),
        noise_std=True,
        spectral=True,
    ),
    "snips": Case(
        "snips",
        lambda p, s, of: snips(p, s, of, 0.2, 2),
        {"step_size": 0.2, "steps_per_level": 2},
        noise_std=True,
        spectral=True,
    ),
    "diffpir": Case(
        "diffpir",
        lambda p, s, of: diffpir(p, s, of, 0.8, 0.3),
        {"prior_weight": 0.8, "zeta": 0.3},
        noise_std=True,
        steps=300,
    ),
    "pnp_admm": Case(
        "pnp_admm",
        lambda p, s, of: pnp_admm(p, s, of, 0.7),
        {"prior_weight": 0.7},
        noise_std=True,
        steps=300,
    ),
}
PATHS = {
    "dps": Case("dps", lambda p, s, of: dps(p, s, of, 0.4, 0.9), {"zeta": 0.4, "eta": 0.9}),
    "dps, by default": Case("dps", lambda p, s, of: dps(p, s, of, 1.0, 1.0)),
    "mcg": Case(
        "mcg",
        lambda p, s, of: dps(p, s, of, 1.0, 1.0, 0.1),
        {"damping": 0.1},
        steps=60,
    ),
    "red_diff": Case(
        "red_diff",
        lambda p, s, of: red_diff(p, s, of, 0.3, 0.2),
        {"weight": 0.3, "learning_rate": 0.2},
    ),
    "score_mri": Case(
        "score_mri",
        lambda p, s, of: score_mri(p, s, of, 0.7, 2, 0.2),
        {"weight": 0.7, "corrections": 2, "snr": 0.2},
    ),
}
NO_LAW = {"dps", "mcg", "red_diff"}  # a norm or Adam in a step: not linear in the noise
