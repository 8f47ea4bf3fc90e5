"""How near every sampler comes to the exact posterior, for a Gaussian prior: the numbers of docs/sampler-theory.md.

A stationary Gaussian prior of mean 0 and variance 1 per real component, with power falling from 70 at the centre of
k-space to 0.03 at its edge; 33 x 33 pixels, 4 coils, 11 random columns of 33 with 4 central ones, noise 0.05; 100
levels from 30 to 0.01 in one ratio; 16 draws. Reported are ||mean of draws - mean|| / ||mean||, with what 16 draws of
the posterior itself would give (the floor), and the standard deviation averaged over pixels, over the posterior's.
"""

from __future__ import annotations

import argparse
import inspect
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from mrirecon.birdcage import birdcage_maps
from mrirecon.diffusion import GaussianDenoiser, geometric
from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.masks.own import uniform1d
from mrirecon.operators import LinearOperator, sense
from mrirecon.tensors import complex_noise_like, fft2, ifft2

SHAPE = (33, 33)
NOISE_STD = 0.05
# Beyond the defaults, with which every sampler is measured too.
VARIED: list[tuple[str, dict[str, Any]]] = [
    ("score_mri", {"corrections": 3}),
    ("dps", {"zeta": 5.0}),
    ("dds", {"prior_weight": 1.0}),
    ("dds", {"gamma": 5.0}),
    ("langevin", {"step_size": 0.5}),
    ("langevin", {"step_size": 0.5, "steps_per_level": 10}),
    ("langevin", {"step_size": 0.5, "steps_per_level": 50}),
    ("projection", {"damping": 0.01}),
    ("projection", {"damping": 0.1}),
    ("repaint", {"damping": 0.1}),
    ("ilvr", {"damping": 0.1}),
    ("mcg", {"damping": 0.1}),
    ("ddnm", {"damping": 0.01}),
    ("ddnm", {"damping": 0.1}),
    ("ddnm_plus", {"weakest": 0.0}),
    ("pigdm", {"cg_steps": 20}),
    ("ddrm", {"weakest": 0.0}),
    ("snips", {"step_size": 0.5}),
    ("diffpir", {"cg_steps": 20}),  # as many as converge, of a solver that no denoiser sees
    ("red_diff", {"learning_rate": 0.3}),
    ("pnp_admm", {"cg_steps": 20}),
    ("reconstruction_guidance", {"weight": "auto", "prior_variance": 1.0}),
    ("pyramid", {"sizes": 1}),
    ("pyramid", {"sizes": 2}),
    ("pyramid", {"stride": 2}),
]
SETTINGS = [
    (sampler, settings)
    for sampler in SAMPLERS
    for settings in ({}, *(varied for name, varied in VARIED if name == sampler))
]


def problem() -> tuple[LinearOperator, Tensor, Tensor]:
    """(A, y, power of the prior)."""
    generator = torch.Generator().manual_seed(0)
    maps = birdcage_maps(SHAPE, 4)[0].to(torch.complex128)
    A = sense(maps, uniform1d(SHAPE, 3, center_fraction=0.12, seed=0))
    frequency = torch.fft.fftfreq(SHAPE[0], dtype=torch.float64)
    power = (1 + 400 * (frequency[:, None] ** 2 + frequency**2)) ** -1.5
    power = power / power.mean()
    white = complex_noise_like(torch.zeros(SHAPE, dtype=torch.complex128), generator)
    kspace = A(ifft2(power.sqrt() * white))
    noise = NOISE_STD * complex_noise_like(kspace, generator)
    return A, kspace + noise * A.mask, power


def posterior(A: LinearOperator, y: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, and variance per real component, of p(x | y): P^1/2 (P^1/2 A^H A P^1/2 / s_y^2 + 1)^-1 P^1/2."""
    pixels = power.numel()

    def root(x: Tensor) -> Tensor:
        return ifft2(power.sqrt() * fft2(x))

    unit = torch.eye(pixels, dtype=y.dtype).reshape(pixels, *SHAPE)
    precision = root(A.gram(root(unit))).reshape(pixels, pixels).mT / NOISE_STD**2
    precision = precision + torch.eye(pixels)
    mean = root(torch.linalg.solve(precision, root(A.H(y)).flatten() / NOISE_STD**2).reshape(SHAPE))
    factor = torch.linalg.inv(torch.linalg.cholesky(precision)).conj().reshape(pixels, *SHAPE)
    return mean, root(factor).abs().square().sum(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--levels", type=int, default=100)
    parser.add_argument("samplers", nargs="*", help="names; all when none is given")
    args = parser.parse_args()
    A, y, power = problem()
    mean, variance = posterior(A, y, power)
    prior = GaussianDenoiser(torch.zeros_like(mean), power)
    floor = (2 * variance.sum() / args.draws).sqrt() / mean.norm()
    print(f"posterior: standard deviation {float(variance.sqrt().mean()):.3f}, floor {floor:.3f}")
    print(f"{'sampler':10}  distance  sd ratio  per level  seconds  settings")
    for name, settings in SETTINGS:
        if args.samplers and name not in args.samplers:
            continue
        weighed = "noise_std" in inspect.signature(SAMPLERS[name]).parameters
        begin, asked = perf_counter(), []
        images = SAMPLERS[name](
            y.expand(args.draws, *y.shape),
            A,
            _Counted(prior, asked),
            geometric(args.levels, 0.01, 30.0),
            generator=torch.Generator().manual_seed(1),
            **({"noise_std": NOISE_STD} if weighed else {}),
            **settings,
        )
        seconds = perf_counter() - begin
        distance = float((images.mean(0) - mean).norm() / mean.norm())
        spread = ((images.real.var(0) + images.imag.var(0)) / 2).sqrt().mean()
        ratio = float(spread / variance.sqrt().mean())
        evaluations = len(asked) / args.levels
        print(
            f"{name:10}  {distance:8.3f}  {ratio:8.2f}  {evaluations:9.2f}  {seconds:7.1f}  "
            + ", ".join(f"{key} {value}" for key, value in settings.items())
        )


class _Counted:
    """A denoiser that writes down the levels it is asked for."""

    def __init__(self, denoiser: GaussianDenoiser, asked: list[float]) -> None:
        self.denoiser, self.asked, self.sigma_range = denoiser, asked, denoiser.sigma_range

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        self.asked.append(sigma)
        return self.denoiser(x, sigma)


if __name__ == "__main__":
    main()
