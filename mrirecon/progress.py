"""A line of progress, on a terminal and in notebooks: what is being done, how far it is, how long it will take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

NUMBERS = 58  # characters beside the name in a line of progress: a long name is cut short, not they


@contextmanager
def slices_progress(task: str) -> Iterator[Callable[[int | float, int], None]]:
    """A callback (done, total) that draws a progress line named `task`; parts of a slice move the bar and the time."""
    with work_progress(task, "slices") as show:
        yield lambda done, total: show(task, done, total)


@contextmanager
def work_progress(
    task: str, unit: str, hidden: bool = False
) -> Iterator[Callable[[str, int | float, int], None]]:
    """A callback (part, done, total) that draws a progress line for each part, the first named `task` until then."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TextColumn(f"{unit}, elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    lines: dict[str, TaskID] = {}
    console = Console(stderr=True)
    room = max(8, console.width - NUMBERS)

    def named(text: str) -> str:
        return text if len(text) <= room else text[: room - 1] + "…"

    with Progress(*columns, console=console, speed_estimate_period=600, disable=hidden) as progress:
        waiting = progress.add_task(named(task), total=None)

        def show(part: str, done: int | float, total: int) -> None:
            if part not in lines:
                lines[part] = waiting if not lines else progress.add_task(named(part))
                progress.update(lines[part], description=named(part))
            progress.update(lines[part], completed=done, total=total)

        yield show
