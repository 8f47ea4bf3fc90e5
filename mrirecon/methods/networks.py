"""Networks that reconstruct a slice in one pass, with trained weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.device import images_that_fit
from mrirecon.io.files import existing_file
from mrirecon.methods.base import Figures, Method, Needs, Pace, Problem, Solution
from mrirecon.methods.compiled import Compiled
from mrirecon.methods.network_input import seen_by, with_neighbours
from mrirecon.methods.trust import Trust, data_figures, not_computed, null_space_figures
from mrirecon.networks import NETWORKS, Generator, Network, UnrolledNetwork
from mrirecon.networks.base import Unrolled
from mrirecon.scale import volume_scale
from mrirecon.scan import Scan
from mrirecon.weights import Card, load_weights, locate

SIGNAL = 0.1  # of the bright level: below it an image is background


@dataclass(frozen=True, kw_only=True)
class NetworkMethod(Method):
    """A trained network.

    Notes say where a scan lies outside what the weights were trained for: there a network can be wrong and look right.

    Attributes:
        weights: name of shipped weights, or a file made by `mrirecon weights import` or `mrirecon train`.
        precision: precision of the convolutions; Fourier transforms and data consistency are float32 with both.
        compile: compile the whole network for the size of the scan, which takes minutes once (`Compiled`).
    """

    weights: str
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False

    fills_kspace: ClassVar[bool] = True
    pace: ClassVar[Pace] = Pace(rate=3e-4, every=10, effort=3.0)

    @cached_property
    def trained(self) -> tuple[Network, Card]:
        """The network and the card of its weights.

        Raises:
            ValueError: if the weights are of another network.
        """
        network, card = load_weights(self.weights)
        if not isinstance(network, Network):
            use = (
                "a generator: use --method csgm"
                if isinstance(network, Generator)
                else "a prior for diffusion: use dds"
            )
            raise ValueError(
                f"{self.weights} holds weights of {network.name}, {use}, or other weights"
            )
        if network.name != self.name:
            raise ValueError(
                f"{self.weights} holds weights of {network.name}: use --method {network.name}, or other weights"
            )
        return network.eval(), card

    @cached_property
    def _compiled(self) -> Compiled:
        return Compiled(self._whole(self.trained[0]))

    def _whole(self, network: Network) -> Callable[..., Any]:
        """What is compiled of a network."""
        return network

    def run(self, network: Network, *given: Any) -> Any:
        """The network, or what is compiled of it, of its arguments, the first of which is k-space."""
        if self.compile:
            return self._compiled(given[0].device, *given)
        return self._whole(network)(*given)

    @property
    def model(self) -> tuple[Network, Card]:
        """The network whose weights can be adapted to a scan, and their card."""
        return self.trained

    def check(self, scan: Scan, slices: range) -> None:
        _ = self.trained

    def about(self, scan: Scan) -> tuple[dict[str, Any], list[str]]:
        _, card = self.trained
        intensity = volume_scale(scan) if card.training.intensity else None
        warnings = card.warnings(scan, scan.mask_kind, intensity=intensity)
        warnings += [card.advice] if card.advice else []
        warnings += [self._compiled.note] if self.compile and self._compiled.note else []
        return {"weights": {"name": self.weights, **card.as_json()}}, warnings

    def files(self) -> dict[str, tuple[Path, ...]]:
        return {"weights": (existing_file(locate(self.weights)),)}

    def with_module(self, module: Network, card: Card) -> NetworkMethod:
        """The method with other weights, which the card describes."""
        other = replace(self)
        other.__dict__["trained"] = module.eval(), card  # where cached_property keeps it
        return other

    @property
    def reach(self) -> int:
        return getattr(self.trained[0], "adjacent_slices", 1) // 2

    def slices_at_once(self, pixels: int, device: torch.device | str) -> int:
        """Several on a GPU, which one does not fill; a CPU is faster with one after the other."""
        return 1 if torch.device(device).type == "cpu" else images_that_fit(device, pixels)

    def solve(self, batch: Sequence[Problem]) -> list[Solution]:
        try:
            with self.network_on(batch[0].kspace.device) as network:
                return self.solve_with(network, batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
        half = len(batch) // 2
        return [*self.solve(batch[:half]), *self.solve(batch[half:])]

    @contextmanager
    def network_on(self, device: torch.device) -> Iterator[Network]:
        """The network on a device, to be run there at its precision."""
        network, low = self.trained[0].to(device), self.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=low):
            yield network

    @abstractmethod
    def solve_with(self, network: Network, problems: Sequence[Problem]) -> list[Solution]:
        """The images of slices, by the network on their device."""


@dataclass(frozen=True, kw_only=True)
class PlainMethod(NetworkMethod):
    """A network whose image is all that it gives."""

    needs = Needs(maps=False)

    def solve_with(self, network: Network, problems: Sequence[Problem]) -> list[Solution]:
        mask = torch.stack([problem.mask for problem in problems])
        kspace = torch.stack([with_neighbours(network, problem) for problem in problems])
        images = self.run(network, kspace, mask, mask, problems[0].near.scan.crop)
        return [Solution(magnitude=image.float()) for image in images]


@dataclass(frozen=True, kw_only=True)
class UNetMethod(PlainMethod):
    """U-Net of the zero-filled image (Zbontar et al. 2018), fastMRI's baseline; knows nothing of the physics."""

    weights: str = "unet_tiny"

    name: ClassVar[str] = "unet"


