"""What several measurements share: one 8-coil scan, calls of BART, fair timing, peak memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch

from mrirecon.io.arrays import plain_scan
from mrirecon.scan import Scan

REAL_SCAN = Path(__file__).parents[1] / "tests/golden/brain_8ch_poisson8/kspace.npy"
HAVE_BART = shutil.which("bart") is not None

Calls = dict[str, Callable[[], object]]


def kspace_8x230x180() -> torch.Tensor:
    """The real scan, of shape (coil, readout, phase)."""
    return torch.from_numpy(np.load(REAL_SCAN))


def array_scan(kspace: torch.Tensor) -> Scan:
    """A one-slice scan of k-space in memory."""
    return plain_scan("memory", "array", (1, *kspace.shape), lambda volume, index: kspace)


class Bart:
    """Runs `bart COMMAND in0 in1 ... out` on arrays of shape (coil, y, x); writing them is not timed."""

    def __init__(self, *inputs: torch.Tensor) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.path = Path(self._folder.name)
        for number, array in enumerate(inputs):
            y_x_1_coil = array.numpy().transpose(1, 2, 0)[:, :, None]
            header = self.path / f"in{number}.hdr"
            header.write_text("# Dimensions\n" + " ".join(map(str, y_x_1_coil.shape)) + "\n")
            y_x_1_coil.ravel(order="F").tofile(header.with_suffix(".cfl"))
        self.names = [f"in{number}" for number in range(len(inputs))]

    def __call__(self, command: str) -> None:
        subprocess.run(self._words(command), cwd=self.path, check=True, capture_output=True)

    def _words(self, command: str) -> list[str]:
        return ["bart", *command.split(), *self.names, "out"]

    def peak_mb(self, command: str) -> float:
        """Peak resident memory. The bare Python between is there because a child's peak counts its parent's memory."""
        code = (
            "import resource, subprocess, sys; subprocess.run(sys.argv[1:], capture_output=True); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
        )
        words = [sys.executable, "-S", "-c", code, *self._words(command)]
        done = subprocess.run(words, cwd=self.path, check=True, capture_output=True, text=True)
        return float(done.stdout)

    def result(self) -> torch.Tensor:
        """(y, x) or (coil, y, x)."""
        header = (self.path / "out.hdr").read_text().splitlines()[1]
        shape = [int(n) for n in header.split()][:4]
        array = np.fromfile(self.path / "out.cfl", np.complex64).reshape(shape, order="F")
        return torch.from_numpy(np.ascontiguousarray(array.transpose(3, 2, 0, 1))).squeeze()


def compare(title: str, calls: Calls, repeats: int, script: str, ours: str = "mrirecon") -> None:
    """Time the calls in turn after one warm-up each and print medians, ratios and the peak memory of each."""
    medians = interleaved_medians(calls, repeats)
    print(f"{title} (medians of {repeats}, {torch.get_num_threads()} threads)")
    for name in calls:
        memory = subprocess.run(
            [sys.executable, script, "--once", title, name], capture_output=True, text=True
        )
        peak = f"{float(memory.stdout.split()[-1]):6.0f} MB" if memory.returncode == 0 else "?"
        print(
            f"  {name:12s} {1e3 * medians[name]:8.1f} ms   x {medians[name] / medians[ours]:5.2f}   peak {peak}"
        )


def interleaved_medians(
    calls: Calls, repeats: int, clock: Callable[[], float] = perf_counter
) -> dict[str, float]:
    """Median seconds of each call, timed in turn after one warm-up each."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = clock()
            call()
            seconds[name].append(clock() - start)
    return {name: median(values) for name, values in seconds.items()}


def print_peak(call: Callable[[], object]) -> None:
    """Make one call in this fresh process and print its peak resident memory in MB, imports included (Linux only)."""
    if isinstance(call, partial) and isinstance(call.func, Bart):
        print(call.func.peak_mb(*call.args))
        return
    call()
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024)
