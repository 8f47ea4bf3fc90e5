"""Draws of a few slices: counted, watched, shown while they are made, and fewer at once when memory runs out."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.diffusion import Denoiser
from mrirecon.operators import sense

EVERY = 4  # levels from one preview to the next


@dataclass(frozen=True, eq=False)
class Preview:
    """What is known of some slices while they are sampled.

    Attributes:
        places: (volume, slice) of each.
        image: mean of the draws that are finished and of the denoised ones under way, in the units of the (prewhitened)
            k-space.
        finished: number of draws that are finished.
        level: noise level that was reached, counted from 1.
        levels: how many there are.
    """

    places: Sequence[tuple[int, int]]
    image: Complex[Tensor, "slice y x"]
    finished: int
    level: int
    levels: int


class Running:
    """Tells how far the draws are, and makes a preview every few levels; it is the callback of a sampler.

    Args:
        places: of the slices that are sampled together.
        maps: theirs.
        draws: of each.
        levels: of the schedule.
        scale: what images are multiplied by.
        advance: called with how many of the slices are done, in parts too.
        show: takes the preview.
    """

    def __init__(
        self,
        places: Sequence[tuple[int, int]],
        maps: Complex[Tensor, "slice coil y x"],
        draws: int,
        levels: int,
        scale: float,
        advance: Callable[[float], object],
        show: Callable[[Preview], object] | None,
    ) -> None:
        self.places, self.maps = places, maps
        self.draws, self.levels, self.scale = draws, levels, scale
        self.advance, self.show = advance, show
        self.support = (maps != 0).any(1)
        self.sum: Tensor | float = 0.0
        self.finished = self.images = 0
        self.reached = 0.0

    def __call__(self, step: int, sigma: float, x: Tensor, x0: Tensor) -> None:
        images = self.images + len(x0) * x0.shape[1] * step / self.levels
        self.reached = max(self.reached, images)  # some samplers walk levels again
        self.advance(self.reached / self.draws)
        if self.show is None or step % EVERY or not self._is_whole(x0):
            return
        if x0.ndim > 4:  # every coil by itself
            x0 = (self.maps.conj() * x0).sum(-3)
        mean = (self.sum + x0.sum(0)) / (self.finished + len(x0))
        image = mean.to(torch.complex64) * self.support * self.scale
        self.show(Preview(self.places, image, self.finished, step + 1, self.levels))

    def add(self, draws: Complex[Tensor, "draw slice y x"]) -> None:
        """These draws are finished."""
        self.images += len(draws) * draws.shape[1]
        if self._is_whole(draws):
            self.sum = self.sum + draws.sum(0)
            self.finished += len(draws)

    def _is_whole(self, draws: Tensor) -> bool:
        """Whether all slices are there: for want of memory it may be some of them, which make no preview."""
        return draws.shape[1] == len(self.places)


class Watched:
    """A denoiser that is counted, in the precision asked for, and stopped when it gives no numbers.

    Args:
        denoiser: of images (draw, slice, ..., y, x).
        precision: of its network.
        places: (volume, slice) of each slice.
        volumes: how many the scan has.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        precision: Literal["float32", "bfloat16"],
        places: Sequence[tuple[int, int]],
        volumes: int = 1,
    ) -> None:
        self.denoiser, self.places, self.volumes = denoiser, places, volumes
        self.low = precision == "bfloat16"
        self.images = 0
        self.calls = 0

    @property
    def sigma_range(self) -> tuple[float, float]:
        """Of the denoiser."""
        return self.denoiser.sigma_range

    @property
    def calls_per_image(self) -> int:
        """Evaluations of the network for one draw of one slice; coil by coil counts as many as there are coils."""
        return round(self.images / max(self.calls, 1))

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.low):
            clean = self.denoiser(x, sigma)
        self.images += math.prod(x.shape[:-2])
        finite = torch.isfinite(clean.detach().abs().flatten(2).sum(2)).all(0)
        if not bool(finite.all()):
            volume, index = self.places[finite.tolist().index(False)]
            where = f"volume {volume} slice {index}" if self.volumes > 1 else f"slice {index}"
            raise ValueError(
                f"the prior gave NaN or infinite values in {where} at noise level {sigma:g}: "
                "lower the sampler's step, or use other weights"
            )
        return clean


@dataclass
class Room:
    """How many images fit into memory at once, as far as is known: fewer once it ran out."""

    images: int = sys.maxsize


def in_parts(
    run: Callable[..., Tensor],
    y: Tensor,
    maps: Tensor,
    mask: Tensor,
    start: Tensor | None,
    streams: list[list[torch.Generator]],
    at_once: int,
    room: Room,
    divisible: bool = True,
) -> Tensor:
    """All draws of all slices, (draw, slice, y, x), at most `at_once` images together.

    Where memory runs out half as many are tried, and no more than that from then on.

    Raises:
        RuntimeError: if memory does not suffice for one image, or for one draw of slices that are not divisible.
    """
    running = run.keywords["callback"]  # type: ignore[attr-defined]
    parts: list[Tensor] = []
    slices, smallest = len(y), 1 if divisible else len(y)
    while streams:
        if divisible and room.images < slices:
            halves = slice(0, slices // 2), slice(slices // 2, slices)
            columns = []
            watched = run.keywords["denoiser"]  # type: ignore[attr-defined]
            places = watched.places
            for half in halves:
                watched.places = places[half]
                first = None if start is None else start[half]
                rows = [row[half] for row in streams]
                columns.append(
                    in_parts(run, y[half], maps[half], mask[half], first, rows, at_once, room)
                )
            watched.places = places
            return torch.cat([*parts, torch.cat(columns, dim=1)])
        draws = max(1, min(at_once, room.images) // slices)
        now = streams[:draws]
        images = len(now) * slices
        image = _attempt(run, y, maps, mask, start, now, last=images == smallest)
        if image is None:
            room.images = images // 2
            continue
        running.add(image)
        parts.append(image)
        streams = streams[draws:]
    return torch.cat(parts)


def _attempt(
    run: Callable[..., Tensor],
    y: Tensor,
    maps: Tensor,
    mask: Tensor,
    start: Tensor | None,
    streams: list[list[torch.Generator]],
    last: bool,
) -> Tensor | None:
    """These draws; nothing where memory runs out, unless it is the last attempt, with all as it was before."""
    watched = run.keywords["denoiser"]  # type: ignore[attr-defined]
    flat = [stream for row in streams for stream in row]
    states, evaluated = [stream.get_state() for stream in flat], watched.images
    try:
        several = y.expand(len(streams), *y.shape)
        first = None if start is None else start.expand(len(streams), *start.shape)
        image = run(several, sense(maps, mask), start=first, generator=streams)
    except RuntimeError as error:  # of every kind of memory
        if last or "memory" not in str(error).lower():
            raise
        for stream, state in zip(flat, states, strict=True):
            stream.set_state(state)
        watched.images = evaluated
        return None  # and try again when the error is gone, whose traceback holds the tensors of this attempt
    watched.calls += len(flat)
    return image


def stream_of(*key: int) -> torch.Generator:
    """The random numbers of one draw of one slice."""
    state = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)
