"""Problems with a Gaussian prior, as matrices, and the noise of samplers written down beforehand.

Nothing of the package computes here: Fourier transforms are matrices, the Gram operator G = A^H A is a matrix (one, or
one for each line of the image where the mask varies along x only) taken apart into eigenvectors, and inverses are
functions of its eigenvalues. Vectors are the columns of (pixel, column) arrays.

A recursion (`recursions.py`) is linear in its noise, so that one run of it with the right columns gives its law:
column 0 carries the constants (data and mean), and each other column one unit vector of one noise (`Law`). With random
columns instead it gives the image that belongs to that noise (`Path`).
"""

import math
from copy import copy
from importlib import import_module
from pkgutil import iter_modules

import torch

from mrirecon.birdcage import birdcage_maps
from mrirecon.diffusion import GaussianDenoiser, samplers
from mrirecon.operators import sense

MODULES = [import_module(f"{samplers.__name__}.{m.name}") for m in iter_modules(samplers.__path__)]
DRAWING = [module for module in MODULES if hasattr(module, "complex_noise_like")]


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
        self.take_apart()

    def take_apart(self):
        """A^H y, and the eigenvalues and eigenvectors of G."""
        back = self.Fy.mH @ (self.mask * self.y) @ self.Fx.conj()
        self.b = (self.maps.conj() * back).sum(0).reshape(-1, 1)
        self.values, self.vectors = torch.linalg.eigh(self.grams())
        self.values = torch.where(self.values < 1e-9, 0, self.values)

    def smaller(self, shape):
        """The problem of the images whose outer k-space is cut away, at the same brightness, and U that enlarges them.

        U is a sum of waves, the same at both sizes; an image of h pixels in place of N has the noise times (h / N)^1/2.
        """
        first = [n // 2 - h // 2 for n, h in zip(self.shape, shape, strict=True)]
        rows, columns = (slice(a, a + h) for a, h in zip(first, shape, strict=True))
        small = copy(self)
        small.shape, small.mask = shape, self.mask[rows, columns]
        small.share = shape[0] * shape[1] / (self.shape[0] * self.shape[1])
        small.noise_std = self.noise_std * math.sqrt(small.share)
        small.Fy, small.Fx = (dft(size, size // 2) for size in shape)
        small.Qy, small.Qx = (dft(size) for size in shape)
        up = torch.kron(self.Fy.mH[:, rows] @ small.Fy, self.Fx.mH[:, columns] @ small.Fx)
        small.U = up / math.sqrt(small.share)
        down = small.U.mH * small.share  # the inverse of U on its range
        maps = (down @ self.maps.reshape(len(self.maps), -1).mT).mT.reshape(-1, *shape)
        size = maps.abs().square().sum(0).sqrt()
        small.maps = torch.where(size > 0.5, maps / size, 0)
        small.y = math.sqrt(small.share) * self.y[:, rows, columns]
        small.mean = (down @ self.mean.reshape(-1, 1)).reshape(shape)
        ky, kx = ((torch.arange(h) - h // 2) % n for n, h in zip(self.shape, shape, strict=True))
        power = self.power[ky][:, kx] * small.share
        small.power = power.roll([-(h // 2) for h in shape], (0, 1))
        small.take_apart()

        def seen(x):
            """A^H of the small problem on the centre of A x of the large one."""
            images = x.mT.reshape(-1, 1, *self.shape)
            kspace = (self.mask * (self.Fy @ (self.maps * images) @ self.Fx.mT))[..., rows, columns]
            back = small.Fy.mH @ kspace @ small.Fx.conj() * math.sqrt(small.share)
            return (small.maps.conj() * back).sum(1).flatten(1).mT

        small.seen = seen
        return small

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
        for module in DRAWING:
            monkeypatch.setattr(module, "complex_noise_like", self)
        return self
