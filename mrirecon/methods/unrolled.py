"""End-to-end networks: from the measured k-space of a slice to its image in one pass, with trained weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.methods.base import Figures, Problem, Result, SliceMethod
from mrirecon.networks import Network, UnrolledNetwork, calibration_of
from mrirecon.prepare import volume_scale
from mrirecon.scan import Scan, Volume
from mrirecon.weights import Card, load_weights


@dataclass(frozen=True, kw_only=True)
class EndToEnd(SliceMethod):
    """A trained network; the coils are neither prewhitened nor compressed, which is how networks are trained.

    The image is a magnitude. Notes say where a scan lies outside what the weights were trained for: there a network
    can be wrong and look right.

    Attributes:
        weights: name of shipped weights, or a file made by `mrirecon weights import` or `mrirecon train`.
        precision: of the convolutions; Fourier transforms and data consistency are float32 with both.
    """

    weights: str
    precision: Literal["float32", "bfloat16"] = "float32"

    uses_maps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what no network was trained for."""
        super().__post_init__()
        if self.partial_fourier != "zero":
            raise ValueError(
                f"{self.name} fills in partial Fourier by itself: leave out --partial_fourier {self.partial_fourier}"
            )

    @cached_property
    def trained(self) -> tuple[Network, Card]:
        """The network, ready on the device, and the card of its weights.

        Raises:
            ValueError: if the weights are of another network.
        """
        network, card = load_weights(self.weights)
        if not isinstance(network, Network):
            raise ValueError(
                f"{self.weights} holds weights of {network.name}, a prior for diffusion: use other weights"
            )
        if network.name != self.name:
            raise ValueError(
                f"{self.weights} holds weights of {network.name}: use --method {network.name}, or other weights"
            )
        return network.to(self.device).eval(), card

    def __call__(self, scan: Scan) -> Volume:
        _, card = self.trained
        intensity = volume_scale(scan) if card.training.intensity else None
        volume = super().__call__(scan)
        warnings = card.warnings(scan, scan.mask_kind, intensity=intensity)
        info: dict[str, Any] = {
            **volume.info,
            "weights": {"name": self.weights, **card.as_json()},
            "notes": [*volume.info["notes"], *warnings],
        }
        return replace(volume, info=info)

    def solve(self, problem: Problem) -> Complex[Tensor, "coil y x"]:
        raise NotImplementedError  # `_image` needs the crop, which is the scan's

    def _image(self, problem: Problem, whitening: Tensor | None, scan: Scan) -> Result:
        network, _ = self.trained
        reach = network.adjacent_slices // 2
        near = [
            problem.neighbour(offset) if offset else problem.kspace
            for offset in range(-reach, reach + 1)
        ]
        kspace, mask = torch.stack(near)[None], problem.mask[None]
        calibration = calibration_of(mask)
        kind, figures = problem.kspace.device.type, Figures()
        with (
            torch.inference_mode(),
            torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16"),
        ):
            if isinstance(network, UnrolledNetwork):
                end = network.unroll(kspace, mask, calibration)
                figures["data_residual"] = problem.residual(end.kspace()[0] * problem.mask)
                image = network.image(end, scan.crop)[0]
            else:
                image = network(kspace, mask, calibration, scan.crop)[0]
        return Result(scan.to_matrix(image.float().to(torch.complex64)), figures)


@dataclass(frozen=True, kw_only=True)
class UNet(EndToEnd):
    """U-Net of the zero-filled image (Zbontar et al. 2018), fastMRI's baseline; knows nothing of the physics."""

    weights: str = "unet_tiny"

    name: ClassVar[str] = "unet"


@dataclass(frozen=True, kw_only=True)
class VarNet(EndToEnd):
    """E2E-VarNet (Sriram et al. 2020): unrolled k-space refinement with learned coil maps."""

    weights: str = "varnet_tiny"

    name: ClassVar[str] = "varnet"


@dataclass(frozen=True, kw_only=True)
class HUMUS(EndToEnd):
    """HUMUS-Net (Fabian, Tinaz & Soltanolkotabi 2022): unrolled refinement by hybrid transformers."""

    weights: str = "humus_tiny"

    name: ClassVar[str] = "humus"
