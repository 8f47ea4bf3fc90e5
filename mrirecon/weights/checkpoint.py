"""Reading files of weights in the layouts of other programs, without executing code in them."""

from __future__ import annotations

import argparse
import hashlib
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mrirecon.io.files import PathLike, existing_file

State = dict[str, Tensor]

# Prefixes of keys by wrappers: DataParallel, Lightning modules, torch.compile.
PREFIXES = ("module.", "model.", "varnet.", "unet.", "network.", "_orig_mod.")
# Buffers of fastMRI's Lightning modules that do not belong to the network: window of the SSIM loss, and metrics.
IGNORED = (
    "loss.w",
    *(f"{name}.quantity" for name in ("NMSE", "SSIM", "PSNR", "ValLoss")),
    *(f"{name}.quantity" for name in ("TotExamples", "TotSliceExamples")),
)


class Checkpoint(NamedTuple):
    """The content of a file of weights.

    Attributes:
        layout: layout of the file, in words.
        state: name -> tensor, without prefixes.
        hyper_parameters: plain values stored with the weights; empty if there are none.
        ignored: names left out because they belong to a loss or a metric.
        averages: averages of the trainable tensors, without names, in the order of `state`; empty if there are none.
        made: name and configuration of the network, where `mrirecon train` wrote the file.
    """

    layout: str
    state: State
    hyper_parameters: dict[str, Any]
    ignored: tuple[str, ...]
    averages: tuple[Tensor, ...]
    made: tuple[str, dict[str, Any]] | None = None


def read_checkpoint(path: PathLike) -> Checkpoint:
    """The weights in a `torch.save` file (state dict, Lightning, `{"model": ...}`, list) or a safetensors file.

    From `{"model": ..., "ema": {"shadow_params": [...]}}`, as written by score SDE code, model and averages are read.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: if it cannot be opened.
        ValueError: if it is damaged, holds no weights, or holds anything but plain data.
    """
    path = existing_file(path)
    if path.suffix.lower() == ".safetensors":
        content: object = read_tensors(path)
    else:
        content = _unpickled(path)
    if isinstance(content, Mapping) and (own := _own(content)) is not None:
        return own
    layout, state, hyper_parameters = _arranged(path, content)
    prefix, state, ignored = _stripped(state)
    layout += f", prefix {prefix!r}" if prefix else ""
    averages = _listed_averages(path, content)
    layout += f", {len(averages)} tensors from the averages in 'ema'" if averages else ""
    return Checkpoint(layout, state, hyper_parameters, ignored, averages)


