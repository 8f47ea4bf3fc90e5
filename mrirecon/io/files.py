"""Files that appear whole or not at all, and the JSON that stands beside each output."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PathLike = str | os.PathLike[str]
LONGEST_NAME = 255 - len(".slices") - 1  # what stands beside an output has a longer name than it


def suffix_of(path: PathLike, suffixes: Sequence[str]) -> str:
    """The longest of `suffixes` that the name ends in, whatever its case.

    Raises:
        ValueError: if it ends in none of them; the message lists them.
    """
    name = Path(path).name.lower()
    found = [suffix for suffix in suffixes if name.endswith(suffix) and name != suffix]
    if not found:
        raise ValueError(f"{path}: the file name must end in one of {', '.join(suffixes)}")
    return max(found, key=len)


def sidecar(path: PathLike) -> Path:
    """`brain.nii.gz` -> `brain.nii.gz.json`, where an output's description stands."""
    path = Path(path)
    return path.with_name(path.name + ".json")


def printable(path: PathLike) -> str:
    """A path as text of valid characters, which names on a disk need not be."""
    return os.fsencode(path).decode("utf-8", errors="replace")


def existing_file(path: PathLike) -> Path:
    """The path, when it is a file that can be opened.

    Raises:
        FileNotFoundError: if there is nothing.
        IsADirectoryError: if it is a folder.
        OSError: if it is a pipe or a device, or cannot be read.
        PermissionError: if it may not be read.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give a file")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if not path.is_file():
        raise OSError(f"{path} is a pipe or a device: copy it to a file first")
    if not os.access(path, os.R_OK):
        raise PermissionError(f"{path} may not be read: check its permissions")
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # of /proc, it may wait
        try:
            os.read(file, 1)
        finally:
            os.close(file)
    except OSError as error:
        reason = os.strerror(error.errno or 5)
        raise type(error)(f"{path} cannot be read ({reason}): copy it to another place") from error
    return path


def check_target(path: PathLike, overwrite: bool = False) -> Path:
    """The path, when a file may be written there; call it before hours of work. What a killed run left of it goes.

    Raises:
        FileNotFoundError, NotADirectoryError, PermissionError: if the folder is missing, none, or read-only.
        FileExistsError: if there is a file already and `overwrite` is false.
        IsADirectoryError: if there is a folder of that name.
        OSError: if the name is too long.
    """
    path = Path(path)
    folder = path.parent
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise OSError(f"cannot write {path}: its name is longer than {LONGEST_NAME} bytes")
    if not folder.exists():
        raise FileNotFoundError(f"cannot write {path}: the folder {folder} does not exist")
    if not folder.is_dir():
        raise NotADirectoryError(f"cannot write {path}: {folder} is not a folder")
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder, give a file name")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already: choose another name or give --overwrite")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"cannot write {path}: the folder {folder} is read-only")
    clear_partial(folder, path.name)
    return path


@contextmanager
def replacing(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Temporary names in the same folder for `paths`; on success they are renamed in order, on failure removed.

    The last path is the one whose existence means "complete": when it is being overwritten it goes first, so that a
    killed run never leaves an old file beside new companions.

    Raises:
        OSError: of the same kind as what went wrong (disk full, no permission, ...), as one sentence.
    """
    with ExitStack() as stack:
        try:
            for path in paths:
                clear_partial(path.parent, path.name)
            parts = tuple(stack.enter_context(_partial(path)) for path in paths)
            yield parts
            if len(paths) > 1:
                paths[-1].unlink(missing_ok=True)
            for part, path in zip(parts, paths, strict=True):
                part.replace(path)
        except OSError as error:
            if error.errno is None:  # a sentence already, from a reader or writer further in
                raise
            raise type(error)(f"cannot write {paths[-1]}: {os.strerror(error.errno)}") from error


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, removed at the end; its lock says that whoever writes it is alive."""
    part, file = _new_partial(path)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)
        _unlock(file)


def _new_partial(path: Path, tries: int = 3) -> tuple[Path, int]:
    """An empty file, open and locked. It is not where the file system has no locks: then no other run removes it."""
    part = path.with_name(f".partial-{secrets.token_hex(4)}-{_tail(path.name)}")
    file = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    # Another run may have met it before the lock.
    if tries > 1 and not (_lock(file) and part.exists()):
        part.unlink(missing_ok=True)
        _unlock(file)
        return _new_partial(path, tries - 1)
    return part, file


def clear_partial(folder: Path, name: str | None = None) -> None:
    """Remove what killed runs left half-written in a folder, of one output or of all; what lives is locked."""
    pattern = "*" if name is None else f"????????-{escape(_tail(name))}"
    for path in folder.glob(f".partial-{pattern}"):
        with suppress(OSError):  # gone in between, or not ours
            file = os.open(path, os.O_RDWR)
            if _lock(file):
                path.unlink(missing_ok=True)
            _unlock(file)


def _tail(name: str) -> str:
    """Of a long name the end, which has the suffix: the temporary name must not be too long where it is not."""
    return os.fsdecode(os.fsencode(name)[-200:])


def _lock(file: int) -> bool:
    """Lock an open file, which ends with the process; False if another one has it, or there are no locks here."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (OSError, AttributeError):
        return False
    return True


def _unlock(file: int) -> None:
    """Close an open file; a process forked meanwhile may have it open still."""
    with suppress(OSError, AttributeError):
        fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


def write_json(path: Path, info: Mapping[str, Any]) -> None:
    """Write `info` as strict JSON; arrays become lists, numbers that are not finite become null."""
    path.write_text(json.dumps(_plain(info), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """What JSON can hold; anything unknown becomes its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    return str(value)
