"""What measurements of speed share: cases of several tools, fair timing, peak memory, calls of BART, one 8-coil scan.

A script of this folder lists its cases in CASES and ends in `main(__doc__, CASES, __file__)`; `all.py` runs those of
every script.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np
import torch

from mrirecon.io.arrays import plain_scan
from mrirecon.scan import Scan

REAL_SCAN = Path(__file__).parents[1] / "tests/golden/brain_8ch_poisson8/kspace.npy"
OURS = "mrirecon"
PEERS = "MRIRECON_PEERS"  # environment variable: folder of clones of official code

Call = Callable[[], object]
Calls = dict[str, Call]
Clock = Callable[[], float]


class Missing(Exception):
    """A tool that is not here; its message says how to get it."""


@dataclass(frozen=True)
class Case:
    """The same work by several tools.

    Attributes:
        tools: for each tool what prepares it and gives the call that is timed; raises `Missing` if it is not here.
        agreement: a sentence on the results of the tools, by name.
        work: pieces of work in a call, such as slices; times are those of a piece.
        repeats: most calls of each tool, for slow ones.
        wall: take clock time always, for what other processes do that live on.
    """

    tools: Mapping[str, Callable[[], Call]]
    agreement: Callable[[dict[str, object]], str] | None = None
    work: int = 1
    repeats: int = 99
    wall: bool = False


@dataclass(frozen=True)
class Timed:
    """What a tool took.

    Attributes:
        seconds: median time of a piece of work.
        peak_mb: peak memory of a call in a fresh process above what the prepared process holds; of BART its whole
            process. None where it could not be had.
    """

    case: str
    tool: str
    seconds: float
    peak_mb: float | None


def cpu_seconds() -> float:
    """Processor time of this process and of the programs that it ran: other load on the machine changes it less."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return process_time() + children.ru_utime + children.ru_stime


CLOCKS: dict[str, Clock] = {"wall": perf_counter, "cpu": cpu_seconds}


def kspace_8x230x180() -> torch.Tensor:
    """The real scan, of shape (coil, readout, phase)."""
    return torch.from_numpy(np.load(REAL_SCAN))


def array_scan(kspace: torch.Tensor) -> Scan:
    """A one-slice scan of k-space in memory."""
    return plain_scan("memory", "array", (1, *kspace.shape), lambda volume, index: kspace)


def clone_of(name: str) -> Path:
    """The folder of a clone of official code.

    Raises:
        Missing: if the folder that the environment variable names has none.
    """
    folder = Path(os.environ.get(PEERS, ""), name)
    if not os.environ.get(PEERS) or not folder.is_dir():
        raise Missing(f"{name}: clone it into a folder and give that folder by --peers")
    return folder


@contextmanager
def importable(clone: Path) -> Iterator[None]:
    """Imports find the modules of a clone; afterwards their names are free again, since clones share some."""
    sys.path.insert(0, str(clone))
    try:
        yield
    finally:
        sys.path.remove(str(clone))
        for name, module in list(sys.modules.items()):
            spec = getattr(module, "__spec__", None)
            places = (spec.origin, *(spec.submodule_search_locations or ())) if spec else ()
            if any(str(place).startswith(str(clone)) for place in places):
                del sys.modules[name]


class Bart:
    """Runs `bart COMMAND in0 in1 ... out` on arrays of shape (coil, y, x); writing them is not timed."""

    def __init__(self, *inputs: torch.Tensor) -> None:
        if shutil.which("bart") is None:
            raise Missing("bart: install BART")
        self._folder = tempfile.TemporaryDirectory()
        self.path = Path(self._folder.name)
        for number, array in enumerate(inputs):
            y_x_1_coil = array.numpy().transpose(1, 2, 0)[:, :, None]
            header = self.path / f"in{number}.hdr"
            header.write_text("# Dimensions\n" + " ".join(map(str, y_x_1_coil.shape)) + "\n")
            y_x_1_coil.ravel(order="F").tofile(header.with_suffix(".cfl"))
        self.names = [f"in{number}" for number in range(len(inputs))]

    def command(self, command: str) -> BartCall:
        """The call that runs a command."""
        return BartCall(self, ["bart", *command.split(), *self.names, "out"])

    def result(self) -> torch.Tensor:
        """(y, x) or (coil, y, x)."""
        header = (self.path / "out.hdr").read_text().splitlines()[1]
        shape = [int(n) for n in header.split()][:4]
        array = np.fromfile(self.path / "out.cfl", np.complex64).reshape(shape, order="F")
        return torch.from_numpy(np.ascontiguousarray(array.transpose(3, 2, 0, 1))).squeeze()


