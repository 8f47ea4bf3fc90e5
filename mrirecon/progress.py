"""A line of progress, on a terminal and in notebooks: what is being done, how far it is, how long it will take.

Commands show it always. Calls from Python show it where somebody can see it (`is_watched`), unless told otherwise.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

SWITCH = "MRIRECON_PROGRESS"  # environment variable; 0 shows no line of progress in Python
NUMBERS = 58  # characters beside the name in a line of progress: a long name is cut short, not they
TIMES = 42  # the same without the counts


@runtime_checkable
class Line(Protocol):
    """A callback (done, total) that can also be told what is being done, in a few words in place of the counts."""

    def __call__(self, done: int | float, total: int, /) -> object: ...

    def say(self, doing: str) -> object: ...


def say(progress: object, doing: str) -> None:
    """Show what is being done besides solving slices, "" when it is over, where the callback shows words."""
    if isinstance(progress, Line):
        progress.say(doing)


def progress_of(given: object, task: str) -> AbstractContextManager[Any]:
    """The callback of a call from Python, whose `progress` was given: true, false, a function, or None for as usual."""
    if callable(given):
        return nullcontext(given)
    shown = is_watched() if given is None else bool(given)
    if not shown:
        return nullcontext(None)
    return notebook_progress(task) if in_notebook() else slices_progress(task)


def is_watched() -> bool:
    """Whether somebody would see a line of progress, on a terminal or in a notebook, and has not switched it off."""
    return os.environ.get(SWITCH) != "0" and (in_notebook() or sys.stderr.isatty())


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


@contextmanager
def notebook_progress(task: str) -> Iterator[Line]:
    """What `slices_progress` gives, as the bar of a notebook, or as text where the notebook has no widgets."""
    from tqdm import TqdmWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmWarning)  # it asks for widgets
        from tqdm.auto import tqdm

        bar = tqdm(desc=task, unit="slice", total=1)
    with bar:
        yield _Bar(task, bar)


@dataclass
class _Bar:
    task: str
    bar: Any

    def __call__(self, done: int | float, total: int) -> None:
        self.bar.total, self.bar.n = total, round(done, 2)
        self.bar.refresh()

    def say(self, doing: str) -> None:
        self.bar.set_description(f"{self.task}: {doing}" if doing else self.task)


@contextmanager
def slices_progress(task: str) -> Iterator[Line]:
    """A callback (done, total) that draws a progress line named `task`; parts of a slice move the bar and the time."""
    with work_progress(task, "slices") as show:
        yield _SlicesLine(task, show)


@dataclass
class _SlicesLine:
    task: str
    show: _Lines

    def __call__(self, done: int | float, total: int) -> None:
        self.show(self.task, done, total)

    def say(self, doing: str) -> None:
        self.show.say(self.task, doing)


@contextmanager
def work_progress(task: str, unit: str, hidden: bool = False) -> Iterator[_Lines]:
    """A callback (part, done, total) that draws a progress line for each part, the first named `task` until then."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Counts(MofNCompleteColumn):
        def render(self, task: Task) -> Text:
            return Text() if task.fields["doing"] else super().render(task).append(f" {unit},")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        Counts(),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, speed_estimate_period=600, disable=hidden) as progress:
        yield _Lines(progress, console.width, task)


class _Lines:
    """The lines of the parts.

    Args:
        progress: of rich, which draws them.
        width: of the console.
        task: name of the first line until there is a part.
    """

    def __init__(self, progress: Any, width: int, task: str) -> None:
        self.progress, self.width = progress, width
        self.add: Callable[..., Any] = partial(progress.add_task, total=None, doing="")
        self.waiting = self.add(self._cut(task, NUMBERS))
        self.lines: dict[str, Any] = {}

    def __call__(self, part: str, done: int | float, total: int) -> None:
        self.progress.update(self._line(part), completed=done, total=total)

    def say(self, part: str, doing: str) -> None:
        """Show what is being done in place of the counts, with the name of the part where there is room."""
        name, room = self._cut(part, NUMBERS), self.width - TIMES
        if doing:
            named = f"{name}: {doing}"
            name = named if len(named) <= room else self._cut(doing, TIMES)
        self.progress.update(self._line(part), description=name, doing=doing)

    def _line(self, part: str) -> Any:
        if part not in self.lines:
            name = self._cut(part, NUMBERS)
            self.lines[part] = self.add(name) if self.lines else self.waiting
            self.progress.update(self.lines[part], description=name)
        return self.lines[part]

    def _cut(self, text: str, beside: int) -> str:
        room = max(8, self.width - beside)
        return text if len(text) <= room else text[: room - 1] + "…"
