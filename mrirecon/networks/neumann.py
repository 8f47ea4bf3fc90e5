"""The Neumann network (Gilton, Ongie & Willett 2020, arXiv:1901.03707)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mrirecon.networks.base import at_least_one
from mrirecon.networks.sense_network import SenseNetwork
from mrirecon.operators import LinearOperator
from mrirecon.tensors import as_channels, as_complex


class Neumann(SenseNetwork):
    """Neumann network: (A^H A + R/eta)^-1 A^H y as a truncated series, R learned.

        x_0 = eta A^H y,    x_k+1 = x_k - eta A^H A x_k - R(x_k),    x = sum of x_0 .. x_B

    or preconditioned, with T = (A^H A + eta)^-1 by conjugate gradients,

        x_0 = T A^H y,      x_k+1 = eta T x_k - lambda R(x_k),       x = sum of x_0 .. x_B.

    R acts on the terms of the series; in unrolled gradient descent it acts on the image so far. With a linear R for
    which the series converges, x approaches (A^H A + R/eta)^-1 A^H y as B grows, preconditioned with
    lambda (A^H A + eta) R in place of R/eta; with R = 0, where training begins, the minimum-norm solution.

    Args:
        blocks: B.
        preconditioned: which of the two series.
        eta: initial step, or initial weight of the preconditioner; learned.
        weight: initial lambda, for the preconditioned series only; learned.
        cg_steps: conjugate gradients for T.
        channels: of the real images that R sees: 2 for complex images; 3 for the colour images of the paper.
        features: of R.
        batch_norm: the R of the paper (`Regulariser`).
        checkpoint_blocks: recompute each block in the backward pass, which needs the memory of one block only.

    Raises:
        ValueError: if a number is below 1, or eta is not above 0.
    """

    name = "neumann"

    def __init__(
        self,
        blocks: int = 6,
        preconditioned: bool = False,
        eta: float = 0.1,
        weight: float = 0.1,
        cg_steps: int = 10,
        channels: int = 2,
        features: int = 128,
        *,
        batch_norm: bool = True,
        checkpoint_blocks: bool = False,
    ) -> None:
        super().__init__()
        at_least_one(blocks=blocks, cg_steps=cg_steps, channels=channels, features=features)
        if not 0 < eta < math.inf:
            raise ValueError(f"eta is {eta}: give a number above 0")
        self.config = {
            "blocks": blocks,
            "preconditioned": preconditioned,
            "eta": eta,
            "weight": weight,
            "cg_steps": cg_steps,
            "channels": channels,
            "features": features,
            "batch_norm": batch_norm,
        }
        self.blocks, self.cg_steps, self.checkpoint_blocks = blocks, cg_steps, checkpoint_blocks
        # Its logarithm, so that it stays positive: T would not exist otherwise.
        self.log_eta = nn.Parameter(torch.tensor(math.log(eta)))
        self.weight = nn.Parameter(torch.tensor(float(weight))) if preconditioned else None
        self.regulariser = Regulariser(channels, features, blocks if batch_norm else 0)

    def reconstruct(self, y: Tensor, A: LinearOperator, noise_std: Tensor | None = None) -> Tensor:
        """Images from k-space in units of the bright level; the noise level of its data is not asked for.

        With `channels` of 3 the images are real ones (batch, 3, y, x), and A an operator on these.
        """
        eta, b = self.log_eta.exp(), A.H(y)
        term = eta * b if self.weight is None else self._precondition(A, b, eta)
        total = term
        for block in range(self.blocks):
            if self.checkpoint_blocks and torch.is_grad_enabled():
                term = checkpoint(self._next, A, term, eta, block, use_reentrant=False)
            else:
                term = self._next(A, term, eta, block)
            total = total + term
        return total

    def _next(self, A: LinearOperator, term: Tensor, eta: Tensor, block: int) -> Tensor:
        regularised = self._regularised(term, block)
        if self.weight is None:
            return term - eta * A.gram(term) - regularised
        return eta * self._precondition(A, term, eta) - self.weight * regularised

    def _precondition(self, A: LinearOperator, b: Tensor, eta: Tensor) -> Tensor:
        return A.solve(b, eta, iterations=self.cg_steps)

    def _regularised(self, x: Tensor, block: int) -> Tensor:
        if not x.is_complex():
            return self.regulariser(x, block)
        return as_complex(self.regulariser(as_channels(x), block).to(x.real.dtype))

    def parts_to_compile(self) -> list[nn.Module]:
        return [self.regulariser]


class Regulariser(nn.Module):
    """R: residual blocks between convolutions of one pixel, which all blocks of the series share.

    That of the paper's code, with `norms` above 0, takes the mean of each channel away and adds it to the output, and
    normalises features over batch and pixels, in use as in training, with factors and summands of each block of the
    series. So an image depends on the other images of its batch. Its R(x) holds the mean of x, and therefore draws the
    mean of the image towards 0. Normalised features have one size for all terms of the series, however small the terms
    become.

    With `norms` of 0, for MRI, nothing is normalised: an image depends on its own data only, the mean is left to the
    data, and R is piecewise affine, which the paper's analysis asks for: small terms can have small corrections.

    Biases are one number a layer.

    Args:
        channels: of the images.
        features: between the first and the last layer.
        norms: blocks of the series that have normalisations of their own; 0: none is normalised.
    """

    def __init__(self, channels: int, features: int, norms: int) -> None:
        super().__init__()
        self.normalised = norms > 0
        self.first = Convolution(channels, features, 1)
        self.residual = nn.ModuleList(RegulariserBlock(features, norms) for _ in range(2))
        last = [Convolution(features, outs, 1) for outs in (features, features, channels)]
        nn.init.zeros_(last[-1].weight)
        self.last = nn.ModuleList(last)

    def forward(
        self, x: Float[Tensor, "batch channel y x"], block: int
    ) -> Float[Tensor, "batch channel y x"]:
        mean = x.mean((-2, -1), keepdim=True) if self.normalised else 0.0
        features = self.first(x - mean)
        for residual in self.residual:
            features = residual(features, block)
        for layer in self.last[:-1]:
            features = F.leaky_relu(layer(features), 0.1)
        return self.last[-1](features) + mean


class RegulariserBlock(nn.Module):
    """x + two times: 3 x 3 convolution, normalisation where there is one, LeakyReLU of slope 0.1."""

    def __init__(self, features: int, norms: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Convolution(features, features, 3) for _ in range(2))
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(features, track_running_stats=False) for _ in range(norms))
            for _ in range(2)
        )

    def forward(self, x: Tensor, block: int) -> Tensor:
        features = x
        for layer, norms in zip(self.layers, self.norms, strict=True):
            assert isinstance(norms, nn.ModuleList)
            features = layer(features)
            if len(norms):
                features = norms[block](features)
            features = F.leaky_relu(features, 0.1)
        return x + features


class Convolution(nn.Module):
    """A convolution that keeps the size, and one bias for all of its channels."""

    def __init__(self, ins: int, outs: int, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outs, ins, side, side))
        nn.init.xavier_uniform_(self.weight)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: Float[Tensor, "batch in y x"]) -> Float[Tensor, "batch out y x"]:
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2) + self.bias
