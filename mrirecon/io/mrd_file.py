"""The HDF5 file of an MRD measurement: where it lies, its header, and the heads and samples of its acquisitions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrirecon.io.energy import Load
from mrirecon.io.hdf5 import read_text, reading


def read_acquisitions(path: Path, notes: list[str]) -> tuple[str, np.ndarray, Load]:
    """The XML header, the heads of all acquisitions, and what loads their samples.

    Raises:
        ValueError: if the file is damaged or holds not one MRD measurement.
    """
    with _open(path) as file, naming(path):
        group = _group(file, notes)
        header = read_text(file[group]["xml"], str(path))
        return header, _read_heads(file[group]["data"]), _Samples(path, group)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name before what a ValueError says."""
    try:
        yield
    except ValueError as error:
        said = str(error)
        raise ValueError(said if said.startswith(str(path)) else f"{path}: {said}") from error


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """`reading`, with the odder exceptions that mangled HDF5 draws from h5py."""
    try:
        with reading(path) as file:
            yield file
    except (TypeError, AttributeError, LookupError, MemoryError, OverflowError) as error:
        raise ValueError(f"{path}: the HDF5 file is damaged: copy or export it again") from error


def _group(file: Any, notes: list[str]) -> str:
    """Name of the group that holds the measurement, `dataset` by convention."""
    import h5py

    groups = [
        name for name, item in file.items() if isinstance(item, h5py.Group) and "data" in item
    ]
    if "dataset" in groups:
        group = "dataset"
    elif len(groups) == 1:
        group = groups[0]
        notes.append(f"measurement read from group {group!r}")
    elif groups:
        listed = ", ".join(groups)
        raise ValueError(f"several measurements ({listed}): export one of them to its own file")
    elif "dataset" in file:
        raise ValueError("group 'dataset' holds no acquisitions: it has no 'data'")
    else:
        listed = ", ".join(file) or "nothing"
        raise ValueError(f"no MRD group 'dataset' in the file, which holds {listed}")
    if "xml" not in file[group]:
        raise ValueError(f"group {group!r} has no 'xml': the MRD header is missing")
    xml = file[group]["xml"]
    # Before it is read: damaged, it may be huge.
    if xml.size != 1 or h5py.check_string_dtype(xml.dtype) is None:
        raise ValueError(f"'xml' in group {group!r} is not one string: the file is damaged")
    fields = file[group]["data"].dtype.names or ()
    if not {"head", "traj", "data"} <= set(fields):
        raise ValueError(f"group {group!r} holds something other than MRD acquisitions")
    return group


def _read_heads(data: Any) -> np.ndarray:
    """The heads of all acquisitions, without their samples.

    Asked for this field, HDF5 would load (and h5py leak) the samples too; the stored records hold the heads in full and
    only a reference to the samples, so they are read as they are.
    """
    if data.ndim != 1:
        raise ValueError(f"its acquisitions form a {data.ndim}-dimensional array, expected a list")
    if data.chunks is None or data.compression is not None or data.shuffle:
        blocks = [data[start : start + 256]["head"] for start in range(0, len(data), 256)]
        return np.concatenate([np.zeros(0, data.dtype["head"]), *blocks])
    stored = data.id.get_type()
    members = [stored.get_member_index(name) for name in (b"head", b"traj", b"data")]
    record = np.dtype(
        {
            "names": ["head", "traj", "data"],  # of the references to samples: how many there are
            "formats": [stored.get_member_type(members[0]).dtype, "<u4", "<u4"],
            "offsets": [stored.get_member_offset(member) for member in members],
            "itemsize": stored.get_size(),
        }
    )
    heads = np.empty(len(data), record["head"])
    # libhdf5 takes the memory before it looks whether there are so many.
    most = data.file.id.get_filesize() // 4
    for start in range(0, len(data), data.chunks[0]):
        count = min(data.chunks[0], len(data) - start)
        if data.id.get_chunk_info_by_coord((start,)).size != data.chunks[0] * record.itemsize:
            raise ValueError("its list of acquisitions is damaged: copy or export it again")
        chunk = np.frombuffer(data.id.read_direct_chunk((start,))[1], record, count)
        if max(chunk["traj"].max(), chunk["data"].max()) > most:
            raise ValueError("its acquisitions are damaged: copy or export it again")
        heads[start : start + count] = chunk["head"]
    return heads


@dataclass(frozen=True)
class _Samples:
    """Loads the samples of readouts: opens the file for each call, so that it can be forked and pickled."""

    path: Path
    group: str

    def __call__(self, lines: np.ndarray) -> list[np.ndarray]:
        with _open(self.path) as file, naming(self.path):
            # Both vlen fields at once: h5py leaks those of a record that are not asked for.
            values = file[self.group]["data"].fields(["traj", "data"])[lines["row"]]["data"]
        samples = []
        for line, value in zip(lines, values, strict=True):
            coils, count = int(line["coils"]), int(line["samples"])
            if value.size != 2 * coils * count:
                raise ValueError(
                    f"{self.path}: acquisition {line['row']} holds {value.size} numbers, its head says "
                    f"{coils} coils of {count} complex samples: the file is damaged"
                )
            flat = np.ascontiguousarray(value, dtype=np.float32)
            samples.append(flat.view(np.complex64).reshape(coils, count))
        return samples
