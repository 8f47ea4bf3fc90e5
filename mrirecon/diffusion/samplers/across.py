"""Total variation across slices, for volumes reconstructed with a prior of single slices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mrirecon.diffusion.samplers.steps import Image
from mrirecon.operators import LinearOperator, conjugate_gradient
from mrirecon.operators.gradient import soft_threshold

RHO = 0.5  # penalty of ADMM, for ||A||^2 <= 1 and images of bright level 1


class TotalVariationAlongZ:
    """Steps of ADMM for argmin ||y - A x||^2 + weight ||x - D||^2 + strength sum |x_z+1 - x_z|.

    One step per noise level; the split variable and the multiplier carry over from level to level (Chung, Ryu, McCann,
    Klasky & Ye 2023, arXiv:2211.10655, Algorithm 1: "variable sharing").

    Args:
        strength: strength of the total variation, in units of the images.
    """

    def __init__(self, strength: float) -> None:
        self.strength = strength
        self.u = self.v = torch.zeros(())

    def __call__(
        self, A: LinearOperator, backprojection: Image, x0: Image, weight: float, cg_steps: int
    ) -> Image:
        """The next x, by conjugate gradients from D = x0; the axis before y is the slices.

        Raises:
            ValueError: if there are fewer than two slices.
        """
        if x0.ndim < 3 or x0.shape[-3] < 2:
            raise ValueError(
                "smoothness along z needs the slices of a volume, two at least: leave out z_smoothness"
            )
        x = conjugate_gradient(
            lambda v: A.gram(v) + weight * v + RHO * _adjoint(_difference(v)),
            backprojection + weight * x0 + RHO * _adjoint(self.u - self.v + 0 * x0[..., 1:, :, :]),
            x0,
            iterations=cg_steps,
            item_axes=3,
        )
        step = _difference(x) + self.v
        self.u = soft_threshold(step, self.strength / (2 * RHO))
        self.v = step - self.u
        return x


def _difference(x: Tensor) -> Tensor:
    return x[..., 1:, :, :] - x[..., :-1, :, :]


def _adjoint(d: Tensor) -> Tensor:
    return F.pad(d, (0, 0, 0, 0, 1, 0)) - F.pad(d, (0, 0, 0, 0, 0, 1))
