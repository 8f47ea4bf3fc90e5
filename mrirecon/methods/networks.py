"""Networks that reconstruct a slice in one pass, with trained weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.calibration import ENOUGH, Calibration
from mrirecon.io.files import existing_file
from mrirecon.methods.base import Figures, Needs, Pace, Problem, SliceMethod, Solution
from mrirecon.methods.trust import trust_figures
from mrirecon.networks import NETWORKS, Generator, Network, UnrolledNetwork, calibration_of
from mrirecon.networks.unrolled_prior import UnrolledPrior
from mrirecon.options import Positive
from mrirecon.scale import volume_scale
from mrirecon.scan import Scan
from mrirecon.weights import Card, load_weights, locate

SIGNAL = 0.1  # of the bright level: below it an image is background
LEARNED_STEPS = 3  # of an unrolled prior that gradients flow through while it is adapted to a scan


@dataclass(frozen=True, kw_only=True)
class NetworkMethod(SliceMethod):
    """A trained network.

    Notes say where a scan lies outside what the weights were trained for: there a network can be wrong and look right.

    Attributes:
        weights: name of shipped weights, or a file made by `mrirecon weights import` or `mrirecon train`.
        precision: precision of the convolutions; Fourier transforms and data consistency are float32 with both.
    """

    weights: str
    precision: Literal["float32", "bfloat16"] = "float32"

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

    def solve_slice(self, problem: Problem) -> Solution:
        with self.network_on(problem.kspace.device) as network:
            return self.solve_with(network, problem)

    @contextmanager
    def network_on(self, device: torch.device) -> Iterator[Network]:
        """The network on a device, to be run there at its precision."""
        network, low = self.trained[0].to(device), self.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=low):
            yield network

    @abstractmethod
    def solve_with(self, network: Network, problem: Problem) -> Solution:
        """The image of one slice, by the network on the device of the slice."""


@dataclass(frozen=True, kw_only=True)
class PlainMethod(NetworkMethod):
    """A network whose image is all that it gives."""

    needs = Needs(maps=False)

    def solve_with(self, network: Network, problem: Problem) -> Solution:
        mask = problem.mask[None]
        kspace = _with_neighbours(problem, network)
        image = network(kspace, mask, mask, problem.near.scan.crop)[0]
        return Solution(magnitude=image.float())


@dataclass(frozen=True, kw_only=True)
class UNetMethod(PlainMethod):
    """U-Net of the zero-filled image (Zbontar et al. 2018), fastMRI's baseline; knows nothing of the physics."""

    weights: str = "unet_tiny"

    name: ClassVar[str] = "unet"


@dataclass(frozen=True, kw_only=True)
class UnrolledMethod(NetworkMethod):
    """A network that refines k-space with coil maps of its own, so that its image can be held against the data.

    Attributes:
        trust: write the null-space part of the image, which the network supplied and not the scanner.
    """

    trust: bool = False

    needs = Needs(maps=False, noise="wanted")

    def solve_with(self, network: Network, problem: Problem) -> Solution:
        assert isinstance(network, UnrolledNetwork)
        end = network.unroll(*_seen(problem, network))
        image = network.image(end, problem.near.scan.crop)[0].float()
        kspace = end.kspace()[0]
        predicted = kspace * problem.mask
        if problem.noise_std == 0:
            if self.trust:
                raise ValueError(
                    f"{problem.name}: its outer k-space is empty and does not tell the noise level, which the "
                    "null-space map needs: leave out --method.trust"
                )
            figures: Figures = {"data_residual": problem.residual(predicted)}
            return Solution(magnitude=image, kspace=kspace, figures=figures)
        # The maps cover the whole field of view: the signal is where there is some.
        x = end.combined()[0].to(torch.complex64)
        bright = torch.quantile(x.abs().flatten(), 0.99)
        learned = replace(problem, maps=end.maps[0, None].to(torch.complex64))
        signal = x.abs() > SIGNAL * bright
        figures, parts = trust_figures(learned, x, predicted, signal, whole=self.trust)
        return Solution(magnitude=image, kspace=kspace, figures=figures, parts=parts)

    def predicted(
        self, module: Network, problem: Problem, seed: int | None = None
    ) -> Complex[Tensor, "coil y x"]:
        """All of k-space as the network has it; gradients flow through it."""
        assert isinstance(module, UnrolledNetwork)
        return module.refine(*_seen(problem, module))[0]

    def refine(self, problem: Problem) -> Complex[Tensor, "coil y x"]:
        """k-space without gaps."""
        with self.network_on(problem.kspace.device) as network:
            assert isinstance(network, UnrolledNetwork)
            return network.refine(*_seen(problem, network))[0]


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


