"""The `mrirecon` command: parse, call, print. Exit status 0 success, 1 some scans failed, 2 bad usage or input."""

from __future__ import annotations

import importlib
import io
import os
import sys
import textwrap
from collections.abc import Mapping, Sequence

from mrirecon import __version__
from mrirecon.cli.signals import silent_start
from mrirecon.nearest import likeliest, suggest

# command -> what it does; the command NAME is COMMAND of the module mrirecon.cli.NAME, or of two words the second of
# its COMMANDS
COMMANDS = {
    "demo": "reconstruct an embedded brain scan by classical, learned and diffusion methods; downloads nothing",
    "recon": "reconstruct scans to NIfTI, DICOM, HDF5, npy or cfl volumes",
    "compare": "compare methods on a scan that has no reference: left-out error, ranks, one page",
    "maps": "estimate coil maps of a scan and write them to a file",
    "info": "print what a scan holds and what recon would do with it",
    "mask": "make a sampling mask and print the acceleration it achieves",
    "convert": "convert k-space between fastMRI HDF5, MRD, cfl, npy and (reading only) twix",
    "simulate": "make multi-coil k-space of a NIfTI image",
    "sample": "draw images from a diffusion prior, without data",
    "train": "train a network, or go on training it",
    "view": "make a page that shows NIfTI volumes in three planes, offline",
    "evaluate": "compare a reconstruction with its target under a named protocol",
    "benchmark": "compare methods x masks on the same scans: one table",
    "methods": "list the methods and the kinds of masks, with a line on each",
    "weights list": "list the weights that come along, and published ones that can be imported",
    "weights info": "print what a file of network weights is",
    "weights import": "convert published weights, matched to the last key",
    "completion": "print what makes bash, zsh, fish or tcsh complete commands, options and names",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status."""
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] == ["help"]:
        args = [*args[1:], "--help"]
    if not args or args[0] in ("-h", "--help"):
        print(_usage())
        sys.exit(0)
    if args[0] in ("-V", "--version"):
        print(f"mrirecon {__version__}")
        sys.exit(0)
    family = {name: does for name, does in COMMANDS.items() if name.startswith(f"{args[0]} ")}
    if family and args[1:] in ([], ["-h"], ["--help"]):
        print(_usage(family))
        sys.exit(0)
    name = " ".join(args[: 2 if family else 1])
    if name not in COMMANDS:
        kind = "option" if name.startswith("-") else "command"
        hint = suggest(name, COMMANDS)
        if family:  # whose first word all have, and would seem alike by
            seconds = {one.partition(" ")[2]: one for one in family}
            near = likeliest(name.partition(" ")[2], seconds)
            hint = (
                f"did you mean {seconds[near]}?" if near else f"choose one of {', '.join(family)}"
            )
        print(f"mrirecon: error: unknown {kind} {name!r}: {hint}", file=sys.stderr)
        sys.exit(2)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # file names that are no UTF-8
    home, _, second = name.partition(" ")
    _let_waiting_threads_sleep()
    try:
        with silent_start(name):
            run = importlib.import_module("mrirecon.cli.run").run
            module = importlib.import_module(f"mrirecon.cli.{home}")
    except (ImportError, OSError, MemoryError) as error:
        if "--debug" in args:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        print(
            f"mrirecon {name}: error: a library cannot be loaded ({reason}): install it again, or allow more memory "
            "(ulimit -v)",
            file=sys.stderr,
        )
        sys.exit(2)
    command = module.COMMANDS[second] if second else module.COMMAND
    sys.exit(run(command, args[len(name.split()) :]))


def _let_waiting_threads_sleep() -> None:
    """Have threads of GNU OpenMP, which PyTorch reads when it is loaded, turn in a loop only briefly before they sleep.

    By default they turn for milliseconds. Where other programs use the cores too, that takes the time from the very
    threads that they wait for: a reconstruction by two threads took ten times as long, measured at 20 such programs.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _usage(commands: Mapping[str, str] = COMMANDS) -> str:
    width = max(map(len, commands)) + 2
    lines = [f"  {name:<{width}}{does}" for name, does in commands.items()]
    return textwrap.dedent(
        """\
        usage: mrirecon COMMAND [OPTIONS]      (mrirecon help COMMAND lists a command's options)

        MRI reconstruction: every method on the same scan, through one operator, to a NIfTI volume.
        Research software: not for diagnosis or treatment.

        commands:
        {commands}

        Every option can also stand in a YAML file given with --config; --print_config shows the resolved one.
        --debug shows the traceback of an error; -V or --version prints the version."""
    ).format(commands="\n".join(lines))
