"""Several processes that work together, as `torchrun` starts them, or one alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from mrirecon.options import one_line

T = TypeVar("T")
# The others may be at their slices for long; one that has died is noticed at once.
PATIENCE = timedelta(days=30)


class Elsewhere(Exception):
    """What went wrong is said by the first process."""


class Team:
    """The processes of this run, of which this is one.

    They act in step (`each`, `first`), or take pieces of work from a common count (`take`, `wait`), so that a process
    with slow pieces does not keep the others waiting.

    Attributes:
        rank: number of this process; 0 is the first.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self._store: Any = dist.HashStore()

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
        store, _, _ = next(dist.rendezvous("env://"))
        store.set_timeout(PATIENCE)
        self._store = dist.PrefixStore("work", store)
        dist.init_process_group(
            "gloo",
            store=dist.PrefixStore("group", store),
            rank=self.rank,
            world_size=self.size,
            timeout=PATIENCE,
        )
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
            said = self._gathered(None if failure is None else one_line(failure))
            if any(text is not None for text in said):
                if not self.leads:
                    raise Elsewhere from failure
                if failure is None:
                    number, text = next((n, t) for n, t in enumerate(said) if t is not None)
                    raise ValueError(f"process {number} of {self.size}: {text}")
        if failure is not None:
            raise failure
        return result

    def first(self, work: Callable[[], T]) -> T:
        """Do `work` in the first process only and give every one its result.

        Raises as `each`.
        """
        results = self.each(lambda: [work()] if self.leads else [])
        first: T = (results if self.size == 1 else self._gathered(results)[0])[0]
        return first

    def take(self, work: str) -> int:
        """Number of the next piece of `work`, which no other process gets."""
        return int(self._store.add(f"{work}/taken", 1)) - 1

    def done(self, work: str, pieces: int = 1) -> int:
        """Count pieces as done; how many are done by all processes together."""
        return int(self._store.add(f"{work}/done", pieces))

    def wait(self, work: str, pieces: int, watch: Callable[[int], object]) -> None:
        """Come back when all processes together have done so many; meanwhile `watch` gets how many are done."""
        while (count := self.done(work, 0)) < pieces:
            watch(count)
            time.sleep(0.2)
        watch(count)

    def _gathered(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.size
        try:
            dist.all_gather_object(values, value)
        except RuntimeError as error:
            raise RuntimeError(
                "another process of this run has ended: see what it said; the same line again goes on with the slices "
                "that are finished"
            ) from error
        return values
