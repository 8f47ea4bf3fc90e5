"""From the long-form table to means: rows and columns of one's choice, and what is best among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Row = dict[str, Any]
Index = tuple[Any, ...]


class Entry(NamedTuple):
    """The cells of the table that fall on one place of a pivot.

    Attributes:
        mean: over the cells that did not fail; None if there are none.
        std: sample standard deviation over them; None with fewer than two.
        made: how many did not fail.
        failed: how many did.
    """

    mean: float | None
    std: float | None
    made: int
    failed: int


def pivot(
    rows: Sequence[Row],
    value: str,
    *,
    index: Sequence[str] = ("mask", "noise"),
    columns: str = "method",
) -> dict[Index, dict[Any, Entry]]:
    """Means of a column of the table, in the order in which rows and columns first appear.

    Args:
        rows: of the long-form table.
        value: the column to average, such as `fastmri_psnr` or `seconds_per_slice`.
        index: columns that make the rows of the pivot.
        columns: column that makes its columns.
    """
    values: dict[Index, dict[Any, list[float]]] = {}
    failures: dict[tuple[Index, Any], int] = {}
    for row in rows:
        place, column = tuple(row[name] for name in index), row[columns]
        found = values.setdefault(place, {}).setdefault(column, [])
        if row["failure"]:
            failures[place, column] = failures.get((place, column), 0) + 1
        elif row[value] is not None:
            found.append(row[value])
    return {
        place: {
            column: _entry(found, failures.get((place, column), 0))
            for column, found in across.items()
        }
        for place, across in values.items()
    }


def ranks(entries: Mapping[Any, Entry], larger_is_better: bool) -> dict[Any, int]:
    """1 for the best mean and 2 for the second best, equal ones alike; who failed anywhere is not ranked."""
    means = {
        name: entry.mean
        for name, entry in entries.items()
        if entry.mean is not None and not entry.failed
    }
    order = sorted(set(means.values()), reverse=larger_is_better)
    return {name: order.index(mean) + 1 for name, mean in means.items() if mean in order[:2]}


def _entry(values: Sequence[float], failed: int) -> Entry:
    count = len(values)
    if not count:
        return Entry(None, None, 0, failed)
    mean = math.fsum(values) / count
    if count == 1:
        return Entry(mean, None, 1, failed)
    return Entry(
        mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (count - 1)), count, failed
    )
