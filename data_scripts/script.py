"""What every data script does: run, and turn an error into one line on stderr and exit status 2."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence

from mrirecon.options import one_line

Main = Callable[[argparse.Namespace], int | None]


def parser(description: str | None, example: str) -> argparse.ArgumentParser:
    """A parser with the description, an example and `--debug`."""
    made = argparse.ArgumentParser(
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return made


def run(main: Main, options: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> int:
    """Parse `argv` (the command line's without it) and call `main`; the exit status."""
    args = options.parse_args(argv)
    try:
        return main(args) or 0
    except KeyboardInterrupt:
        print(f"{options.prog}: interrupted; run it again to go on", file=sys.stderr)
        return 130
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        print(f"{options.prog}: error: {one_line(error)}", file=sys.stderr)
        return 2
