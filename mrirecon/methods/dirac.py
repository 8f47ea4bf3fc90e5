"""DiracDiffusion as a method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.diffusion.dirac import falling_levels, guided, nested_mask, reverse
from mrirecon.methods.base import Needs, Problem, Solution
from mrirecon.methods.image_networks import SenseNetworkMethod
from mrirecon.methods.trust import Trust, image_figures, not_computed, null_space_figures
from mrirecon.networks import Network
from mrirecon.networks.dirac import Dirac
from mrirecon.operators import sense
from mrirecon.options import Count, Positive
from mrirecon.scan import Scan
from mrirecon.tensors import complex_noise_like, stream_of


@dataclass(frozen=True, kw_only=True)
class DiracMethod(SenseNetworkMethod):
    """DiracDiffusion (Fabian, Tinaz & Soltanolkotabi 2023): gaps of k-space closed step by step, from its centre.

    Attributes:
        steps: N, from the scan's mask (t = 1) to all of k-space (t = 0); the network is evaluated once in each.
        t_stop: where it stops, at the next step of the grid: above 0 it gives the network's clean image there, near the
            posterior mean; 1 evaluates the network once; 0 gives all of k-space as it was filled, which is like a
            sample where it was measured.
        cold: draw no noise and leave the samples as they were measured: cold diffusion (Bansal et al. 2022).
        guidance: each step goes so far down the gradient of the norm of the data's misfit; 0 is none.
        seed: of the noise.
        noise_std: noise of the k-space per real component, in its units before any prewhitening; auto reads it from a
            noise measurement or from the outermost measured k-space.
        trust: share tells which share of the image the network supplied and not the scanner; true writes that part,
            too, which takes longer.
    """

    weights: str = "dirac_tiny"
    steps: Count = 20
    t_stop: float = 0.05
    cold: bool = False
    guidance: float = 0.0
    seed: int = 0
    noise_std: Positive | Literal["auto"] = "auto"
    trust: Trust = False

    name: ClassVar[str] = "dirac"
    slow: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse impossible options.

        Raises:
            ValueError: as every method, or if t_stop or guidance make no sense.
        """
        super().__post_init__()
        if not 0 <= self.t_stop <= 1:
            raise ValueError(f"dirac: t_stop is {self.t_stop:g}: give a time from 0 to 1")
        if not 0 <= self.guidance < math.inf:
            raise ValueError(f"dirac: guidance is {self.guidance:g}: give 0 or a positive weight")

    @property
    def needs(self) -> Needs:
        return Needs(one_set=True, scale=True, noise="needed", noise_std=self.noise_std)

    def about(self, scan: Scan) -> tuple[dict[str, Any], list[str]]:
        info, notes = super().about(scan)
        return info | not_computed(self.trust), notes

    def slices_at_once(self, pixels: int, device: torch.device | str) -> int:
        """One, whose masks and noise are its own."""
        return 1

    def solve_with(self, network: Network, problems: Sequence[Problem]) -> list[Solution]:
        assert isinstance(network, Dirac)
        with torch.inference_mode(False), torch.no_grad():  # guidance takes gradients
            return [self._solved(network, problem) for problem in problems]

    def _solved(self, network: Dirac, problem: Problem) -> Solution:
        image, departure = self._undone(network, problem)
        image = image * problem.operator.support() * problem.scale
        hidden, parts = null_space_figures(problem, image, trust=self.trust)
        figures = {**image_figures(problem, image), **hidden}
        figures["network_evaluations"] = float(self.steps - self._stop + (self._stop > 0))
        figures["largest_departure"] = departure
        return Solution(image=image, figures=figures, parts=parts)

    @property
    def _stop(self) -> int:
        """The step of the grid at t_stop; above 0 if that is."""
        return math.ceil(round(self.t_stop * self.steps, 6))

    def _undone(self, network: Dirac, problem: Problem) -> tuple[Complex[Tensor, "y x"], float]:
        """The image, and by how much the measured samples departed from the data in any step, relative to these."""
        y, maps, mask = problem.kspace / problem.scale, problem.operator.maps, problem.mask
        noise = problem.noise_std / problem.scale
        stream = stream_of(self.seed, *problem.place)
        told = falling_levels(noise, 1.0 if self.cold else network.noise_end, self.steps)
        levels = [0.0] * len(told) if self.cold else told
        operators = [sense(maps, nested_mask(mask, n / self.steps)) for n in range(self.steps + 1)]
        departures = [0.0]

        def predict(at: Tensor, n: int) -> Tensor:
            s = torch.tensor([told[n]], device=at.device)
            return self.run(network, at[None], operators[n], s)[0]

        def watch(n: int, at: Tensor, clean: Tensor) -> None:
            departure = torch.linalg.vector_norm(mask * at - y) / torch.linalg.vector_norm(y)
            departures.append(float(departure))
            if problem.tell is not None:
                problem.tell((self.steps - n) / self.steps, None)

        found = reverse(
            y + levels[-1] * ~mask * complex_noise_like(y, stream),
            lambda clean, n: operators[n](clean),
            guided(predict, lambda clean: operators[-1](clean) - y, self.guidance),
            levels,
            noise=lambda: complex_noise_like(y, stream),
            stop=self._stop,
            callback=watch,
        )
        return (found if self._stop else operators[0].H(found)), max(departures)
