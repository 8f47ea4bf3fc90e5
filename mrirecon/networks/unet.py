"""The fastMRI U-Net, its wrapper for complex images, and the image-to-image baseline built on it.

Parameters have the names of fastMRI, so that published weights load unchanged. On the CPU features are channels-last,
which makes convolutions up to four times faster, and are normalised by `NormLeakyReLU`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mrirecon.networks.base import Network, at_least_one
from mrirecon.networks.features import Standardized
from mrirecon.tensors import as_channels, as_complex, fftshift, ifft2, one_by_one, rss, rss_of_each

# K-space whose largest sample is below this is scaled by a power of two; that of fastMRI is 1e-4 to 1e-2.
SMALL = 1e-6


class UNet(nn.Module):
    """The U-Net of Ronneberger et al. 2015 in the variant of fastMRI (Zbontar et al. 2018, arXiv:1811.08839).

    Images may have any size: pooling drops an odd last row or column, and upsampling pads by reflection.

    Args:
        in_chans: channels of the input.
        out_chans: channels of the output.
        chans: features at full resolution; they double with each level.
        num_pool_layers: number of times the resolution is halved.
        drop_prob: probability with which a whole feature is set to zero in training.

    Raises:
        ValueError: in `forward`, if an image is too small to be halved that often.
    """

    def __init__(
        self,
        in_chans: int,
        out_chans: int,
        chans: int = 32,
        num_pool_layers: int = 4,
        drop_prob: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [chans * 2**level for level in range(num_pool_layers + 1)]
        down = [
            ConvBlock(before, after, drop_prob)
            for before, after in zip([in_chans, *widths], widths, strict=False)
        ]
        self.down_sample_layers = nn.ModuleList(down[:-1])
        self.conv = down[-1]
        up = [ConvBlock(2 * width, width, drop_prob) for width in widths[-2::-1]]
        last = nn.Sequential(up[-1], nn.Conv2d(chans, out_chans, kernel_size=1))
        self.up_conv = nn.ModuleList([*up[:-1], last])
        self.up_transpose_conv = nn.ModuleList(
            [TransposeConvBlock(2 * width, width) for width in widths[-2::-1]]
        )

    def forward(self, image: Float[Tensor, "batch in y x"]) -> Float[Tensor, "batch out y x"]:
        y, x = image.shape[-2:]
        if min(y, x) < 2 ** len(self.down_sample_layers):
            raise ValueError(
                f"images of {y} x {x} cannot be halved {len(self.down_sample_layers)} times: "
                "lower the network's pools, sens_pools or num_pool_layers"
            )
        skips = []
        features = _channels_last(image)
        for down in self.down_sample_layers:
            features = down(features)
            skips.append(features)
            features = F.avg_pool2d(features, 2)
        features = self.conv(features)
        for transpose, up in zip(self.up_transpose_conv, self.up_conv, strict=True):
            features = transpose(features)
            skip = skips.pop()
            missing = [skip.shape[axis] - features.shape[axis] for axis in (-1, -2)]
            if any(missing):
                features = F.pad(features, (0, missing[0], 0, missing[1]), "reflect")
            features = up(torch.cat([features, skip], dim=1))
        return features


class ConvBlock(nn.Module):
    """Two times: 3 x 3 convolution, instance normalisation and LeakyReLU, dropout."""

    def __init__(self, in_chans: int, out_chans: int, drop_prob: float = 0.0) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {}
        for number, chans in ((0, in_chans), (4, out_chans)):  # fastMRI's numbers, in its names
            layers[f"{number}"] = nn.Conv2d(chans, out_chans, 3, padding=1, bias=False)
            layers[f"{number + 1}"] = NormLeakyReLU()
            layers[f"{number + 3}"] = nn.Dropout2d(drop_prob)
        self.layers = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Float[Tensor, "batch in y x"]) -> Float[Tensor, "batch out y x"]:
        return self.layers(x)


class TransposeConvBlock(nn.Module):
    """2 x 2 transposed convolution to twice the size, instance normalisation and LeakyReLU."""

    def __init__(self, in_chans: int, out_chans: int) -> None:
        super().__init__()
        convolution = nn.ConvTranspose2d(in_chans, out_chans, kernel_size=2, stride=2, bias=False)
        self.layers = nn.Sequential(convolution, NormLeakyReLU())

    def forward(self, x: Float[Tensor, "batch in y x"]) -> Float[Tensor, "batch out _ _"]:
        return self.layers(x)


class NormLeakyReLU(nn.Module):
    """Instance normalisation (eps 1e-5, no parameters) and LeakyReLU of slope 0.2; overwrites its input.

    On the CPU both are one function: PyTorch's normalisations are slow for channels-last features, except `group_norm`,
    which loses digits where the mean of a channel is large. Only the output is stored for the backward pass. Half
    precision is normalised in float32. Under torch.compile plain operations are used, which it fuses with others.
    """

    def forward(self, x: Float[Tensor, "batch chan y x"]) -> Float[Tensor, "batch chan y x"]:
        if torch.compiler.is_compiling():
            variance, mean = torch.var_mean(x.float(), dim=(-2, -1), keepdim=True, correction=0)
            return F.leaky_relu((x - mean) * torch.rsqrt(variance + 1e-5), 0.2).to(x.dtype)
        if x.device.type != "cpu":
            return F.leaky_relu_(F.instance_norm(x), 0.2)
        with torch.autocast("cpu", enabled=False):
            return _NormLeakyReLU.apply(_channels_last(x if x.dtype.itemsize > 2 else x.float()))


class _NormLeakyReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        features = x.movedim(1, -1)  # as they lie in memory: batch, y, x, channel
        features.sub_(_mean(features))
        scale = _mean(features.square()).add_(1e-5).rsqrt_()
        F.leaky_relu_(features.mul_(scale), 0.2)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x, scale)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        output, scale = ctx.saved_tensors
        output, gradient = (_channels_last(t).movedim(1, -1) for t in (output, gradient))
        normalized = F.leaky_relu(output, 1 / 0.2)
        g = torch.ops.aten.leaky_relu_backward(gradient, output, 0.2, True)
        along = _mean(g * normalized)
        return g.sub_(_mean(g)).addcmul_(normalized, along, value=-1).mul_(scale).movedim(-1, 1)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x


def _mean(features: Tensor) -> Tensor:
    # Over rows, then columns: five times faster than over both at once.
    return features.mean(2, keepdim=True).mean(1, keepdim=True)


class NormUNet(nn.Module):
    """A U-Net on normalised complex images (E2E-VarNet, Sriram et al. 2020, arXiv:2004.06688).

    Real and imaginary part are normalised to mean 0 and standard deviation 1 and zero-padded to multiples of 16; the
    output is scaled back. An image that is 0 everywhere stays 0.

    Args:
        chans: features at full resolution.
        num_pools: number of times the resolution is halved.
        drop_prob: see `UNet`.
    """

    def __init__(self, chans: int, num_pools: int, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.unet = UNet(2, 2, chans, num_pools, drop_prob)

    def forward(self, image: Complex[Tensor, "batch y x"]) -> Complex[Tensor, "batch y x"]:
        standardized = Standardized.of(as_channels(image))
        height, width = image.shape[-2:]
        top, left = (-height % 16) // 2, (-width % 16) // 2
        bottom, right = -height % 16 - top, -width % 16 - left
        x = standardized.images
        if height % 16 or width % 16:
            x = F.pad(x, (left, right, top, bottom))
        # Under autocast the U-Net alone computes in low precision.
        y = self.unet(x)[..., top : top + height, left : left + width]
        return as_complex(standardized.undone(y))


def unets_of(network: nn.Module) -> list[nn.Module]:
    """The U-Nets inside a network, which torch.compile can fuse since they are real-valued."""
    return [part for part in network.modules() if isinstance(part, UNet)]


class UNetBaseline(Network):
    """The fastMRI baseline: a U-Net on the zero-filled root-sum-of-squares image (Zbontar et al. 2018).

    The cropped image is normalised to mean 0 and standard deviation 1 and clamped to +-6, as in fastMRI.

    Args:
        chans: features at full resolution.
        num_pool_layers: number of times the resolution is halved.
        drop_prob: see `UNet`.

    Raises:
        ValueError: if a number of features or levels is below 1.
    """

    name = "unet"

    def __init__(self, chans: int = 32, num_pool_layers: int = 4, drop_prob: float = 0.0) -> None:
        super().__init__()
        at_least_one(chans=chans, num_pool_layers=num_pool_layers)
        self.config = {"chans": chans, "num_pool_layers": num_pool_layers, "drop_prob": drop_prob}
        self.unet = UNet(1, 1, chans, num_pool_layers, drop_prob)

    def parts_to_compile(self) -> list[nn.Module]:
        return [self.unet]

    def forward(
        self,
        kspace: Complex[Tensor, "batch adjacent coil y x"],
        mask: Bool[Tensor, "batch y x"],
        calibration: Bool[Tensor, "batch y x"],
        crop: tuple[slice, slice],
    ) -> Float[Tensor, "batch h w"]:
        own = kspace[:, kspace.shape[1] // 2]
        largest = own.detach().abs().amax(dim=(1, 2, 3))
        small = (largest < SMALL) & (largest > 0)
        # Scaled up, so that the constant 1e-11 below is negligible; nothing here waits for what a GPU finds.
        factor = torch.where(small, torch.exp2(-largest.log2().floor()), 1)[:, None, None]
        # Magnitudes do not depend on the phase ramp of an uncentred FFT: one shift of the image suffices.
        if one_by_one(own):
            image = rss_of_each(ifft2(coil * factor) for coil in own.unbind(1))
        else:
            image = rss(ifft2(own * factor.unsqueeze(1)))
        image = fftshift(image)[(..., *crop)].unsqueeze(1)
        std, mean = torch.std_mean(image, dim=(-2, -1), keepdim=True)
        normalized = ((image - mean) / (std + 1e-11)).clamp(-6, 6)
        return (self.unet(normalized).to(image.dtype) * std + mean).squeeze(1) / factor
