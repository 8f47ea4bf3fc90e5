"""What methods with a prior begin with: the prior, the image it begins with, and the noise levels of a walk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor

from mrirecon.diffusion import SCHEDULES, Denoiser
from mrirecon.io.cfl import parts_of
from mrirecon.io.files import existing_file
from mrirecon.methods.base import Method
from mrirecon.methods.first import FIRST_FILES, FIRST_IMAGES
from mrirecon.methods.networks import NetworkMethod
from mrirecon.nearest import suggest
from mrirecon.networks import Prior
from mrirecon.options import Count, Positive
from mrirecon.scan import Scan
from mrirecon.weights import Card, denoiser_with, load_prior_network, locate

SHIPPED = "prior_tiny"
UNKNOWN_LEVEL = (
    "{}: how bright the images were that this prior was trained on is not known, and taken for a bright level of 1: "
    "import it with --bright_level"
)
WARM = 0.3  # of the bright level: where a sampler begins that is given a first image


@dataclass(frozen=True, kw_only=True)
class PriorMethod(Method):
    """A method with a diffusion prior, which begins with the image of another one.

    Attributes:
        weights: name of a shipped prior, or a file made by `mrirecon weights import` or `mrirecon train`.
        start: first image.
    """

    weights: str = SHIPPED
    start: str = "cg_sense"

    def __post_init__(self) -> None:
        """Refuse what cannot be sampled.

        Raises:
            ValueError: as every method, or if there is no such first image.
        """
        super().__post_init__()
        known = ("noise", *FIRST_IMAGES)
        if self.start not in known and Path(self.start).suffix.lower() not in FIRST_FILES:
            raise ValueError(
                f"{self.name}: start is {self.start!r}: {suggest(self.start, known)}, or give a reconstruction as "
                ".npy or .cfl"
            )

    @property
    def _starts_from_file(self) -> bool:
        return self.start not in ("noise", *FIRST_IMAGES)

    @cached_property
    def trained(self) -> tuple[Denoiser, Card]:
        """The prior as a denoiser, and the card of its weights.

        Raises:
            ValueError: if the weights are of no prior, or of one that knows no complex images.
        """
        return denoiser_with(*self.model), self.model[1]

    @cached_property
    def model(self) -> tuple[Prior, Card]:
        """The network of the prior, and the card of its weights. Raises as `trained`."""
        return load_prior_network(self.weights)

    @cached_property
    def first(self) -> Method | None:
        """The method of the first image; None where it is noise or comes from a file."""
        return FIRST_IMAGES[self.start]() if self.start in FIRST_IMAGES else None

    def about(self, scan: Scan) -> tuple[dict[str, Any], list[str]]:
        card = self.trained[1]
        notes = card.warnings(scan, scan.mask_kind)
        if card.bright_level is None:
            notes.append(UNKNOWN_LEVEL.format(self.weights))
        info = {"weights": {"name": self.weights, **card.as_json()}}
        if isinstance(self.first, NetworkMethod):
            begun = self.first.trained[1]
            info["start_weights"] = begun.as_json()
            notes += [f"first image: {w}" for w in begun.warnings(scan, scan.mask_kind)]
        return info, notes

    def files(self) -> dict[str, tuple[Path, ...]]:
        begun = {} if self.first is None else self.first.files()
        if self._starts_from_file:
            begun = {"image": parts_of(Path(self.start))}
        first = {f"start_{name}": parts for name, parts in begun.items()}
        return {"weights": (existing_file(locate(self.weights)),), **first}


@dataclass(frozen=True, kw_only=True)
class Walk(PriorMethod):
    """A method that denoises through falling noise levels.

    Attributes:
        schedule: schedule of the noise levels.
        levels: noise levels; most samplers evaluate the network once in each.
        sigma_max: first noise level, over the bright level; auto takes 0.3 with a first image, and the prior's highest
            without.
        sigma_min: last noise level before 0; auto takes the prior's lowest, of dds at least 0.015.
        start: first image, from which the sampler begins with noise of the first level (come-closer-diffuse-faster,
            Chung, Sim & Ye 2022): that of adjoint, min_norm, cg_sense, l1_wavelet, tv, grappa, varnet, humus or
            unrolled_prior with their defaults, or a .npy or .cfl that recon wrote; noise begins with none.
    """

    schedule: Literal["karras", "geometric", "vp"] = "karras"
    levels: Count = 20
    sigma_max: Positive | Literal["auto"] = "auto"
    sigma_min: Positive | Literal["auto"] = "auto"

    finest: ClassVar[float] = 0.0  # the lowest last level that is chosen by itself

    @cached_property
    def sigmas(self) -> Tensor:
        """The noise levels.

        Raises:
            ValueError: if they leave the range that the prior knows.
        """
        low, high = self.trained[0].sigma_range
        warm = min(WARM, high) if self.start != "noise" else high
        first = warm if self.sigma_max == "auto" else self.sigma_max
        finest = min(max(low, self.finest), first)
        last = finest if self.sigma_min == "auto" else self.sigma_min
        if first > 1.001 * high or last < 0.999 * low:
            raise ValueError(
                f"{self.name}: noise levels from {first:g} to {last:g}, but the prior knows {high:g} to {low:g}: "
                "change sigma_max or sigma_min, or use other weights"
            )
        level = self.trained[1].bright_level or 1.0  # vp goes by the prior's own units
        return SCHEDULES[self.schedule](self.levels, last * level, first * level) / level