@dataclass(frozen=True, kw_only=True)
class UnrolledPriorMethod(NetworkMethod):
    """Denoiser of a diffusion prior, unrolled with data consistency and fine-tuned (ours; no sampling, one image).

    Attributes:
        noise_std: noise of the k-space per real component, in its units before any prewhitening; auto reads it from a
            noise measurement or from the outermost measured k-space.
        trust: write the null-space part of the image, which the prior supplied and not the scanner.
    """

    weights: str = "unrolled_prior_tiny"
    noise_std: Positive | Literal["auto"] = "auto"
    trust: bool = False

    name: ClassVar[str] = "unrolled_prior"

    @property
    def needs(self) -> Needs:
        told = None if self.noise_std == "auto" else self.noise_std
        return Needs(one_set=True, scale=True, noise="needed", noise_std=told)

    def solve_with(self, network: Network, problem: Problem) -> Solution:
        image = self._image(network, problem, None)
        return Solution(image=image * problem.operator.support())

    def predicted(
        self, module: Network, problem: Problem, seed: int | None = None
    ) -> Complex[Tensor, "coil y x"]:
        """All of k-space as the network has it; gradients flow through its last `LEARNED_STEPS` steps."""
        return problem.kspace_of(self._image(module, problem, LEARNED_STEPS))

    def _image(
        self, network: Network, problem: Problem, learned_steps: int | None
    ) -> Complex[Tensor, "y x"]:
        assert isinstance(network, UnrolledPrior)
        noise = torch.tensor([problem.noise_std / problem.scale], device=problem.kspace.device)
        y = problem.kspace[None] / problem.scale
        image = network.reconstruct(y, problem.operator, noise, learned_steps=learned_steps)[0]
        return image * problem.scale

    def solve_slice(self, problem: Problem) -> Solution:
        solution = super().solve_slice(problem)
        assert solution.image is not None
        figures, parts = trust_figures(problem, solution.image, whole=self.trust)
        return replace(solution, figures=figures, parts=parts)


def method_of(name: str) -> type[NetworkMethod]:
    """The method of a network in `mrirecon.networks.NETWORKS` that has no class of its own here.

    It takes weights, and for an unrolled network `trust`, and is given no coil maps.
    """
    unrolled = issubclass(NETWORKS[name], UnrolledNetwork)
    about = f"The network {name}."
    return type(
        name, (UnrolledMethod if unrolled else PlainMethod,), {"name": name, "__doc__": about}
    )


def _seen(
    problem: Problem, network: UnrolledNetwork
) -> tuple[
    Complex[Tensor, "1 adjacent coil y x"],
    Bool[Tensor, "1 y x"],
    Bool[Tensor, "1 y x"],
    Complex[Tensor, "1 adjacent coil y x"] | None,
]:
    """What the network is given: k-space, mask, and what its sensitivity network looks at.

    Raises:
        ValueError: if nothing was measured at the origin of k-space.
    """
    kspace, mask = _with_neighbours(problem, network), problem.mask[None]
    better = problem.near.calibration(ENOUGH)
    other = None if better is None else _with_neighbours(problem, network, better)
    try:
        calibration = calibration_of(mask if better is None else better.mask[None])
    except ValueError as error:
        raise ValueError(f"{problem.name}: {error}") from error
    seen = kspace if other is None else other
    if not bool((seen[0, len(seen[0]) // 2] * calibration).any()):
        raise ValueError(
            f"{problem.name}: the centre of k-space is zero, so there is nothing to estimate coil maps from: "
            "use a method without maps (zero_filled)"
        )
    return kspace, mask, calibration, other


def _with_neighbours(
    problem: Problem, network: Network, calibration: Calibration | None = None
) -> Complex[Tensor, "1 adjacent coil y x"]:
    """The k-space of a slice, or its calibration data in place of that, between those of its neighbours."""
    reach = network.adjacent_slices // 2
    slices = []
    for offset in range(-reach, reach + 1):
        found = calibration
        if calibration is not None and offset:
            found = problem.near.calibration(ENOUGH, offset)
        if found is not None:
            slices.append(found.kspace)
        else:
            slices.append(problem.near.kspace(offset) if offset else problem.kspace)
    return torch.stack(slices)[None]
