"""Random patches of complex images, each a function of the seed, the epoch and the slice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float, Int64
from torch import Tensor
from torch.utils.data import Dataset

from mrirecon.io.file_array import FileArray
from mrirecon.simulate import smooth_phase
from mrirecon.tensors import as_channels, as_complex, complex_noise_like, crop_or_pad
from mrirecon.training.prior.images import FOREGROUND, Slices

Range = tuple[float, float]
TRIES = 4  # places looked at for a patch that is not mostly air


class PriorBatch(NamedTuple):
    """Patches of one size.

    Attributes:
        image: complex, of bright level about 1; magnitudes are their moduli.
        noise: white, of variance 1 in the real and in the imaginary part.
        level: uniform in [0, 1): which noise level the image gets.
        pixel_mm: side of a pixel; NaN where it is not known.
        volume: name of the image and the plane, of no other image.
        index: of the slice.
    """

    image: Complex[Tensor, "batch y x"]
    noise: Complex[Tensor, "batch y x"]
    level: Float[Tensor, " batch"]
    pixel_mm: Float[Tensor, " batch"]
    volume: tuple[str, ...]
    index: Int64[Tensor, " batch"]  # type: ignore[assignment]


class PatchRequest(NamedTuple):
    """As `SliceRequest`, with the side of the patch."""

    epoch: int
    entry: int
    index: int  # type: ignore[assignment]
    size: int


@dataclass(frozen=True)
class Augmentation:
    """What is varied between patches.

    Attributes:
        pixel_mm: range of the sides of square pixels; nothing is interpolated to finer ones than the image has.
        resampled: share of the patches whose pixels are of random size; the others keep those of the image, where
            these are square and within the range.
        gain: range of the factor on the image.
        shading: bound of the logarithm of a smooth factor.
        phase_rad: range of the bound of a smooth phase over the whole image.
    """

    pixel_mm: Range = (0.5, 1.5)
    resampled: float = 0.5
    gain: Range = (0.7, 1.4)
    shading: float = 0.3
    phase_rad: Range = (0.0, 6.0)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: if a range is empty or a number out of its own.
        """
        for name, low in (("pixel_mm", 1e-3), ("gain", 1e-3), ("phase_rad", 0.0)):
            first, last = getattr(self, name)
            if not low <= first <= last < math.inf:
                wanted = "positive numbers" if low else "numbers from 0"
                raise ValueError(f"data.{name} is {first} to {last}: give {wanted}, lower first")
        if not 0 <= self.resampled <= 1:
            raise ValueError(f"data.resampled is {self.resampled}: give a share from 0 to 1")
        if not 0 <= self.shading < math.inf:
            raise ValueError(f"data.shading is {self.shading}: give 0 or a positive number")

    def pixel(self, random: np.random.Generator, native: Range | None) -> float | None:
        """Side of a patch's pixels for an image with those of `native`; None keeps them as they are."""
        if native is None:
            return None
        low, high = max(self.pixel_mm[0], *native), max(self.pixel_mm[1], *native)
        drawn = math.exp(random.uniform(math.log(low), math.log(high)))
        return drawn if random.random() < self.resampled else self.nearest(native)

    def nearest(self, native: Range) -> float | None:
        """The side of pixels nearest to those of the image; None keeps them."""
        square = max(native) < 1.05 * min(native)
        return (
            None if square and min(native) >= self.pixel_mm[0] else max(self.pixel_mm[0], *native)
        )


