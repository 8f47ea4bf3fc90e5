"""Diffusion samplers as methods: scan -> draws of the posterior -> their mean and standard deviation."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Literal, get_type_hints

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.diffusion import SCHEDULES, Denoiser
from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.io.files import existing_file
from mrirecon.methods.base import OF_THE_LOOP, Advance, SliceMethod, Work
from mrirecon.methods.device import images_that_fit
from mrirecon.methods.draws import Preview, Room, Running, Watched, in_parts, stream_of
from mrirecon.methods.first_images import OfFile, OfMethod, check_start, first_image
from mrirecon.methods.problem import Problem, Result, unwhitened_gain
from mrirecon.methods.trust import trust_figures
from mrirecon.scan import Scan, Volume
from mrirecon.weights import Card, load_prior, locate

SHIPPED = "prior_tiny"
UNKNOWN_LEVEL = (
    "{}: how bright the images were that this prior was trained on is not known, and taken for a bright level of 1: "
    "import it with --bright_level"
)
WARM = 0.3  # of the bright level: where a sampler begins that is given a first image


@dataclass(frozen=True, kw_only=True)
class Posterior(SliceMethod):
    """A diffusion sampler with a prior.

    The data are divided by the volume's bright level, so that images have 1, and the result is multiplied by it; the
    prior is given them as bright as those it was trained on (`Card.bright_level`). Each draw of each slice has its own
    stream of random numbers, so that nothing depends on what is computed together. The image is the mean of the draws.

    Attributes:
        weights: name of a shipped prior, or a file made by `mrirecon weights import` or `mrirecon train`.
        schedule: of the noise levels.
        levels: noise levels; most samplers evaluate the network once in each.
        sigma_max: first noise level, over the bright level; unset takes 0.3 with a first image, and the prior's highest
            without.
        sigma_min: last noise level before 0; unset takes the prior's lowest.
        start: first image, from which the sampler begins with noise of the first level (come-closer-diffuse-faster,
            Chung, Sim & Ye 2022): that of adjoint, min_norm, cg_sense, l1_wavelet, tv, grappa, varnet, humus or
            unrolled_prior with their defaults, or a .npy or .cfl that recon wrote; noise begins with none.
        samples: draws per slice.
        seed: of the draws.
        noise_std: noise of the k-space per real component, in its units before any prewhitening; unset reads it from a
            noise measurement or from the outermost measured k-space.
        images_at_once: slices times draws that are computed together; unset takes 4, on a GPU as many as its memory
            holds, 16 KiB a pixel, up to 32. When memory runs out it is halved.
        precision: of the network; data consistency is float32 with both.
        draws: write each draw too.
        trust: write the null-space part of the image, which the prior supplied and not the scanner.
        preview: called every few levels with what is known of the slices that are sampled, cropped to the output.
    """

    weights: str = SHIPPED
    schedule: Literal["karras", "geometric", "vp"] = "karras"
    levels: int = 20
    sigma_max: float | None = None
    sigma_min: float | None = None
    start: str = "cg_sense"
    samples: int = 1
    seed: int = 0
    noise_std: float | None = None
    images_at_once: int | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    draws: bool = False
    trust: bool = False
    preview: Callable[[Preview], object] | None = field(default=None, metadata=OF_THE_LOOP)

    uses_scale: ClassVar[bool] = True
    uses_noise: ClassVar[bool] = True
    sampler: ClassVar[Callable[..., Tensor]]

    def __post_init__(self) -> None:
        """Refuse what cannot be sampled.

        Raises:
            ValueError: as every method, if there is no such first image, or if partial Fourier is to be filled in
                otherwise.
        """
        super().__post_init__()
        check_start(self.name, self.start)
        if self.partial_fourier != "zero":
            raise ValueError(
                f"{self.name} fills in partial Fourier by itself: leave out --partial_fourier {self.partial_fourier}"
            )

    def files(self) -> dict[str, tuple[Path, ...]]:
        first = {} if self.first is None else self.first.files()
        begun = {f"start_{name}": parts for name, parts in first.items()}
        return {"weights": (existing_file(locate(self.weights)),), **begun}

    @cached_property
    def trained(self) -> tuple[Denoiser, Card]:
        """The prior as a denoiser, on the device, and the card of its weights.

        Raises:
            ValueError: if the weights are of no prior, or of one that knows no complex images.
        """
        return load_prior(self.weights, self.device)

    @cached_property
    def first(self) -> OfMethod | OfFile | None:
        """The first image; none where noise is the beginning."""
        return first_image(self.start, self.device, self.slices)

    @cached_property
    def sigmas(self) -> Tensor:
        """The noise levels.

        Raises:
            ValueError: if they leave the range that the prior knows.
        """
        low, high = self.trained[0].sigma_range
        warm = min(WARM, high) if self.start != "noise" else high
        first = warm if self.sigma_max is None else self.sigma_max
        last = min(low, first) if self.sigma_min is None else self.sigma_min
        if first > 1.001 * high or last < 0.999 * low:
            raise ValueError(
                f"{self.name}: noise levels from {first:g} to {last:g}, but the prior knows {high:g} to {low:g}: "
                "change sigma_max or sigma_min, or use other weights"
            )
        level = self.trained[1].bright_level or 1.0  # vp goes by the prior's own units
        return SCHEDULES[self.schedule](self.levels, last * level, first * level) / level

    def __call__(self, scan: Scan) -> Volume:
        if self.couples_slices and len(self.indices(scan)) == 1:
            raise ValueError(
                f"{scan.source}: one slice is asked for, but z_smoothness needs two at least: leave it out"
            )
        sigmas, card = self.sigmas, self.trained[1]
        volume = super().__call__(scan)
        notes = [*volume.info["notes"], *card.warnings(scan, scan.mask_kind)]
        if card.bright_level is None:
            notes.append(UNKNOWN_LEVEL.format(self.weights))
        info = {
            **volume.info,
            "weights": {"name": self.weights, **card.as_json()},
            "noise_levels": {"first": float(sigmas[0]), "last": float(sigmas[-2])},
            "notes": notes,
        }
        if self.first is not None and (begun := self.first.card) is not None:
            info["start_weights"] = begun.as_json()
            info["notes"] += [f"first image: {w}" for w in begun.warnings(scan, scan.mask_kind)]
        return replace(volume, info=info)

    def _work(self, scan: Scan) -> Work:
        if self.first is not None:
            self.first.check(scan)
        return super()._work(scan)

    @cached_property
    def room(self) -> Room:
        """What is known of the memory."""
        return Room()

    def slices_at_once(self, scan: Scan) -> int:
        if self.couples_slices:
            return sys.maxsize
        return max(1, self._images_at_once(scan.shape[2:]) // self.samples)

    def _images_at_once(self, shape: Sequence[int]) -> int:
        if self.images_at_once is not None:
            return min(self.images_at_once, self.room.images)
        return min(images_that_fit(self.device, math.prod(shape)), self.room.images)

    @property
    def couples_slices(self) -> bool:
        return getattr(self, "z_smoothness", 0) > 0

    def solve(self, problem: Problem) -> Complex[Tensor, "*set y x"]:
        """The mean of the draws of one slice."""
        return self._draws([problem])[0][:, 0].mean(0)

    def _images(
        self, problems: list[Problem], whitening: Tensor | None, scan: Scan, advance: Advance
    ) -> list[Result]:
        results: dict[tuple[int, int], Result] = {}
        for number in sorted({problem.place[0] for problem in problems}):
            volume = [problem for problem in problems if problem.place[0] == number]
            so_far = partial(_beyond, advance, len(results))
            draws, evaluations = self._draws(volume, whitening, scan, so_far)
            for problem, draw in zip(volume, draws.unbind(1), strict=True):
                result = self._result(problem, draw, whitening, scan)
                result.figures["network_evaluations"] = float(evaluations)
                results[problem.place] = result
        return [results[problem.place] for problem in problems]

    def _result(
        self,
        problem: Problem,
        draws: Complex[Tensor, "draw y x"],
        whitening: Tensor | None,
        scan: Scan,
    ) -> Result:
        assert problem.maps is not None
        gain = 1.0 if whitening is None else unwhitened_gain(problem.maps, whitening)[0]
        figures, hidden = trust_figures(problem, draws.mean(0), whole=self.trust)
        if len(draws) > 1:
            variance = draws.abs().var(0)[problem.operator.support()]
            figures["posterior_std"] = float(variance.mean().sqrt()) / problem.scale
        shown = scan.to_output(draws * gain)  # moduli and moments are those of complex draws
        extras: dict[str, Tensor] = {}
        if len(draws) > 1:
            extras["std"] = shown.abs().std(0)
        if self.trust:
            assert hidden is not None
            extras["null_space"] = scan.to_output(hidden * gain).abs()
        if self.draws:
            extras |= {f"draw{number}": draw.abs() for number, draw in enumerate(shown, 1)}
        return Result(shown.mean(0), figures, extras)

    def _draws(
        self,
        problems: list[Problem],
        whitening: Tensor | None = None,
        scan: Scan | None = None,
        advance: Advance = lambda slices: None,
    ) -> tuple[Complex[Tensor, "draw slice y x"], int]:
        """Draws of a few slices of one volume, in the units of the k-space, and evaluations of the network for one."""
        first = problems[0]
        if any(problem.maps is None or len(problem.maps) > 1 for problem in problems):
            raise ValueError(
                f"{self.name} works with one set of coil maps: leave out --calibration.sets"
            )
        scale = first.scale
        y = torch.stack([problem.kspace for problem in problems]) / scale
        maps = torch.stack([problem.maps[0] for problem in problems])  # type: ignore[index]
        mask = torch.stack([problem.mask for problem in problems])
        start = None
        if self.first is not None:
            start = torch.stack([self.first(problem, whitening) for problem in problems]) / scale
        streams = [
            [stream_of(self.seed, *problem.place, draw) for problem in problems]
            for draw in range(self.samples)
        ]
        places = [problem.place for problem in problems]
        volumes = 1 if scan is None else scan.volumes
        watched = Watched(self.trained[0], self.precision, places, volumes)
        options = {name: getattr(self, name) for name in _parameters(type(self).sampler)}
        if self.couples_slices and len(problems) == 1:  # both neighbours have no signal
            options["z_smoothness"] = 0.0
        if _takes_noise(type(self).sampler):
            options["noise_std"] = first.noise_std / scale
        show = None if scan is None else self._show(scan)
        levels = len(self.sigmas) - 1
        running = Running(watched.places, maps, self.samples, levels, scale, advance, show)
        options |= {"denoiser": watched, "sigmas": self.sigmas, "callback": running}
        run = partial(type(self).sampler, **options)
        with torch.no_grad():
            at_once = self._images_at_once(y.shape[-2:])
            parts = (run, y, maps, mask, start, streams, at_once, self.room)
            draws = in_parts(*parts, divisible=not self.couples_slices)
        support = (maps != 0).any(1)
        return draws * support * scale, watched.calls_per_image

    def _show(self, scan: Scan) -> Callable[[Preview], object] | None:
        show = self.preview
        if show is None:
            return None
        return lambda preview: show(replace(preview, image=scan.to_output(preview.image)))


def _beyond(advance: Advance, before: int, slices: float) -> None:
    """Tell of slices that are done beyond those of the volumes before."""
    advance(before + slices)


def _takes_noise(sampler: Callable[..., Tensor]) -> bool:
    return "noise_std" in inspect.signature(sampler).parameters


def _parameters(sampler: Callable[..., Tensor]) -> dict[str, inspect.Parameter]:
    """The sampler's own options: those that only the method knows are left out."""
    known = {"noise_std", "start", "generator", "callback"}
    parameters = inspect.signature(sampler).parameters
    return {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in known
    }


