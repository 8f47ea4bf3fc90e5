"""The unrolled prior as a method; it works on the coil maps that every classical method has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.methods.base import Problem, Result, SliceMethod, unwhitened_gain
from mrirecon.methods.trust import trust_figures
from mrirecon.networks.unrolled_prior import UnrolledPrior as Network
from mrirecon.scan import Scan, Volume
from mrirecon.weights import Card, load_weights


@dataclass(frozen=True, kw_only=True)
class UnrolledPrior(SliceMethod):
    """Denoiser of a diffusion prior, unrolled with data consistency and fine-tuned (ours; no sampling, one image).

    Attributes:
        weights: name of shipped weights, or a file made by `mrirecon train`.
        precision: of the denoiser; data consistency is float32 with both.
        trust: write the null-space part of the image, which the prior supplied and not the scanner.
    """

    weights: str = "unrolled_prior_tiny"
    precision: Literal["float32", "bfloat16"] = "float32"
    trust: bool = False

    name: ClassVar[str] = "unrolled_prior"
    uses_scale: ClassVar[bool] = True
    uses_noise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what the network was not trained for."""
        super().__post_init__()
        if self.partial_fourier != "zero":
            raise ValueError(
                f"{self.name} fills in partial Fourier by itself: leave out --partial_fourier {self.partial_fourier}"
            )

    @cached_property
    def trained(self) -> tuple[Network, Card]:
        """The network, on the device, and the card of its weights.

        Raises:
            ValueError: if the weights are of another network.
        """
        network, card = load_weights(self.weights)
        if not isinstance(network, Network):
            raise ValueError(
                f"{self.weights} holds weights of {network.name}: use --method {network.name}, or other weights"
            )
        return network.to(self.device).eval(), card

    def __call__(self, scan: Scan) -> Volume:
        _, card = self.trained
        volume = super().__call__(scan)
        info = {
            **volume.info,
            "weights": {"name": self.weights, **card.as_json()},
            "notes": [*volume.info["notes"], *card.warnings(scan, scan.mask_kind)],
        }
        return replace(volume, info=info)

    def solve(self, problem: Problem) -> Complex[Tensor, "*set y x"]:
        network, _ = self.trained
        assert problem.maps is not None
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
        figures, hidden = trust_figures(problem, image)
        assert problem.maps is not None
        gain = 1.0 if whitening is None else unwhitened_gain(problem.maps, whitening)[0]
        extras = {}
        if self.trust:
            extras["null_space"] = scan.to_output(hidden * gain).abs()
        return Result(scan.to_output(image * gain), figures, extras)
