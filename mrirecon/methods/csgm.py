"""Compressed sensing with a generator: a search of its latent space, with sparse deviations from what it can make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.io.files import existing_file
from mrirecon.methods.base import Needs, Preview, Problem, SliceMethod, Solution
from mrirecon.methods.classical import wavelet_shrinkage
from mrirecon.networks import Generator
from mrirecon.operators import Wavelet, fista
from mrirecon.operators.sense import Sense
from mrirecon.options import Count, Positive
from mrirecon.scan import Scan
from mrirecon.tensors import as_channels, as_complex, stream_of
from mrirecon.weights import Card, load_weights, locate

EVERY = 20  # steps from one preview to the next
CG_STEPS = 10  # of the image that the encoder sees

Image = Complex[Tensor, "y x"]


@dataclass(frozen=True, eq=False)
class Found:
    """Where a search has come to.

    Attributes:
        image: x = a G(z) + v.
        deviation: v.
        z: the latent.
        gain: a.
    """

    image: Image
    deviation: Image
    z: Tensor
    gain: complex


@dataclass(frozen=True, kw_only=True)
class CSGM(SliceMethod):
    """Compressed sensing with a generator G (Bora et al. 2017, arXiv:1703.03208) and sparse deviations v from it.

    argmin 1/2 ||A (a G(z) + v) - y||^2 + latent_weight/2 ||z||^2 + deviations ||W v||_1 over z and v, with Daubechies-4
    wavelets W (Sparse-Gen, Dhar, Grover & Ermon 2018, arXiv:1807.01442). Of several searches the one with the smallest
    measurement residual is kept, counted with what its deviations weigh: these fit the data from anywhere. Images are
    in units of the bright level.

    Attributes:
        weights: name of shipped weights of a generator, or a file made by `mrirecon train`.
        deviations: weight of the deviations; none allows none, which is the method of Bora et al.
        latent_weight: weight of the latent; noise takes the variance of the noise, which makes z the most probable one.
        restarts: number of searches.
        start: latent of the first search: the encoder's, of the CG-SENSE image, or a random one as in all others.
        iterations: steps of a search.
        rate: of Adam in the first step; it falls to 0 as a cosine.
        gain: fit the complex gain a in every step; false keeps it at 1.
        sphere: keep z where random latents of so many numbers lie, on a sphere (PULSE, Menon et al. 2020,
            arXiv:2003.03808).
        tune: rate of Adam for the weights of G, which change with z from slice to slice (DGP, Pan et al. 2020,
            arXiv:2003.13659); 0 keeps them.
        seed: of random latents.
    """

    weights: str = "generator_tiny"
    deviations: float | Literal["none"] = 0.015
    latent_weight: float | Literal["noise"] = "noise"
    restarts: Count = 1
    start: Literal["encoder", "random"] = "encoder"
    iterations: Count = 200
    rate: Positive = 0.05
    gain: bool = True
    sphere: bool = False
    tune: float = 0.0
    seed: int = 0

    name: ClassVar[str] = "csgm"
    slow: ClassVar[bool] = True

    @property
    def needs(self) -> Needs:
        noise: Literal["wanted", "no"] = "wanted" if self.latent_weight == "noise" else "no"
        return Needs(one_set=True, scale=True, noise=noise)

    @cached_property
    def trained(self) -> tuple[Generator, Card]:
        """The generator and the card of its weights.

        Raises:
            ValueError: if the weights are of no generator.
        """
        network, card = load_weights(self.weights)
        if not isinstance(network, Generator):
            raise ValueError(
                f"{self.weights} holds weights of {network.name}, which is no generator: use generator_tiny, or train "
                "one with --network vae"
            )
        return network.eval().requires_grad_(False), card

    def check(self, scan: Scan, slices: range) -> None:
        _ = self.trained

    def about(self, scan: Scan) -> tuple[dict[str, Any], list[str]]:
        card = self.trained[1]
        notes = card.warnings(scan) + ([card.advice] if card.advice else [])
        return {"weights": {"name": self.weights, **card.as_json()}}, notes

    def files(self) -> dict[str, tuple[Path, ...]]:
        return {"weights": (existing_file(locate(self.weights)),)}

    def solve_slice(self, problem: Problem) -> Solution:
        A, scale = problem.operator, problem.scale
        back = A.adjoint(problem.kspace) / scale
        noise = (problem.noise_std / scale) ** 2
        found = [self._searched(problem, back, noise, n) for n in range(self.restarts)]
        costs = [self._cost(problem, one) for one in found]
        best = costs.index(min(costs))
        kept, norm = found[best], torch.linalg.vector_norm
        return Solution(
            image=kept.image * scale,
            figures={
                "latent_rms": float(kept.z.square().mean().sqrt()),
                "deviation_share": float(norm(kept.deviation) / norm(kept.image)),
                "search_kept": best + 1.0,
            },
        )

    def _cost(self, problem: Problem, found: Found) -> float:
        """1/2 ||A x - y||^2 + deviations ||W v||_1: what a search is kept by."""
        misfit = problem.operator(found.image) - problem.kspace / problem.scale
        cost = float(misfit.abs().square().sum()) / 2
        if self.deviations != "none":
            W = Wavelet((found.image.shape[-2], found.image.shape[-1]))
            cost += self.deviations * float(W(found.deviation).abs().sum())
        return cost

    def _searched(self, problem: Problem, back: Image, noise: float, number: int) -> Found:
        """One of the searches; the first begins where `start` says."""
        A, shape, device = problem.operator, (back.shape[-2], back.shape[-1]), back.device
        generator, support = self.trained[0].to(device), A.support()
        if self.tune:
            generator = deepcopy(generator).requires_grad_(True)
        if number == 0 and self.start == "encoder":
            first = A.solve(back, 0.02, iterations=CG_STEPS)
            z = generator.encode(as_channels(first)[None])[0].detach()
        else:
            stream = stream_of(self.seed, *problem.place, number)
            z = torch.randn(1, *generator.latent_shape(shape), generator=stream).to(device)
        step, tell = 1 / A.squared_norm_bound(), problem.tell

        def watch(done: int, found: Callable[[], Image]) -> None:
            if tell is not None:
                at = Preview(
                    [problem.place], found()[None] * problem.scale, number, done, self.iterations
                )
                tell((number + done / self.iterations) / self.restarts, lambda: at)

        return self.search(
            A,
            back,
            lambda z: as_complex(generator(z, shape))[0] * support,
            z,
            weight=noise if self.latent_weight == "noise" else self.latent_weight,
            shrink=torch.zeros_like
            if self.deviations == "none"
            else wavelet_shrinkage(shape, step * self.deviations),
            tuned=[*generator.parameters()] if self.tune else (),
            watch=watch,
        )

    def search(
        self,
        A: Sense,
        back: Image,
        generate: Callable[[Tensor], Image],
        z: Tensor,
        *,
        weight: float,
        shrink: Callable[[Image], Image] = torch.zeros_like,
        tuned: Sequence[Tensor] = (),
        watch: Callable[[int, Callable[[], Image]], object] = lambda done, image: None,
    ) -> Found:
        """One search: steps of Adam on z alternate with accelerated proximal gradient steps on v.

        The gain a = <A G, y - A v> / ||A G||^2 is the best one in every step, so that no gradient flows through it.

        Args:
            A: the operator.
            back: A^H y.
            generate: G.
            z: latent to begin with.
            weight: of the latent.
            shrink: proximal map of the deviations' norm, for the step 1 / A.squared_norm_bound(); zero allows none.
            tuned: weights of G to change too.
            watch: called every few steps with the number of those done and what gives the image.
        """
        z, start = z.clone().requires_grad_(), torch.zeros_like(back)
        made, gain = start, torch.ones_like(back[0, 0])
        groups: list[dict[str, Any]] = [{"params": [z]}]
        if tuned:
            groups.append({"params": tuned, "lr": self.tune})
        adam = torch.optim.Adam(groups, lr=self.rate)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.iterations)

        def gradient(v: Image) -> Image:
            nonlocal made, gain
            with torch.enable_grad():
                image = generate(z)
            made, rest = image.detach(), back - A.gram(v)
            seen = A.gram(made)
            if self.gain:
                energy = torch.vdot(made.flatten(), seen.flatten()).real
                gain = torch.vdot(made.flatten(), rest.flatten()) / energy.clamp_min(1e-20)
            residual = gain * seen - rest  # A^H (A x - y)
            adam.zero_grad()
            image.backward(gain.conj() * residual)
            z.grad.add_(z.detach(), alpha=weight)  # type: ignore[union-attr]
            adam.step()
            decay.step()
            if self.sphere:
                z.data *= z.numel() ** 0.5 / torch.linalg.vector_norm(z.data)
            return residual

        def watched(step: int, v: Image) -> None:
            if step % EVERY == 0:
                watch(step, lambda: gain * made + v)

        v = fista(
            gradient,
            shrink,
            start,
            step=1 / A.squared_norm_bound(),
            iterations=self.iterations,
            callback=watched,
        )
        return Found(gain * made + v, v, z.detach(), complex(gain))
