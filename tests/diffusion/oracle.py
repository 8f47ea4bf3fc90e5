"""Problems with a Gaussian prior, and every sampler as a linear recursion, written down from the papers' formulas.

Nothing of the package computes here: Fourier transforms are matrices, the Gram operator G = A^H A is a matrix (one, or
one for each line of the image where the mask varies along x only) taken apart into eigenvectors, and inverses are
functions of its eigenvalues. Vectors are the columns of (pixel, column) arrays.

A recursion is linear in its noise, so that one run of it with the right columns gives its law: column 0 carries the
constants (data and mean), and each other column one unit vector of one noise (`Law`). With random columns instead it
gives the image that belongs to that noise (`Path`).
"""

import math
import sys
from itertools import pairwise

import torch

from mrirecon.birdcage import birdcage_maps
from mrirecon.diffusion import GaussianDenoiser
from mrirecon.operators import sense

MODULES = ("steps", "replacement", "langevin", "spectral", "score_mri")


def complex_normal(*shape, seed=0):
    """White noise of variance 1 in the real and in the imaginary part."""
    generator = torch.Generator().manual_seed(seed)
    return math.sqrt(2) * torch.randn(*shape, dtype=torch.complex128, generator=generator)


def dft(size, centre=0):
    """The orthonormal Fourier transform with its origins at index `centre`."""
    index = torch.arange(size, dtype=torch.float64) - centre
    return torch.exp(-2j * math.pi / size * index[:, None] * index) / math.sqrt(size)


def columns_mask(shape, step, centre):
    """Every `step`-th column and `centre` of them in the middle."""
    lines = torch.zeros(shape[1], dtype=torch.bool)
    lines[::step] = True
    first = shape[1] // 2 - centre // 2
    lines[first : first + centre] = True
    return lines.expand(shape).clone()


def points_mask(shape, share, seed=0):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share
    mask[shape[0] // 2 - 1 : shape[0] // 2 + 2, shape[1] // 2 - 1 : shape[1] // 2 + 2] = True
    return mask


class Problem:
    """y = A x + n, x Gaussian; and what the recursions need of it, as matrices."""

    def __init__(self, shape, coils, mask, noise_std, seed=0):
        self.shape, self.mask, self.noise_std = shape, mask, noise_std
        self.maps = birdcage_maps(shape, coils)[0].to(torch.complex128)
        if coils == 1:
            self.maps = self.maps / self.maps.abs()
        self.A = sense(self.maps, mask)
        self.Fy, self.Fx = (dft(size, size // 2) for size in shape)
        self.Qy, self.Qx = dft(shape[0]), dft(shape[1])
        fy, fx = (torch.fft.fftfreq(size, dtype=torch.float64) for size in shape)
        self.power = 3 / (1 + 40 * (fy[:, None] ** 2 + fx**2)) ** 1.5 + 0.02
        mean = 0.5 * complex_normal(1, 1, seed=seed) * torch.linspace(0.5, 1, shape[0])[:, None]
        self.mean = mean.expand(shape).clone()
        self.denoiser = GaussianDenoiser(self.mean, self.power)
        draw = self.power.sqrt() * complex_normal(*shape, seed=seed + 1)
        self.truth = self.mean + self.Qy.mH @ draw @ self.Qx.conj()
        noise = complex_normal(coils, *shape, seed=seed + 2)
        self.y = mask * (self.Fy @ (self.maps * self.truth) @ self.Fx.mT + noise_std * noise)
        back = self.Fy.mH @ (mask * self.y) @ self.Fx.conj()
        self.b = (self.maps.conj() * back).sum(0).reshape(-1, 1)
        self.values, self.vectors = torch.linalg.eigh(self.grams())
        self.values = torch.where(self.values < 1e-9, 0, self.values)

    def grams(self):
        """G, or its diagonal blocks over the image's lines where the mask has whole columns."""
        if bool((self.mask == self.mask[:1]).all()):
            kernel = self.Fx.mH @ (self.mask[0, :, None] * self.Fx)
            rows = self.maps.movedim(0, 1)
            return (rows.mH @ rows) * kernel
        forward = torch.kron(self.Fy, self.Fx)[self.mask.flatten()]
        per_coil = [forward * coil.flatten() for coil in self.maps]
        return sum(A.mH @ A for A in per_coil).unsqueeze(0)

    def of_gram(self, function, v):
        """function(G) v."""
        blocks = v.reshape(len(self.values), self.values.shape[-1], -1)
        blocks = self.vectors @ (function(self.values)[..., None] * (self.vectors.mH @ blocks))
        return blocks.reshape(v.shape)

    def gram(self, v):
        return self.of_gram(lambda e: e, v)

    def solve(self, weight, v):
        """(G + weight)^-1 v."""
        return self.of_gram(lambda e: 1 / (e + weight), v)

    def shrunk(self, v, sigma):
        """J v, J = P (P + sigma^2)^-1 the Jacobian of the denoiser and P the prior's covariance."""
        images = v.mT.reshape(-1, *self.shape)
        factor = self.power / (self.power + sigma**2)
        back = self.Qy.mH @ (factor * (self.Qy @ images @ self.Qx.mT)) @ self.Qx.conj()
        return back.reshape(v.shape[1], -1).mT


class Law:
    """Columns for the law of a recursion with `draws` noises: mean in column 0, responses in the others."""

    def __init__(self, problem, draws):
        self.pixels, self.draws, self.drawn = problem.b.shape[0], draws, 0
        self.one = torch.zeros(1, 1 + draws * self.pixels, dtype=torch.complex128)
        self.one[0, 0] = 1

    def noise(self):
        first = 1 + self.drawn * self.pixels
        self.drawn += 1
        z = torch.zeros(self.pixels, self.one.shape[1], dtype=torch.complex128)
        z[:, first : first + self.pixels] = torch.eye(self.pixels)
        return z


class Path:
    """Columns for the images that belong to given noises, each (pixel, column)."""

    def __init__(self, noises):
        self.noises, self.drawn = noises, 0
        self.one = torch.ones(1, noises[0].shape[1] if noises else 1, dtype=torch.complex128)

    def noise(self):
        self.drawn += 1
        return self.noises[self.drawn - 1]


def moments(columns):
    """Mean and covariance (per real component) of a law given as columns."""
    responses = columns[:, 1:]
    return columns[:, 0], responses @ responses.mH


class Scripted:
    """Stands in for `complex_noise_like`: gives written-down noise (draw, *shape) of the batch, and counts."""

    def __init__(self, script=None):
        self.script, self.drawn = script, 0

    def __call__(self, like, generator=None):
        self.drawn += 1
        return torch.zeros_like(like) if self.script is None else self.script(self.drawn - 1, like)

    def install(self, monkeypatch):
        for name in MODULES:
            module = sys.modules[f"mrirecon.diffusion.samplers.{name}"]
            monkeypatch.setattr(module, "complex_noise_like", self)
        return self


# The recursions. `p` is the problem, `s` the levels, `of` the columns; the rest are the papers' parameters.


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
