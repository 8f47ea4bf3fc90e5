"""Curves of left-out samples: how a parameter was chosen, and how weights were adapted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mrirecon.report.pictures import empty_figure
from mrirecon.report.quality import COLOURS
from mrirecon.scan import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """Errors of left-out samples over what was tried.

    Attributes:
        title: what was chosen, of which method.
        name: of what was tried.
        points: (what was tried, left-out error).
        coarse: the same of one slice only, in which it was looked for before.
        chosen: what was taken, which need not have been tried itself.
        logarithmic: whether what was tried covers decades.
    """

    title: str
    name: str
    points: list[tuple[float | int, float]]
    coarse: list[tuple[float | int, float]]
    chosen: float | int
    logarithmic: bool

    def rows(self) -> list[tuple[str, str, bool]]:
        """All points as text, the coarse ones first, and whether each is the least error of those that decide."""
        least = min((error for _, error in self.points), default=None)
        coarse = [(f"{x:.4g}", f"{error:.4f} in one slice", False) for x, error in self.coarse]
        fine = [(f"{x:.4g}", f"{error:.4f}", error == least) for x, error in self.points]
        return coarse + fine

    def figure(self) -> Figure:
        """A small plot of it."""
        figure = empty_figure(4.2, 2.6)
        axis = figure.subplots()
        for points, line, label in (
            (self.coarse, ":", "one slice"),
            (self.points, "-", "all slices" if self.coarse else None),
        ):
            if points:
                x, y = zip(*points, strict=True)
                axis.plot(x, y, line, color=COLOURS[0], marker="o", markersize=4, label=label)
        axis.axvline(
            self.chosen, color=COLOURS[1], linestyle="--", label=f"{self.chosen:.3g} taken"
        )
        if self.logarithmic:
            axis.set_xscale("log")
        axis.set_xlabel(self.name)
        axis.set_ylabel("left-out error")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
        return figure


def curves_of(name: str, volume: Volume) -> Iterator[Curve]:
    """The curves in the JSON of a reconstruction that is called `name`; none where left-out samples chose nothing."""
    left_out = volume.info.get("left_out", {})
    for parameter, found in left_out.get("tuning", {}).items():
        points, coarse = _points(found), _points(found["coarse"])
        title = f"{name}: {parameter} chosen by left-out samples, {found['value']:.3g}"
        if found["at_end"]:
            title += ", at an end of what was tried"
        yield Curve(title, parameter, points, coarse, found["value"], True)
    if (found := left_out.get("adaptation")) is not None:
        points = list(zip(found["validated"], found["left_out_error"], strict=True))
        step, steps = found["best_step"], found["steps"]
        title = f"{name}: weights adapted to the scan, those of step {step} of {steps} taken"
        if step == 0:
            title = f"{name}: {steps} steps of adaptation predicted left-out samples no better"
        yield Curve(title, "step", points, [], step, False)


def _points(found: Mapping[str, Any]) -> list[tuple[float | int, float]]:
    return list(zip(found["tried"], found["left_out_error"], strict=True))
