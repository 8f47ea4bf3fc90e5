"""How files are mangled: bytes of any file, and the structure of each format.

A mutation takes a file and a random stream, changes the file in place and gives its name in words, or None where it
does not apply. What begins with `REFUSE` leaves nothing that could be read right.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from mangling.arrays import npy_array, npy_header, npz_member
from mangling.hdf5 import REFUSE, hdf5_attribute, hdf5_dataset, hdf5_text, mrd_heads
from mangling.texts import edit_json, edit_text, encoded

Mutation = Callable[[Path, Random], "str | None"]


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


def header_text(path: Path, rng: Random) -> str | None:
    """Of a BART header."""
    path.write_bytes(encoded(text := edit_text(path.read_text(), rng)))
    return f"header {text[:80]!r}"


def card_entry(path: Path, rng: Random) -> str | None:
    """Of a JSON."""
    path.write_text(text := json.dumps(edit_json(json.loads(path.read_text()), rng)))
    return f"JSON {text[:160]}"


def protocol_text(path: Path, rng: Random) -> str | None:
    """Of a twix file, whose header keeps its length or does not."""
    content = path.read_bytes()
    start, stop = content.index(b"### ASCCONV BEGIN"), content.index(b"### ASCCONV END")
    text = encoded(edit_text(content[start:stop].decode(), rng))
    if rng.random() < 0.7:
        text = text[: stop - start].ljust(stop - start)
    path.write_bytes(content[:start] + text + content[stop:])
    return f"protocol {text[-120:]!r}"


# --- MATLAB, NIfTI and safetensors


def mat_items(path: Path, rng: Random) -> str | None:
    """Of a MATLAB file of v7.3, which is HDF5."""
    import h5py

    if not h5py.is_hdf5(path):
        return None
    return rng.choice([hdf5_dataset, hdf5_attribute])(path, rng)


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
    values = (
        [0, -1, 1, 2, 4, 16, 32, 255, 32767]
        if kind != "f"
        else [0.0, -1.0, np.nan, np.inf, 1e30, 353.0]
    )
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
    ".mat": [mat_items],
    ".nii": [nifti_field],
    ".gz": [nifti_field],
    ".safetensors": [safetensors_header, safetensors_card],
}
