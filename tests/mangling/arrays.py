"""npy and npz mangled: headers, arrays, members."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np


def odd_array(array: np.ndarray, rng: Random) -> tuple[str, np.ndarray]:
    """The array with another type, shape or values."""
    line = np.atleast_1d(array)
    kinds: dict[str, Callable[[], np.ndarray]] = {
        "float32": lambda: np.abs(array).astype(np.float32),
        "complex128": lambda: array.astype(np.complex128),
        "big-endian": lambda: array.astype(array.dtype.newbyteorder(">")),
        "int16": lambda: np.abs(array).astype(np.int16),
        "text": lambda: np.full(array.shape or (1,), b"abc"),
        "record": lambda: np.zeros(array.shape, [("real", "<f4"), ("i", "<f4")]),
        "one axis less": lambda: line[0],
        "one axis more": lambda: array[None],
        "two axes more": lambda: array[None, None],
        "axes turned": lambda: array.T,
        "axes swapped": lambda: np.moveaxis(line, 0, -1),
        "one item less": lambda: line[..., :-1],
        "one slice less": lambda: line[:-1],
        "one item more": lambda: np.concatenate([line, line[..., :1]], axis=-1),
        "a single item": lambda: line[..., :1],
        "empty": lambda: line[..., :0],
        "a number": lambda: np.array(7.0),
        "all zero": lambda: np.zeros_like(array),
        "NaN": lambda: np.where(np.arange(array.size).reshape(array.shape) == 0, np.nan, array),
        "infinite": lambda: np.full(array.shape, np.inf),
        "negative": lambda: -1 - np.abs(array).astype(float),
        "huge": lambda: np.full(array.shape, 1e30).astype(array.dtype),
        "two": lambda: np.full(array.shape, 2).astype(array.dtype),
    }
    name = rng.choice(list(kinds))
    with np.errstate(all="ignore"):
        return name, np.asarray(kinds[name]())


def npy_header(path: Path, rng: Random) -> str | None:
    """Of an npy: another shape, type or order over the same bytes."""
    content = path.read_bytes()
    length = struct.unpack("<H", content[8:10])[0]
    text = content[10 : 10 + length].decode("latin1")
    shape, kind = re.search(r"\((.*?)\)", text), re.search(r"'descr': '(.*?)'", text)
    if shape is None or kind is None:
        return None
    shapes = [
        "",
        "0,",
        "-1, 4",
        "1,",
        "9999999999, 4",
        "4, 24, 20, 3",
        "3, 4, 24",
        "3, 4, 20, 24",
        "3.0, 4",
    ]
    types = [
        "<f4",
        "<c16",
        ">c8",
        "|O",
        "<U2",
        "<M8[s]",
        "|V8",
        "<c8, <f4",
        "abc",
        "<f2",
        "|b1",
        "<i8",
    ]
    edits = [
        lambda: text.replace(f"({shape[1]})", f"({rng.choice(shapes)})"),
        lambda: text.replace(f"'{kind[1]}'", f"'{rng.choice(types)}'"),
        lambda: text.replace("False", "True").replace(
            "True", "None" if rng.random() < 0.3 else "True"
        ),
        lambda: text.replace("descr", "kind"),
        lambda: "__import__('os').abort()",
    ]
    new = rng.choice(edits)()
    header = new.strip().ljust(length - 1).encode("latin1") + b"\n"
    path.write_bytes(content[:8] + struct.pack("<H", len(header)) + header + content[10 + length :])
    return f"npy header {new.strip()}"


def npy_array(path: Path, rng: Random) -> str | None:
    """Of an npy: another array."""
    name, array = odd_array(np.load(path), rng)
    np.save(path, array)
    return f"npy: {name}"


def npz_member(path: Path, rng: Random) -> str | None:
    """Of an npz: a member changed, gone, renamed, added, or no array at all."""
    with np.load(path) as archive:
        arrays = dict(archive)
    name = rng.choice(list(arrays))
    choice = rng.choice(["array", "array", "gone", "renamed", "bytes", "bytes", "added", "twice"])
    raw: dict[str, bytes] = {}
    if choice == "array":
        choice, arrays[name] = odd_array(arrays[name], rng)
    elif choice == "gone":
        del arrays[name]
    elif choice == "renamed":
        arrays["other"] = arrays.pop(name)
    elif choice == "added":
        arrays["mask"] = np.ones(rng.choice([1, 5, 20]), rng.choice(["?", "<f4", "S1"]))
    elif choice == "bytes":
        del arrays[name]
        content = rng.choice([b"", b"text", b"\x93NUMPY", rng.randbytes(200)])
        raw[rng.choice([name, f"{name}.npy"])] = content
    with zipfile.ZipFile(path, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as file:
        for key, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            file.writestr(f"{key}.npy", buffer.getvalue())
        for key, content in raw.items():
            file.writestr(key, content)
    return f"npz member {name}: {choice}"
