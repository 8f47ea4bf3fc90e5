"""HDF5 files that keep data in other files: refused, except virtual datasets whose sources are complete.

libhdf5 reads zeros where the source of a virtual dataset is missing, waits for ever at a link to a pipe, and follows
links to any file that the user can read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from mrirecon.io.hdf5_stream import ReadStream

Stamp = tuple[Path, int, int, int]
REMEDY = "write all data into one file, for instance with h5repack"


def stamp(path: Path) -> Stamp:
    """Identifies a file and its state: path, modification time, size and inode."""
    stat = path.stat()
    return path, stat.st_mtime_ns, stat.st_size, stat.st_ino


@lru_cache(maxsize=4096)
def is_whole(file: Stamp) -> bool:
    """Whether all data are in the file itself; if not, it has virtual datasets, which `check_sources` must check.

    Raises:
        ValueError: if it has links to other files, or datasets with raw data in other files.
    """
    import h5py

    path = file[0]
    whole = True
    with closing(ReadStream(path)) as stream, h5py.File(stream, "r") as opened:
        for name, dataset in _datasets(path, opened):
            settings = dataset.get_create_plist()
            if settings.get_external_count():
                other = _text(settings.get_external(0)[0])
                raise ValueError(
                    f"{path}: {name} keeps its data in another file, {other}: {REMEDY}"
                )
            whole &= settings.get_layout() != h5py.h5d.VIRTUAL
    return whole


def check_sources(path: Path) -> None:
    """Check that the sources of all virtual datasets exist and cover them.

    Raises:
        ValueError: naming the dataset and the source that is missing or incomplete.
    """
    import h5py

    with closing(ReadStream(path)) as stream, h5py.File(stream, "r") as file:
        for name, dataset in _datasets(path, file):
            settings = dataset.get_create_plist()
            if settings.get_layout() == h5py.h5d.VIRTUAL and (reason := _gap(path, settings)):
                raise ValueError(f"{path}: {name} is put together from other files, {reason}")


def _datasets(path: Path, file: Any) -> Iterator[tuple[str, Any]]:
    """Name and low-level object of every dataset in the file; no other file is opened."""
    import h5py

    groups, seen = [("", file.id)], set()
    while groups:
        place, group = groups.pop()
        for link in list(group):
            name = f"{place}{_text(link)}"
            about = group.links.get_info(link)
            if about.type == h5py.h5l.TYPE_SOFT:
                continue  # its target is in this file and is visited itself
            if about.type != h5py.h5l.TYPE_HARD:
                external = about.type == h5py.h5l.TYPE_EXTERNAL
                where = _text(group.links.get_val(link)[0]) if external else "of an unknown kind"
                raise ValueError(f"{path}: {name} is a link to another file, {where}: {REMEDY}")
            try:
                item = h5py.h5o.open(group, link)
                if isinstance(item, h5py.h5d.DatasetID):
                    yield name, item
                elif isinstance(item, h5py.h5g.GroupID) and about.u not in seen:
                    seen.add(about.u)
                    groups.append((f"{name}/", item))
            except (OSError, KeyError, RuntimeError):
                continue  # damaged: reading it will raise an error


def _gap(path: Path, settings: Any) -> str:
    """Why reading a virtual dataset would give zeros in place of data; empty if it would not."""
    chosen = []
    for number in range(settings.get_virtual_count()):
        source = settings.get_virtual_filename(number)
        name = settings.get_virtual_dsetname(number)
        chosen.append(_chosen(settings.get_virtual_vspace(number)))
        points = prod(int(axis.sum()) for axis in chosen[-1])
        if reason := _fault(path, source, name, settings.get_virtual_srcspace(number), points):
            return f"of which {source} {reason}"
    return "" if _tile(chosen) else f"which do not fill it: {REMEDY}"


def _fault(path: Path, source: str, name: str, wanted: Any, points: int) -> str:
    """What is wrong with one source, whose selection `wanted` is to fill `points` elements; empty if nothing is."""
    import h5py

    if re.search("%[^%]", source + name + " "):
        return f"is a pattern of names: {REMEDY}"
    file = path if source == "." else path.parent / source
    if not file.is_file():
        return "is missing: copy it to where it was" if not file.exists() else "is no file"
    try:
        if not is_whole(stamp(file)) and source != ".":
            return f"is itself put together from others: {REMEDY}"
        with closing(ReadStream(file)) as stream, h5py.File(stream, "r") as opened:
            dataset = opened.get(name)
            if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual:
                return f"has no dataset {name}"
            if wanted.get_select_type() == h5py.h5s.SEL_ALL:
                fits = dataset.size == points
            else:
                last = wanted.get_select_bounds()[1]
                fits = len(last) == dataset.ndim and all(np.less(last, dataset.shape))
            if not fits:
                return f"has {name} in another size than it had"
            return "" if dataset.id.get_storage_size() else f"has nothing in {name}"
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        return f"cannot be read ({error})"


def _chosen(space: Any) -> list[np.ndarray]:
    """A selection as one 0/1 array per axis; empty for one that is not a product over axes, or is unlimited."""
    import h5py

    size = space.get_simple_extent_dims()
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return [np.ones(length, np.float32) for length in size]
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        return []
    axes = []
    for length, first, stride, count, block in zip(
        size, *space.get_regular_hyperslab(), strict=True
    ):
        if count > length:
            return []
        axis = np.zeros(length, np.float32)
        for start in range(first, first + count * stride, stride):
            axis[start : start + block] = 1
        axes.append(axis)
    return axes


def _tile(parts: list[list[np.ndarray]]) -> bool:
    """Whether selections, each one 0/1 array per axis, fill an array without overlapping."""
    if not parts or [] in parts:
        return False
    axes = [np.stack(axis) for axis in zip(*parts, strict=True)]  # per axis (part, index)
    meet = np.logical_and.reduce([axis @ axis.T > 0 for axis in axes])
    filled = sum(prod(int(axis.sum()) for axis in part) for part in parts)
    return filled == prod(axis.shape[1] for axis in axes) and int(meet.sum()) == len(parts)


def _text(name: Any) -> str:
    return name.decode("utf-8", errors="replace") if isinstance(name, bytes) else str(name)
