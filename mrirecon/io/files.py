"""Files that are written completely or not at all, and the JSON beside each output."""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from difflib import get_close_matches
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
LONGEST_NAME = 255 - len(".slices") - 1  # bytes, with room for the suffixes of files beside it


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
    """The path of the description of an output: `brain.nii.gz` -> `brain.nii.gz.json`."""
    path = Path(path)
    return path.with_name(path.name + ".json")


def printable(path: PathLike) -> str:
    """A path as valid text; bytes of a file name that are not UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", errors="replace")


def _near(path: Path) -> str:
    """What of the same folder was probably meant by a name that is not there; or that there is no such folder."""
    try:
        names = [one.name for one in path.parent.iterdir()]
    except OSError:
        return f", nor a folder {path.parent}"
    near = get_close_matches(path.name, names, n=1, cutoff=0.8)
    return f": did you mean {path.parent / near[0]}?" if near else ""


def existing_file(path: PathLike) -> Path:
    """The path, after checking that it is a file that can be opened.

    Raises:
        FileNotFoundError: if it does not exist.
        IsADirectoryError: if it is a folder.
        OSError: if it is a pipe or a device, or cannot be read.
        PermissionError: if it may not be read.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give a file")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file{_near(path)}")
    if not path.is_file():
        raise OSError(f"{path} is a pipe or a device: copy it to a file first")
    if not os.access(path, os.R_OK):
        raise PermissionError(f"{path} may not be read: check its permissions")
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # files in /proc may block
        try:
            os.read(file, 1)
        finally:
            os.close(file)
    except OSError as error:
        reason = os.strerror(error.errno or 5)
        raise type(error)(f"{path} cannot be read ({reason}): copy it to another place") from error
    return path


def check_target(path: PathLike, overwrite: bool = False, *, is_folder: bool = False) -> Path:
    """The path, after checking that a file can be written there; to be called before a long computation.

    Partial files that a killed run left for this output are removed.

    Raises:
        FileNotFoundError, NotADirectoryError, PermissionError: if its folder is missing, not a folder, or read-only.
        FileExistsError: if there is a file already and `overwrite` is false.
        IsADirectoryError: if there is a folder of that name, and no folder is to be written.
        OSError: if the name is too long.
    """
    path = Path(path)
    folder = path.parent
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise OSError(f"cannot write {path}: its name is longer than {LONGEST_NAME} bytes")
    if not folder.exists():
        raise FileNotFoundError(
            f"cannot write {path}: the folder {folder} does not exist: make it first"
        )
    if not folder.is_dir():
        raise NotADirectoryError(f"cannot write {path}: {folder} is not a folder")
    if path.is_dir() and not is_folder:
        raise IsADirectoryError(f"cannot write {path}: it is a folder, give a file name")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already: choose another name or give --overwrite")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"cannot write {path}: the folder {folder} is read-only")
    clear_partial(folder, path.name)
    return path


def make_folder(folder: Path) -> Path:
    """The folder, made where it is missing.

    Raises:
        OSError: if that is not possible, in one sentence.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "is a file" if isinstance(error, FileExistsError) else f"({error.strerror})"
        raise type(error)(f"{folder} cannot be made a folder: it {reason}") from error
    return folder


@contextmanager
def replacing(*paths: Path, folders: Collection[Path] = ()) -> Iterator[tuple[Path, ...]]:
    """Temporary names in the same folder for `paths`; on success they are renamed in order, on failure removed.

    The existence of the last path means that the output is complete. When it is overwritten, the old file is removed
    first, so that a killed run never leaves an old file beside new companions. Those in `folders` are folders, which
    are renamed with everything in them.

    Raises:
        OSError: of the same kind as what went wrong (disk full, no permission, ...), as one sentence.
    """
    with ExitStack() as stack:
        try:
            for path in paths:
                clear_partial(path.parent, path.name)
            parts = tuple(stack.enter_context(_partial(path, path in folders)) for path in paths)
            yield parts
            if len(paths) > 1:
                _remove(paths[-1])
            for part, path in zip(parts, paths, strict=True):
                if path in folders:
                    _remove(path)
                part.replace(path)
        except OSError as error:
            if error.errno is None:  # raised with a message by a reader or writer of this package
                raise
            raise type(error)(f"cannot write {paths[-1]}: {os.strerror(error.errno)}") from error


@contextmanager
def _partial(path: Path, is_folder: bool) -> Iterator[Path]:
    """A temporary file or folder beside `path`, removed at the end; it is locked as long as its writer is alive."""
    part, file = _new_partial(path, is_folder)
    try:
        yield part
    finally:
        _remove(part)
        _unlock(file)


def _new_partial(path: Path, is_folder: bool, tries: int = 3) -> tuple[Path, int]:
    """An empty file or folder, open and locked. On a file system without locks no other run removes it either."""
    part = path.with_name(f".partial-{secrets.token_hex(4)}-{_tail(path.name)}")
    if is_folder:
        part.mkdir()
    create = 0 if is_folder else os.O_CREAT | os.O_EXCL | os.O_RDWR
    file = os.open(part, os.O_RDONLY | create, 0o666)
    # Another run may have met it before the lock.
    if tries > 1 and not (_lock(file) and part.exists()):
        _remove(part)
        _unlock(file)
        return _new_partial(path, is_folder, tries - 1)
    return part, file


def _remove(path: Path) -> None:
    """Remove a file, or a folder with everything in it, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def clear_partial(folder: Path, name: str | None = None) -> None:
    """Remove partial files that killed runs left in a folder, for one output or for all; locked ones are in use."""
    pattern = "*" if name is None else f"????????-{escape(_tail(name))}"
    for path in folder.glob(f".partial-{pattern}"):
        with suppress(OSError):  # removed meanwhile, or of another user
            file = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
            if _lock(file):
                _remove(path)
            _unlock(file)


def _tail(name: str) -> str:
    """The last 200 bytes of a name, with its suffix, so that temporary names never exceed the limit of 255 bytes."""
    return os.fsdecode(os.fsencode(name)[-200:])


def _lock(file: int) -> bool:
    """Lock an open file until the process ends; False if another process holds the lock, or there are no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (OSError, AttributeError):
        return False
    return True


def _unlock(file: int) -> None:
    """Unlock and close an open file; closing alone would leave the lock to a process that was forked meanwhile."""
    with suppress(OSError, AttributeError):
        fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


def write_json(path: Path, info: Mapping[str, Any]) -> None:
    """Write `info` as strict JSON; arrays become lists, numbers that are not finite become null."""
    path.write_text(json.dumps(_plain(info), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """A value as JSON types; anything unknown becomes its text."""
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
