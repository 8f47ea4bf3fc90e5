"""Draws of a few slices: counted, shown while they are made, and fewer at once when memory runs out."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.diffusion import Denoiser
from mrirecon.methods.base import Place, Preview, Tell
from mrirecon.operators import sense
from mrirecon.options import out_of_memory
from mrirecon.tensors import as_parts, stream_of

EVERY = 4  # levels from one preview to the next


@dataclass(frozen=True, eq=False)
class DrawBatch:
    """Slices of a volume that are sampled together; `batch[a:b]` are some of them.

    Attributes:
        places: (volume, slice) of each.
        y: k-space in units of the bright level.
        maps: coil maps.
        mask: sampled points.
        axes: those along which a mask varies, as `sense` takes them.
        start: first images in units of the bright level; None begins with noise.
    """

    places: Sequence[Place]
    y: Complex[Tensor, "slice coil y x"]
    maps: Complex[Tensor, "slice coil y x"]
    mask: Bool[Tensor, "slice y x"]
    start: Complex[Tensor, "slice y x"] | None
    axes: tuple[int, ...] | None = None

    @cached_property
    def support(self) -> Bool[Tensor, "slice y x"]:
        """Where any coil sees an image."""
        return (self.maps != 0).any(1)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, part: slice) -> DrawBatch:
        start = None if self.start is None else self.start[part]
        known = self.y[part], self.maps[part], self.mask[part]
        return DrawBatch(self.places[part], *known, start, self.axes)


@dataclass
class Room:
    """How many images fit into memory at once, as far as is known: fewer once it ran out."""

    images: int = sys.maxsize


@dataclass(eq=False, kw_only=True)
class Draws:
    """Makes all draws of a batch of slices.

    Attributes:
        sampler: function of the gallery.
        options: its own ones, and the noise levels as `sigmas`.
        denoiser: the prior.
        batch: the slices.
        underway: is told of each level.
        samples: draws of each slice.
        seed: seed of the draws; each draw of each slice has random numbers of its own.
        precision: precision of the prior's network.
        at_once: images to make together.
        room: where it is remembered that memory ran out.
        divisible: whether slices may be sampled apart.
        volumes: number of volumes of the scan, for messages.
        evaluations: of the network, for one draw of one slice; coil by coil counts as many as there are coils.
    """

    sampler: Callable[..., Tensor]
    options: Mapping[str, Any]
    denoiser: Denoiser
    batch: DrawBatch
    underway: Underway
    samples: int
    seed: int
    precision: Literal["float32", "bfloat16"]
    at_once: int
    room: Room
    divisible: bool
    volumes: int
    _images: int = field(default=0, init=False)
    _draws: int = field(default=0, init=False)

    @property
    def evaluations(self) -> int:
        return round(self._images / max(self._draws, 1))

    @torch.no_grad()
    def make(
        self, batch: DrawBatch | None = None, draws: range | None = None
    ) -> Complex[Tensor, "draw slice y x"]:
        """The draws of these slices and numbers, or all. Where memory runs out, half as many images are tried next.

        Raises:
            RuntimeError: if memory does not suffice for one image, or for one draw of slices that are not divisible.
            ValueError: if the prior gives no numbers.
        """
        batch = self.batch if batch is None else batch
        draws = range(self.samples) if draws is None else draws
        start, parts = batch.start, list[Tensor]()
        smallest = 1 if self.divisible else len(batch)
        while draws:
            if self.divisible and min(self.at_once, self.room.images) < len(batch):
                half = len(batch) // 2
                halves = [self.make(one, draws) for one in (batch[:half], batch[half:])]
                return torch.cat([*parts, torch.cat(halves, dim=1)])
            now = draws[: max(1, min(self.at_once, self.room.images) // len(batch))]
            images = len(now) * len(batch)
            watched = Watched(self.denoiser, self.precision, batch.places, self.volumes)
            try:
                made = self.sampler(
                    batch.y.expand(len(now), *batch.y.shape),
                    sense(batch.maps, batch.mask, axes=batch.axes),
                    watched,
                    start=None if start is None else start.expand(len(now), *start.shape),
                    generator=[[stream_of(self.seed, *p, n) for p in batch.places] for n in now],
                    callback=self.underway,
                    **self.options,
                )
            except RuntimeError as error:
                if images == smallest or not out_of_memory(error):
                    raise
                made = None
            # Try again when the error is gone, whose traceback holds the tensors of this attempt.
            if made is None:
                self.room.images = images // 2
                continue
            watched.check()
            self._images += watched.images
            self._draws += images
            self.underway.add(made)
            parts.append(made)
            draws = draws[len(now) :]
        return torch.cat(parts)


class Underway:
    """The callback of a sampler: tells how far the draws are, and every few levels what they look like.

    Args:
        batch: the slices that are sampled together.
        draws: number of draws of each.
        levels: number of noise levels.
        scale: what images are multiplied by.
        tell: takes how far they are; None where nobody asks.
    """

    def __init__(
        self, batch: DrawBatch, draws: int, levels: int, scale: float, tell: Tell | None
    ) -> None:
        self.batch = batch
        self.draws, self.levels, self.scale, self.tell = draws, levels, scale, tell
        self.sum: Tensor | float = 0.0
        self.finished = self.images = 0
        self.reached = 0.0

    def __call__(self, step: int, sigma: float, x: Tensor, x0: Tensor) -> None:
        if self.tell is None:
            return
        images = self.images + len(x0) * x0.shape[1] * step / self.levels
        self.reached = max(self.reached, images)  # some samplers walk levels again
        shown = step % EVERY == 0 and self._is_whole(x0)
        preview = (lambda: self._preview(step, x0)) if shown else None
        self.tell(self.reached / self.draws, preview)

    def add(self, draws: Complex[Tensor, "draw slice y x"]) -> None:
        """These draws are finished."""
        self.images += len(draws) * draws.shape[1]
        if self._is_whole(draws):
            self.sum = self.sum + draws.sum(0)
            self.finished += len(draws)

    def _is_whole(self, draws: Tensor) -> bool:
        """Whether all slices are there: for want of memory it may be some of them, which make no preview."""
        return draws.shape[1] == len(self.batch)

    def _preview(self, step: int, x0: Tensor) -> Preview:
        if x0.ndim > 4:  # every coil by itself
            x0 = (self.batch.maps.conj() * x0).sum(-3)
        mean = (self.sum + x0.sum(0)) / (self.finished + len(x0))
        image = mean.to(torch.complex64) * self.batch.support * self.scale
        return Preview(self.batch.places, image, self.finished, step + 1, self.levels)


@dataclass(eq=False)
class Watched:
    """A denoiser that is counted, in the precision asked for, and checked for numbers.

    On a CPU it is stopped when it gives none; what a GPU gives is looked at in the end, since each look waits for it.

    Attributes:
        denoiser: of images (draw, slice, ..., y, x).
        precision: precision of its network.
        places: (volume, slice) of each slice.
        volumes: how many the scan has.
        images: that it was given so far.
    """

    denoiser: Denoiser
    precision: Literal["float32", "bfloat16"]
    places: Sequence[Place]
    volumes: int
    images: int = 0
    _finite: list[tuple[float, Tensor]] = field(default_factory=list)  # level, and of each slice

    @property
    def sigma_range(self) -> tuple[float, float]:
        """Of the denoiser."""
        return self.denoiser.sigma_range

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        low = self.precision == "bfloat16"
        with torch.autocast(x.device.type, torch.bfloat16, enabled=low):
            clean = self.denoiser(x, sigma)
        self.images += math.prod(x.shape[:-2])
        sums = as_parts(clean.detach()).flatten(2).sum(2)
        self._finite.append((sigma, torch.isfinite(sums).all(0)))
        if x.device.type == "cpu":
            self.check()
        return clean

    def check(self) -> None:
        """Raise ValueError if there was anything but numbers, naming the first slice and level."""
        levels, self._finite = self._finite, []
        found = torch.stack([finite for _, finite in levels]).tolist() if levels else []
        for (sigma, _), finite in zip(levels, found, strict=True):
            if all(finite):
                continue
            volume, index = self.places[finite.index(False)]
            where = f"volume {volume} slice {index}" if self.volumes > 1 else f"slice {index}"
            raise ValueError(
                f"the prior gave NaN or infinite values in {where} at noise level {sigma:g}: "
                "lower the sampler's step, or use other weights"
            )
