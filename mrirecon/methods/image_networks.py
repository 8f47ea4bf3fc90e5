"""Networks that refine an image, with the coil maps of the scan, as methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.device import sent
from mrirecon.methods.base import Needs, Problem, Solution
from mrirecon.methods.networks import NetworkMethod
from mrirecon.methods.problem import operator_of
from mrirecon.methods.trust import Trust, image_figures, not_computed, null_space_figures
from mrirecon.networks import Network
from mrirecon.networks.sense_network import SenseNetwork
from mrirecon.networks.unrolled_prior import UnrolledPrior
from mrirecon.options import Positive
from mrirecon.scan import Scan

LEARNED_STEPS = 3  # of an unrolled prior that gradients flow through while it is adapted to a scan


@dataclass(frozen=True, kw_only=True)
class SenseNetworkMethod(NetworkMethod):
    """A network that makes one complex image with the coil maps of the scan."""

    def solve_with(self, network: Network, problems: Sequence[Problem]) -> list[Solution]:
        images = self.run(network, *_in_bright_levels(problems))
        return [
            self._solution(problem, image * problem.scale * problem.operator.support())
            for problem, image in zip(problems, images, strict=True)
        ]

    def _solution(self, problem: Problem, image: Complex[Tensor, "y x"]) -> Solution:
        return Solution(image=image, figures=image_figures(problem, image))

    def predicted(
        self, module: Network, problem: Problem, seed: int | None = None
    ) -> Complex[Tensor, "coil y x"]:
        """All of k-space as the network has it; gradients flow through it."""
        image = self._learning(module)(*_in_bright_levels([problem]))[0]
        return problem.kspace_of(image * problem.scale)

    def _learning(self, module: Network) -> Callable[..., Tensor]:
        """What is run of a network that is being adapted to a scan."""
        assert isinstance(module, SenseNetwork)
        return module.reconstruct

    def _whole(self, network: Network) -> Callable[..., Any]:
        assert isinstance(network, SenseNetwork)
        return network.reconstruct


@dataclass(frozen=True, kw_only=True)
class UnrolledPriorMethod(SenseNetworkMethod):
    """Denoiser of a diffusion prior, unrolled with data consistency and fine-tuned (ours; no sampling, one image).

    Attributes:
        noise_std: noise of the k-space per real component, in its units before any prewhitening; auto reads it from a
            noise measurement or from the outermost measured k-space.
        trust: share tells which share of the image the prior supplied and not the scanner, which takes a tenth of the
            time more; true writes that part, too, which takes longer.
    """

    weights: str = "unrolled_prior_tiny"
    noise_std: Positive | Literal["auto"] = "auto"
    trust: Trust = False

    name: ClassVar[str] = "unrolled_prior"

    def about(self, scan: Scan) -> tuple[dict[str, Any], list[str]]:
        info, notes = super().about(scan)
        return info | not_computed(self.trust), notes

    @property
    def needs(self) -> Needs:
        return Needs(one_set=True, scale=True, noise="needed", noise_std=self.noise_std)

    def _solution(self, problem: Problem, image: Complex[Tensor, "y x"]) -> Solution:
        hidden, parts = null_space_figures(problem, image, trust=self.trust)
        figures = {**image_figures(problem, image), **hidden}
        return Solution(image=image, figures=figures, parts=parts)

    def _learning(self, module: Network) -> Callable[..., Tensor]:
        """The network, through whose last `LEARNED_STEPS` steps gradients flow."""
        assert isinstance(module, UnrolledPrior)
        return partial(module.reconstruct, learned_steps=LEARNED_STEPS)


@dataclass(frozen=True, kw_only=True)
class NeumannMethod(SenseNetworkMethod):
    """Neumann network (Gilton, Ongie & Willett 2020): a truncated series with a learned regulariser."""

    weights: str = "neumann_tiny"

    name: ClassVar[str] = "neumann"

    needs = Needs(one_set=True, scale=True)


def _in_bright_levels(problems: Sequence[Problem]) -> tuple[Tensor, Any, Tensor]:
    """(k-space, its operator, its noise per real component), in units of the bright levels."""
    y = torch.stack([problem.kspace / problem.scale for problem in problems])
    noise = [problem.noise_std / problem.scale for problem in problems]
    return y, operator_of(problems), sent(torch.tensor(noise), y.device)
