"""`mrirecon weights list`, `mrirecon weights info` and `mrirecon weights import`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mrirecon.cli.run import Command
from mrirecon.io.cfl import check_apart
from mrirecon.io.files import check_target, suffix_of
from mrirecon.networks import GENERATORS, PRIORS
from mrirecon.weights import (
    Card,
    Report,
    import_weights,
    load_weights,
    locate,
    read_card,
    save_weights,
    shipped_weights,
)
from mrirecon.weights.recognise import PUBLISHED


def listed() -> None:
    """List the weights that come along, and published ones whose files are known."""
    print("come along (--weights NAME of recon; `mrirecon weights info NAME` says all of one):")
    _print({name: _row(read_card(locate(name))) for name in shipped_weights()})
    print(
        "published by others (get the file from its authors, then `mrirecon weights import FILE`):"
    )
    width = max(len(name) for _, name in PUBLISHED) + 2
    for (network, name), known in PUBLISHED.items():
        about = f"{_use(network)}; {known['data']}; by {known['attribution'].partition('); ')[0].removesuffix(')')})"
        print(f"  {name:<{width}}{about}; licence: its authors'")


def _row(card: Card) -> str:
    """What weights of ours are, in a line."""
    data = re.sub(r" \(.*?\)", "", card.data).partition(":")[0].partition(", 72 ")[0]
    return f"{_use(card.network)}; {data}; licence: {card.licence}"


def _use(network: str) -> str:
    """What a network is for."""
    methods = "dds and the other samplers" if network in PRIORS else network
    return f"{network}, for --method {'csgm' if network in GENERATORS else methods}"


def info(*, file: str) -> None:
    """Print what a file of weights is: one of this project, or a published one that can be imported.

    Args:
        file: name of shipped weights, or a file.
    """
    path = locate(file)
    if path.suffix.lower() == ".safetensors" and path.with_suffix(".json").exists():
        network, card = load_weights(path)
        print(path)
        count = sum(p.numel() for p in network.parameters())
        _print({**_described(card), "parameters": f"{count:,}"})
    else:
        report = import_weights(path)[1]
        print(path)
        _print(_found(report, report.card()))


def convert(
    *, file: str, output: str, bright_level: float | None = None, overwrite: bool = False
) -> None:
    """Convert a published file of weights, and report what it was found to be.

    Every name and shape must match one of the networks; nothing in the file is executed. Beside OUTPUT stands its
    card, the same name ending in .json, where what the weights were trained on can be written down.

    Args:
        file: bare state dict, Lightning checkpoint, or dict with the weights under 'model' or 'state_dict'.
        output: .safetensors.
        bright_level: of a prior, what the bright parts of the images it was trained on had, about 0.5 where their
            maximum was 1. Left out it is that of the published file of this name.
        overwrite: replace an existing output.
    """
    if file in shipped_weights():
        raise ValueError(f"{file} comes along and needs no import: --weights {file} takes it")
    suffix_of(output, (".safetensors",))
    check_apart([output, Path(output).with_suffix(".json")], [file])
    check_target(output, overwrite)
    network, report = import_weights(file)
    card = save_weights(network, output, report.card(bright_level), overwrite=overwrite)
    print(file)
    _print(_found(report, card))
    print(f"{output}: written, SHA-256 {card.sha256}")
    beside = Path(output).with_suffix(".json")
    known = "" if card.training.masks else ": write there what the weights were trained on"
    print(f"{beside}: its card{known}")


def _found(report: Report, card: Card) -> dict[str, Any]:
    assumed = [f"{name} = {report.config[name]}" for name in report.assumed]
    level = f"{card.bright_level or 1:g}, that of the images it was trained on"
    if card.bright_level is None:
        level = "1, which nothing tells: import it with --bright_level"
    return {
        "layout": report.layout,
        "network": report.network,
        "configuration": _listed(report.config),
        "assumed": ", ".join(assumed) + " (nothing in the file tells)" if assumed else "nothing",
        "tensors": f"{report.tensors}, each under its own name and of its own shape",
        "parameters": f"{report.parameters:,}",
        **({"bright level": level} if report.network in PRIORS else {}),
        "ignored": ", ".join(report.ignored) or "nothing",
        "SHA-256": report.sha256,
    }


def _described(card: Card) -> dict[str, Any]:
    entries = card.as_json()
    training = entries.pop("training")
    if card.network not in PRIORS:
        del entries["bright_level"]
    named = {**entries, **{f"trained on {name}": value for name, value in training.items()}}
    return {
        name: _listed(value) for name, value in named.items() if value not in (None, "", (), {})
    }


def _listed(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _print(lines: dict[str, Any]) -> None:
    width = max(map(len, lines)) + 2
    for name, text in lines.items():
        print(f"  {name:<{width}}{text}")


FILE = {"metavar": "FILE"}
COMMANDS = {
    "list": Command("weights list", listed, ""),
    "info": Command(
        "weights info",
        info,
        "FILE",
        {
            "file": {
                **FILE,
                "help": f"weights, or the name of shipped ones ({', '.join(shipped_weights()) or 'none'})",
            }
        },
        ("unrolled_prior_tiny", "knee_leaderboard_state_dict.pt"),
    ),
    "import": Command(
        "weights import",
        convert,
        "FILE --output OUT.safetensors",
        {"file": {**FILE, "help": "published weights (.pt, .pth, .ckpt, .safetensors)"}},
        ("knee_leaderboard_state_dict.pt --output knee_varnet.safetensors",),
    ),
}
