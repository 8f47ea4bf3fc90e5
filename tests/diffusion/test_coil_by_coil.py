"""DDRM, SNIPS and DDNM+ coil by coil, beside their recursion for each coil."""

import pytest
import torch
from oracle import Law, Problem, Scripted, columns_mask, moments, points_mask
from recursions import CASES

from mrirecon.diffusion import geometric
from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.operators import sense

SPECTRAL = [name for name, case in CASES.items() if case.spectral]
LEVELS = geometric(4, 0.15, 2.0)
PROBLEMS = {
    "points": ((5, 4), 3, points_mask((5, 4), 0.2), 0.05),
    "columns": ((5, 6), 2, columns_mask((5, 6), 2, 2), 0.1),
    "loud": ((5, 4), 4, points_mask((5, 4), 0.2), 1.5),
}


def close(actual, expected, tolerance=1e-6):
    error = torch.linalg.vector_norm(actual - expected) / torch.linalg.vector_norm(expected)
    assert float(error) < tolerance


class CoilByCoil(Problem):
    """The coil images in one column, each in units of its bright level, and measured by its own Fourier transform."""

    def __init__(self, *args):
        super().__init__(*args)
        coils, pixels = len(self.maps), self.b.shape[0]
        image = self.b.reshape(self.shape)
        bright = (self.maps * image).abs().flatten(1).sort(1).values[:, round(0.99 * pixels) - 1]
        self.level = bright / image.abs().flatten().sort().values[round(0.99 * pixels) - 1]
        self.noise_std = (self.noise_std / self.level)[:, None]
        of_each = self.y / self.level[:, None, None]
        self.b = (self.Fy.mH @ (self.mask * of_each) @ self.Fx.conj()).reshape(-1, 1)
        self.values = self.mask.flatten().double().expand(coils, pixels)
        self.vectors = torch.kron(self.Fy, self.Fx).mH.expand(coils, pixels, pixels)
        self.mean = self.mean.expand(coils, *self.shape)

    def combined(self, columns):
        coils = columns.reshape(len(self.maps), -1, columns.shape[-1])
        weights = (self.level[:, None, None] * self.maps).conj().flatten(1)
        return (weights[..., None] * coils).sum(0)


def unit_vectors(draw, like):
    """Noise for a batch whose first item draws none, and each other one unit vector of all coils in one draw."""
    noise = torch.zeros_like(like).flatten(1)
    length = noise.shape[1]
    noise[1 + draw * length : 1 + (draw + 1) * length] = torch.eye(length)
    return noise.reshape(like.shape)


def sampled(case, p, batch, **more):
    """Images as columns."""
    arguments = {"noise_std": float((p.noise_std * p.level[:, None])[0]), **case.parameters, **more}
    y = p.y.expand(batch, *p.y.shape)
    images = SAMPLERS[case.sampler](y, p.A, p.denoiser, LEVELS, coils="each", **arguments)
    return images.reshape(batch, -1).mT


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("name", SPECTRAL)
def test_each_coil_has_the_law_of_its_own_recursion(name, problem, monkeypatch):
    """Mean and covariance of the combined image, of coils that draw independently."""
    p, case = CoilByCoil(*PROBLEMS[problem]), CASES[name]
    law = Law(p, 14)
    columns = p.combined(case.expected(p, LEVELS, law))
    mean, covariance = moments(columns)
    noise = Scripted(unit_vectors).install(monkeypatch)
    images = sampled(case, p, 1 + law.drawn * p.b.shape[0])
    assert noise.drawn == law.drawn
    close(images[:, 0], mean)
    responses = images[:, 1:] - images[:, :1]
    close(responses @ responses.mH, covariance)


@pytest.mark.parametrize("sampler", ["ddrm", "snips", "ddnm_plus"])
def test_one_coil_by_itself_is_joint(sampler):
    """Its bright level is that of the image, so that units change nothing."""
    p = Problem((12, 9), 1, points_mask((12, 9), 0.4), 0.02)
    A = sense(torch.ones_like(p.maps), p.mask)
    joint, each = (
        SAMPLERS[sampler](
            p.y,
            A,
            p.denoiser,
            LEVELS,
            noise_std=0.02,
            coils=coils,
            generator=torch.Generator().manual_seed(0),
        )
        for coils in ("joint", "each")
    )
    close(each, joint, 1e-9)
