"""The choice of the device to compute on; no other module contains names of devices."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mrirecon.nearest import suggest

Device = Literal["auto", "cpu", "cuda", "mps"]
FEW = 4  # images at once on the CPU, where more are hardly faster
MANY = 32  # images at once on a GPU at most: more are not faster, and finished slices would be saved later
PIXEL = 2**14  # bytes per pixel: networks of about 100 channels, or of 32 with gradients


def choose_device(name: str) -> str:
    """The torch device for a name; auto takes a GPU if there is one. Several processes get one GPU each.

    Raises:
        ValueError: if the name is unknown, the device is not available, or there are fewer GPUs than processes.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    chosen = next(device for device, there in present.items() if there) if name == "auto" else name
    if chosen not in present:
        raise ValueError(f"unknown device {name!r}: {suggest(name, ['auto', *present])}")
    if not present[chosen]:
        raise ValueError(f"device {name} is not available here: use --device auto or cpu")
    number = os.environ.get("LOCAL_RANK")  # of this process on this machine, as torchrun sets it
    if chosen != "cuda" or number is None:
        return chosen
    if int(number) >= (count := torch.cuda.device_count()):
        raise ValueError(
            f"process {number} of this machine finds no GPU of its own, there are {count}: "
            f"start at most {count} processes, or use --device cpu"
        )
    return f"cuda:{number}"


def describe_device(device: torch.device | str) -> str:
    """A device in a few words: the model of a GPU, the threads of a CPU."""
    device = torch.device(device)
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return (
        f"{device.type} ({threads} thread{'s' * (threads > 1)})"
        if device.type == "cpu"
        else str(device)
    )


def synchronize(device: str) -> None:
    """Wait until a GPU has finished its work, such as before reading a clock; nothing to do on a CPU."""
    kind = torch.device(device).type
    if kind != "cpu":
        torch.get_device_module(kind).synchronize()


def give_back_memory() -> None:
    """Give freed memory back to the system, where the C library (glibc) keeps it in pieces among what is in use.

    Large tensors of changing sizes hardly fit the pieces, so that a long run would grow by hundreds of MB.
    """
    if (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Any:
    """`malloc_trim` of glibc; None where the C library has none."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def sent(x: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on a device. A GPU gets it while the CPU goes on, out of memory that the system does not move."""
    if (
        x.device.type != "cpu"
        or torch.device(device).type != "cuda"
        or not torch.cuda.is_available()
    ):
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def works_alone(device: torch.device | str) -> bool:
    """Whether the CPU is free while the device computes, as beside a GPU."""
    return torch.device(device).type == "cuda"


def images_that_fit(device: torch.device | str, pixels: int) -> int:
    """Number of images to compute at once: 4; on a GPU as many as fit its free memory at 16 KiB per pixel, up to 32."""
    device = torch.device(device)
    if device.type != "cuda":
        return FEW
    index = device.index
    unused = torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)
    free = torch.cuda.mem_get_info(index)[0] + unused  # torch reserves memory that was freed
    return max(1, min(MANY, free // (PIXEL * pixels)))


def has_fast_bfloat16(device: torch.device | str) -> bool:
    """Whether convolutions in bfloat16 are faster than in float32: on GPUs, and on CPUs with instructions for it."""
    kind = torch.device(device).type
    if kind == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


class PeakMemory:
    """Peak memory of a device since construction; on a CPU that of this process, if the system reports it."""

    def __init__(self, device: str) -> None:
        kind = torch.device(device).type
        self._device = device
        self._module: Any = None if kind == "cpu" else torch.get_device_module(kind)
        self._known = True
        if self._module is None:
            try:
                Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the peak
            except OSError:
                self._known = False
        elif hasattr(self._module, "reset_peak_memory_stats"):
            self._module.reset_peak_memory_stats(device)
        else:
            self._known = False
        self._before = self._read("VmRSS", "memory_allocated")

    def peak(self) -> int | None:
        """Peak memory in bytes; None if unknown."""
        return self._read("VmHWM", "max_memory_allocated")

    def rise(self) -> int | None:
        """Peak memory in bytes above that at construction; None if unknown."""
        peak = self.peak()
        return None if peak is None or self._before is None else peak - self._before

    def _read(self, line: str, function: str) -> int | None:
        if not self._known:
            return None
        if self._module is not None:
            return int(getattr(self._module, function)(self._device))
        status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        found = next((x for x in status if x.startswith(f"{line}:")), None)
        return None if found is None else int(found.split()[1]) * 1024
