"""HUMUS-Net (Fabian et al. 2022, arXiv:2203.08213): E2E-VarNet with a hybrid of Swin transformer and convolutions.

Names and shapes of parameters and buffers are those of the published files.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from math import lcm
from typing import Any

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mrirecon.networks.base import Combine, Unrolled, UnrolledNetwork, at_least_one
from mrirecon.networks.features import Standardized, reflected
from mrirecon.networks.swin import (
    PatchEmbed,
    PatchExpand,
    PatchMerging,
    PatchUnembed,
    SwinStage,
    residual_convolution,
)
from mrirecon.networks.unet import (
    ConvBlock,
    NormLeakyReLU,
    TransposeConvBlock,
    unets_of,
)
from mrirecon.networks.varnet import SensitivityNet, nothing_yet
from mrirecon.operators import LinearOperator, sense
from mrirecon.tensors import as_channels, as_complex, rss


class HUMUSNet(UnrolledNetwork):
    """HUMUS-Net: the cascades of `VarNet` over a few adjacent slices, with a `HUMUSBlock` as regulariser.

    With p, q, A and M as in `VarNet`, for several slices at once: their maps are normalised together, so S^H S is not
    1 but an image per slice, and S^H F^-1 k = A^H y - S^H S q + A^H A (q - p).

    Images of any size: `HUMUSBlock` says how they are padded. All other arguments are explained there.

    Args:
        num_cascades: unrolled iterations.
        sens_chans: features of the sensitivity network's U-Net at full resolution.
        sens_pools: how often it halves the resolution.
        num_adj_slices: slices it looks at, odd; it reconstructs the one in the middle.
        combine: how coil images become one image (`UnrolledNetwork`).
        checkpoint_cascades: recompute each cascade in the backward pass, keeping one cascade's features in memory.

    Raises:
        ValueError: if a number is below 1, that of slices even, or the block cannot be built.
    """

    name = "humus"

    def __init__(
        self,
        num_cascades: int = 8,
        sens_chans: int = 16,
        sens_pools: int = 4,
        num_adj_slices: int = 1,
        img_size: Sequence[int] = (384, 384),
        patch_size: int = 1,
        window_size: int = 8,
        embed_dim: int = 66,
        depths: Sequence[int] = (2, 2, 2),
        num_heads: Sequence[int] = (3, 6, 12),
        mlp_ratio: float = 2.0,
        bottleneck_depth: int = 2,
        bottleneck_heads: int = 24,
        drop_path_rate: float = 0.1,
        resi_connection: str = "1conv",
        conv_downsample_first: bool = True,
        no_residual_learning: bool = False,
        *,
        combine: Combine = "rss",
        checkpoint_cascades: bool = False,
    ) -> None:
        super().__init__()
        at_least_one(num_cascades=num_cascades, sens_chans=sens_chans, sens_pools=sens_pools)
        if num_adj_slices % 2 == 0 or num_adj_slices < 1:
            raise ValueError(
                f"num_adj_slices is {num_adj_slices}: give an odd number, so that a slice is in the middle"
            )
        block: dict[str, Any] = {
            "img_size": list(img_size),
            "patch_size": patch_size,
            "window_size": window_size,
            "embed_dim": embed_dim,
            "depths": list(depths),
            "num_heads": list(num_heads),
            "mlp_ratio": mlp_ratio,
            "bottleneck_depth": bottleneck_depth,
            "bottleneck_heads": bottleneck_heads,
            "drop_path_rate": drop_path_rate,
            "resi_connection": resi_connection,
            "conv_downsample_first": conv_downsample_first,
            "no_residual_learning": no_residual_learning,
        }
        self.config = {
            "num_cascades": num_cascades,
            "sens_chans": sens_chans,
            "sens_pools": sens_pools,
            "num_adj_slices": num_adj_slices,
            **block,
        }
        self._combine_by(combine)
        self.adjacent_slices = num_adj_slices
        self.checkpoint_cascades = checkpoint_cascades
        self.sens_net = SensitivityNet(sens_chans, sens_pools)
        self.cascades = nn.ModuleList(
            [HUMUSCascade(HUMUSBlock(2 * num_adj_slices, **block)) for _ in range(num_cascades)]
        )

    def parts_to_compile(self) -> list[nn.Module]:
        return unets_of(self)

    def unroll(
        self,
        kspace: Complex[Tensor, "batch adjacent coil y x"],
        mask: Bool[Tensor, "batch y x"],
        calibration: Bool[Tensor, "batch y x"],
        calibration_kspace: Complex[Tensor, "batch adjacent coil y x"] | None = None,
    ) -> Unrolled:
        if kspace.shape[1] != self.adjacent_slices:
            raise ValueError(
                f"{kspace.shape[1]} adjacent slices for a network that looks at {self.adjacent_slices}: "
                "give the slice to reconstruct in the middle of its neighbours"
            )
        seen = kspace if calibration_kspace is None else calibration_kspace
        maps = self.sens_net(seen.flatten(1, 2), calibration, self.checkpoint_cascades).view(
            kspace.shape
        )
        A = sense(maps, mask.unsqueeze(1))
        power = rss(maps).square().to(maps.dtype)
        zero_filled = A.H(kspace)
        p, q = nothing_yet(zero_filled)
        for cascade in self.cascades:
            if self.checkpoint_cascades and torch.is_grad_enabled():
                p, q = checkpoint(cascade, A, power, zero_filled, p, q, use_reentrant=False)
            else:
                p, q = cascade(A, power, zero_filled, p, q)
        if p is None:  # cascades that pass on what they are given
            p = q = torch.zeros_like(zero_filled)
        middle = self.adjacent_slices // 2
        return Unrolled(kspace[:, middle], mask, maps[:, middle], p[:, middle], q[:, middle])


class HUMUSCascade(nn.Module):
    """One iteration of `HUMUSNet`, which see; the regulariser works on a padded image of mean 0 and deviation 1."""

    def __init__(self, model: HUMUSBlock) -> None:
        super().__init__()
        self.model = model
        self.dc_weight = nn.Parameter(torch.ones(1))

    def forward(
        self,
        A: LinearOperator,
        power: Complex[Tensor, "batch adjacent y x"],
        zero_filled: Complex[Tensor, "batch adjacent y x"],
        p: Complex[Tensor, "batch adjacent y x"] | None,
        q: Complex[Tensor, "batch adjacent y x"] | None,
    ) -> tuple[Complex[Tensor, "batch adjacent y x"], Complex[Tensor, "batch adjacent y x"]]:
        if p is None or q is None:
            u = self._regularize(zero_filled)
            return u, u
        image = torch.addcmul(zero_filled, power, q, value=-1)
        u = self._regularize(image if p is q else image + A.gram(q - p))
        return (1 - self.dc_weight) * p + u, q + u

    def _regularize(
        self, image: Complex[Tensor, "batch adjacent y x"]
    ) -> Complex[Tensor, "batch adjacent y x"]:
        x = as_channels(image).transpose(1, 2).flatten(1, 2)  # all real parts, then all imaginary
        (top, bottom), (left, right) = self.model.padding(image.shape[-2:])
        standardized = Standardized.of(reflected(x, (top, bottom), (left, right)))
        # Under autocast the block alone computes in low precision.
        y = standardized.undone(self.model(standardized.images))
        y = y[..., top : top + image.shape[-2], left : left + image.shape[-1]]
        return as_complex(y.unflatten(1, (2, -1)).transpose(1, 2))


class HUMUSBlock(nn.Module):
    """Convolutions at full resolution around a U-shaped Swin transformer at half of it; residual.

    The windows of every scale have to fit, so images are padded by reflection, half before and half after: an axis
    shorter than `img_size` to `img_size`, as published, a longer one to the next size that all windows divide.

    Args:
        in_chans: channels of input and output.
        img_size: (y, x) that the published files are for.
        patch_size: side of the patches that are one token.
        window_size: side of the attention windows, in tokens.
        embed_dim: channels of the tokens; they double with each scale.
        depths: Swin blocks per scale.
        num_heads: attention heads per scale.
        mlp_ratio: hidden units per channel in the perceptrons.
        bottleneck_depth: Swin blocks at the coarsest scale.
        bottleneck_heads: attention heads there.
        drop_path_rate: probability of skipping the deepest block in training; 0 at the first, linear between.
        resi_connection: "1conv" or "3conv", the convolution after the blocks of a scale.
        conv_downsample_first: halve the resolution by convolution before the transformer.
        no_residual_learning: leave out the connection from input to output.

    Raises:
        ValueError: if a size is below 1, or the windows do not fit `img_size`, the heads the channels, or `num_heads`
            the `depths`.
    """

    def __init__(
        self,
        in_chans: int,
        img_size: Sequence[int],
        patch_size: int,
        window_size: int,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        mlp_ratio: float,
        bottleneck_depth: int,
        bottleneck_heads: int,
        drop_path_rate: float,
        resi_connection: str,
        conv_downsample_first: bool,
        no_residual_learning: bool,
    ) -> None:
        super().__init__()
        at_least_one(patch_size=patch_size, window_size=window_size, embed_dim=embed_dim)
        if len(num_heads) != len(depths):
            raise ValueError(
                f"{len(num_heads)} num_heads for {len(depths)} depths: give one number of heads per scale"
            )
        self.residual = not no_residual_learning
        self.convolutional = conv_downsample_first
        finest = embed_dim // 2 if conv_downsample_first else embed_dim
        self.conv_first = nn.Conv2d(in_chans, finest, 3, padding=1)
        if conv_downsample_first:
            self.conv_down_block = ConvBlock(finest, embed_dim)
            self.conv_down = nn.ModuleDict({"layers": _half(embed_dim)})
            self.conv_up = TransposeConvBlock(embed_dim, finest)
            self.conv_up_block = ConvBlock(embed_dim, finest)
        self.patch_embed = PatchEmbed(embed_dim, patch_size)
        self.patch_unembed = PatchUnembed(embed_dim, patch_size)

        self.token = patch_size * (2 if conv_downsample_first else 1)
        self.img_size = tuple(img_size)
        heads = [*num_heads, bottleneck_heads]
        widths = [embed_dim * 2**scale for scale in range(len(heads))]
        skips = [*_rising_rates(depths, drop_path_rate), [0.0] * bottleneck_depth]

        def stage(scale: int, reshape: nn.Module) -> SwinStage:
            y, x = (max(size // self.token // 2**scale, 1) for size in img_size)
            options = window_size, mlp_ratio, skips[scale], resi_connection
            return SwinStage(widths[scale], (y, x), heads[scale], *options, reshape)

        *fine, coarsest = range(len(heads))
        down = [stage(i, PatchMerging(widths[i])) for i in fine]
        self.layers_down = nn.ModuleList(down)
        self.layer_bottleneck = stage(coarsest, nn.Identity())
        self.layers_up = nn.ModuleList([stage(i, PatchExpand(widths[i + 1])) for i in fine[::-1]])
        self.norm_down = nn.LayerNorm(widths[-1])
        self.norm_up = nn.LayerNorm(embed_dim)
        self.conv_after_body = residual_convolution(resi_connection, embed_dim)
        self.conv_last = nn.Conv2d(finest, in_chans, 3, padding=1)
        self.apply(_initialize)
        self.unit = self._fitting_unit([*down, self.layer_bottleneck], window_size)

    def _fitting_unit(self, stages: Sequence[SwinStage], window_size: int) -> int:
        """What sides of images must be multiples of for the windows of all scales to fit; `img_size` must be."""
        unit = self.token * lcm(*(stage.window << scale for scale, stage in enumerate(stages)))
        if any(size % unit for size in self.img_size):
            raise ValueError(
                f"img_size {self.img_size} does not fit windows of {window_size} at {len(stages)} scales: "
                f"give multiples of {unit}"
            )
        return unit

    def padding(self, size: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """What to pad an image with to fit the windows: before and after along y, and along x.

        Raises:
            ValueError: if patches are larger than 1 and the image is wider than `img_size`, see `PatchUnembed`.
        """
        if self.patch_embed.patch > 1 and size[1] > self.img_size[1]:
            raise ValueError(
                f"image is {size[1]} columns wide, the network with patch_size {self.patch_embed.patch} was built for "
                f"{self.img_size[1]}: crop the image, or train a network with patch_size 1"
            )
        missing = (
            built - have if have <= built else -have % self.unit
            for have, built in zip(size, self.img_size, strict=True)
        )
        rows, columns = ((n // 2, n - n // 2) for n in missing)
        return rows, columns

    def forward(self, x: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
        first = self.conv_first(x.contiguous(memory_format=torch.channels_last))
        if self.convolutional:
            features = self.conv_down["layers"](self.conv_down_block(first))
            features = self.conv_after_body(self._transform(features))
            features = torch.cat([self.conv_up(features), first], dim=1)
            out = self.conv_last(self.conv_up_block(features))
        else:
            out = self.conv_last(self.conv_after_body(self._transform(first)) + first)
        return x + out if self.residual else out

    def _transform(self, image: Tensor) -> Tensor:
        """The U of Swin stages."""
        x = self.patch_embed(image)
        skips = []
        for stage in self.layers_down:
            skips.append(stage(x))
            x = stage.get_submodule("reshape")(skips[-1])
        x = self.layer_bottleneck(self.norm_down(x))
        for stage in self.layers_up:
            x = stage(stage.get_submodule("reshape")(x, skips.pop()))
        return self.patch_unembed(self.norm_up(x))


def _half(chans: int) -> nn.Module:
    """2 x 2 convolution to half the size, instance normalisation, LeakyReLU."""
    convolution = nn.Conv2d(chans, chans, kernel_size=2, stride=2, bias=False)
    return nn.Sequential(convolution, NormLeakyReLU())


def _rising_rates(depths: Sequence[int], last: float) -> list[list[float]]:
    """One number per block of each scale, in even steps from 0 at the first block to `last`."""
    steps = max(sum(depths) - 1, 1)
    rates = iter([last * block / steps for block in range(sum(depths))])
    return [list(islice(rates, depth)) for depth in depths]


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
