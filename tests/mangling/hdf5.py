"""HDF5 mangled: datasets, links, texts, attributes, and the heads of MRD acquisitions."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from mangling.arrays import odd_array
from mangling.texts import edit_json, edit_text, encoded

REFUSE = "must refuse: "  # begins the name of what leaves nothing that could be read right
DATASETS = [
    *["array"] * 5, "gone", "group", "dangling", "external", "fifo", "virtual", "raw", "fill", "renamed", "null"
]  # fmt: skip


def _items(file: Any) -> list[Any]:
    found: list[Any] = []
    file.visititems(lambda name, item: found.append(item) if hasattr(item, "dtype") else None)
    return found


def hdf5_dataset(path: Path, rng: Random) -> str | None:
    """Of HDF5: a dataset of another kind, shape or type, a group in its place, or a link that leads nowhere."""
    import h5py

    with h5py.File(path, "r+") as file:
        item = rng.choice(_items(file))
        name, kind = item.name, item.dtype
        choice = rng.choice(DATASETS)
        if choice == "array" and kind.kind not in "fciub":
            choice = rng.choice(["text", "texts", "number"])
        value = item[()] if choice == "array" else None
        shape = item.shape
        if choice == "renamed":
            file.move(name, f"{name}_2")
            return f"{name} renamed"
        del file[name]
        needed = name in ("/kspace", "/maps", "/reconstruction", "/dataset/data", "/mask")
        refuse = REFUSE if needed and not (name == "/mask" and "kspace" in file) else ""
        if choice == "array":
            choice, array = odd_array(np.asarray(value), rng)
            file[name] = array
            refuse = ""
        elif choice == "text":
            file[name] = "abc"
        elif choice == "texts":
            file[name] = [b"abc", b"def"]
        elif choice == "number":
            file[name] = 7.0
        elif choice == "group":
            file.create_group(name)
        elif choice == "dangling":
            file[name] = h5py.SoftLink("/nowhere")
        elif choice == "external":
            file[name] = h5py.ExternalLink("nowhere.h5", name)
        elif choice == "fifo":
            os.mkfifo(path.with_name("pipe.h5"))
            file[name] = h5py.ExternalLink("pipe.h5", name)
        elif choice == "virtual" and kind.kind in "fciub" and shape:
            layout = h5py.VirtualLayout(shape, kind)
            layout[...] = h5py.VirtualSource("nowhere.h5", name, shape)
            file.create_virtual_dataset(name, layout)
        elif choice == "raw" and kind.kind in "fciub" and shape:
            size = int(np.prod(shape)) * kind.itemsize
            file.create_dataset(name, shape, kind, external=[(b"nowhere.raw", 0, size)])
        elif choice == "fill" and kind.kind in "fciub" and shape:  # declared, never written
            file.create_dataset(name, tuple(n * 1000 for n in shape), kind, chunks=True)
        elif choice == "null":
            file[name] = h5py.Empty(np.float32)
        return f"{refuse}{name}: {choice}"


def hdf5_text(path: Path, rng: Random) -> str | None:
    """Of HDF5: a text, XML or JSON, edited."""
    import h5py

    with h5py.File(path, "r+") as file:
        texts = [item for item in _items(file) if h5py.check_string_dtype(item.dtype)]
        if not texts:
            return None
        item = rng.choice(texts)
        name, shape = item.name, item.shape
        text = np.asarray(item[()]).reshape(-1)[0].decode()
        new = (
            json.dumps(edit_json(json.loads(text), rng))
            if text.startswith("{")
            else edit_text(text, rng)
        )
        stored = np.bytes_(encoded(new).replace(b"\0", b"?") or b" ")
        del file[name]
        file[name] = [stored] if shape else stored
        return f"{name}: {_change(text, new)}"


def hdf5_attribute(path: Path, rng: Random) -> str | None:
    """Of HDF5: an attribute of another kind."""
    import h5py

    with h5py.File(path, "r+") as file:
        if not len(file.attrs):
            return None
        name = rng.choice(sorted(file.attrs))
        odd = ["abc", -1.0, np.nan, [1, 2, 3], b"\xff\xfe", np.zeros((2, 2)), h5py.Empty("f4")]
        value: Any = rng.choice(odd)
        file.attrs[name] = value
        return f"attribute {name}: {value!r}"


def mrd_heads(path: Path, rng: Random) -> str | None:
    """Of MRD: one field of the heads of some readouts."""
    import h5py

    with h5py.File(path, "r+") as file:
        if "dataset/data" not in file or file["dataset/data"].dtype.names is None:
            return None
        data = file["dataset/data"]
        rows = data[:]
        head = rows["head"]
        name = rng.choice([n for n in head.dtype.names if n != "idx"] + ["idx"] * 8)
        chosen = rng.choice([slice(0, 1), slice(None), slice(None, None, 2), slice(-1, None)])
        target = head[name]
        if name == "idx":
            inner = rng.choice([n for n in target.dtype.names if n != "user"])
            target, name = target[inner], f"idx.{inner}"
        value = rng.choice([0, 1, 5, 21, 255])
        if target.dtype.kind == "f":
            value = rng.choice([0.0, -1.0, np.nan, np.inf, 1e30])
        target[chosen] = value
        data[:] = rows
        return f"heads[{chosen}].{name} = {value}"


def _change(old: str, new: str) -> str:
    start = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), 0)
    return f"{old[max(start - 30, 0) : start + 20]!r} -> {new[max(start - 30, 0) : start + 20]!r}"
