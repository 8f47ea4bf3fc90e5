"""Methods that lie outside this package: classes named as `module:Class`, and functions that sample."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import new_class

from torch import Tensor

from mrirecon.methods.base import Method
from mrirecon.methods.networks import method_of
from mrirecon.methods.posterior import Posterior
from mrirecon.networks import Network, add_network
from mrirecon.outside import found_at

TAKEN = ("y", "A", "denoiser", "sigmas")  # by every sampler, in this order


@cache
def method_at(name: str) -> type[Method]:
    """The method at `module:Class`: a class of methods or of networks, or a function that samples.

    Raises:
        ValueError: if there is no such module or class, or it is no method.
    """
    found = found_at(name)
    if inspect.isfunction(found):
        return sampler_method(found)
    if isinstance(found, type) and issubclass(found, Network):
        return method_of(add_network(found))
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise ValueError(f"{name} is no class of mrirecon.Method or of a network, and no sampler")
    return found


@cache
def sampler_method(sampler: Callable[..., Tensor]) -> type[Posterior]:
    """A function with the arguments of `mrirecon.samplers` as a method, with its keywords as options.

    Raises:
        ValueError: if it takes other arguments.
    """
    name = getattr(sampler, "__name__", "")
    taken = tuple(inspect.signature(sampler).parameters)
    if not name.isidentifier() or taken[: len(TAKEN)] != TAKEN:
        raise ValueError(
            f"method {name or sampler!r} takes ({', '.join(taken)}): a sampler is a function "
            f"({', '.join(TAKEN)}, *, ...), any other method an object with `solve`"
        )
    about = {"__doc__": sampler.__doc__ or f"The sampler {name}.", "__module__": sampler.__module__}
    made = new_class(name, (Posterior,), {"sampler": sampler}, lambda body: body.update(about))
    return dataclass(frozen=True, kw_only=True)(made)