@dataclass(frozen=True)
class BartCall:
    bart: Bart
    words: list[str]

    def __call__(self) -> Bart:
        subprocess.run(self.words, cwd=self.bart.path, check=True, capture_output=True)
        return self.bart

    def peak_mb(self) -> float:
        """Peak resident memory. The bare Python between is there because a child's peak counts its parent's memory."""
        code = (
            "import resource, subprocess, sys; subprocess.run(sys.argv[1:], capture_output=True); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
        )
        words = [sys.executable, "-S", "-c", code, *self.words]
        done = subprocess.run(words, cwd=self.bart.path, check=True, capture_output=True, text=True)
        return float(done.stdout)


def measured(
    title: str, case: Case, script: str, *, repeats: int, clock: Clock
) -> Iterator[Timed | str]:
    """What each tool took; sentences on tools that are missing and on how far results agree."""
    calls: Calls = {}
    for name, prepare in case.tools.items():
        try:
            calls[name] = prepare()
        except Missing as error:
            yield str(error)
    results = {name: call() for name, call in calls.items()}
    if case.agreement is not None and len(calls) > 1:
        yield case.agreement(results)
    del results
    clock = perf_counter if case.wall else clock
    seconds = interleaved_medians(calls, min(repeats, case.repeats), clock, warm=True)
    for name, value in seconds.items():
        done = subprocess.run(
            [sys.executable, script, "--once", title, name], capture_output=True, text=True
        )
        peak = float(done.stdout.split()[-1]) if done.returncode == 0 else None
        yield Timed(title, name, value / case.work, peak)


def interleaved_medians(
    calls: Calls, repeats: int, clock: Clock = perf_counter, *, warm: bool = False
) -> dict[str, float]:
    """Median seconds of each call, timed in turn after one warm-up each unless they are `warm`."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in () if warm else calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = clock()
            call()
            seconds[name].append(clock() - start)
    return {name: median(values) for name, values in seconds.items()}


def print_peak(call: Call) -> None:
    """Make one call in this process and print its peak memory in MB above what the process holds (Linux only)."""
    if isinstance(call, BartCall):
        print(call.peak_mb())
        return
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before = resident_kb("VmRSS")
    call()
    print((resident_kb("VmHWM") - before) / 1024)


def resident_kb(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def show(rows: Iterable[Timed | str]) -> list[Timed]:
    """Print each row when it is known, with its time over ours; give back the times."""
    timed: list[Timed] = []
    for row in rows:
        if isinstance(row, str):
            print(f"  {row}")
            continue
        timed.append(row)
        ours = next((r.seconds for r in timed if r.tool == OURS), row.seconds)
        peak = "?" if row.peak_mb is None else f"{row.peak_mb:.0f} MB"
        print(
            f"  {row.tool:14s} {1e3 * row.seconds:9.1f} ms   x {row.seconds / ours:5.2f}   peak {peak}",
            flush=True,
        )
    return timed


def options(doc: str | None) -> argparse.ArgumentParser:
    """The options that scripts of cases share."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, help="all cores by default")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--peers", help="folder of clones of official code, named as theirs")
    parser.add_argument("--only", nargs="+", help="words; cases whose title has one of them")
    parser.add_argument("--json", type=Path, help="file for the times")
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    return parser


def prepare(args: argparse.Namespace) -> None:
    """Do what the options say; the processes that measure memory take both from the environment."""
    warnings.simplefilter("ignore")
    torch.set_grad_enabled(False)
    if args.peers:
        os.environ[PEERS] = args.peers
    if args.threads:
        torch.set_num_threads(args.threads)
        os.environ["OMP_NUM_THREADS"] = str(args.threads)


def main(doc: str | None, cases: Mapping[str, Case], script: str) -> None:
    """The command line of a script of cases."""
    args = options(doc).parse_args()
    prepare(args)
    if args.once:
        title, tool = args.once
        print_peak(cases[title].tools[tool]())
        return
    timed: list[Timed] = []
    for title, case in chosen(cases, args.only).items():
        print(f"{title} ({args.clock} time, {torch.get_num_threads()} threads)")
        rows = measured(title, case, script, repeats=args.repeats, clock=CLOCKS[args.clock])
        timed += show(rows)
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in timed], indent=1) + "\n")


def chosen(cases: Mapping[str, Case], words: list[str] | None) -> dict[str, Case]:
    """The cases whose titles have one of the words, all without words."""
    return {t: c for t, c in cases.items() if words is None or any(w in t for w in words)}
