"""The processes of a run, as `torch.distributed.run` starts them: who takes which work, and when all of it is done."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch.distributed as dist

_PATIENCE = timedelta(days=30)  # a cell may take hours


class Team:
    """Processes that share counters and values through the store of PyTorch's rendezvous; or one process alone.

    Work is taken piece by piece, so that a process with slow pieces does not keep the others waiting.
    """

    def __init__(self) -> None:
        self.rank, self.size = 0, 1
        self._store: Any = dist.HashStore()
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            self._store, self.rank, self.size = next(dist.rendezvous("env://"))
        self._store.set_timeout(_PATIENCE)

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes the tables."""
        return self.rank == 0

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

    def share(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives in the first process, in every process: plain values."""
        if self.leads:
            self._store.set(name, json.dumps(make()))
        return json.loads(self._store.get(name))