class PatchDataset(Dataset[PriorBatch]):
    """Cuts patches out of slices when they are asked for.

    Args:
        stacks: the slices.
        how: what is varied.
        seed: of all that is drawn; None cuts out the middle as it is, with a phase that the image decides.
    """

    def __init__(self, stacks: Sequence[Slices], how: Augmentation, seed: int | None) -> None:
        self.stacks, self.how, self.seed = tuple(stacks), how, seed

    def __getitems__(self, requests: list[PatchRequest]) -> PriorBatch:
        """A batch of patches, all of the first one's size."""
        images, pixels, streams = [], [], []
        for request in requests:
            stack = self.stacks[request.entry]
            number = stack.numbers[request.index]
            key = [*stack.key, number]
            if self.seed is not None:
                key = [self.seed, request.epoch, *key]
            random = np.random.default_rng(key)
            image, pixel = self._patch(stack, request.index, request.size, random)
            images.append(image)
            pixels.append(pixel)
            streams.append(random)
        image = torch.stack(images)
        noise = [torch.Generator().manual_seed(int(r.integers(2**62))) for r in streams]
        return PriorBatch(
            image=image,
            noise=complex_noise_like(image, noise),
            level=torch.tensor([r.random() for r in streams]),
            pixel_mm=torch.tensor(pixels),
            volume=tuple(self.stacks[r.entry].name for r in requests),
            index=torch.tensor([r.index for r in requests]),
        )

    def _patch(
        self, stack: Slices, index: int, size: int, random: np.random.Generator
    ) -> tuple[Tensor, float]:
        """A patch, and the side of its pixels."""
        source, native = stack.image(index), stack.pixel_mm
        pixel = None
        if native is not None:
            pixel = (
                self.how.nearest(native) if self.seed is None else self.how.pixel(random, native)
            )
        sides = (size, size)
        if native is not None and pixel is not None:
            sides = (round(size * pixel / native[0]), round(size * pixel / native[1]))
        place = _middle(source, sides) if self.seed is None else _place(source, sides, random)
        part = source[place]
        kind = np.complex64 if np.iscomplexobj(part) else np.float32
        image = _resized(crop_or_pad(torch.from_numpy(part.astype(kind)), sides), size)
        share = sides[0] / source.shape[0]  # of the whole image, for its phase
        if self.seed is not None:
            image = self._varied(image, random)
        bound = min(share, 1.0) * random.uniform(*self.how.phase_rad)
        phase = _smooth(size, bound, random) + random.uniform(0, 2 * math.pi)
        side = math.nan if native is None else (pixel or native[0])
        return image * torch.polar(torch.ones_like(phase), phase), side

    def _varied(self, image: Tensor, random: np.random.Generator) -> Tensor:
        image = torch.rot90(image, int(random.integers(4)))
        if random.random() < 0.5:
            image = image.flip(0)
        low, high = self.how.gain
        gain = random.uniform(math.log(low), math.log(high))
        return image * (_smooth(len(image), self.how.shading, random) + gain).exp()


def _smooth(size: int, bound: float, random: np.random.Generator) -> Tensor:
    """A smooth field within about +-bound; a sixteenth of its points say what it is."""
    side = size // 4
    field = smooth_phase((side, side), bound, seed=int(random.integers(2**31)))
    return F.interpolate(field[None, None].float(), (size, size), mode="bicubic")[0, 0]


def _middle(source: FileArray, sides: tuple[int, int]) -> tuple[slice, slice]:
    y, x = (max(0, n // 2 - side // 2) for n, side in zip(source.shape, sides, strict=True))
    return slice(y, y + sides[0]), slice(x, x + sides[1])


def _place(
    source: FileArray, sides: tuple[int, int], random: np.random.Generator
) -> tuple[slice, slice]:
    """The first of a few random places that is not mostly air, or the last."""
    room = [max(0, n - side) for n, side in zip(source.shape, sides, strict=True)]
    for _ in range(TRIES):
        y, x = (int(random.integers(n + 1)) for n in room)
        place = (slice(y, y + sides[0]), slice(x, x + sides[1]))
        seen = source[place][::4, ::4]
        if (np.abs(seen) > FOREGROUND).mean() > 0.25:
            break
    return place


def _resized(image: Tensor, size: int) -> Tensor:
    """The image on size x size pixels of the same field of view, cubic, without aliasing."""
    if image.shape == (size, size):
        return image
    channels = as_channels(image) if image.is_complex() else image[None]
    channels = F.interpolate(channels[None], (size, size), mode="bicubic", antialias=True)[0]
    return as_complex(channels) if image.is_complex() else channels[0].clamp_min(0)
