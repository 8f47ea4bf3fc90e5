"""Code outside this package by its place, `module:Name` or `folder/file.py:Name`; only what the user names is run."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any


def is_place(name: str) -> bool:
    """Whether a name says where code lies, as `my_package.methods:Landweber` or `folder/methods.py:Landweber`."""
    module, _, attribute = name.rpartition(":")
    return bool(module) and attribute.isidentifier()


def found_at(name: str) -> Any:
    """What lies at `module:Name`, where the module is one that can be imported or a file .py.

    Raises:
        ValueError: if there is no such module, or nothing of that name in it.
    """
    module, _, attribute = name.rpartition(":")
    found = getattr(_module(module), attribute, None)
    if found is None:
        raise ValueError(f"{name}: {module} has no {attribute}")
    return found


@cache
def _module(name: str) -> ModuleType:
    try:
        if not name.endswith(".py"):
            return importlib.import_module(name)
        path = Path(name).resolve()
        if not path.is_file():
            raise FileNotFoundError("no such file")
        spec = importlib.util.spec_from_file_location(f"mrirecon_outside_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module.__name__] = module  # where dataclasses look for it
        spec.loader.exec_module(module)
    except (ImportError, OSError, SyntaxError) as error:
        raise ValueError(
            f"{name} cannot be loaded ({error}): give a module that Python can import, or a file such as "
            "mine.py:Landweber"
        ) from error
    return module
