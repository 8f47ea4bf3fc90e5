"""The end-to-end variational network (Sriram et al. 2020, arXiv:2004.06688); parameters have the names of fastMRI."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Complex
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mrirecon.networks.base import Combine, Unrolled, UnrolledNetwork, at_least_one
from mrirecon.networks.unet import NormUNet, unets_of
from mrirecon.operators import LinearOperator, sense
from mrirecon.tensors import ifft2c, rss


class VarNet(UnrolledNetwork):
    """E2E-VarNet: unrolled gradient descent on k-space with a U-Net as regulariser and learned coil maps.

    The paper's cascade is k <- k - eta M (k - y) - F S u with u = U-Net(S^H F^-1 k). M is a projection, so that k is
    always y - F S p at sampled points and y - F S q elsewhere, with two images p <- (1 - eta) p + u and q <- q + u.
    Since S^H S = 1,
        S^H F^-1 k = A^H y - q + A^H A (q - p),   A = M F S,
    and a cascade needs no k-space, only one Gram operator and one image through the U-Net. While p is q, after none and
    after one cascade, it needs no Gram operator either.

    Args:
        num_cascades: unrolled iterations.
        chans: features of the U-Nets at full resolution.
        pools: number of times they halve the resolution.
        sens_chans: features of the sensitivity network.
        sens_pools: number of times the sensitivity network halves the resolution.
        shared: all cascades have the same weights, which needs less training data.
        combine: how coil images become one image (`UnrolledNetwork`).
        checkpoint_cascades: recompute each cascade in the backward pass, which needs the memory of one cascade only.

    Raises:
        ValueError: if a number is below 1.
    """

    name = "varnet"

    def __init__(
        self,
        num_cascades: int = 12,
        chans: int = 18,
        pools: int = 4,
        sens_chans: int = 8,
        sens_pools: int = 4,
        *,
        shared: bool = False,
        combine: Combine = "rss",
        checkpoint_cascades: bool = False,
    ) -> None:
        super().__init__()
        self.config = {
            "num_cascades": num_cascades,
            "chans": chans,
            "pools": pools,
            "sens_chans": sens_chans,
            "sens_pools": sens_pools,
        }
        at_least_one(**self.config)
        if shared:
            self.config["shared"] = True
        self._combine_by(combine)
        self.checkpoint_cascades = checkpoint_cascades
        self.sens_net = SensitivityNet(sens_chans, sens_pools)
        self.cascades = nn.ModuleList(
            [VarNetCascade(NormUNet(chans, pools)) for _ in range(1 if shared else num_cascades)]
        )
        self.repeats = num_cascades if shared else 1

    def parts_to_compile(self) -> list[nn.Module]:
        return unets_of(self)

    def unroll(
        self,
        kspace: Complex[Tensor, "batch adjacent coil y x"],
        mask: Bool[Tensor, "batch y x"],
        calibration: Bool[Tensor, "batch y x"],
        calibration_kspace: Complex[Tensor, "batch adjacent coil y x"] | None = None,
    ) -> Unrolled:
        y = kspace[:, kspace.shape[1] // 2]
        seen = y if calibration_kspace is None else calibration_kspace[:, kspace.shape[1] // 2]
        maps = self.sens_net(seen, calibration, self.checkpoint_cascades)
        A = sense(maps, mask)
        zero_filled = A.H(y)
        p, q = nothing_yet(zero_filled)
        for cascade in [*self.cascades] * self.repeats:
            if self.checkpoint_cascades and torch.is_grad_enabled():
                p, q = checkpoint(cascade, A, zero_filled, p, q, use_reentrant=False)
            else:
                p, q = cascade(A, zero_filled, p, q)
        return Unrolled(y, mask, maps, p, q)


def nothing_yet(zero_filled: Tensor) -> tuple[Any, Any]:
    """(p, q) before the first cascade: None for 0; in training numbers, so that each weight has its gradient."""
    if torch.is_grad_enabled():
        return torch.zeros_like(zero_filled), torch.zeros_like(zero_filled)
    return None, None


class VarNetCascade(nn.Module):
    """One iteration of `VarNet`: (p, q) -> (p, q) in the notation given there; None is 0."""

    def __init__(self, model: NormUNet) -> None:
        super().__init__()
        self.model = model
        self.dc_weight = nn.Parameter(torch.ones(1))

    def forward(
        self,
        A: LinearOperator,
        zero_filled: Complex[Tensor, "batch y x"],
        p: Complex[Tensor, "batch y x"] | None,
        q: Complex[Tensor, "batch y x"] | None,
    ) -> tuple[Complex[Tensor, "batch y x"], Complex[Tensor, "batch y x"]]:
        if p is None or q is None:
            u = self.model(zero_filled)
            return u, u
        image = zero_filled - q
        u = self.model(image if p is q else image + A.gram(q - p))
        return (1 - self.dc_weight) * p + u, q + u


class SensitivityNet(nn.Module):
    """Coil maps from the calibration part of k-space: a U-Net on each coil image, then the sum of |s|^2 is set to 1."""

    # Pixels times coils that are computed at once, to save memory, where no features are stored for the backward pass.
    # Accelerators are fully used with more of them only.
    pixels_at_once = 2**18
    pixels_on_accelerator = 2**22

    def __init__(self, chans: int, num_pools: int) -> None:
        super().__init__()
        self.norm_unet = NormUNet(chans, num_pools)

    def forward(
        self,
        kspace: Complex[Tensor, "batch coil y x"],
        calibration: Bool[Tensor, "batch y x"],
        checkpointed: bool = False,
    ) -> Complex[Tensor, "batch coil y x"]:
        """Coil maps of each slice; 0 for coils and slices without signal.

        Args:
            kspace: centred k-space.
            calibration: points that are used (`calibration_of`).
            checkpointed: recompute features in the backward pass.
        """
        estimate: Callable[..., Tensor] = self._unnormalized
        on_cpu = kspace.device.type == "cpu"
        pixels = self.pixels_at_once if on_cpu else self.pixels_on_accelerator
        coils = max(1, pixels // kspace[:, 0].numel())
        if torch.is_grad_enabled() and checkpointed:
            estimate = partial(checkpoint, estimate, use_reentrant=False)
        elif torch.is_grad_enabled():
            coils = kspace.shape[1]
        parts = [estimate(part, calibration) for part in kspace.split(coils, 1)]
        maps = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        norm = rss(maps).unsqueeze(1)
        reciprocal = torch.where(norm > 0, norm, 1).reciprocal()
        return maps * reciprocal if torch.is_grad_enabled() else maps.mul_(reciprocal)

    def _unnormalized(self, kspace: Tensor, calibration: Tensor) -> Tensor:
        images = ifft2c(kspace * calibration.unsqueeze(1))
        return self.norm_unet(images.flatten(0, 1)).unflatten(0, images.shape[:2])
