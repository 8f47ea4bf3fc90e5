"""Batches of slices of one size: the same in every run, on any number of processes, and from the middle of an epoch."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle, islice
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from pytorch_lightning import Trainer
from torch import Tensor
from torch.utils.data import Sampler


@runtime_checkable
class SliceStack(Protocol):
    """Slices of one volume; those with equal `bucket` fit into one batch."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def bucket(self) -> tuple[Any, ...]: ...


@runtime_checkable
class Batches(Protocol):
    """Makes a batch, a named tuple, of what a sampler asks for."""

    def __getitems__(self, requests: list[Any]) -> Any: ...


class SliceRequest(NamedTuple):
    """Which slice of which entry, in which epoch (that decides the random mask)."""

    epoch: int
    entry: int
    index: int  # type: ignore[assignment]


class BucketSampler(Sampler[list[SliceRequest]]):
    """Batches of slices that agree in coils, size and window, for one of several processes.

    The slices of a bucket are cut into groups of batch_size * processes, and each process takes its share of every
    group, so that n processes see what one process with n-fold batches sees. In training the last group of a bucket is
    filled up with slices that were seen already; in validation only as far as each process needs one, and copies are
    recognised by (volume, index).

    Args:
        entries: the files.
        batch_size: slices per batch and process.
        seed: of the order, drawn anew in each epoch; None keeps the order of the files (validation).
        rank: of this process.
        processes: their number.

    Attributes:
        epoch: that is drawn.
        start: batch that the next pass begins with.
        position: batches of the epoch that were handed out.
        volumes: number of entries.
        slices: number of slices in them.
        sizes: number of sizes among them.
    """

    def __init__(
        self,
        entries: Sequence[SliceStack],
        batch_size: int,
        seed: int | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: give at least 1")
        self.batch_size, self.seed, self.rank, self.processes = batch_size, seed, rank, processes
        self.epoch = self.start = self.position = 0
        buckets: defaultdict[Any, list[tuple[int, int]]] = defaultdict(list)
        for number, entry in enumerate(entries):
            buckets[entry.bucket] += [(number, index) for index in range(entry.shape[0])]
        self._buckets = list(buckets.values())
        self.volumes, self.sizes = len(entries), len(self._buckets)
        self.slices = sum(len(bucket) for bucket in self._buckets)

    @property
    def sampler(self) -> BucketSampler:
        """Itself, where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; another than the present one begins at its first batch."""
        if epoch != self.epoch:
            self.epoch, self.start, self.position = epoch, 0, 0

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return sum(-(-len(bucket) // self._group) for bucket in self._buckets)

    def __iter__(self) -> Iterator[list[SliceRequest]]:
        for group in islice(self._groups(), self.start, None):
            share = group[self.rank :: self.processes]
            yield [SliceRequest(self.epoch, *slice_) for slice_ in share]

    @property
    def _group(self) -> int:
        return self.batch_size * self.processes

    def _groups(self) -> list[list[tuple[int, int]]]:
        random = None if self.seed is None else np.random.default_rng((self.seed, self.epoch))
        groups = []
        for bucket in self._buckets:
            order = bucket if random is None else _shuffled(bucket, random)
            for begin in range(0, len(order), self._group):
                group = order[begin : begin + self._group]
                share = self.batch_size if random is not None else -(-len(group) // self.processes)
                copies = cycle(group if random is None else order)
                groups.append(group + list(islice(copies, share * self.processes - len(group))))
        return groups if random is None else _shuffled(groups, random)


def _shuffled(items: list[Any], random: np.random.Generator) -> list[Any]:
    return [items[i] for i in random.permutation(len(items))]


def share_of(trainer: Trainer | None) -> tuple[int, int, bool]:
    """Number of this process, how many there are, and whether a device is to be copied to; alone without a trainer."""
    if trainer is None:
        return 0, 1, False
    device = trainer.strategy.root_device.type
    return trainer.global_rank, trainer.world_size, device != "cpu"


class SliceLoader:
    """Batches read ahead by threads; it can stop and go on in the middle of an epoch.

    Threads, since reading HDF5 and masking leave the interpreter free, and k-space from a worker process would have to
    pass through shared memory, at twice the cost of the read. HDF5 itself reads for one thread at a time.

    Args:
        dataset: reads the slices.
        batches: says which.
        workers: threads, each with files of its own, at two batches ahead; 0 reads when a batch is asked for.
        pin: whether batches are put in page-locked memory, for faster copies to a device.
    """

    def __init__(
        self, dataset: Batches, batches: BucketSampler, workers: int = 0, pin: bool = False
    ) -> None:
        if workers < 0:
            raise ValueError(f"workers is {workers}: give 0 or more")
        self.dataset, self.batch_sampler, self.workers, self.pin = dataset, batches, workers, pin

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        # A generator, because Lightning asks for the iterator before it sets the epoch.
        batches = self.batch_sampler
        batches.position = batches.start
        for batch in self._read_ahead() if self.workers else map(self._read, batches):
            batches.position += 1
            yield batch
        batches.start = 0

    def _read_ahead(self) -> Iterator[Any]:
        ahead: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(self.workers, "slices") as pool:
            try:
                for requests in self.batch_sampler:
                    ahead.append(pool.submit(self._read, requests))
                    if len(ahead) > 2 * self.workers:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def _read(self, requests: list[Any]) -> Any:
        batch = self.dataset.__getitems__(requests)
        if not self.pin:
            return batch
        tensors = {name: x for name, x in batch._asdict().items() if isinstance(x, Tensor)}
        pinned: dict[str, Any] = {name: x.pin_memory() for name, x in tensors.items()}
        return batch._replace(**pinned)

    def state_dict(self) -> dict[str, Any]:
        """The epoch and how many of its batches were handed out; those that workers have read ahead do not count."""
        return {"epoch": self.batch_sampler.epoch, "batches": self.batch_sampler.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the last batch that was handed out."""
        self.batch_sampler.set_epoch(state["epoch"])
        self.batch_sampler.start = self.batch_sampler.position = state["batches"]
