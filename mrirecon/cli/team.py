"""Several processes that reconstruct together, as `torchrun` starts them: the slices are shared, the first writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from mrirecon.cli.run import one_line

T = TypeVar("T")
PATIENCE = timedelta(
    days=30
)  # the others may be at their slices for long; one that has died is noticed at once


class Elsewhere(Exception):
    """What went wrong is said by the first process."""


@dataclass(frozen=True)
class Team:
    """The processes of this run, of which this is one.

    Attributes:
        rank: number of this process; 0 is the first.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def of_environment(cls) -> Team:
        """What `torchrun` has set; alone without."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Connect the processes; one that ends by an error that the first process reports ends in silence."""
        if self.size == 1:
            yield
            return
        dist.init_process_group("gloo", timeout=PATIENCE)
        try:
            yield
        except Elsewhere:
            pass
        finally:
            dist.destroy_process_group()

    def each(self, work: Callable[[], T]) -> T:
        """Do `work` in every process and wait for all; what fails in one fails in all, so that none waits for ever.

        Raises:
            ValueError: in the first process, for what failed in another; itself for what failed here.
            Elsewhere: in the other processes.
        """
        failure: Exception | None = None
        try:
            result = work()
        except Exception as error:
            failure = error
        if self.size > 1:
            said = self._shared(None if failure is None else one_line(failure))
            if any(text is not None for text in said):
                if not self.leads:
                    raise Elsewhere from failure
                if failure is None:
                    number, text = next(
                        (n, text) for n, text in enumerate(said) if text is not None
                    )
                    raise ValueError(f"process {number} of {self.size}: {text}")
        if failure is not None:
            raise failure
        return result

    def first(self, work: Callable[[], T]) -> T:
        """Do `work` in the first process only and give every one its result.

        Raises as `each`.
        """
        results = self.each(lambda: [work()] if self.leads else [])
        first: T = (results if self.size == 1 else self._shared(results)[0])[0]
        return first

    def _shared(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.size
        try:
            dist.all_gather_object(values, value)
        except RuntimeError as error:
            raise RuntimeError(
                "another process of this run has ended: see what it said; the same line again goes on with the slices "
                "that are finished"
            ) from error
        return values
