"""Mangled copies of the whole files, one after the other, each known by a seed and its number."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from mangling.mutations import BYTES, REFUSE, STRUCTURE
from mangling.seeds import SEEDS


@dataclass(frozen=True)
class Case:
    """One mangled file.

    Attributes:
        number: of the case.
        seed: name of the whole file in `SEEDS`.
        kind: what it is read as.
        path: the name to read; other files may belong to it.
        change: what was done to it, in words.
        must_refuse: whether nothing is left that could be read right.
    """

    number: int
    seed: str
    kind: str
    path: Path
    change: str
    must_refuse: bool


def whole_files(folder: Path) -> dict[str, Path]:
    """Every seed written below a folder: its name, and the file to read."""
    paths = {}
    for name, seed in SEEDS.items():
        inside = folder / name.replace(" ", "_")
        inside.mkdir(parents=True)
        paths[name] = seed.write(inside)
    return paths


def mangled(folder: Path, numbers: Iterable[int], seed: int) -> Iterator[Case]:
    """Write a mangled file for each number below `folder`; every format has its turn.

    The same seed and number give the same case.
    """
    whole = whole_files(folder / "whole")
    names = list(whole)
    for number in numbers:
        rng = Random(f"{seed} {number}")
        name = names[number % len(names)]
        inside = folder / f"{number}"
        shutil.copytree(whole[name].parent, inside)
        path = inside / whole[name].name
        change = None
        while change is None:
            parts = sorted(p for p in inside.iterdir() if not p.name.endswith(_beside(path)))
            part = rng.choice(parts)
            structure = STRUCTURE.get(part.suffix, [])
            mutation = rng.choice(structure if structure and rng.random() < 0.6 else BYTES)
            change = mutation(part, rng)
        must_refuse = change.startswith(REFUSE)
        yield Case(number, name, SEEDS[name].kind, path, change.removeprefix(REFUSE), must_refuse)


def _beside(path: Path) -> str:
    """The description that stands beside an output and is not read."""
    return f"{path.name}.json"
