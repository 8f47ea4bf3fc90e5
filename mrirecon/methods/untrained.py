"""Untrained networks as methods: fitted to the k-space of one slice, and stopped by samples left out of it."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Complex, Float, Shaped
from torch import Tensor

from mrirecon.methods.base import Needs, Preview, Problem, SliceMethod, Solution
from mrirecon.methods.left_out import choose_left_out, distance, squared_error
from mrirecon.networks.untrained import ConvDecoder, EncoderDecoder, Size, UntrainedNetwork
from mrirecon.operators.sense import Sense
from mrirecon.options import Count, Positive
from mrirecon.tensors import as_complex, fft2c, rss, stream_of

SMALLEST = 8  # points along a side
EVERY = 10  # steps from one look at the left-out samples to the next
CG_STEPS = 10  # of the data consistency at the end
CONSISTENCY = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)  # weights that auto tries
NEAR = 0.025  # of a side of k-space: what is nearer to the origin counts about the same
# What the weight that predicts left-out samples best is multiplied by: they gain less by the data than measured ones.
CORRECTION = 0.3
WARM = 0.1  # of the steps, which a warm start fits to the zero-filled image


@dataclass(frozen=True)
class Fit:
    """A fit that is finished, or under way.

    Attributes:
        image: mean of the iterates where left-out samples were predicted best, in units of the bright level.
        step: at which that was.
        error: of the left-out samples then.
        steps: that were done.
    """

    image: Complex[Tensor, "*set y x"]
    step: int = 0
    error: float = math.inf
    steps: int = 0


class Data:
    """The k-space of a slice, in units of the bright level, and the samples of it that are left out.

    Images are those of A, (y, x) or (set, y, x); without coil maps they are coil images, (coil, y, x).

    Args:
        problem: the slice.
        share: of the samples outside the calibration centre that are left out.
        emphasis: power of the distance from the k-space origin by which samples count.
        seed: of the choice of samples.

    Raises:
        ValueError: if hardly any samples lie there, or a side is too short.
    """

    def __init__(
        self, problem: Problem, *, share: float, emphasis: float = 0.0, seed: int = 0
    ) -> None:
        self.problem = problem
        y, x = problem.kspace.shape[-2:]
        if min(y, x) < SMALLEST:
            raise ValueError(
                f"{problem.name}: {y} x {x} points are too few for an untrained network: use cg_sense or tv"
            )
        acquired = problem.near.scan.acquired
        try:
            chosen = choose_left_out(problem.mask, acquired, count=1, share=share, seed=seed)[0]
        except ValueError as error:
            raise ValueError(f"{problem.name}: {error}: use cg_sense or tv") from error
        self.points, self.weight = (
            x.to(problem.mask.device) for x in (chosen.points, chosen.weight)
        )
        self.y = problem.kspace / problem.scale
        if problem.maps is None:
            self.y = self.y.unsqueeze(1)
        kept = problem.mask & ~self.points
        self.A, self.of_left_out = self._operator(problem.mask), self._operator(self.points)
        self.of_kept = self._operator(kept)
        # The mask stands once in A^H A and in A^H: with weights in its place they are A^H W A and A^H W.
        self.weighted = self._operator(
            kept * radial_weight(self.y.shape[-2:], emphasis).to(kept.device)
        )
        self.back, self.zero_filled = self.weighted.H(self.y), self.of_kept.H(self.y)

    def _operator(self, mask: Shaped[Tensor, "y x"]) -> Sense:
        if self.problem.maps is None:  # a batch of images that one coil sees evenly
            return Sense(torch.ones_like(self.y), mask)
        return Sense(self.problem.operator.maps, mask, sets=self.problem.operator.sets)

    def image_of(self, output: Float[Tensor, "1 channel y x"]) -> Complex[Tensor, "*set y x"]:
        """The channels of a network, (re, im) of one image after the other, as complex images."""
        return as_complex(output[0].unflatten(0, (-1, 2))).reshape(self.back.shape)

    def gradient(
        self, x: Complex[Tensor, "*set y x"], *, warm: bool = False
    ) -> Complex[Tensor, "*set y x"]:
        """Of half the weighted squared misfit of the samples that are not left out, per pixel: A^H W (A x - y).

        A warm start has that of the squared difference to their zero-filled image.
        """
        return (x - self.zero_filled if warm else self.weighted.gram(x) - self.back) / x.numel()

    def error(self, x: Complex[Tensor, "*set y x"]) -> float:
        """||A x - y|| / ||y|| of the left-out samples, each of which stands for missing ones (`importance`)."""
        predicted, measured = (
            k.reshape(self.problem.kspace.shape) for k in (self.of_left_out(x), self.y)
        )
        misfit, energy = squared_error(predicted, measured, self.points, self.weight)
        return math.sqrt(misfit / max(energy, 1e-300))

    def best_weight(self, x: Complex[Tensor, "*set y x"]) -> float:
        """The weight in `consistent` with which left-out samples are predicted best from the others, corrected."""

        def left_out_error(weight: float) -> float:
            return self.error(self.consistent(x, weight, self.of_kept))

        return CORRECTION * min(CONSISTENCY, key=left_out_error)

    def consistent(
        self, x: Complex[Tensor, "*set y x"], weight: float, A: Sense | None = None
    ) -> Complex[Tensor, "*set y x"]:
        """The z that minimises ||A z - y||^2 + weight ||z - x||^2, about; with all samples unless A says otherwise."""
        A = A or self.A
        return A.solve(A.H(self.y) + weight * x, weight, start=x, iterations=CG_STEPS)

    def preview(self, x: Complex[Tensor, "*set y x"], step: int, steps: int) -> Preview:
        """What a fit looks like after so many steps."""
        if self.problem.maps is not None:
            x = x * self.A.support()
        shown = x if x.ndim == 2 else rss(x).to(x.dtype)
        image = shown.unsqueeze(0) * self.problem.scale
        return Preview([self.problem.place], image, 0, step, steps)


@dataclass(frozen=True, kw_only=True)
class Untrained(SliceMethod):
    """A network G of random weights w, fitted to one slice: x = G(u), w = argmin ||A G(u) - y||^2_W, stopped early.

    A share of the samples is left out of the fit, which ends where the mean of its last iterates predicts them best.
    Data consistency with all samples follows: argmin ||A x - y||^2 + consistency ||x - G(u)||^2.

    Attributes:
        channels: of the layers of the network; time grows with their number, and faster.
        iterations: most steps of a fit.
        rate: of Adam in the first step; it falls linearly to 0.
        emphasis: W, the power of the distance from the k-space origin by which samples count in the fit; 0 is the plain
            squared error of the papers, with which edges take many more steps.
        left_out: share of the samples outside the calibration centre that judge a fit and are not learned from.
        patience: steps without a better prediction of these, after which a fit ends.
        averaged: iterates whose mean is the image of a fit, about.
        fits: fits from different random weights, whose mean is the image; time grows with them.
        consistency: weight of the fit against the data at the end; auto takes the one that predicts left-out samples
            best; the noisier the scan, the larger.
        start: adjoint fits the zero-filled image first, for a tenth of the steps; random begins with the data.
        coil_images: whether the network gives an image of each coil, as was published, which needs no coil maps.
        seed: of weights, inputs and left-out samples.
    """

    channels: Count = 32
    iterations: Count = 600
    rate: Positive = 0.02
    emphasis: float = 1.0
    left_out: Positive = 0.05
    patience: Count = 200
    averaged: Count = 50
    fits: Count = 1
    consistency: Positive | Literal["auto"] = "auto"
    start: Literal["random", "adjoint"] = "random"
    coil_images: bool = False
    seed: int = 0

    slow: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ValueError: as every method, or if more than half of the samples are to be left out.
        """
        super().__post_init__()
        if self.left_out > 0.5:
            raise ValueError(f"{self.name}: left_out is {self.left_out}: give at most 0.5")

    @property
    def needs(self) -> Needs:
        return Needs(maps=not self.coil_images, scale=True)

    @abstractmethod
    def network(self, size: Size, outputs: int) -> UntrainedNetwork:
        """The network, of any weights, that gives so many real images of a size."""

    def solve_slice(self, problem: Problem) -> Solution:
        data = Data(problem, share=self.left_out, emphasis=self.emphasis, seed=self.seed)
        found = [self._fit(data, number) for number in range(self.fits)]
        mean = torch.stack([one.image for one in found]).mean(0)
        weight = data.best_weight(mean) if self.consistency == "auto" else self.consistency
        x = data.consistent(mean, weight)
        figures: dict[str, float | None] = {
            "network_evaluations": float(sum(one.steps for one in found)),
            "best_step": sum(one.step for one in found) / self.fits,
            "left_out_error": data.error(mean),
            "consistency": weight,
        }
        image = x * problem.scale
        if self.coil_images:
            return Solution(kspace=fft2c(image), figures=figures)
        return Solution(image=image, figures=figures)

    @torch.enable_grad()
    def _fit(self, data: Data, number: int) -> Fit:
        """One fit from random weights, whose stream of random numbers follows from seed, slice and its number."""
        network, u = self._begin(data, stream_of(self.seed, *data.problem.place, number))
        optimizer = torch.optim.Adam(network.parameters(), lr=self.rate)
        warm = WARM * self.iterations if self.start == "adjoint" else 0
        kept, total = 1 - 1 / self.averaged, torch.zeros_like(data.back)
        best = Fit(total)
        for step in range(1, self.iterations + 1):
            x = data.image_of(network(u))
            now = x.detach()
            for group in optimizer.param_groups:
                group["lr"] = self.rate * (1 - (step - 1) / self.iterations)
            optimizer.zero_grad()
            x.backward(data.gradient(now, warm=step <= warm))
            optimizer.step()
            total = kept * total + (1 - kept) * now
            if step % EVERY and step < self.iterations:
                continue
            mean = total / (1 - kept**step)
            error = data.error(mean)
            if error < best.error:
                best = Fit(mean, step, error)
            best = replace(best, steps=step)
            if step - max(best.step, warm) >= self.patience:
                break
            self._tell(data, mean, step, number)
        if not best.step:
            raise ValueError(f"{data.problem.name}: the fit of {self.name} diverged: lower rate")
        return best

    def _begin(
        self, data: Data, random: torch.Generator
    ) -> tuple[UntrainedNetwork, Float[Tensor, "1 channel y x"]]:
        """The network with random weights, and its random input."""
        device, y, x = data.back.device, *data.back.shape[-2:]
        with torch.device("meta"):  # random numbers come from one stream alone
            network = self.network((y, x), 2 * data.back.numel() // (y * x))
        network.to_empty(device="cpu").draw_weights(random)
        u = network.draw_input(random)
        network, u = network.to(device), u.to(device)
        fast = torch.channels_last
        return network.to(memory_format=fast), u.contiguous(memory_format=fast)

    def _tell(self, data: Data, mean: Tensor, step: int, number: int) -> None:
        if data.problem.tell is not None:
            done = (number + step / self.iterations) / self.fits
            data.problem.tell(done, lambda: data.preview(mean, step, self.iterations))


def radial_weight(shape: Sequence[int], power: float) -> Float[Tensor, "y x"]:
    """The distance from the k-space origin to a power, at most 1."""
    far = distance(np.indices(shape).transpose(1, 2, 0), shape) + NEAR
    return torch.from_numpy((far / far.max()) ** power).float()


@dataclass(frozen=True, kw_only=True)
class DIP(Untrained):
    """Deep image prior (Ulyanov, Vedaldi & Lempitsky 2018): an untrained hourglass network, fitted to one slice.

    Attributes:
        levels: how often the network halves the image.
    """

    levels: Count = 5

    name: ClassVar[str] = "dip"

    def network(self, size: Size, outputs: int) -> UntrainedNetwork:
        return EncoderDecoder(size, outputs, levels=self.levels, channels=self.channels)


@dataclass(frozen=True, kw_only=True)
class ConvDecoderMethod(Untrained):
    """ConvDecoder (Darestani & Heckel 2021): an untrained decoder, fitted to one slice.

    Attributes:
        layers: of the decoder, from an input of 8 x 8 pixels to the image.
    """

    layers: Count = 7

    name: ClassVar[str] = "conv_decoder"

    def network(self, size: Size, outputs: int) -> UntrainedNetwork:
        return ConvDecoder(size, outputs, layers=self.layers, channels=self.channels)


UNTRAINED = (DIP, ConvDecoderMethod)
