"""Construction of a network from a state dict, with every name, shape and value checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mrirecon.networks import MODELS, Model
from mrirecon.weights.checkpoint import State


def build(name: str, config: Mapping[str, Any], state: State, inside: str = "") -> Model:
    """The network with these weights, in evaluation mode.

    Args:
        name: key of `mrirecon.networks.MODELS`.
        config: constructor arguments.
        state: name -> tensor.
        inside: prefix to leave out of names in messages.

    Raises:
        ValueError: if there is no such network, the configuration is invalid, a name, a shape or a type does not match,
            or a tensor holds NaN or infinite values.
    """
    if name not in MODELS:
        raise ValueError(
            f"there is no network {name!r}: there are {', '.join(MODELS)}; of a network of your own say where its "
            "class lies, as in --method mine.py:Class"
        )
    try:
        # Initial values, which are overwritten, must not change the global random state.
        with torch.random.fork_rng(devices=[]):
            network = MODELS[name](**config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} cannot have the configuration {dict(config)}: {error}") from error
    _check(name, network.state_dict(), state, inside)
    network.load_state_dict(state, strict=True)
    return network.eval()


def with_averages(network: Model, names: Sequence[str], averages: Sequence[Tensor]) -> None:
    """Replace the trainable tensors by averages that have no names, in the order of the file.

    Args:
        network: network that is changed in place.
        names: names of all tensors in the file, in its order.
        averages: one for each trainable tensor.

    Raises:
        ValueError: if their number or a shape does not fit, or one holds NaN or infinite values.
    """
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
    trained = [name for name in names if name in parameters]
    if len(trained) != len(averages):
        raise ValueError(
            f"it averages {len(averages)} tensors, and {len(trained)} of {network.name} are trained"
        )
    for number, (name, average) in enumerate(zip(trained, averages, strict=True)):
        parameter = parameters[name].data
        if _shape(parameter) != _shape(average):
            raise ValueError(
                f"average {number} is {_shape(average)} and must be {_shape(parameter)} as {name!r}"
            )
        _check_values(f"the average of {name!r}", average)
        parameter.copy_(average)


def _shape(x: Tensor) -> str:
    return f"{' x '.join(map(str, x.shape)) or 'one number'} {'float' if x.is_floating_point() else 'whole'}"


def _check(network: str, expected: State, state: State, inside: str) -> None:
    shared = [name for name in expected if name in state]
    wrong = [name for name in shared if _shape(expected[name]) != _shape(state[name])]
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
        problems[-1] += f", which is {_shape(state[first])} and must be {_shape(expected[first])}"
    if problems:
        raise ValueError(f"it is no {network} as its other tensors tell: {'; '.join(problems)}")
    for name, tensor in state.items():
        _check_values(repr(name.removeprefix(inside)), tensor)


def _check_values(name: str, tensor: Tensor) -> None:
    if not bool(torch.isfinite(tensor.sum())) and not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} holds NaN or infinite values")
