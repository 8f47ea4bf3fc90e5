"""Diffusion samplers as methods: draws of the posterior, whose mean is the image."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import groupby
from typing import Any, ClassVar, Literal, get_type_hints

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.device import images_that_fit
from mrirecon.diffusion import karras, on_device
from mrirecon.diffusion.samplers.midway import midway
from mrirecon.methods.base import Needs, Pace, Place, Problem, Solution, Tell
from mrirecon.methods.draws import DrawBatch, Draws, Room, Underway
from mrirecon.methods.first import first_images
from mrirecon.methods.problem import axes_of
from mrirecon.methods.trust import Trust, image_figures, not_computed, null_space_figures
from mrirecon.methods.walk import Walk
from mrirecon.networks import Prior
from mrirecon.options import Count, Positive
from mrirecon.scan import Scan
from mrirecon.tensors import stream_of
from mrirecon.weights import Card, denoiser_with

JUDGED_DRAWS = 2  # of a slice, by whose mean weights are judged that are adapted to a scan
LEARNED_LEVELS = 10  # of the walk midway, from which they are learned
# Keywords of samplers that are no options of their own.
GIVEN = ("noise_std", "start", "generator", "callback")


@dataclass(frozen=True, kw_only=True)
class Posterior(Walk):
    """A diffusion sampler with a prior.

    The data are divided by the volume's bright level, so that images have 1, and the result is multiplied by it; the
    prior is given them as bright as those it was trained on (`Card.bright_level`). Each draw of each slice has its own
    stream of random numbers, so that nothing depends on what is computed together. The image is the mean of the draws.

    A class of it names its sampler, `class DPS(Posterior, sampler=samplers.dps)`, and is called as that is. The options
    of the function are its fields too, with their types and defaults, where the class has no others.

    Attributes:
        samples: draws per slice.
        seed: seed of the draws.
        noise_std: noise of the k-space per real component, in its units before any prewhitening; auto reads it from a
            noise measurement or from the outermost measured k-space.
        images_at_once: slices times draws that are computed together; auto takes 4, on a GPU as many as its memory
            holds, 16 KiB a pixel, up to 32. When memory runs out it is halved. Where each coil is restored by itself
            every coil image counts, and those of one draw stay together.
        precision: precision of the network; data consistency is float32 with both.
        draws: write each draw too.
        trust: share tells which share of the image the prior supplied and not the scanner, at the cost of a level or
            two; true writes that part, too, which takes longer.
    """

    samples: Count = 1
    seed: int = 0
    noise_std: Positive | Literal["auto"] = "auto"
    images_at_once: Count | Literal["auto"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    draws: bool = False
    trust: Trust = False

    fills_kspace: ClassVar[bool] = True
    slow: ClassVar[bool] = True
    pace: ClassVar[Pace] = Pace(rate=3e-5, every=20, effort=0.5)  # of the prior
    sampler: ClassVar[Callable[..., Tensor]]

    def __init_subclass__(cls, *, sampler: Callable[..., Tensor] | None = None) -> None:
        """Take the sampler of a class, its name and its options; a decorator `dataclass` makes fields of these."""
        super().__init_subclass__()
        if sampler is None:
            return
        cls.sampler, cls.name = staticmethod(sampler), sampler.__name__
        own = vars(cls).get("__annotations__", {})
        hints = get_type_hints(sampler, include_extras=True)
        options = {name: one for name, one in _options(sampler).items() if name not in own}
        cls.__annotations__ = {**{name: hints.get(name, Any) for name in options}, **own}
        for name, option in options.items():
            if option.default is not option.empty:
                setattr(cls, name, option.default)

    @property
    def needs(self) -> Needs:
        return Needs(
            one_set=True,
            scale=True,
            noise="needed",
            noise_std=self.noise_std,
            whole_volume=self.couples_slices,
            first_image=self.start if self._starts_from_file else None,
        )

    @property
    def couples_slices(self) -> bool:
        """Whether the image of a slice depends on those of its neighbours."""
        return False

    def images_of_a_draw(self, coils: int) -> int:
        """How many images the network is given at a time for one draw: one, or those of all coils."""
        return 1

    @cached_property
    def room(self) -> Room:
        """What is known of the memory."""
        return Room()

    def check(self, scan: Scan, slices: range) -> None:
        if self.couples_slices and len(slices) == 1:
            raise ValueError(
                f"{scan.source}: one slice is asked for, but z_smoothness needs two at least: leave it out"
            )
        _ = self.sigmas
        if self.first is not None:
            self.first.check(scan, slices)

    def about(self, scan: Scan) -> tuple[dict[str, Any], list[str]]:
        info, notes = super().about(scan)
        levels = {"first": float(self.sigmas[0]), "last": float(self.sigmas[-2])}
        return {**info, "noise_levels": levels, **not_computed(self.trust)}, notes

    def slices_at_once(self, pixels: int, device: torch.device | str) -> int:
        return max(1, self._images_at_once(pixels, device) // self.samples)

    def _images_at_once(self, pixels: int, device: torch.device | str) -> int:
        wanted = self.images_at_once
        if wanted == "auto":
            wanted = images_that_fit(device, pixels)
        return min(wanted, self.room.images)

    def solve(self, batch: Sequence[Problem]) -> list[Solution]:
        solved: dict[Place, Solution] = {}
        for _, group in groupby(sorted(batch, key=lambda one: one.place), lambda one: one.place[0]):
            problems = list(group)
            draws = self.draws_of(problems, _beyond(batch[0].tell, len(solved)))
            made = draws.make() * draws.batch.support * problems[0].scale
            for problem, of_slice in zip(problems, made.unbind(1), strict=True):
                solution = self._solution(problem, of_slice)
                solution.figures["network_evaluations"] = float(draws.evaluations)
                solved[problem.place] = solution
        return [solved[problem.place] for problem in batch]

    def draws_of(self, problems: Sequence[Problem], tell: Tell | None = None) -> Draws:
        """Draws of a few slices of one volume, to be made."""
        scale, device = problems[0].scale, problems[0].kspace.device
        batch = DrawBatch(
            places=[problem.place for problem in problems],
            y=torch.stack([problem.kspace for problem in problems]) / scale,
            maps=torch.stack([problem.operator.maps for problem in problems]),
            mask=torch.stack([problem.mask for problem in problems]),
            axes=axes_of(problems),
            start=first_images(self.first, problems, scale) if self.start != "noise" else None,
        )
        own = {one.name for one in fields(self)} - {one.name for one in fields(Posterior)}
        options = {name: getattr(self, name) for name in own}
        if self.couples_slices and len(problems) == 1:  # both neighbours have no signal
            options["z_smoothness"] = 0.0
        if "noise_std" in inspect.signature(type(self).sampler).parameters:
            options["noise_std"] = problems[0].noise_std / scale
        volumes, levels = problems[0].near.scan.volumes, len(self.sigmas) - 1
        return Draws(
            sampler=type(self).sampler,
            options={"sigmas": self.sigmas, **options},
            denoiser=on_device(self.trained[0], device),
            batch=batch,
            underway=Underway(batch, self.samples, levels, scale, tell),
            samples=self.samples,
            seed=self.seed,
            precision=self.precision,
            at_once=max(
                1,
                self._images_at_once(math.prod(batch.y.shape[-2:]), device)
                // self.images_of_a_draw(batch.y.shape[1]),
            ),
            room=self.room,
            divisible=not self.couples_slices,
            volumes=volumes,
        )

    def with_module(self, module: Prior, card: Card) -> Posterior:
        """The method with other weights of its prior, which the card describes."""
        other = replace(self)
        known = {"model": (module.eval(), card), "trained": (denoiser_with(module, card), card)}
        kept = {"first": self.first, "sigmas": self.sigmas, "room": self.room}
        other.__dict__.update(known | kept)  # where cached_property keeps them
        return other

    def predicted(
        self, module: Prior, problem: Problem, seed: int | None = None
    ) -> Complex[Tensor, "coil y x"]:
        """All of k-space as the mean of a few draws with these weights has it.

        With a seed it is that of the image midway (`midway`), after a short walk, and gradients flow through it.
        """
        if seed is not None:
            return problem.kspace_of(self._midway(module, problem, seed) * problem.scale)
        few = range(min(self.samples, JUDGED_DRAWS))
        draws = self.with_module(module, self.model[1]).draws_of([problem]).make(draws=few)
        return problem.kspace_of(draws.mean(0)[0] * problem.scale)

    def _midway(self, module: Prior, problem: Problem, seed: int) -> Complex[Tensor, "y x"]:
        y, A = problem.kspace[None] / problem.scale, problem.operator
        first, last = float(self.sigmas[0]), float(self.sigmas[-2])
        return midway(
            y,
            A,
            denoiser_with(module, self.model[1]),
            karras(min(LEARNED_LEVELS, self.levels), last, first),
            noise_std=problem.noise_std / problem.scale,
            start=A.solve(A.H(y), 0.02, iterations=10),
            generator=stream_of(seed),
        )[0]

    def _solution(self, problem: Problem, draws: Complex[Tensor, "draw y x"]) -> Solution:
        x = draws.mean(0)
        hidden, parts = null_space_figures(problem, x, trust=self.trust)
        figures = {**image_figures(problem, x), **hidden}
        if len(draws) > 1:
            variance = draws.abs().var(0)[problem.operator.support()]
            figures["posterior_std"] = float(variance.mean().sqrt()) / problem.scale
        return Solution(draws=draws, keep_draws=self.draws, parts=parts, figures=figures)


def _options(sampler: Callable[..., Tensor]) -> dict[str, inspect.Parameter]:
    """What a sampler takes besides what all do."""
    every = inspect.signature(sampler).parameters
    return {name: p for name, p in every.items() if p.kind is p.KEYWORD_ONLY and name not in GIVEN}


def _beyond(tell: Tell | None, before: int) -> Tell | None:
    """Tell of slices that are done beyond those of the volumes before."""
    return None if tell is None else lambda done, preview: tell(before + done, preview)
