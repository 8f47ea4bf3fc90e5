"""Streams between HDF5 files and libhdf5 that stop what would hang or crash it.

libhdf5 loops for ever on a damaged heap of strings, and may crash on closing a file after a failed write (disk full).
Both are avoided in the Python file objects through which h5py's driver passes all bytes.
"""

from __future__ import annotations

import os
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Read = Callable[
    [int, struct.Struct], tuple[Any, ...]
]  # (byte offset, layout) -> the unpacked numbers

SIGNATURE = b"\x89HDF\r\n\x1a\n"
HEAP = b"GCOL"  # signature of a global heap collection, which holds strings and MRD samples
HEAP_HEADER, OBJECT_HEADER = struct.Struct("<8xQ"), struct.Struct("<H6xQ")
NAMES = b"HEAP"  # signature of a local heap, which holds the names in a group
NAMES_HEADER, FREE_HEADER = struct.Struct("<8xQQQ"), struct.Struct("<QQ")
NO_MORE = 1  # offset that ends the list of free space


class ReadStream:
    """A file opened for reading by h5py, with positional reads so that forked processes can share it.

    Raises:
        BlockingIOError: on opening, if another program has it open for writing.
        OSError: on reading, if a heap is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._name, self._descriptor = str(path), -1
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._at = self._base = 0  # the base is the offset to which addresses in the file refer
        try:
            _share(self._descriptor)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:  # h5py shows it as the name of the file
        return self._name

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position of the next read, and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence)
        self._at = offset + (os.fstat(self._descriptor).st_size if start is None else start)
        return self._at

    def tell(self) -> int:
        """The position of the next read."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, at most up to the end of the file; returns the number of bytes."""
        view = memoryview(buffer).cast("B")
        start, done = self._at, 0
        while count := os.preadv(self._descriptor, [view[done:]], start + done):
            done += count
        self._at += done
        if view[:8] == SIGNATURE:
            self._base = start
        elif view[:4] == HEAP:  # libhdf5 reads 4096 bytes of it, then, where it is longer, the rest
            check_heap(self._read_at, start)
        elif view[:4] == NAMES:
            check_names(self._read_at, start, self._base)
        return done

    def _read_at(self, at: int, layout: struct.Struct) -> tuple[Any, ...]:
        block = os.pread(self._descriptor, layout.size, at)
        if len(block) < layout.size:
            raise OSError(f"a heap at {at} is longer than the file")
        return layout.unpack(block)

    def read(self, size: int) -> bytes:
        """The next bytes."""
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(buffer)])

    def close(self) -> None:
        """Close the file; further calls do nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:  # for readers and threads that end without closing their files
        self.close()


class WriteStream:
    """A file opened for writing by h5py. The error of a failed write is stored in `failure`, not raised in libhdf5."""

    def __init__(self, path: Path) -> None:
        self._name = str(path)
        self._file = path.open("w+b", buffering=0)
        self.failure: OSError | None = None

    def __repr__(self) -> str:
        return self._name

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position of the next read or write, and return it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The position of the next read or write."""
        return self._file.tell()

    def write(self, data: Any) -> int:
        """Write all bytes, unless a write has failed before."""
        view = memoryview(data).cast("B")
        self._try(lambda: self._write(view))
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with what was written there, and with 0 beyond the end of the file."""
        view = memoryview(buffer).cast("B")
        done = self._file.readinto(view) or 0
        view[done:] = bytes(len(view) - done)
        return len(view)

    def read(self, size: int) -> bytes:
        """The next bytes."""
        buffer = bytearray(size)
        self.readinto(buffer)
        return bytes(buffer)

    def truncate(self, size: int) -> int:
        """Set the size of the file."""
        self._try(lambda: self._file.truncate(size))
        return size

    def flush(self) -> None:
        """Do nothing: writes are not buffered."""

    def close(self) -> None:
        """Close the file."""
        try:
            self._file.close()
        except OSError as error:
            self.failure = self.failure or error

    def _write(self, view: memoryview) -> None:
        done = 0
        while done < len(view):
            done += self._file.write(view[done:]) or 0

    def _try(self, action: Callable[[], object]) -> None:
        if self.failure is None:
            try:
                action()
            except OSError as error:
                self.failure = error


def check_heap(read: Read, start: int) -> None:
    """Walk through the objects of a global heap collection; libhdf5 loops for ever on an object of length 0.

    Source: HDF5 File Format Specification 3.0, section III.E.

    Raises:
        OSError: if an object is shorter than its header or reaches beyond the collection.
    """
    (size,) = read(start, HEAP_HEADER)
    at = HEAP_HEADER.size
    while at + OBJECT_HEADER.size <= size:
        index, length = read(start + at, OBJECT_HEADER)
        # The stored length excludes the header for an object and includes it for free space.
        step = OBJECT_HEADER.size + (length + 7) // 8 * 8 if index else length
        if step < OBJECT_HEADER.size or at + step > size:
            raise OSError(f"an object of the heap at {start} has length {length}")
        at += step


def check_names(read: Read, start: int, base: int) -> None:
    """Walk through the free list of a local heap; libhdf5 loops for ever where it leads back to itself.

    Source: HDF5 File Format Specification 3.0, section III.D.

    Raises:
        OSError: if it does.
    """
    size, free, data = read(start, NAMES_HEADER)
    seen: set[int] = set()
    while free != NO_MORE and free < size:
        if free in seen:
            raise OSError(f"free space of the heap at {start} leads back to itself")
        seen.add(free)
        free, _ = read(base + data + free, FREE_HEADER)


@contextmanager
def holding_signals() -> Iterator[Callable[[], None]]:
    """Defer Ctrl-C and other signals, whose exceptions inside libhdf5 are lost or crash it.

    Yields a function that handles the signals received so far; the rest are handled at the end.
    """
    waiting: list[tuple[int, FrameType | None]] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # Python handles signals in the main thread only
        return
    numbers = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    found = {n: signal.getsignal(n) for n in numbers if n is not None}
    handlers = {n: handler for n, handler in found.items() if callable(handler)}

    def let_in() -> None:
        while waiting:
            number, frame = waiting.pop(0)
            handlers[number](number, frame)

    for number in handlers:
        signal.signal(number, lambda number, frame: waiting.append((number, frame)))
    try:
        yield let_in
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        let_in()


def _share(descriptor: int) -> None:
    """Take HDF5's shared lock for reading, unless the file system has no locks or HDF5_USE_FILE_LOCKING is off."""
    if fcntl is None or os.environ.get("HDF5_USE_FILE_LOCKING", "").upper() in ("FALSE", "0"):
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(error.errno, "another program is writing it") from error
    except OSError:  # a file system without locks
        pass
