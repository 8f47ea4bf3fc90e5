"""Signals that end a run: as exceptions they let it tidy up, and the exit status says which it was."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# What a batch system or a closed terminal sends; where it is ignored already, as under nohup, it stays so.
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Ended(BaseException):
    """A signal other than Ctrl-C asks the run to end; like KeyboardInterrupt it is no error."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number, self.name = number, signal.Signals(number).name


@contextmanager
def tidy_end() -> Iterator[None]:
    """Turn the signals that end a program into `Ended`, once; the next one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.getsignal(n) for n in ENDING}
    ours = [n for n, handler in before.items() if handler is signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> None:
        for other in ours:
            signal.signal(other, signal.SIG_DFL)
        raise Ended(number)

    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


@contextmanager
def silent_start(name: str) -> Iterator[None]:
    """While modules are imported nothing is to be tidied up: Ctrl-C ends the program at once, without a traceback."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        print(f"mrirecon {name}: interrupted", file=sys.stderr, flush=True)
        os._exit(128 + number)

    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
