"""What the measured samples of a scan decide before any of its slices is reconstructed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from mrirecon.methods.base import Method
from mrirecon.options import Count, check_ranges
from mrirecon.progress import say
from mrirecon.recon.finish import Finish
from mrirecon.recon.left_out.adaptation import (
    LEARNED_SLICES,
    STEPS,
    Adaptable,
    Adaptation,
    adapt,
    adapted,
)
from mrirecon.recon.left_out.error_bars import ErrorBars, calibrate
from mrirecon.recon.left_out.jackknife import PARTS, NoSpread
from mrirecon.recon.left_out.prediction import SLICES, trials_of
from mrirecon.recon.left_out.reference_widths import ReferenceWidths
from mrirecon.recon.left_out.tuning import search_effort, tune
from mrirecon.recon.problems import Problems
from mrirecon.recon.slice_store import SliceStore
from mrirecon.recon.undersampling import MaskSource

Progress = Callable[[int | float, int], object]

NOT_ADAPTABLE = (
    "{} has no weights that can be adapted to a scan: leave out --adapt, or use unrolled_prior, "
    "varnet, humus or a sampler such as dds"
)
KNOWS_ALL = (
    "{}: the image that it begins with, {}, was made of the samples that are to be left out: let it begin with a "
    "method, such as --method.start cg_sense"
)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What left-out samples are asked to decide, besides parameters that are `auto`.

    Attributes:
        adapt: steps in which the weights of a network, or of the prior of a sampler, are adapted to the scan; auto
            stops when left-out samples are predicted no better.
        adapt_slices: slices of the scan that it learns from.
        calibrate: whether error bars are calibrated.
        level: share of the truth that their intervals are to hold.
        bars: error bars that are known before: as they are, or by scans with references.
        mask_kind: kind of the mask, where that is known.
        left_out_seed: seed of the choice of samples that are left out.
    """

    adapt: Count | Literal["auto"] | None = None
    adapt_slices: Count = LEARNED_SLICES
    calibrate: bool = False
    level: float = 0.9
    bars: ErrorBars | ReferenceWidths | None = None
    mask_kind: str | None = None
    left_out_seed: int = 0

    def check(self, method: Method) -> None:
        """Raise ValueError if a number is out of range, or a method cannot do what is asked."""
        check_ranges(type(self), vars(self), "reconstruct")
        if self.adapt is not None and not isinstance(method, Adaptable):
            raise ValueError(NOT_ADAPTABLE.format(method.name))
        judges = self.adapt is not None or self.calibrate
        if judges and (image := method.needs.first_image) is not None:
            raise ValueError(KNOWS_ALL.format(method.name, image))
        if not 0 < self.level < 1:
            raise ValueError(f"level is {self.level}: give a share of the truth, such as 0.9")
        if (self.calibrate or self.bars is not None) and getattr(method, "samples", 2) < 2:
            raise NoSpread(
                "--calibrate measures how far draws are apart: give --samples 2 or more, 8 tell it well"
            )


NOTHING = Judgement()


def judgement_of(
    calibrate: bool | str | PathLike[str], method: Method, mask: MaskSource | None, **given: Any
) -> Judgement:
    """What is asked where `calibrate` may be the file that `ReferenceWidths.read` takes.

    Args:
        calibrate: by left-out samples, or the file.
        method: whose error bars they are.
        mask: of the retrospective undersampling.
        given: further attributes.

    Raises:
        ValueError, OSError: if the file cannot be read or is for something else.
    """
    if isinstance(calibrate, bool):
        return Judgement(**given, calibrate=calibrate)
    if given["adapt"] is not None:
        raise ValueError(
            f"calibrate {calibrate} is for weights that are not adapted: leave out --adapt, or give --calibrate true"
        )
    widths = ReferenceWidths.read(calibrate).for_method(method, given["level"])
    kind = None if mask is None or mask.is_given else str(mask.kind)
    return Judgement(**given, bars=widths, mask_kind=kind)


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
    """Let left-out samples choose parameters that are `auto`, adapt the weights and calibrate the error bars, as asked.

    Args:
        method: as it was asked for.
        problems: the scan.
        asked: what is asked.
        progress: called with (slices solved for it, slices in all including those to reconstruct).
        keep: where everything that was decided is kept, and found again.

    Raises:
        ValueError: if hardly any samples can be left out, or the method cannot be judged or adapted.
    """
    trial = _Trial(problems, asked, progress, keep)
    info: dict[str, Any] = {}
    notes: list[str] = []
    bars = None
    if method.searches():
        method, info["tuning"] = trial.tuned(method)
        tuned = info["tuning"].items()
        notes += [_at_end(name, one["coarse"]["tried"]) for name, one in tuned if one["at_end"]]
    if asked.adapt is not None:
        method, found = trial.adapted(method)
        info["adaptation"] = found.as_json()
        notes.append(found.note())
    if isinstance(asked.bars, ReferenceWidths):
        bars = asked.bars.error_bars(problems.scan, asked.level, asked.mask_kind)
        info["calibration"] = dict(bars.info)
        notes.append(bars.note())
    elif asked.bars is not None:
        bars = asked.bars
    if asked.calibrate:
        bars = trial.calibrated(method)
        info["calibration"] = dict(bars.info)
        notes.append(bars.note())
    say(progress, "")
    return Judged(method, info, notes, math.ceil(trial.effort), bars)


