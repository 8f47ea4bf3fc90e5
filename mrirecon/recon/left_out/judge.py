"""What the measured samples of a scan decide before any of its slices is reconstructed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mrirecon.methods.base import Method
from mrirecon.options import Count
from mrirecon.recon.left_out.adaptation import LEARNED_SLICES, STEPS, Adaptable, adapt, adapted
from mrirecon.recon.left_out.error_bars import ErrorBars, calibrate
from mrirecon.recon.left_out.jackknife import PARTS
from mrirecon.recon.left_out.prediction import SLICES, trials_of
from mrirecon.recon.left_out.tuning import REACH, tune
from mrirecon.recon.problems import Problems
from mrirecon.recon.slice_store import SliceStore

Progress = Callable[[int | float, int], object]

EFFORT = 3  # slices that could be reconstructed in the time of one step of an adaptation


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What left-out samples are asked to decide, besides parameters that are `auto`.

    Attributes:
        adapt: steps in which the weights of a network are adapted to the scan; auto stops when left-out samples are
            predicted no better.
        adapt_slices: slices of the scan that it learns from.
        calibrate: whether error bars are calibrated.
        level: share of the truth that their intervals are to hold.
        left_out_seed: seed of the choice of samples that are left out.
    """

    adapt: Count | Literal["auto"] | None = None
    adapt_slices: Count = LEARNED_SLICES
    calibrate: bool = False
    level: float = 0.9
    left_out_seed: int = 0

    def check(self, method: Method) -> None:
        """Raise ValueError if a method cannot do what is asked, or the level is none."""
        if not 0 < self.level < 1:
            raise ValueError(f"level is {self.level}: give a share of the truth, such as 0.9")
        if self.calibrate and getattr(method, "samples", 2) < 2:
            raise ValueError(
                "--calibrate measures how far draws are apart: give --samples 2 or more, 8 tell it well"
            )


NOTHING = Judgement()


@dataclass(frozen=True, eq=False)
class Judged:
    """A method with everything that the scan decided.

    Attributes:
        method: what solves the slices.
        info: how it was decided, for the JSON.
        notes: what a person should know.
        effort: slices that were solved for it, for the progress.
        bars: calibrated error bars; None where they were not asked for.
    """

    method: Method
    info: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    effort: int = 0
    bars: ErrorBars | None = None


def judge(
    method: Method,
    problems: Problems,
    asked: Judgement,
    progress: Progress | None = None,
    keep: SliceStore | None = None,
) -> Judged:
    """Let left-out samples choose parameters that are `auto`, adapt the weights and calibrate, as far as is asked for.

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
            raise ValueError(
                f"{method.name} has no weights that can be adapted: --adapt is for networks such as unrolled_prior"
            )
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
        method, info["adaptation"] = adapted(method, found, problems.scan.source), found.as_json()
        notes.append(found.note())
    bars = None
    if asked.calibrate:
        bars = _calibrated(method, problems, asked, tell, keep)
        info["calibration"] = dict(bars.info)
        notes.append(bars.note())
    return Judged(method, info, notes, effort, bars)


def _calibrated(
    method: Method,
    problems: Problems,
    asked: Judgement,
    tell: Callable[[int], None],
    keep: SliceStore | None,
) -> ErrorBars:
    """Error bars with factors that were kept, or are found now and kept."""
    kept = None if keep is None else keep.get("calibration")
    if kept is not None:
        return ErrorBars.of(kept[1])
    # Adapted weights have learned from all samples but the first set.
    sets = 1 if asked.adapt is not None else None
    slices = asked.adapt_slices if asked.adapt is not None else SLICES
    trials = trials_of(problems, slices=slices, sets=sets, seed=asked.left_out_seed)
    sampled = hasattr(method, "samples")
    # Draws take long: three sets of samples in all. A method that gives one image is calibrated by six.
    if sampled and sets is None:
        trials = [replace(one, sets=one.sets[: -(-SLICES // len(trials))]) for one in trials]
    each = 1 if sampled else 1 + PARTS
    bars = calibrate(method, trials, asked.level, lambda: tell(each))
    if keep is not None:
        keep.put("calibration", {}, dict(bars.info))
    return bars


def _at_end(name: str, tried: list[float]) -> str:
    return (
        f"{name} auto: the best value lies at an end of what was tried, {tried[0]:.2g} to {tried[-1]:.2g}: look at the "
        "image, or give a number"
    )
