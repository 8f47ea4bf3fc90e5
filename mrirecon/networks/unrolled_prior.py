"""The denoiser of a diffusion prior, unrolled with data consistency and fine-tuned end to end (not from a paper)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mrirecon.networks.denoiser import DenoiserUNet
from mrirecon.networks.sense_network import SenseNetwork
from mrirecon.operators.sense import Sense
from mrirecon.tensors import as_channels, as_complex

# Logarithms of levels and weights are stored divided by this, so that Adam changes them 20 times faster than the
# weights of the denoiser.
PACE = 20
# Smallest noise level, relative to the bright level: with less, the prior has no weight where nothing was measured.
LEAST_NOISE = 1e-3


class UnrolledPrior(SenseNetwork):
    """DDS without its new noise, trained: x <- argmin ||y - A x||^2 + w_k s_y^2 ||x - D(x, s_k)||^2, by CG.

    It starts from the CG-SENSE image. All steps share one denoiser D. Training learns its noise levels s_k, the weights
    w_k of the prior relative to the noise level s_y of the data, and D itself, starting from a trained prior
    (`train --weights`). Images are in units of the scan's bright level, like those of the prior.

    Not from a paper: MoDL (Aggarwal et al. 2019, arXiv:1712.02862) unrolls one denoiser in this way without noise
    levels, and trains it from scratch.

    Args:
        steps: unrolled iterations.
        cg_steps: conjugate gradients per iteration.
        sigma_first: initial s of the first iteration, in units of the bright level; later ones fall geometrically.
        sigma_last: initial s of the last iteration.
        prior_weight: w is prior_weight / s^2 before training, as in DDS.
        denoiser: constructor arguments of `DenoiserUNet`.
        checkpoint_steps: recompute each iteration in the backward pass, which needs the memory of one iteration only.

    Raises:
        ValueError: if there are no steps or no conjugate gradients.
    """

    name = "unrolled_prior"

    def __init__(
        self,
        steps: int = 8,
        cg_steps: int = 5,
        sigma_first: float = 0.3,
        sigma_last: float = 0.02,
        prior_weight: float = 0.025,
        denoiser: Mapping[str, Any] | None = None,
        *,
        checkpoint_steps: bool = False,
    ) -> None:
        super().__init__()
        if steps < 1 or cg_steps < 1:
            raise ValueError(f"{steps} steps of {cg_steps} conjugate gradients: give at least 1")
        self.denoiser = DenoiserUNet(**(denoiser or {}))
        self.config = {
            "steps": steps,
            "cg_steps": cg_steps,
            "sigma_first": sigma_first,
            "sigma_last": sigma_last,
            "prior_weight": prior_weight,
            "denoiser": self.denoiser.config,
        }
        self.cg_steps, self.checkpoint_steps = cg_steps, checkpoint_steps
        log_sigma = torch.linspace(math.log(sigma_first), math.log(sigma_last), steps)
        self.log_sigma = nn.Parameter(log_sigma / PACE)
        self.log_weight = nn.Parameter((math.log(prior_weight) - 2 * log_sigma) / PACE)

    def reconstruct(
        self,
        y: Complex[Tensor, "batch coil y x"],
        A: Sense,
        noise_std: Float[Tensor, " batch"],
        *,
        learned_steps: int | None = None,
    ) -> Complex[Tensor, "batch y x"]:
        """Complex images from k-space and its noise per real component, all in units of the bright level.

        Args:
            y: k-space.
            A: its operator.
            noise_std: of the k-space, per real component.
            learned_steps: gradients flow through so many of the last steps only, which all share one denoiser: most of
                what a scan teaches at a fraction of the time; by default through all.
        """
        power = noise_std.clamp_min(LEAST_NOISE).square()[:, None, None]
        backprojection = A.H(y)
        x = A.solve(backprojection, 0.02, iterations=2 * self.cg_steps)
        first = 0 if learned_steps is None else max(0, len(self.log_sigma) - learned_steps)
        learning = torch.is_grad_enabled()
        for number, levels in enumerate(zip(self.log_sigma, self.log_weight, strict=True)):
            step = (A, backprojection, x, *levels, power)
            if self.checkpoint_steps and learning:
                x = checkpoint(self._step, *step, use_reentrant=False)
                continue
            with torch.set_grad_enabled(learning and number >= first):
                x = self._step(*step)
        return x

    def _step(
        self,
        A: Sense,
        backprojection: Tensor,
        x: Tensor,
        log_sigma: Tensor,
        log_weight: Tensor,
        power: Tensor,
    ) -> Tensor:
        sigma = (PACE * log_sigma).exp().expand(len(x))
        weight = (PACE * log_weight).exp() * power
        clean = as_complex(self.denoiser(as_channels(x), sigma).to(x.real.dtype))
        return A.solve(backprojection + weight * clean, weight, clean, iterations=self.cg_steps)

    def parts_to_compile(self) -> list[nn.Module]:
        return self.denoiser.parts_to_compile()
