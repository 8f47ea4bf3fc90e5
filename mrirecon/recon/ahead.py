"""Slices that are read and prepared while a GPU solves those before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import RLock
from typing import TypeVar

import torch
from torch import Tensor

from mrirecon.scan import Scan

Item = TypeVar("Item")
Read = Callable[[int, int], Tensor]


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made by another thread while the one before is worked on; errors come in their turn."""
    with ThreadPoolExecutor(1, "ahead") as other:
        coming = other.submit(_next, items)
        while found := coming.result():
            coming = other.submit(_next, items)
            yield found[0]


def _next(items: Iterator[Item]) -> tuple[Item] | None:
    with torch.no_grad():  # which holds for one thread only
        for item in items:
            return (item,)
    return None


def for_threads(scan: Scan) -> Scan:
    """The scan, whose samples one thread at a time reads: readers have files and volumes in common."""
    lock = RLock()

    def guarded(read: Read) -> Read:
        def read_alone(volume: int, index: int) -> Tensor:
            with lock:
                return read(volume, index)

        return read_alone

    sampling, calibration = (
        None if read is None else guarded(read) for read in (scan.sampling, scan.calibration)
    )
    alone = replace(scan, read=guarded(scan.read), sampling=sampling, calibration=calibration)
    alone.kept.update(scan.kept)
    return alone