@dataclass(frozen=True, kw_only=True)
class UnrolledMethod(NetworkMethod):
    """A network that refines k-space with coil maps of its own, so that its image can be held against the data.

    Attributes:
        trust: share tells which share of the image the network supplied and not the scanner, which for a small network
            takes a third of its time; true writes that part, too, which takes longer.
    """

    trust: Trust = False

    needs = Needs(maps=False, noise="wanted")

    def about(self, scan: Scan) -> tuple[dict[str, Any], list[str]]:
        info, notes = super().about(scan)
        return info | not_computed(self.trust), notes

    def _whole(self, network: Network) -> Callable[..., Any]:
        assert isinstance(network, UnrolledNetwork)
        return network.unroll

    def solve_with(self, network: Network, problems: Sequence[Problem]) -> list[Solution]:
        assert isinstance(network, UnrolledNetwork)
        ends = self.run(network, *seen_by(network, problems))
        pairs = enumerate(problems)
        return [self._solution(network, problem, ends.only(n)) for n, problem in pairs]

    def _solution(self, network: UnrolledNetwork, problem: Problem, end: Unrolled) -> Solution:
        image = network.image(end, problem.near.scan.crop)[0].float()
        figures = data_figures(problem, end.misfit()[0])
        hidden, parts = self._null_space(problem, end)
        return Solution(
            magnitude=image,
            refine=lambda: end.kspace()[0],
            figures={**figures, **hidden},
            parts=parts,
        )

    def _null_space(
        self, problem: Problem, end: Unrolled
    ) -> tuple[Figures, dict[str, Complex[Tensor, "y x"]]]:
        if problem.noise_std == 0 and self.trust is True:
            raise ValueError(
                f"{problem.name}: its outer k-space is empty and does not tell the noise level, which the "
                "null-space map needs: leave out --method.trust"
            )
        if problem.noise_std == 0 or not self.trust:
            return {}, {}
        # The maps cover the whole field of view: the signal is where there is some.
        x = end.combined()[0].to(torch.complex64)
        signal = x.abs() > SIGNAL * torch.quantile(x.abs().flatten(), 0.99)
        learned = replace(problem, maps=end.maps[0, None].to(torch.complex64))
        return null_space_figures(learned, x, signal, trust=self.trust)

    def predicted(
        self, module: Network, problem: Problem, seed: int | None = None
    ) -> Complex[Tensor, "coil y x"]:
        """All of k-space as the network has it; gradients flow through it."""
        assert isinstance(module, UnrolledNetwork)
        return module.refine(*seen_by(module, [problem]))[0]

    def refine(self, problem: Problem) -> Complex[Tensor, "coil y x"]:
        """k-space without gaps."""
        with self.network_on(problem.kspace.device) as network:
            assert isinstance(network, UnrolledNetwork)
            return network.refine(*seen_by(network, [problem]))[0]


@dataclass(frozen=True, kw_only=True)
class VarNetMethod(UnrolledMethod):
    """E2E-VarNet (Sriram et al. 2020): unrolled k-space refinement with learned coil maps."""

    weights: str = "varnet_tiny"

    name: ClassVar[str] = "varnet"


@dataclass(frozen=True, kw_only=True)
class HUMUSMethod(UnrolledMethod):
    """HUMUS-Net (Fabian, Tinaz & Soltanolkotabi 2022): unrolled refinement by hybrid transformers."""

    weights: str = "humus_tiny"

    name: ClassVar[str] = "humus"


def method_of(name: str) -> type[NetworkMethod]:
    """The method of a network in `mrirecon.networks.NETWORKS` that has no class of its own here.

    It takes weights, and for an unrolled network `trust`, and is given no coil maps.
    """
    unrolled = issubclass(NETWORKS[name], UnrolledNetwork)
    about = f"The network {name}."
    return type(
        name, (UnrolledMethod if unrolled else PlainMethod,), {"name": name, "__doc__": about}
    )
