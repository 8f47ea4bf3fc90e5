"""What to answer to an option that a command does not have."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mrirecon.nearest import likeliest, usual_for

# what people call an argument that has no option: the first one, and the one after it
INPUTS, OUTPUTS = ("input", "in", "i", "file"), ("output", "out", "o", "to")


def instead_of(name: str, actions: Sequence[argparse.Action], prog: str) -> str:
    """What to type in place of an option that does not exist."""
    flags = {flag for action in actions for flag in action.option_strings}
    if ("--output" not in flags or name not in OUTPUTS) and (
        said := _without_option(name, actions, prog)
    ):
        return said
    known = [
        a.dest
        for a in actions
        if a.dest not in ("help", argparse.SUPPRESS)
        and not a.dest.endswith(".name")
        and a.option_strings
    ]
    # `--method.iteration` is nearest to another option of the method, not to `--partial_fourier`
    inner = [other for other in known if other.startswith(name.rpartition(".")[0] + ".")]
    twins = [other for other in known if other.endswith("." + name.rpartition(".")[2])]
    if twins and not inner:
        return f"did you mean --{twins[0]}?"
    among = inner if inner and "." in name else known
    near = likeliest(name, among) if len(name) > 1 else usual_for(name, known)
    if near:
        return f"did you mean --{near}?"
    if inner and "." in name:
        return f"there are {', '.join('--' + other for other in inner)}"
    return f"{prog} --help lists them"


def _without_option(name: str, actions: Sequence[argparse.Action], prog: str) -> str:
    """What to say of an argument that has no option before it; nothing where none is meant."""
    places = [a for a in actions if not a.option_strings]
    first_and_last = {**dict.fromkeys(INPUTS, places[:1]), **dict.fromkeys(OUTPUTS, places[1:])}
    meant = [a for a in places if a.dest == name] or first_and_last.get(name, [])
    words = " ".join(str(a.metavar or a.dest) for a in places)
    return f"type {meant[-1].metavar} without one: {prog} {words}" if meant else ""