def read_tensors(path: Path) -> State:
    """The tensors of a safetensors file, mapped into memory.

    Raises:
        ValueError: if it is damaged, or not a safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error


def sha256_of(*paths: PathLike) -> str:
    """SHA-256 of each file in hexadecimal, separated by spaces; cached by size and modification time."""
    status = [(Path(path), Path(path).stat()) for path in paths]
    return " ".join(_sha256_of(path, s.st_size, s.st_mtime_ns) for path, s in status)


@cache
def _sha256_of(path: Path, size: int, modified_ns: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class _Inert:
    """Stand-in for a class that a checkpoint refers to: accepts any arguments and state, and ignores them."""

    def __new__(cls, *args: object, **options: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *args: object, **options: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def _inert(full_name: str) -> type[_Inert]:
    module, _, name = full_name.rpartition(".")
    return type(name, (_Inert,), {"__module__": module, "__qualname__": name})


# Lightning checkpoints refer to their callbacks by class and may hold paths and numpy numbers as hyper-parameters. None
# of these is needed: stand-ins take their place, and the real classes are neither imported nor called.
_CALLBACKS = (
    "model_checkpoint.ModelCheckpoint",
    "early_stopping.EarlyStopping",
    "lr_monitor.LearningRateMonitor",
    "gpu_stats_monitor.GPUStatsMonitor",
    "progress.ProgressBar",
)
_NOT_NEEDED = (
    *(f"pytorch_lightning.callbacks.{name}" for name in _CALLBACKS),
    *(f"pathlib{home}.{kind}Path" for home in ("", "._local") for kind in ("Posix", "Windows")),
    *(f"pathlib{home}.Pure{kind}Path" for home in ("", "._local") for kind in ("Posix", "Windows")),
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
)
_HARMLESS: list[Any] = [argparse.Namespace, *map(_inert, _NOT_NEEDED)]


def _unpickled(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about files that are refused below
            # Only the zip layout can be mapped, so that 2 GB need not be in memory twice.
            mapped = zipfile.is_zipfile(path)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        if code := re.search(r"GLOBAL ([\w.]+)|reduce for unrecognized function (.+)", str(error)):
            name = code[1] or code[2]
            raise ValueError(
                f"{path} holds {name}, which is code and no plain data: refused, nothing of it was run"
            ) from error
        raise ValueError(
            f"{path} is damaged or no file of weights: it must be written by torch.save or safetensors"
        ) from error


def _arranged(path: Path, content: object) -> tuple[str, State, dict[str, Any]]:
    """Layout in words, state dict, and hyper-parameters."""
    if isinstance(content, Sequence) and content and _is_state(content[-1]):
        return "list, of which the last entry", dict(content[-1]), {}
    if _is_state(content):
        return "bare state dict", dict(content), {}  # type: ignore[call-overload]
    if isinstance(content, Mapping):
        for key in ("state_dict", "model"):
            if _is_state(content.get(key)):
                lightning = key == "state_dict" and "pytorch-lightning_version" in content
                layout = "Lightning checkpoint" if lightning else f"dict with {key!r}"
                return layout, dict(content[key]), _hyper_parameters(content)
        found = ", ".join(map(repr, list(content)[:6])) or "nothing"
        raise ValueError(
            f"{path} holds {found}: neither it nor its 'state_dict' or 'model' maps names to tensors"
        )
    raise ValueError(f"{path} holds a {type(content).__name__}, not names and tensors")


def _is_state(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def _own(content: Mapping[Any, Any]) -> Checkpoint | None:
    """A checkpoint of `mrirecon train`: the averaged weights, or the plain ones where none were averaged."""
    network, state = content.get("network"), content.get("state_dict")
    if not isinstance(network, Mapping) or not _is_state(state):
        return None
    name, config = network.get("name"), network.get("config")
    if not isinstance(name, str) or not isinstance(config, Mapping):
        return None
    for before, kind in (("ema.module.", "averaged"), ("network.", "plain")):
        weights = {k.removeprefix(before): x for k, x in state.items() if k.startswith(before)}  # type: ignore[union-attr]
        if weights:
            layout = f"checkpoint of `mrirecon train`, {kind} weights"
            return Checkpoint(layout, weights, {}, (), (), (name, dict(config)))
    return None


def _listed_averages(path: Path, content: object) -> tuple[Tensor, ...]:
    """The exponential moving averages in checkpoints of score SDE code: a list of tensors without names."""
    ema = content.get("ema") if isinstance(content, Mapping) else None
    if not isinstance(ema, Mapping) or "shadow_params" not in ema:
        return ()
    averages = ema["shadow_params"]
    if not isinstance(averages, Sequence) or not averages:
        raise ValueError(f"{path}: its 'ema' holds no list of tensors in 'shadow_params'")
    if not all(isinstance(average, Tensor) for average in averages):
        raise ValueError(f"{path}: not all of 'shadow_params' in its 'ema' are tensors")
    return tuple(averages)


def _hyper_parameters(content: Mapping[Any, Any]) -> dict[str, Any]:
    for values in (content.get("hyper_parameters"), content.get("hparams")):
        values = vars(values) if isinstance(values, argparse.Namespace) else values
        if isinstance(values, Mapping):
            return {str(key): value for key, value in values.items() if _is_plain(value)}
    return {}


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _stripped(state: State) -> tuple[str, State, tuple[str, ...]]:
    """The common prefix of all names, the state without it, and the names that are ignored."""
    stripped, ignored = "", []
    while True:
        ignored += [stripped + name for name in state if name in IGNORED]
        state = {name: tensor for name, tensor in state.items() if name not in IGNORED}
        prefix = next((p for p in PREFIXES if state and all(n.startswith(p) for n in state)), None)
        if prefix is None:
            return stripped, state, tuple(ignored)
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        stripped += prefix
