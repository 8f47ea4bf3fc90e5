"""The unrolled prior as a method; it works on the coil maps that every classical method has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.methods.problem import Problem, Result, unwhitened_gain
from mrirecon.methods.trust import trust_figures
from mrirecon.methods.unrolled import EndToEnd
from mrirecon.networks.unrolled_prior import UnrolledPrior as Network
from mrirecon.scan import Scan


@dataclass(frozen=True, kw_only=True)
class UnrolledPrior(EndToEnd):
    """Denoiser of a diffusion prior, unrolled with data consistency and fine-tuned (ours; no sampling, one image).

    Attributes:
        noise_std: noise of the k-space per real component, in its units before any prewhitening; unset reads it from a
            noise measurement or from the outermost measured k-space.
        trust: write the null-space part of the image, which the prior supplied and not the scanner.
    """

    weights: str = "unrolled_prior_tiny"
    noise_std: float | None = None
    trust: bool = False

    name: ClassVar[str] = "unrolled_prior"
    uses_maps: ClassVar[bool] = True
    uses_scale: ClassVar[bool] = True
    uses_noise: ClassVar[bool] = True

    def solve(self, problem: Problem) -> Complex[Tensor, "*set y x"]:
        network, _ = self.trained
        assert isinstance(network, Network) and problem.maps is not None
        if len(problem.maps) > 1:
            raise ValueError(
                f"{self.name} works with one set of coil maps: leave out --calibration.sets"
            )
        kind, low = problem.kspace.device.type, self.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=low):
            noise = torch.tensor([problem.noise_std / problem.scale], device=problem.kspace.device)
            y = problem.kspace[None] / problem.scale
            image = network.reconstruct(y, problem.operator, noise)[0]
        return image * problem.scale * problem.operator.support()

    def _image(self, problem: Problem, whitening: Tensor | None, scan: Scan) -> Result:
        image = self.solve(problem)
        figures, hidden = trust_figures(problem, image, whole=self.trust)
        assert problem.maps is not None
        gain = 1.0 if whitening is None else unwhitened_gain(problem.maps, whitening)[0]
        extras = {}
        if self.trust:
            assert hidden is not None
            extras["null_space"] = scan.to_output(hidden * gain).abs()
        return Result(scan.to_output(image * gain), figures, extras)
