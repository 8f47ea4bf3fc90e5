"""The Neumann network as a method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Complex
from torch import Tensor

from mrirecon.methods.base import Needs, Problem, Solution
from mrirecon.methods.networks import NetworkMethod
from mrirecon.networks import Network
from mrirecon.networks.neumann import Neumann


@dataclass(frozen=True, kw_only=True)
class NeumannMethod(NetworkMethod):
    """Neumann network (Gilton, Ongie & Willett 2020): a truncated series with a learned regulariser."""

    weights: str = "neumann_tiny"

    name: ClassVar[str] = "neumann"

    needs = Needs(one_set=True, scale=True)

    def solve_with(self, network: Network, problem: Problem) -> Solution:
        return Solution(image=self._image(network, problem) * problem.operator.support())

    def predicted(
        self, module: Network, problem: Problem, seed: int | None = None
    ) -> Complex[Tensor, "coil y x"]:
        """All of k-space as the network has it; gradients flow through it."""
        return problem.kspace_of(self._image(module, problem))

    def _image(self, network: Network, problem: Problem) -> Complex[Tensor, "y x"]:
        assert isinstance(network, Neumann)
        y = problem.kspace[None] / problem.scale
        return network.reconstruct(y, problem.operator)[0] * problem.scale
