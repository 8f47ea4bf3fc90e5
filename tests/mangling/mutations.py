"""How files are mangled: bytes of any file, and the structure of each format.

A mutation takes a file and a random stream, changes the file in place and gives its name in words, or None where it
does not apply. What begins with `REFUSE` leaves nothing that could be read right.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

Mutation = Callable[[Path, Random], "str | None"]
REFUSE = "must refuse: "
WORDS = ["0", "-1", "1", "7", "999999999", "1e30", "nan", "120.0", "0.5", "abc", "", "4" * 40, "１６"]  # fmt: skip  # noqa: RUF001
VALUES: list[Any] = [None, 0, -1, 3, 1e30, -2.5, "abc", "", [], [1], [[]], {}, True, [1, "a"], 10**12]  # fmt: skip


# --- bytes of any file


def truncate(path: Path, rng: Random) -> str | None:
    size = path.stat().st_size
    kept = rng.choice([rng.randrange(size), max(size - rng.randrange(1, 64), 0), 0])
    os.truncate(path, kept)
    # Of the others, what is lost may be padding, a checksum or a comment.
    refuse = REFUSE if path.suffix in (".h5", ".mrd", ".npy", ".npz", ".cfl", ".nii") else ""
    return f"{refuse}{path.suffix} cut to {kept} of {size} bytes"


def flip_bits(path: Path, rng: Random) -> str | None:
    content = bytearray(path.read_bytes())
    reach = rng.choice([len(content), min(len(content), 512), min(len(content), 4096)])
    places = [rng.randrange(reach) for _ in range(rng.choice([1, 2, 8, 64]))]
    for place in places:
        content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return f"bits flipped at {places[:4]}"


def overwrite_block(path: Path, rng: Random) -> str | None:
    content = bytearray(path.read_bytes())
    size = min(len(content), rng.choice([1, 4, 8, 64, 512]))
    start = rng.randrange(len(content) - size + 1)
    filler = rng.choice([b"\0" * size, b"\xff" * size, rng.randbytes(size), b"\x7f" * size])
    content[start : start + size] = filler
    path.write_bytes(content)
    return f"{size} bytes at {start} overwritten by {filler[:4]!r}"


def move_bytes(path: Path, rng: Random) -> str | None:
    content = path.read_bytes()
    start, size = rng.randrange(len(content)), rng.choice([1, 3, 8, 100])
    if rng.random() < 0.5:
        path.write_bytes(content[:start] + content[start + size :])
        return f"{size} bytes at {start} removed"
    path.write_bytes(content[:start] + rng.randbytes(size) + content[start:])
    return f"{size} bytes inserted at {start}"


BYTES: list[Mutation] = [truncate, flip_bits, flip_bits, overwrite_block, move_bytes]


# --- texts


def edit_text(text: str, rng: Random) -> str:
    """Another number, an element or line gone, doubled or cut off."""
    numbers = list(re.finditer(r"(?<=[>= ])-?\d+(\.\d+)?(?=[<\n ])", text))
    lines = list(re.finditer(r"<(\w+)>[^<]*</\1>|[^\n]+\n", text))
    choice = rng.random()
    if numbers and choice < 0.6:
        found = rng.choice(numbers)
        return text[: found.start()] + rng.choice(WORDS) + text[found.end() :]
    if lines and choice < 0.75:
        found = rng.choice(lines)
        return text[: found.start()] + text[found.end() :]
    if lines and choice < 0.85:
        found = rng.choice(lines)
        return text[: found.end()] + found[0] + text[found.end() :]
    if choice < 0.95:
        place = rng.randrange(len(text) + 1)
        return text[:place] + rng.choice(["\0", "<", "&x;", "é", "\ud800", "# ", "\n\n"]) + text[place:]
    return text[: rng.randrange(len(text) + 1)]


def edit_json(value: Any, rng: Random) -> Any:
    """One entry of a JSON value replaced or removed, at any depth."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: edit_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        index = rng.randrange(len(value))
        if rng.random() < 0.3:
            return value[:index] + value[index + 1 :]
        return [*value[:index], edit_json(value[index], rng), *value[index + 1 :]]
    return rng.choice(VALUES)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")


def header_text(path: Path, rng: Random) -> str | None:
    """Of a BART header."""
    path.write_bytes(_encoded(text := edit_text(path.read_text(), rng)))
    return f"header {text[:80]!r}"


def card_entry(path: Path, rng: Random) -> str | None:
    """Of a JSON."""
    path.write_text(text := json.dumps(edit_json(json.loads(path.read_text()), rng)))
    return f"JSON {text[:160]}"


def protocol_text(path: Path, rng: Random) -> str | None:
    """Of a twix file, whose header keeps its length or does not."""
    content = path.read_bytes()
    start, stop = content.index(b"### ASCCONV BEGIN"), content.index(b"### ASCCONV END")
    text = _encoded(edit_text(content[start:stop].decode(), rng))
    if rng.random() < 0.7:
        text = text[: stop - start].ljust(stop - start)
    path.write_bytes(content[:start] + text + content[stop:])
    return f"protocol {text[-120:]!r}"


