"""`mrirecon methods`."""

from __future__ import annotations

from collections.abc import Iterable

from mrirecon.cli.run import Command
from mrirecon.masks import MASKS
from mrirecon.methods.base import Method
from mrirecon.methods.registry import CLASSICAL, GENERATIVE, LEARNED, METHODS
from mrirecon.methods.samplers import SAMPLER_METHODS
from mrirecon.methods.untrained import UNTRAINED
from mrirecon.methods.variational import Variational

GROUPS: dict[str, tuple[type[Method], ...]] = {
    "classical methods": CLASSICAL,
    "untrained networks, fitted to each slice": UNTRAINED,
    "trained networks": LEARNED,
    "searches of a generator's latent space": GENERATIVE,
    "diffusion methods, which draw images": (*SAMPLER_METHODS, Variational),
}


def methods() -> None:
    """List the methods and the kinds of masks, with a line on each."""
    known = [(title, [one.name for one in group]) for title, group in GROUPS.items()]
    named = [name for _, names in known for name in names]
    others = [name for name in METHODS if name not in named]
    width = max(map(len, (*METHODS, *MASKS))) + 2
    print("recon --method NAME; `mrirecon recon --method NAME --help` lists the options of NAME")
    for title, names in [*known, ("further ones", others)]:
        lines = {name: (METHODS[name].__doc__ or "").partition("\n")[0] for name in names}
        _print(f"\n{title}", lines.items(), width)
    print("\nrecon --mask KIND --acceleration R; `mrirecon mask KIND` makes one as a file")
    _print("\nkinds of masks", ((name, kind.about) for name, kind in MASKS.items()), width)


def _print(title: str, lines: Iterable[tuple[str, str]], width: int) -> None:
    lines = list(lines)
    if lines:
        print(title)
    for name, about in lines:
        print(f"  {name:<{width}}{about}")


COMMAND = Command("methods", methods, "")
