"""What networks share that make one complex image through the operator A = M F S, with coil maps by ESPIRiT."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from mrirecon.networks.base import Network
from mrirecon.noise import outer_noise
from mrirecon.operators import espirit, sense
from mrirecon.operators.espirit import BLOCK, fitting_kernel
from mrirecon.operators.sense import Sense
from mrirecon.scale import intensity_scale
from mrirecon.tensors import center_crop


class SenseNetwork(Network):
    """A network that makes a complex image through A = M F S, in units of the scan's bright level.

    A subclass writes `reconstruct`. Training and `refine` estimate coil maps, bright level and noise from each slice; a
    reconstruction of a scan (`mrirecon.methods`) calls `reconstruct` with those of the scan.
    """

    @abstractmethod
    def reconstruct(
        self, y: Complex[Tensor, "batch coil y x"], A: Sense, noise_std: Float[Tensor, " batch"]
    ) -> Complex[Tensor, "batch y x"]:
        """Complex images from k-space, its operator, and its noise per real component.

        All are in units of the bright level.
        """

    def forward(
        self,
        kspace: Complex[Tensor, "batch adjacent coil y x"],
        mask: Bool[Tensor, "batch y x"],
        calibration: Bool[Tensor, "batch y x"],
        crop: tuple[slice, slice],
    ) -> Float[Tensor, "batch h w"]:
        image, _ = self._image_and_maps(kspace, mask, calibration)
        return image[(..., *crop)].abs()

    def refine(
        self,
        kspace: Complex[Tensor, "batch adjacent coil y x"],
        mask: Bool[Tensor, "batch y x"],
        calibration: Bool[Tensor, "batch y x"],
    ) -> Complex[Tensor, "batch coil y x"]:
        """The k-space of the image; arguments as those of `forward`."""
        image, maps = self._image_and_maps(kspace, mask, calibration)
        return sense(maps, torch.ones_like(mask))(image)

    def prepared(
        self,
        y: Complex[Tensor, "batch coil y x"],
        mask: Bool[Tensor, "batch y x"],
        calibration: Bool[Tensor, "batch y x"],
    ) -> tuple[Complex[Tensor, "batch coil y x"], Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Coil maps and bright level of each slice, and its noise per real component over that level."""
        maps = torch.stack([_maps(*one) for one in zip(y, calibration, strict=True)])
        levels = [_levels(*one) for one in zip(y, mask, strict=True)]
        scale, noise = torch.tensor(levels, device=y.device).unbind(1)
        return maps, scale, noise / scale

    def _image_and_maps(
        self, kspace: Tensor, mask: Tensor, calibration: Tensor
    ) -> tuple[Complex[Tensor, "batch y x"], Complex[Tensor, "batch coil y x"]]:
        y = kspace[:, 0]
        maps, scale, noise = self.prepared(y, mask, calibration)
        image = self.reconstruct(y / scale[:, None, None, None], sense(maps, mask), noise)
        return image * scale[:, None, None], maps


def _block(kspace: Tensor, calibration: Tensor, side: int) -> Tensor:
    """The calibration samples, at most `side` x `side` around the origin."""
    rows, columns = (int(calibration.any(axis).sum()) for axis in (1, 0))
    return center_crop(kspace, (min(rows, side), min(columns, side)))


@torch.no_grad()
def _maps(
    kspace: Complex[Tensor, "coil y x"], calibration: Bool[Tensor, "y x"]
) -> Complex[Tensor, "coil y x"]:
    if len(kspace) == 1:
        return torch.ones_like(kspace)
    block = _block(kspace, calibration, BLOCK)
    height, width = kspace.shape[-2:]
    return espirit(block, (height, width), kernel=fitting_kernel(block.shape)).maps[0]


def _levels(kspace: Complex[Tensor, "coil y x"], mask: Bool[Tensor, "y x"]) -> tuple[float, float]:
    """Bright level and noise of one slice; a reconstruction of a scan uses those of the volume (`mrirecon.prepare`)."""
    if not bool(kspace.any()):
        return 1.0, 1.0
    kspace, mask = kspace.cpu(), mask.cpu()
    return intensity_scale(kspace, mask), outer_noise(kspace, mask)
