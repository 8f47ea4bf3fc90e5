"""A page for each command, made of what its help says, when the site is built."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout, suppress
from typing import NamedTuple

from records import escaped

from mrirecon.cli import COMMANDS, main

ENTRY = re.compile(r"^  (\S.*?)(?:  +(\S.*))?$")  # an option, and where there is room its sentence
PRINTED = 2  # columns before an option; what goes on stands further to the right


class Part(NamedTuple):
    """A part of a help text: its title, empty for sentences, and its lines."""

    title: str
    lines: list[str]


def overview() -> str:
    """The page that lists the commands."""
    rows = [f"| [`{name}`]({slug(name)}.md) | {does} |" for name, does in COMMANDS.items()]
    said = [
        escaped(" ".join(map(str.strip, part.lines))) for part in split(help_of()) if not part.title
    ]
    text = "\n".join(["| `mrirecon ...` | does |", "|---|---|", *rows])
    return "\n\n".join(["# Commands", text, *said]) + "\n"


def page(name: str) -> str:
    """The page of a command: what it does, examples, then its options as a definition list."""
    does, parts = COMMANDS[name], split(help_of(*name.split()))
    shown = [f"# mrirecon {name}", f"{does[0].upper()}{does[1:]}."]
    for part in parts:
        if part.title == "usage":
            shown.append(fenced("\n".join(map(str.strip, part.lines))))
            shown += examples(parts)
        elif not part.title:
            sentences = " ".join(map(str.strip, part.lines))
            shown += [] if sentences.rstrip(".") in shown[1] else [escaped(sentences)]
        elif part.title != "examples":
            shown += [f"## {heading(part.title)}", *definitions(part.lines)]
    if name == "recon":
        link = "[page of each method](../../methods.md)"
        shown += [
            "## Options of the other methods",
            f"Above are those of the default method; the {link} has its own.",
        ]
    return "\n\n".join(shown) + "\n"


def examples(parts: list[Part]) -> list[str]:
    """The examples of a help text under their heading."""
    found = [part for part in parts if part.title == "examples"]
    shown = [fenced("\n".join(map(str.strip, part.lines)), "sh") for part in found]
    return ["## Examples", *shown] if shown else []


def slug(name: str) -> str:
    """The file name of a command's page."""
    return name.replace(" ", "-")


def help_of(*command: str) -> str:
    """What `mrirecon COMMAND --help` prints."""
    with redirect_stdout(io.StringIO()) as said, suppress(SystemExit):
        main([*command, "--help"])
    return said.getvalue().replace("\b", "").rstrip()  # jsonargparse hides its metavar by one


def split(text: str) -> list[Part]:
    """The parts of a help text, which empty lines separate."""
    parts = []
    for block in re.split(r"\n\n+", text):
        first, *rest = block.splitlines()
        if first.startswith("usage: "):
            parts.append(Part("usage", [first.removeprefix("usage: "), *rest]))
        elif first.endswith(":") and rest and all(line.startswith("  ") for line in rest):
            parts.append(Part(first.removesuffix(":"), rest))
        else:
            parts.append(Part("", [first, *rest]))
    return parts


def definitions(lines: list[str]) -> list[str]:
    """Options with their sentences."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        entry = ENTRY.match(line) if not line.startswith(" " * (PRINTED + 1)) else None
        if entry:
            found.append((entry[1], [entry[2]] if entry[2] else []))
        elif found:
            found[-1][1].append(line.strip())
    return [f"`{name}`\n:   {escaped(' '.join(said)) or '-'}" for name, said in found]


def heading(title: str) -> str:
    """A group of options as a heading; what a method computes is said on its own page."""
    short = title.partition(":")[0]
    return short[0].upper() + short[1:]


def fenced(text: str, language: str = "text") -> str:
    """A block of code."""
    return f"```{language}\n{text.strip(chr(10))}\n```"
