"""A network with given weights, every name and shape checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mrirecon.networks import NETWORKS, Network
from mrirecon.weights.checkpoint import State


def build(name: str, config: Mapping[str, Any], state: State, inside: str = "") -> Network:
    """The network with these weights, in evaluation mode; every name and shape must fit.

    Args:
        name: key of NETWORKS.
        config: constructor arguments.
        state: name -> tensor.
        inside: what to leave out of the names in messages.

    Raises:
        ValueError: if there is no such network, the configuration does not suit it, or a name, a shape or a type does
            not match, or a tensor holds NaN or infinite values.
    """
    if name not in NETWORKS:
        raise ValueError(f"there is no network {name!r}: there are {', '.join(NETWORKS)}")
    try:
        with torch.random.fork_rng(
            devices=[]
        ):  # initial values, soon overwritten, change no later draw
            network = NETWORKS[name](**config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} cannot have the configuration {dict(config)}: {error}") from error
    _check(name, network.state_dict(), state, inside)
    network.load_state_dict(state, strict=True)
    return network.eval()


def _check(network: str, expected: State, state: State, inside: str) -> None:
    def shape(x: Tensor) -> str:
        return f"{' x '.join(map(str, x.shape)) or 'one number'} {'float' if x.is_floating_point() else 'whole'}"

    shared = [name for name in expected if name in state]
    wrong = [name for name in shared if shape(expected[name]) != shape(state[name])]
    found = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
        "of another shape or type": wrong,
    }
    problems = [
        f"{len(names)} {what} (first {names[0].removeprefix(inside)!r})"
        for what, names in found.items()
        if names
    ]
    if wrong:
        first = wrong[0]
        problems[-1] += f", which is {shape(state[first])} and must be {shape(expected[first])}"
    if problems:
        raise ValueError(f"it is no {network} as its other tensors tell: {'; '.join(problems)}")
    for name, tensor in state.items():
        if not bool(torch.isfinite(tensor.sum())) and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name.removeprefix(inside)!r} holds NaN or infinite values")
