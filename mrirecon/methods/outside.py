"""Methods that lie outside this package: classes named as `module:Class`, and functions that sample."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType, new_class

from torch import Tensor

from mrirecon.methods.base import Method
from mrirecon.methods.posterior import Posterior

TAKEN = ("y", "A", "denoiser", "sigmas")  # by every sampler, in this order


def is_place(name: str) -> bool:
    """Whether a name says where a class lies, as `my_package.methods:Landweber` or `folder/methods.py:Landweber`."""
    module, _, attribute = name.rpartition(":")
    return bool(module) and attribute.isidentifier()


def method_at(name: str) -> type[Method]:
    """The class at `module:Class`, where the module is one that can be imported or a file .py.

    Raises:
        ValueError: if there is no such module or class, or it is no method.
    """
    module, _, attribute = name.rpartition(":")
    found = getattr(_module(module), attribute, None)
    if found is None:
        raise ValueError(f"{name}: {module} has no {attribute}")
    if inspect.isfunction(found):
        return sampler_method(found)
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise ValueError(f"{name} is no class of mrirecon.Method, and no sampler")
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


@cache
def _module(name: str) -> ModuleType:
    try:
        if not name.endswith(".py"):
            return importlib.import_module(name)
        path = Path(name).resolve()
        spec = importlib.util.spec_from_file_location(f"mrirecon_outside_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module.__name__] = module  # where dataclasses look for it
        spec.loader.exec_module(module)
    except (ImportError, OSError) as error:
        raise ValueError(
            f"method {name} cannot be loaded ({error}): give a module that Python can import, or a file such as "
            "mine.py:Landweber"
        ) from error
    return module