# --- arrays


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
    shapes = ["", "0,", "-1, 4", "1,", "10000000000, 4, 24, 20", "4, 24, 20, 3", "3, 4, 24", "3, 4, 20, 24", "3.0, 4"]  # fmt: skip
    types = ["<f4", "<c16", ">c8", "|O", "<U2", "<M8[s]", "|V8", "<c8, <f4", "abc", "<f2", "|b1", "<i8"]  # fmt: skip
    edits = [
        lambda: text.replace(f"({shape[1]})", f"({rng.choice(shapes)})"),
        lambda: text.replace(f"'{kind[1]}'", f"'{rng.choice(types)}'"),
        lambda: text.replace("False", "True").replace("True", "None" if rng.random() < 0.3 else "True"),
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
        raw[rng.choice([name, f"{name}.npy"])] = rng.choice([b"", b"text", b"\x93NUMPY", rng.randbytes(200)])  # fmt: skip
    with zipfile.ZipFile(path, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as file:
        for key, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            file.writestr(f"{key}.npy", buffer.getvalue())
        for key, content in raw.items():
            file.writestr(key, content)
    return f"npz member {name}: {choice}"


# --- HDF5


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
        choice = rng.choice(["array"] * 5 + ["gone", "group", "dangling", "external", "fifo", "virtual", "raw", "fill", "renamed", "null"])  # fmt: skip
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
            json.dumps(edit_json(json.loads(text), rng)) if text.startswith("{") else edit_text(text, rng)
        )
        encoded = np.bytes_(_encoded(new).replace(b"\0", b"?") or b" ")
        del file[name]
        file[name] = [encoded] if shape else encoded
        return f"{name}: {_change(text, new)}"


def hdf5_attribute(path: Path, rng: Random) -> str | None:
    """Of HDF5: an attribute of another kind."""
    import h5py

    with h5py.File(path, "r+") as file:
        if not len(file.attrs):
            return None
        name = rng.choice(sorted(file.attrs))
        value: Any = rng.choice(["abc", -1.0, np.nan, [1, 2, 3], b"\xff\xfe", np.zeros((2, 2)), h5py.Empty("f4")])  # fmt: skip
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


# --- NIfTI and safetensors


def nifti_field(path: Path, rng: Random) -> str | None:
    """Of NIfTI: one field of the header."""
    packed = path.suffix == ".gz"
    content = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    fields = {"sizeof_hdr": (0, "i", 1), "dim": (40, "h", 8), "datatype": (70, "h", 1), "bitpix": (72, "h", 1),
              "pixdim": (76, "f", 8), "vox_offset": (108, "f", 1), "slope": (112, "f", 2), "qform": (252, "h", 1),
              "sform": (254, "h", 1), "quaternion": (256, "f", 6), "srow": (280, "f", 12)}  # fmt: skip
    name = rng.choice(list(fields))
    place, kind, count = fields[name]
    number = rng.randrange(count)
    values = [0, -1, 1, 2, 4, 16, 32, 255, 32767] if kind != "f" else [0.0, -1.0, np.nan, np.inf, 1e30, 353.0]
    value = rng.choice(values)
    struct.pack_into(f"<{kind}", content, place + number * struct.calcsize(kind), value)
    path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    return f"NIfTI {name}[{number}] = {value}"


def safetensors_header(path: Path, rng: Random) -> str | None:
    """Of safetensors: the JSON at its beginning."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    text = json.dumps(new := edit_json(header, rng)).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    if rng.random() < 0.8:
        _sign(path)
    changed = {k: v for k, v in new.items() if header.get(k) != v} if isinstance(new, dict) else new
    return f"safetensors header {str(changed)[:160]}"


def safetensors_card(path: Path, rng: Random) -> str | None:
    """Of safetensors: the card beside it."""
    beside = path.with_suffix(".json")
    return card_entry(beside, rng)


def _sign(path: Path) -> None:
    """The card says the file's hash, so that its content is looked at."""
    import hashlib

    beside = path.with_suffix(".json")
    card = json.loads(beside.read_text())
    card["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    beside.write_text(json.dumps(card))


STRUCTURE: dict[str, list[Mutation]] = {
    ".h5": [hdf5_dataset, hdf5_dataset, hdf5_text, hdf5_attribute, mrd_heads],
    ".mrd": [hdf5_dataset, hdf5_text, mrd_heads, mrd_heads],
    ".npy": [npy_header, npy_array],
    ".npz": [npz_member],
    ".hdr": [header_text],
    ".dat": [protocol_text],
    ".nii": [nifti_field],
    ".gz": [nifti_field],
    ".safetensors": [safetensors_header, safetensors_card],
}
