"""The gallery of methods and a page for each, made when the site is built.

They are put together from the methods' docstrings and fields, docs/method_notes.yaml, the formulas of
docs/sampler-theory.md and the records of measured figures.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

import records
import yaml
from docstring_parser.google import parse
from records import escaped

from mrirecon.diffusion import samplers
from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.methods import METHODS, Method, Untrained, Variational
from mrirecon.options import in_words

DOCS = Path(__file__).parent
CAPTION = (
    "Left to right: all samples, `{name}` from the undersampled scan, and the error, {gain} times brighter. "
    "Slice {slice} of the embedded scan, 8 coils, {mask}."
)
MASK = "every fourth column and 15 % of them in the centre"
MEASURED = {
    "uniform1d_x4": "uniform1d x4",
    "gaussian1d_x8": "gaussian1d x8",
    "poisson_x8": "poisson x8",
    "poisson_x15": "poisson x15",
}


def notes() -> dict[str, Any]:
    """What docs/method_notes.yaml says."""
    said = yaml.safe_load((DOCS / "method_notes.yaml").read_text("utf-8"))
    assert isinstance(said, dict)
    return said


def gallery() -> str:
    """The thumbnails of all methods, by family, each leading to its page."""
    said, measured = notes(), records.read("methods").numbers
    parts = []
    for family, title in said["families"].items():
        cards = []
        for name, note in said["methods"].items():
            if note["family"] == family:
                psnr = measured[name]["equispaced x4"]["psnr"]
                cards.append(
                    f'<a href="{name}/"><img src="../images/methods/{name}_small.webp" alt="" loading="lazy">'
                    f"<b>{note['title']}</b><code>{name}</code> {psnr:.1f} dB</a>"
                )
        parts += [f"### {title}", f'<div class="gallery">{"".join(cards)}</div>']
    return "\n\n".join(parts)


def strip() -> str:
    """The picture of the home page: a few methods beside all samples."""
    measured = records.read("methods").numbers
    shown = {"reference": "all samples", "zero_filled": "zero filling", "tv": "total variation"}
    shown |= {"unrolled_prior": "unrolled prior", "dds": "diffusion (DDS)"}
    cards = []
    for name, title in shown.items():
        picture = f'<img src="images/methods/{name}_small.webp" alt=""><b>{title}</b>'
        if name in measured:
            psnr = measured[name]["equispaced x4"]["psnr"]
            cards.append(f'<a href="methods/{name}/">{picture}{psnr:.1f} dB</a>')
        else:
            cards.append(f'<a href="methods/">{picture}a brain scan</a>')
    return f'<div class="gallery strip">{"".join(cards)}</div>'


def page(name: str) -> str:
    """The page of a method as Markdown."""
    note, kind = notes()["methods"][name], METHODS[name]
    about = (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ")
    caption = CAPTION.format(name=name, gain=4, slice=12, mask=MASK)
    parts = [
        f"# {note['title']}: `{name}`",
        escaped(about),
        f"![{name}](../images/methods/{name}.webp)\n\n*{caption}*",
        "## When to use it",
        note["when"],
        "## Formula",
        formula(name, note),
        "## Cost and quality",
        *figures(name),
        "## Use it",
        used(name, kind),
        "## Options",
        f'Typed as `--method.OPTION VALUE`, or keywords of `mr.reconstruct(..., method="{name}")`.',
        *options(name, kind),
    ]
    return "\n\n".join(parts) + "\n"


def formula(name: str, note: dict[str, Any]) -> str:
    """Its formula: of a sampler from the page on their theory, with the notation."""
    if name not in SAMPLERS:
        notation = "A = sampling · Fourier transform · coil maps, y the k-space, x the image."
        return f"> {escaped(note['formula'])}\n\n{notation}"
    theory = (DOCS / "sampler-theory.md").read_text("utf-8")
    found = re.search(rf"^\*\*`{name}`\*\* \(.+?(?=\n\n)", theory, re.MULTILINE | re.DOTALL)
    assert found is not None, f"sampler-theory.md has no **`{name}`**"
    return f"{found[0]}\n\n[Notation, and what all samplers share](../sampler-theory.md)."


def figures(name: str) -> Iterator[str]:
    """What was measured of it, as tables."""
    rows = []
    for mask, one in records.read("methods").numbers[name].items():
        if "refused" in one:
            rows.append([mask, "refused", "", "", ""])
        else:
            calls = one["evaluations"] or ""
            numbers = [f"{one['psnr']:.2f}", f"{one['ssim']:.3f}", calls, f"{one['seconds']:g}"]
            rows.append([mask, *numbers])
    head = ["mask", "PSNR, dB", "SSIM", "network evaluations", "seconds"]
    if name not in SAMPLERS:
        head, rows = head[:3] + head[4:], [row[:3] + row[4:] for row in rows]
    yield (
        "The slice of the picture, 128 x 96 pixels, with the default options. Seconds are those of one CPU thread "
        "of a busy machine, coil maps included: compare them with those of other methods only."
    )
    yield records.markdown(records.table(head, rows))
    found = gallery_rows(name)
    if found:
        yield (
            "Five simulated scans of two patients whom no network has seen, inside the head "
            "([all methods](../sampler-figures.md)):"
        )
        yield records.markdown(records.table(["mask", "PSNR, dB", "SSIM", "seconds"], found))


def gallery_rows(name: str) -> list[list[str]]:
    """The rows of the large comparison that are about it."""
    tables, found = records.read("gallery").tables, []
    for key, label in MEASURED.items():
        for row in tables[key]["rows"]:
            if row[0] == f"`{name}`" and "±" in row[1]:
                found.append([label, row[1], row[2], row[6]])
    return found


def used(name: str, kind: type[Method]) -> str:
    """Code that runs it, from a shell and from Python."""
    draws = " --samples 4" if name in SAMPLERS and name != "pnp_admm" else ""
    shell = (
        f"mrirecon recon scan.h5 --method {name}{draws} --output {name}.nii.gz\n"
        "# a fully sampled scan, undersampled first\n"
        f"mrirecon recon full.h5 --method {name} --mask uniform1d --acceleration 4 --output {name}4.nii.gz"
    ).replace("--mask uniform1d", "--mask equispaced" if name == "grappa" else "--mask uniform1d")
    python = f'import mrirecon as mr\n\nvolume = mr.reconstruct("scan.h5", method="{name}")\nvolume.plot()'
    if name in SAMPLERS:
        home = f"{samplers.__name__}.{name}"
        more = (
            f"As a function of k-space and an operator: [`mr.samplers.{name}`][{home}]. "
            f"`configs/samplers/{name}.yaml` has every option with a word on it."
        )
    else:
        more = f"As an object: `mr.methods.{kind.__name__}()`."
    if issubclass(kind, Untrained):
        more += f" `configs/untrained/{name}.yaml` has every option with a word on it."
    if issubclass(kind, Variational):
        more += f" `configs/flows/{name}.yaml` has every option with a word on it."
    return f"```sh\n{shell}\n```\n\n```python\n{python}\n```\n\n{more}"


def options(name: str, kind: type[Method]) -> Iterator[str]:
    """Each option with its type, default and meaning, as a definition list."""
    said, hints = meanings(name, kind), get_type_hints(kind)
    given = [one for one in fields(kind) if one.init]
    if not given:
        yield "It has none."
    for one in given:
        default = "" if one.default is MISSING else f", `{_value(one.default)}` by default"
        text = escaped(" ".join(said.get(one.name, "").split()))
        yield f"`{one.name}` ({in_words(hints[one.name])}{default})\n:   {text or '-'}"


def meanings(name: str, kind: type[Method]) -> dict[str, str]:
    """What docstrings say of its options: of a sampler's function, of the class, of those it is derived from."""
    sources = [SAMPLERS[name]] if name in SAMPLERS else []
    found: dict[str, str] = {}
    for source in [*sources, *kind.__mro__]:
        for one in parse(inspect.cleandoc(source.__doc__ or "")).params:
            found.setdefault(one.arg_name, one.description or "")
    return found


def _value(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def of_family(family: str) -> list[str]:
    """The names of the methods of a family."""
    return [name for name, note in notes()["methods"].items() if note["family"] == family]
