"""The network of DiracDiffusion for MRI: a denoiser between two solutions of the normal equations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from mrirecon.networks.base import at_least_one
from mrirecon.networks.denoiser import DenoiserUNet
from mrirecon.networks.sense_network import SenseNetwork
from mrirecon.operators.sense import Sense
from mrirecon.tensors import as_channels, as_complex

# Logarithms of levels and weights are stored divided by this, so that Adam changes them 20 times faster than the
# weights of the denoiser.
PACE = 20
KNOTS = 9  # of levels and weights over the share of k-space that is missing
LEAST_NOISE = 1e-3  # relative to the bright level: with less, the denoised image counts for nothing


class Dirac(SenseNetwork):
    """Phi(y_t) ~ E[x0 | y_t] of DiracDiffusion (Fabian, Tinaz & Soltanolkotabi 2023, arXiv:2303.14353).

        x = CG-SENSE image of y_t,    Phi = argmin ||y_t - A_t x'||^2 + w s_t^2 ||x' - D(x, s)||^2

    The paper's network is told the noise level only, which ties it to one family of masks. Here the operator is, as in
    unrolled networks; the level s of the denoiser D and the weight w are learned functions of the share of k-space that
    M_t leaves out, piecewise linear in their logarithms, and the noise s_t is added to s. Training from a trained prior
    (`train --weights`) saves most of its time.

    Args:
        cg_steps: conjugate gradients for Phi; twice as many for x.
        noise_end: s_0 over s_1, the noise at the end of the reverse process over that of the scan.
        sigma: s before training, where nothing and where everything is missing, in units of the bright level.
        prior_weight: w is prior_weight / s^2 before training.
        denoiser: constructor arguments of `DenoiserUNet`.

    Raises:
        ValueError: if there are no conjugate gradients, or noise_end is not above 0 and at most 1.
    """

    name = "dirac"

    def __init__(
        self,
        cg_steps: int = 5,
        noise_end: float = 0.5,
        sigma: tuple[float, float] | list[float] = (0.005, 0.2),
        prior_weight: float = 0.025,
        denoiser: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        at_least_one(cg_steps=cg_steps)
        if not 0 < noise_end <= 1:
            raise ValueError(f"noise_end is {noise_end}: give a share above 0 and at most 1")
        self.denoiser = DenoiserUNet(**(denoiser or {}))
        self.config = {
            "cg_steps": cg_steps,
            "noise_end": noise_end,
            "sigma": list(sigma),
            "prior_weight": prior_weight,
            "denoiser": self.denoiser.config,
        }
        self.cg_steps, self.noise_end = cg_steps, noise_end
        log_sigma = torch.linspace(math.log(sigma[0]), math.log(sigma[1]), KNOTS)
        self.log_sigma = nn.Parameter(log_sigma / PACE)
        self.log_weight = nn.Parameter((math.log(prior_weight) - 2 * log_sigma) / PACE)

    def reconstruct(
        self, y: Complex[Tensor, "batch coil y x"], A: Sense, noise_std: Float[Tensor, " batch"]
    ) -> Complex[Tensor, "batch y x"]:
        """Phi, in units of the bright level; what y holds outside of the mask counts for nothing.

        Args:
            y: y_t.
            A: A_t.
            noise_std: s_t, per real component.
        """
        missing = 1 - A.mask.to(noise_std.dtype).mean((-2, -1))
        sigma = _between(self.log_sigma, missing).exp()
        noise = noise_std.clamp_min(LEAST_NOISE)
        weight = (_between(self.log_weight, missing).exp() * noise**2)[:, None, None]
        back = A.H(y)
        x = A.solve(back, 0.02, iterations=2 * self.cg_steps)
        level = torch.sqrt(sigma**2 + noise_std**2).expand(len(x))
        clean = as_complex(self.denoiser(as_channels(x), level).to(x.real.dtype))
        return A.solve(back + weight * clean, weight, clean, iterations=self.cg_steps)

    def parts_to_compile(self) -> list[nn.Module]:
        return self.denoiser.parts_to_compile()


def _between(knots: Float[Tensor, " knot"], share: Float[Tensor, "*batch"]) -> Tensor:
    """The piecewise linear function through the knots, which are evenly spaced from 0 to 1."""
    place = share * (len(knots) - 1)
    low = place.floor().long().clamp(0, len(knots) - 2)
    part = place - low
    return PACE * ((1 - part) * knots[low] + part * knots[low + 1])
