"""What the measured samples of a scan decide before any of its slices is reconstructed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mrirecon.methods.base import Method
from mrirecon.options import Count, check_ranges
from mrirecon.recon.left_out.adaptation import LEARNED_SLICES, STEPS, Adaptable, adapt, adapted
from mrirecon.recon.left_out.prediction import trials_of
from mrirecon.recon.left_out.tuning import REACH, tune
from mrirecon.recon.problems import Problems
from mrirecon.recon.slice_store import SliceStore

Progress = Callable[[int | float, int], object]

NOT_ADAPTABLE = (
    "{} has no weights that can be adapted to a scan: leave out --adapt, or use unrolled_prior, "
    "varnet or humus"
)
EFFORT = 3  # slices that could be reconstructed in the time of one step of an adaptation


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What left-out samples are asked to decide, besides parameters that are `auto`.

    Attributes:
        adapt: steps in which the weights of a network are adapted to the scan; auto stops when left-out samples are
            predicted no better.
        adapt_slices: slices of the scan that it learns from.
        left_out_seed: seed of the choice of samples that are left out.
    """

    adapt: Count | Literal["auto"] | None = None
    adapt_slices: Count = LEARNED_SLICES
    left_out_seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers out of range.

        Raises:
            ValueError: naming the first one.
        """
        check_ranges(type(self), vars(self), "reconstruct")


NOTHING = Judgement()


@dataclass(frozen=True, eq=False)
class Judged:
    """A method with everything that the scan decided.

    Attributes:
        method: what solves the slices.
        info: how it was decided, for the JSON.
        notes: what a person should know.
        effort: slices that were solved for it, for the progress.
    """

    method: Method
    info: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    effort: int = 0


def judge(
    method: Method,
    problems: Problems,
    asked: Judgement,
    progress: Progress | None = None,
    keep: SliceStore | None = None,
) -> Judged:
    """Let left-out samples choose parameters that are `auto`, then adapt the weights, where that is asked for.

    Args:
        method: as it was asked for.
        problems: the scan.
        asked: what is asked.
        progress: called with (slices solved for it, slices in all including those to reconstruct).
        keep: where parameters, and weights that are being adapted, are kept and found again.

    Raises:
        ValueError: if hardly any samples can be left out, or the method cannot be judged or adapted.
    """
    effort, total = 0, 0

    def tell(more: int) -> None:
        nonlocal effort
        effort += more
        if progress is not None:
            progress(effort, max(total, effort) + len(problems.places()))

    info: dict[str, Any] = {}
    notes: list[str] = []
    if method.searches():
        kept = None if keep is None else keep.get("tuned")
        if kept is None:
            trials = trials_of(problems, seed=asked.left_out_seed)
            each = sum(len(trial.sets) for trial in trials)
            total += (2 * REACH + 3) * each * len(method.searches())
            _, tuned = tune(method, trials, lambda: tell(each))
            kept = {}, {one.parameter: one.as_json() for one in tuned}
            if keep is not None:
                keep.put("tuned", *kept)
        info["tuning"] = kept[1]
        method = replace(method, **{name: one["value"] for name, one in kept[1].items()})
        notes += [_at_end(name, one["tried"]) for name, one in kept[1].items() if one["at_end"]]
    if asked.adapt is not None:
        if not isinstance(method, Adaptable):
            raise ValueError(NOT_ADAPTABLE.format(method.name))
        steps = None if asked.adapt == "auto" else asked.adapt
        trials = trials_of(problems, slices=asked.adapt_slices, sets=1, seed=asked.left_out_seed)
        total += EFFORT * (STEPS if steps is None else steps)
        found = adapt(
            method,
            trials,
            steps=steps,
            seed=asked.left_out_seed,
            done=lambda _: tell(EFFORT),
            keep=keep,
        )
        method, info["adaptation"] = (
            adapted(method, found, Path(problems.scan.source).name),
            found.as_json(),
        )
        notes.append(found.note())
    return Judged(method, info, notes, effort)


def _at_end(name: str, tried: list[float]) -> str:
    return (
        f"{name} auto: the best value lies at an end of what was tried, {tried[0]:.2g} to {tried[-1]:.2g}: look at the "
        "image, or give a number"
    )
