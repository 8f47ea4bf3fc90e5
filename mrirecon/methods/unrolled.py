"""End-to-end networks: from the measured k-space of a slice to its image in one pass, with trained weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from mrirecon.calibration import ENOUGH, Calibration
from mrirecon.io.files import existing_file
from mrirecon.methods.base import SliceMethod
from mrirecon.methods.problem import Problem, Result
from mrirecon.methods.trust import trust_figures
from mrirecon.networks import Network, UnrolledNetwork, calibration_of
from mrirecon.prepare import volume_scale
from mrirecon.scan import Scan, Volume
from mrirecon.weights import Card, load_weights, locate

SIGNAL = 0.1  # of the bright level: below it an image is background


@dataclass(frozen=True, kw_only=True)
class EndToEnd(SliceMethod):
    """A trained network. Without coil maps the image is a magnitude and the coils are not prewhitened.

    Notes say where a scan lies outside what the weights were trained for: there a network
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

    def files(self) -> dict[str, tuple[Path, ...]]:
        return {"weights": (existing_file(locate(self.weights)),)}

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
        with self._inference(problem):
            return self._result(problem, scan)

    @contextmanager
    def _inference(self, problem: Problem) -> Iterator[None]:
        kind, low = problem.kspace.device.type, self.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=low):
            yield

    def _result(self, problem: Problem, scan: Scan) -> Result:
        mask = problem.mask[None]
        image = self.trained[0](_with_neighbours(problem, self.trained[0]), mask, mask, scan.crop)[
            0
        ]
        return Result(_magnitude(image, scan))


@dataclass(frozen=True, kw_only=True)
class UnrolledEndToEnd(EndToEnd):
    """A network that refines k-space with coil maps of its own, so that its image can be held against the data.

    Attributes:
        trust: write the null-space part of the image, which the network supplied and not the scanner.
    """

    trust: bool = False

    uses_noise: ClassVar[bool] = True

    def solve(self, problem: Problem) -> Complex[Tensor, "coil y x"]:
        network = self.trained[0]
        assert isinstance(network, UnrolledNetwork)
        with self._inference(problem):
            return network.refine(*self._seen(problem, network))[0]

    def _seen(
        self, problem: Problem, network: UnrolledNetwork
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
        better = problem.around.calibration(ENOUGH)
        other = None if better is None else _with_neighbours(problem, network, better)
        where = f"{problem.around.scan.source}: slice {problem.around.scan.first_slice + problem.place[1]}"
        try:
            calibration = calibration_of(mask if better is None else better.mask[None])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        seen = kspace if other is None else other
        if not bool((seen[0, len(seen[0]) // 2] * calibration).any()):
            raise ValueError(
                f"{where}: the centre of k-space is zero, so there is nothing to estimate coil maps from: "
                "use a method without maps (zero_filled)"
            )
        return kspace, mask, calibration, other

    def noise_of(self, scan: Scan, volume: int, unit: float) -> float:
        """Noise of a volume's k-space; 0 where it cannot be known, which leaves the figures about trust out.

        Raises:
            ValueError: if they were asked for.
        """
        try:
            return super().noise_of(scan, volume, unit)
        except ValueError as error:
            if self.trust:
                raise ValueError(
                    f"{scan.source}: its outer k-space is empty and does not tell the noise level, which the "
                    "null-space map needs: leave out --method.trust"
                ) from error
            return 0.0

    def _result(self, problem: Problem, scan: Scan) -> Result:
        network = self.trained[0]
        assert isinstance(network, UnrolledNetwork)
        end = network.unroll(*self._seen(problem, network))
        image = _magnitude(network.image(end, scan.crop)[0], scan)
        predicted = end.kspace()[0] * problem.mask
        if problem.noise_std == 0:
            return Result(image, {"data_residual": problem.residual(predicted)})
        # The maps cover the whole field of view: the signal is where there is some.
        x = end.combined()[0].to(torch.complex64)
        bright = torch.quantile(x.abs().flatten(), 0.99)
        learned = replace(problem, maps=end.maps[0, None].to(torch.complex64))
        signal = x.abs() > SIGNAL * bright
        figures, hidden = trust_figures(learned, x, predicted, signal, whole=self.trust)
        extras = {}
        if self.trust:
            assert hidden is not None
            extras["null_space"] = scan.to_output(hidden).abs()
        return Result(image, figures, extras)


def _with_neighbours(
    problem: Problem, network: Network, calibration: Calibration | None = None
) -> Complex[Tensor, "1 adjacent coil y x"]:
    """The k-space of a slice, or its calibration data in place of that, between those of its neighbours."""
    reach = network.adjacent_slices // 2
    slices = []
    for offset in range(-reach, reach + 1):
        found = calibration
        if calibration is not None and offset:
            found = problem.around.calibration(ENOUGH, offset)
        if found is not None:
            slices.append(found.kspace)
        else:
            slices.append(problem.around.kspace(offset) if offset else problem.kspace)
    return torch.stack(slices)[None]


def _magnitude(image: Float[Tensor, "h w"], scan: Scan) -> Complex[Tensor, "readout phase"]:
    return scan.to_matrix(image.float().to(torch.complex64))


@dataclass(frozen=True, kw_only=True)
class UNet(EndToEnd):
    """U-Net of the zero-filled image (Zbontar et al. 2018), fastMRI's baseline; knows nothing of the physics."""

    weights: str = "unet_tiny"

    name: ClassVar[str] = "unet"


@dataclass(frozen=True, kw_only=True)
class VarNet(UnrolledEndToEnd):
    """E2E-VarNet (Sriram et al. 2020): unrolled k-space refinement with learned coil maps."""

    weights: str = "varnet_tiny"

    name: ClassVar[str] = "varnet"


@dataclass(frozen=True, kw_only=True)
class HUMUS(UnrolledEndToEnd):
    """HUMUS-Net (Fabian, Tinaz & Soltanolkotabi 2022): unrolled refinement by hybrid transformers."""

    weights: str = "humus_tiny"

    name: ClassVar[str] = "humus"
