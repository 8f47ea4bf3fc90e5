"""A variational autoencoder of complex images of any size: its decoder is the generator of `csgm`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mrirecon.networks.base import Generator, at_least_one
from mrirecon.tensors import mirrored_to

LOG_VARIANCE = (-12.0, 2.0)  # of the encoder


class ConvVAE(Generator):
    """Convolutional VAE (Kingma & Welling 2014, arXiv:1312.6114) whose latent is a small image with many channels.

    Each pixel of the latent stands for a tile of the image and its surroundings, so that images may have any size. The
    finest level works on 2 x 2 pixels at once.

    Args:
        latent: channels of the latent.
        widths: features at each level, the finest first, at half the resolution of the image; each further level halves
            it.
        blocks: residual blocks of the decoder at its coarsest level; there is one at every other.

    Raises:
        ValueError: if one of them is not positive.
    """

    name = "vae"

    def __init__(
        self, latent: int = 32, widths: Sequence[int] = (32, 64, 96), blocks: int = 2
    ) -> None:
        super().__init__()
        if not widths:
            raise ValueError("widths is empty: give the features of one level or more")
        at_least_one(
            latent=latent, blocks=blocks, **{f"widths[{n}]": w for n, w in enumerate(widths)}
        )
        self.config = {"latent": latent, "widths": list(widths), "blocks": blocks}
        self.latent, self.multiple = latent, 2 ** len(widths)
        fine, coarse = widths[0], widths[-1]
        down = [
            layer
            for before, after in pairwise(widths)
            for layer in (_Block(before), nn.Conv2d(before, after, 2, stride=2))
        ]
        up = [
            layer
            for after, before in reversed([*pairwise(widths)])
            for layer in (nn.ConvTranspose2d(before, after, 2, stride=2), _Block(after))
        ]
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(8, fine, 3, padding=1),
            *down,
            _Block(coarse),
            nn.Conv2d(coarse, 2 * latent, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, coarse, 3, padding=1),
            *(_Block(coarse) for _ in range(blocks)),
            *up,
            nn.Conv2d(fine, 8, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def encode(
        self, image: Float[Tensor, "batch 2 y x"]
    ) -> tuple[Float[Tensor, "batch latent v u"], Float[Tensor, "batch latent v u"]]:
        found = self.encoder(mirrored_to(image, self.multiple)).to(image.dtype)
        mean, log_variance = found.chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE)

    def forward(
        self, z: Float[Tensor, "batch latent v u"], shape: tuple[int, int]
    ) -> Float[Tensor, "batch 2 y x"]:
        return self.decoder(z)[..., : shape[0], : shape[1]].to(z.dtype)

    def parts_to_compile(self) -> list[nn.Module]:
        return [self.encoder, self.decoder]


class _Block(nn.Module):
    """h + W2 relu(W1 relu(h)), which keeps its input before training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)

    def forward(self, h: Float[Tensor, "batch width y x"]) -> Float[Tensor, "batch width y x"]:
        return h + self.second(F.relu(self.first(F.relu(h))))
