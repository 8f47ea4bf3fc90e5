"""Draws of a few slices: counted, watched, shown while they are made, and fewer at once when memory runs out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
    """Makes a preview every few levels; it is the callback of a sampler.

    Args:
        show: takes the preview.
        places: of the slices that are sampled together.
        maps: theirs.
        levels: of the schedule.
        scale: what images are multiplied by.
    """

    def __init__(
        self,
        show: Callable[[Preview], object],
        places: Sequence[tuple[int, int]],
        maps: Complex[Tensor, "slice coil y x"],
        levels: int,
        scale: float,
    ) -> None:
        self.show, self.places, self.maps = show, places, maps
        self.levels, self.scale = levels, scale
        self.support = (maps != 0).any(1)
        self.sum: Tensor | float = 0.0
        self.finished = 0

    def __call__(self, step: int, sigma: float, x: Tensor, x0: Tensor) -> None:
        if step % EVERY or x0.shape[1] != len(self.places):  # slice by slice for want of memory
            return
        if x0.ndim > 4:  # every coil by itself
            x0 = (self.maps.conj() * x0).sum(-3)
        mean = (self.sum + x0.sum(0)) / (self.finished + len(x0))
        image = mean.to(torch.complex64) * self.support * self.scale
        self.show(Preview(self.places, image, self.finished, step + 1, self.levels))

    def add(self, draws: Complex[Tensor, "draw slice y x"]) -> None:
        """These draws are finished."""
        self.sum = self.sum + draws.sum(0)
        self.finished += len(draws)


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


def in_parts(
    run: Callable[..., Tensor],
    y: Tensor,
    maps: Tensor,
    mask: Tensor,
    start: Tensor | None,
    streams: list[list[torch.Generator]],
    at_once: int,
    divisible: bool = True,
) -> Tensor:
    """All draws of all slices, (draw, slice, y, x), at most `at_once` images together; fewer when memory runs out."""
    watched = run.keywords["denoiser"]  # type: ignore[attr-defined]
    running = run.keywords.get("callback")  # type: ignore[attr-defined]
    draws = max(1, at_once // len(y))
    parts: list[Tensor] = []
    while streams:
        now, rest = streams[:draws], streams[draws:]
        states = [[stream.get_state() for stream in row] for row in now]
        try:
            several = y.expand(len(now), *y.shape)
            first = None if start is None else start.expand(len(now), *start.shape)
            image = run(several, sense(maps, mask), start=first, generator=now)
            watched.calls += len(now) * len(y)
        except RuntimeError as error:  # of every kind of memory
            smallest = 1 if divisible else len(y)
            if "memory" not in str(error).lower() or len(now) * len(y) == smallest:
                raise
            for row, old in zip(now, states, strict=True):
                for stream, state in zip(row, old, strict=True):
                    stream.set_state(state)
            if len(now) == 1:
                return _slice_by_slice(run, y, maps, mask, start, streams, parts)
            draws = len(now) // 2
            continue
        if running is not None:
            running.add(image)
        parts.append(image)
        streams = rest
    return torch.cat(parts)


def _slice_by_slice(
    run: Callable[..., Tensor],
    y: Tensor,
    maps: Tensor,
    mask: Tensor,
    start: Tensor | None,
    streams: list[list[torch.Generator]],
    parts: list[Tensor],
) -> Tensor:
    columns = []
    watched = run.keywords["denoiser"]  # type: ignore[attr-defined]
    run = partial(run, callback=None)
    for n, place in enumerate(watched.places):
        one, watched.places = slice(n, n + 1), [place]
        first = None if start is None else start[one]
        rows = [row[one] for row in streams]
        columns.append(in_parts(run, y[one], maps[one], mask[one], first, rows, 1))
    return torch.cat([*parts, torch.cat(columns, dim=1)])


def stream_of(*key: int) -> torch.Generator:
    """The random numbers of one draw of one slice."""
    state = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)
