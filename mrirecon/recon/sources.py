"""The files that a reconstruction is made from."""

from __future__ import annotations

from pathlib import Path

from mrirecon.io.cfl import parts_of


def status_of(source: str) -> dict[str, int] | None:
    """Whether a file is still the same is told by this, for its hash takes as long as reading it; None of no file."""
    if not (parts := files_of(source)):
        return None
    status = [part.stat() for part in parts]
    return {
        "size": sum(part.st_size for part in status),
        "modified": max(part.st_mtime_ns for part in status),
    }


def files_of(source: str) -> tuple[Path, ...]:
    """The files of that name; none where it is the name of something else, as of a kind of mask."""
    try:
        return parts_of(Path(source))
    except OSError:
        return ()
