"""Variational inference with a score prior: a flow fitted to the posterior of a slice."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.diffusion import Denoiser, on_device
from mrirecon.diffusion.density import ODE_STEPS, log_density, log_density_bound, rademacher
from mrirecon.methods.base import Figures, Needs, Preview, Problem, SliceMethod, Solution
from mrirecon.methods.first import first_images
from mrirecon.methods.trust import Trust, image_figures, not_computed, null_space_figures
from mrirecon.methods.walk import PriorMethod
from mrirecon.networks.flow import Flow
from mrirecon.operators.sense import Sense
from mrirecon.options import Count, Positive
from mrirecon.scan import Scan
from mrirecon.tensors import complex_noise_like, norm, stream_of

Images = Complex[Tensor, "batch y x"]
# log p(x), or a bound of it, by random numbers of a generator; and which part of the fit is done.
LogPrior = Callable[[Images, torch.Generator, float], Float[Tensor, " batch"]]

DENSE = 32  # pixels along a side up to which couplings are dense and the density may be exact
EVERY = 10  # steps from one look at the fit to the next
SLOWER = 0.1  # rate of the couplings over that of mean, scales and gains
FINEST = 0.02  # the lowest level that is chosen by itself: at lower ones gradients are mostly noise
BEGIN = 0.3  # lowest level in the first step
FALLING = 0.6  # of the steps, in which the lowest noise level falls to where it stays
LAST = 0.2  # of the steps, over which the evidence bound is averaged


@torch.enable_grad()
def fit(
    flow: Flow,
    y: Complex[Tensor, "coil ky kx"],
    A: Sense,
    log_prior: LogPrior,
    *,
    noise_std: float,
    iterations: int,
    rate: float,
    pairs: int,
    generator: torch.Generator,
    watch: Callable[[int, Images], object] | None = None,
) -> float:
    """Fit a flow x = g(z) to the posterior (Feng et al. 2023, arXiv:2304.11751, equation 5; Sun & Bouman 2021).

    min over g of E_z[ ||A x - y||^2 / (2 s_y^2) - log p(x) - log |det dg/dz| ], by Adam with a rate that falls linearly
    to 0, mean, scales and gains faster than couplings. The z are taken in pairs z, -z, between which the noise of the
    gradient cancels to first order.

    Args:
        flow: where it begins; it is changed.
        y: measured k-space.
        A: its operator.
        log_prior: log p(x) or a bound of it, by random numbers of a generator.
        noise_std: s_y, of y per real component.
        iterations: steps.
        rate: of the first step.
        pairs: of draws in a step.
        generator: of all random numbers.
        watch: called with the number of steps and the draws of the last one, every few steps.

    Returns:
        The mean of the last steps of a lower bound of log p(y), in nats: log p(y) - KL(q || posterior), less what the
        bound of the prior lacks.

    Raises:
        FloatingPointError: if it diverges.
    """
    optimizer = torch.optim.Adam(
        [
            {"params": [*flow.end.parameters()], "initial": rate},
            {"params": [*flow.body.parameters()], "initial": SLOWER * rate},
        ]
    )
    values = []
    for step in range(iterations):
        for group in optimizer.param_groups:
            group["lr"] = group["initial"] * (1 - step / iterations)
        z = flow.draw(pairs, generator)
        z = torch.cat([z, -z])
        x, log_det = flow(z)
        given = x.detach().requires_grad_()
        log_joint = log_prior(given, generator, step / iterations)
        log_joint = log_joint - norm(A(given) - y, 3).square() / (2 * noise_std**2)
        (gradient,) = torch.autograd.grad(log_joint.sum(), given)
        optimizer.zero_grad()
        torch.autograd.backward(
            [x, log_det], [-gradient / len(x), -torch.ones_like(log_det) / len(x)]
        )
        optimizer.step()
        values.append((log_joint + log_det + norm(z, 2).square() / 2).detach().mean())
        if watch is not None and (step + 1) % EVERY == 0:
            watch(step + 1, given.detach())
    last = float(torch.stack(values[-math.ceil(LAST * iterations) :]).mean())
    if not math.isfinite(last):
        raise FloatingPointError("the fit diverged")
    images, samples = z[0].numel(), int(A.mask.sum()) * y.shape[-3]
    return last + (images - samples) * math.log(2 * math.pi) - 2 * samples * math.log(noise_std)


@dataclass(frozen=True)
class Bound:
    """The bound of log p(x) by one noise level for each pair of images, with noise z for one and -z for the other.

    Attributes:
        denoiser: the prior.
        low, high: its noise levels.
        begin: where the lowest level begins; in the first part of a fit it falls to `low`.
    """

    denoiser: Denoiser
    low: float
    high: float
    begin: float = BEGIN

    def __call__(
        self, x: Images, generator: torch.Generator, done: float
    ) -> Float[Tensor, " batch"]:
        low = self.lowest(done)
        pairs = len(x) // 2
        at = (torch.arange(pairs) + torch.rand(pairs, generator=generator)) / pairs
        noise = complex_noise_like(x[:pairs], generator)
        return log_density_bound(
            x,
            self.denoiser,
            low,
            self.high,
            at=at.to(x.real).repeat(2),
            noise=torch.cat([noise, -noise]),
        )

    def lowest(self, done: float) -> float:
        """The lowest level when so much of a fit is done: coarse structure first, as in a diffusion."""
        begin = min(max(self.begin, self.low), self.high / 2)
        return self.low * (begin / self.low) ** max(0.0, 1 - done / FALLING)


@dataclass(frozen=True, kw_only=True)
class Exact(Bound):
    """log p(x) by the probability-flow ODE, the trace by so many random directions.

    Attributes:
        probes: number of directions.
        ode_steps: of the ODE.
    """

    probes: int
    ode_steps: int = ODE_STEPS

    def __call__(
        self, x: Images, generator: torch.Generator, done: float
    ) -> Float[Tensor, " batch"]:
        directions = rademacher(x, self.probes, generator)
        low = self.lowest(done)
        return log_density(
            x, self.denoiser, low, self.high, directions=directions, steps=self.ode_steps
        )


@dataclass(frozen=True, kw_only=True)
class Variational(PriorMethod, SliceMethod):
    """Score-based priors in variational inference (Feng et al. 2023): a RealNVP flow q fitted to the posterior.

    q = argmin KL(q || p(x | y)); the image is the mean of draws of q, which cost little once it is fitted. KL(q || p)
    seeks a mode: the spread of q is too small rather than too large. The data are divided by the bright level.

    Attributes:
        start: image that the mean of the flow begins with: that of adjoint, min_norm, cg_sense, l1_wavelet, tv, grappa,
            varnet, humus or unrolled_prior with their defaults, or a .npy or .cfl that recon wrote; noise begins at 0.
        sigma_min: lowest noise level, over the bright level; auto takes the prior's lowest, but at least 0.02. It falls
            to that from 0.3 in the first part of the fit; the highest level is the prior's.
        density: log p(x) of the prior: bound takes its lower bound, one denoising for each draw (Feng & Bouman 2023);
            exact takes the probability-flow ODE, at a thousand times the cost, for images of at most 32 x 32 pixels.
        probes: random directions by which the exact density takes a trace.
        couplings: of the flow; auto takes dense ones up to 32 x 32 pixels, convolutional ones beyond.
        steps: couplings of the flow, of each of its scales where they are convolutional.
        width: of the networks in the couplings.
        scales: how often the image is halved for convolutional couplings.
        spread: standard deviation of the flow per real component in the beginning, over the bright level.
        iterations: steps of the fit.
        rate: of Adam in the first step; it falls linearly to 0.
        pairs: of opposite draws in a step; time grows with them.
        samples: draws per slice, whose mean is the image.
        seed: of weights and draws.
        noise_std: noise of the k-space per real component, in its units before any prewhitening; auto reads it from a
            noise measurement or from the outermost measured k-space.
        draws: write each draw too.
        trust: share tells which share of the image the prior supplied and not the scanner; true writes that part, too.
    """

    sigma_min: Positive | Literal["auto"] = "auto"
    density: Literal["bound", "exact"] = "bound"
    probes: Count = 16
    couplings: Literal["auto", "dense", "convolutional"] = "auto"
    steps: Count = 4
    width: Count = 32
    scales: Count = 4
    spread: Positive = 0.02
    iterations: Count = 200
    rate: Positive = 0.01
    pairs: Count = 1
    samples: Count = 16
    seed: int = 0
    noise_std: Positive | Literal["auto"] = "auto"
    draws: bool = False
    trust: Trust = False

    name: ClassVar[str] = "variational"
    slow: ClassVar[bool] = True
    fills_kspace: ClassVar[bool] = True

    @property
    def needs(self) -> Needs:
        return Needs(
            one_set=True,
            scale=True,
            noise="needed",
            noise_std=self.noise_std,
            first_image=self.start if self._starts_from_file else None,
        )

    @property
    def levels(self) -> tuple[float, float]:
        """The lowest and the highest noise level.

        Raises:
            ValueError: if the lowest leaves the range that the prior knows.
        """
        low, high = self.trained[0].sigma_range
        chosen = max(low, FINEST) if self.sigma_min == "auto" else self.sigma_min
        if not 0.999 * low <= chosen < high:
            raise ValueError(
                f"{self.name}: sigma_min is {chosen:g}, but the prior knows {low:g} to {high:g}: change it, or "
                "use other weights"
            )
        return chosen, high

    def check(self, scan: Scan, slices: range) -> None:
        _ = self.levels
        if self.first is not None:
            self.first.check(scan, slices)

    def about(self, scan: Scan) -> tuple[dict[str, Any], list[str]]:
        info, notes = super().about(scan)
        low, high = self.levels
        levels = {"first": high, "last": low}
        return {**info, "noise_levels": levels, **not_computed(self.trust)}, notes

    def solve_slice(self, problem: Problem) -> Solution:
        flow, figures = self.fitted(problem)
        with torch.no_grad():
            made = [
                flow(flow.draw(1, stream_of(self.seed, *problem.place, number)))[0]
                for number in range(1, self.samples + 1)
            ]
        draws = torch.cat(made) * problem.operator.support() * problem.scale
        x = draws.mean(0)
        hidden, parts = null_space_figures(problem, x, trust=self.trust)
        figures = {**figures, **image_figures(problem, x), **hidden}
        if len(draws) > 1:
            variance = draws.abs().var(0)[problem.operator.support()]
            figures["posterior_std"] = float(variance.mean().sqrt()) / problem.scale
        return Solution(draws=draws, keep_draws=self.draws, parts=parts, figures=figures)

    def fitted(self, problem: Problem) -> tuple[Flow, Figures]:
        """The flow of a slice, in units of the bright level, and figures of its fit.

        Raises:
            ValueError: if the fit diverges, or the slice is too large for the exact density.
        """
        size = tuple(problem.kspace.shape[-2:])
        if self.density == "exact" and max(size) > DENSE:
            raise ValueError(
                f"{problem.name}: the exact density of {size[0]} x {size[1]} pixels takes too long: use density bound, "
                f"or at most {DENSE} x {DENSE}"
            )
        random = stream_of(self.seed, *problem.place, 0)
        flow = self._flow(problem, random)
        try:
            evidence = fit(
                flow,
                problem.kspace / problem.scale,
                problem.operator,
                self._log_prior(problem.kspace.device),
                noise_std=problem.noise_std / problem.scale,
                iterations=self.iterations,
                rate=self.rate,
                pairs=self.pairs,
                generator=random,
                watch=lambda step, x: self._tell(problem, step, x),
            )
        except FloatingPointError as error:
            raise ValueError(f"{problem.name}: {error}: lower rate") from error
        evaluations = 2.0 * self.pairs * self.iterations
        if self.density == "exact":
            evaluations *= 4 * ODE_STEPS
        figures: Figures = {"network_evaluations": evaluations}
        return flow, {**figures, "evidence_bound_per_pixel": evidence / math.prod(size)}

    def _flow(self, problem: Problem, random: torch.Generator) -> Flow:
        y, x = problem.kspace.shape[-2:]
        mean = problem.operator.H(problem.kspace) * 0
        if self.start != "noise":
            mean = first_images(self.first, [problem], problem.scale)[0]
        dense = max(y, x) <= DENSE if self.couplings == "auto" else self.couplings == "dense"
        flow = Flow(
            (y, x),
            couplings="dense" if dense else "convolutional",
            steps=self.steps,
            width=self.width,
            scales=self.scales,
            mean=mean.cpu(),
            spread=self.spread,
            generator=random,
        )
        return flow.to(problem.kspace.device)

    def _log_prior(self, device: torch.device) -> LogPrior:
        denoiser = on_device(self.trained[0], device)
        if self.density == "bound":
            return Bound(denoiser, *self.levels)
        return Exact(denoiser, *self.levels, probes=self.probes)

    def _tell(self, problem: Problem, step: int, x: Images) -> None:
        if problem.tell is not None:
            image = (x.mean(0) * problem.operator.support() * problem.scale).unsqueeze(0)
            shown = lambda: Preview([problem.place], image, 0, step, self.iterations)  # noqa: E731
            problem.tell(step / self.iterations, shown)
