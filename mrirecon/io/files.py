"""Files that appear whole or not at all, and the JSON that stands beside each output."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

PathLike = str | os.PathLike[str]


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


def existing_file(path: PathLike) -> Path:
    """The path, when it is a file that can be opened.

    Raises:
        FileNotFoundError: if there is nothing.
        IsADirectoryError: if it is a folder.
        OSError: if it is a pipe or a device.
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
    return path


def check_target(path: PathLike, overwrite: bool = False) -> Path:
    """The path, when a file may be written there; call it before hours of work.

    Raises:
        FileNotFoundError, NotADirectoryError, PermissionError: if the folder is missing, none, or read-only.
        FileExistsError: if there is a file already and `overwrite` is false.
        IsADirectoryError: if there is a folder of that name.
    """
    path = Path(path)
    folder = path.parent
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
    return path


@contextmanager
def replacing(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Temporary names in the same folder for `paths`; on success they are renamed in order, on failure removed.

    The last path is the one whose existence means "complete": when it is being overwritten it goes first, so that a
    killed run never leaves an old file beside new companions.

    Raises:
        OSError: of the same kind as what went wrong (disk full, no permission, ...), as one sentence.
    """
    token = secrets.token_hex(4)
    parts = tuple(path.with_name(f".partial-{token}-{path.name}") for path in paths)
    try:
        yield parts
        if len(paths) > 1:
            paths[-1].unlink(missing_ok=True)
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)
    except OSError as error:
        if error.errno is None:  # a sentence already, from a reader or writer further in
            raise
        raise type(error)(f"cannot write {paths[-1]}: {os.strerror(error.errno)}") from error
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def clear_partial(folder: Path) -> None:
    """Remove what killed runs left half-written in a folder that no other run writes to."""
    for path in folder.glob(".partial-*"):
        path.unlink(missing_ok=True)


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