# What differs from the defaults of `Posterior` and of the sampler itself: what suits noise of some percent of the
# image, and budgets that suit the method. The files in configs/samplers have the same values.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "ddnm": {"damping": 1.0, "eta": 1.0},
    "ddnm_plus": {"eta": 1.0, "weakest": 0.15},
    "dds": {"eta": 1.0, "sigma_min": 0.03},  # lower levels smooth, on real and on simulated scans
    "diffpir": {"prior_weight": 0.4, "zeta": 1.0},
    "dps": {"levels": 100},
    "ilvr": {"damping": 1.0, "levels": 25},
    "langevin": {"step_size": 0.3, "levels": 20, "schedule": "geometric"},
    "mcg": {"damping": 1.0, "levels": 50},
    "pigdm": {"prior_variance": 0.1},
    "projection": {"damping": 1.0, "levels": 25},
    "red_diff": {"weight": 1.0, "learning_rate": 0.03, "levels": 100},
    "repaint": {"damping": 1.0},
    "score_mri": {"levels": 50, "schedule": "geometric", "join_every": 5},
    "snips": {"step_size": 0.3, "levels": 20, "schedule": "geometric"},
}


def _method(name: str) -> type[Posterior]:
    """The method of a sampler, with the sampler's keyword arguments as its fields."""
    sampler = SAMPLERS[name]
    hints, own = get_type_hints(sampler), _parameters(sampler)
    changed = _DEFAULTS.get(name, {})
    values = {key: p.default for key, p in own.items()} | changed
    types = {key: hints[key] if key in hints else get_type_hints(Posterior)[key] for key in values}
    fields = [(key, types[key], field(default=value)) for key, value in values.items()]
    summary, _, arguments = (sampler.__doc__ or "").partition("    Args:\n")
    shown = "".join(line for line in _entries(arguments) if line.strip().partition(":")[0] in own)
    namespace = {
        "name": name,
        "sampler": staticmethod(sampler),
        "__doc__": f"{summary.rstrip()}\n\n    Attributes:\n{shown}",
        "__module__": __name__,
    }
    bare = "".join(part.capitalize() for part in name.split("_"))
    return make_dataclass(
        bare, fields, bases=(Posterior,), namespace=namespace, frozen=True, kw_only=True
    )


def _entries(arguments: str) -> list[str]:
    """The entries of a docstring's list of arguments, each with its continuation lines."""
    entries: list[str] = []
    for line in arguments.split("\n\n")[0].splitlines(keepends=True):
        if line.startswith("        ") and not line.startswith("         "):
            entries.append(line)
        elif entries:
            entries[-1] += line
    return entries


POSTERIOR: tuple[type[Posterior], ...] = tuple(_method(name) for name in SAMPLERS)
