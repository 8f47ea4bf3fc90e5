"""What several processes found, on every one of them."""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

import torch.distributed


@runtime_checkable
class Numbered(Protocol):
    """A slice that was judged."""

    @property
    def volume(self) -> str: ...

    @property
    def number(self) -> int: ...


Part = TypeVar("Part")
Score = TypeVar("Score", bound=Numbered)


def gather(scores: list[Score]) -> list[Score]:
    """The scores of all processes, on every one of them, in order of volume and slice.

    Slices judged twice (samplers fill up the last batches of a process) count once.
    """
    unique = {(s.volume, s.number): s for part in of_all_processes(scores) for s in part}
    return [unique[key] for key in sorted(unique)]


def of_all_processes(part: Part) -> list[Part]:
    """What each process has, on every one of them, in their order; all must call this together."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [part]
    parts = [part] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, part)
    return parts