class _Trial:
    """What a scan is asked, one thing after another, with the progress of it all."""

    def __init__(
        self,
        problems: Problems,
        asked: Judgement,
        progress: Progress | None,
        keep: SliceStore | None,
    ) -> None:
        self.problems, self.asked, self.progress, self.keep = problems, asked, progress, keep
        self.effort = self.total = 0.0

    def tell(self, more: float | int) -> None:
        """So many more slices were solved."""
        self.effort += more
        if self.progress is not None:
            whole = math.ceil(max(self.total, self.effort))
            self.progress(self.effort, whole + len(self.problems.places()))

    def tuned(self, method: Method) -> tuple[Method, dict[str, Any]]:
        """The method with numbers for its parameters that are `auto`, and how they were chosen."""
        kept = None if self.keep is None else self.keep.get("tuned")
        if kept is None:
            trials = trials_of(self.problems, seed=self.asked.left_out_seed)
            self.total += search_effort(trials) * len(method.searches())
            say(self.progress, f"choosing {' and '.join(method.searches())}")
            _, tuned = tune(method, trials, self.tell)
            kept = {}, {one.parameter: one.as_json() for one in tuned}
            if self.keep is not None:
                self.keep.put("tuned", *kept)
        values = {name: one["value"] for name, one in kept[1].items()}
        return replace(method, **values), kept[1]

    def adapted(self, method: Method) -> tuple[Method, Adaptation]:
        """The method with weights that were adapted."""
        assert isinstance(method, Adaptable)
        seed, wanted = self.asked.left_out_seed, self.asked.adapt
        steps = None if wanted == "auto" else wanted
        trials = trials_of(self.problems, slices=self.asked.adapt_slices, sets=1, seed=seed)
        effort = method.pace.effort
        self.total += effort * (STEPS if steps is None else steps)

        def done(now: Adaptation) -> None:
            say(self.progress, f"adapting, left-out error {now.curve[-1][1]:.3f}")
            self.tell(effort)

        say(self.progress, "adapting")
        found = adapt(method, trials, steps=steps, seed=seed, done=done, keep=self.keep)
        return adapted(method, found, Path(self.problems.scan.source).name), found

    def calibrated(self, method: Method) -> ErrorBars:
        """Error bars with factors that were kept, or are found now and kept."""
        kept = None if self.keep is None else self.keep.get("calibration")
        if kept is not None:
            return ErrorBars.of(kept[1])
        # Adapted weights have learned from all samples but the first set.
        adapts = self.asked.adapt is not None
        slices = self.asked.adapt_slices if adapts else SLICES
        sets, seed = 1 if adapts else None, self.asked.left_out_seed
        trials = trials_of(self.problems, slices=slices, sets=sets, seed=seed)
        sampled = hasattr(method, "samples")
        # Draws take long: three sets of samples in all. A method that gives one image is calibrated by six.
        if sampled and not adapts:
            trials = [replace(one, sets=one.sets[: -(-SLICES // len(trials))]) for one in trials]
        each = 1 if sampled else 1 + PARTS
        say(self.progress, "calibrating")
        self.total += each * sum(len(one.sets) + 2 * (not sampled) for one in trials)
        finish = Finish(self.problems.scan, self.problems.whitening, "zero", False)
        level = self.asked.level
        bars = calibrate(method, trials, level, finish, lambda: self.tell(each))
        if self.keep is not None:
            self.keep.put("calibration", {}, dict(bars.info))
        return bars


def _at_end(name: str, tried: list[float]) -> str:
    return (
        f"{name} auto: the best value lies at an end of what was tried, {tried[0]:.2g} to {tried[-1]:.2g}: look at the "
        "image, or give a number"
    )
