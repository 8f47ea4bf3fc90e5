"""The bytes of an HDF5 file as libhdf5 is handed them: what would hang or crash it is stopped here.

libhdf5 never comes back from a damaged heap of strings, and after a write that failed (disk full) it may crash at the
close. Both are avoided at the one place where all bytes pass, h5py's driver for Python file objects.
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

Read = Callable[[int, struct.Struct], tuple[Any, ...]]  # (place, what is there) -> its numbers

SIGNATURE = b"\x89HDF\r\n\x1a\n"
HEAP = b"GCOL"  # signature of a global heap collection, where strings and MRD samples are
HEAP_HEADER, OBJECT_HEADER = struct.Struct("<8xQ"), struct.Struct("<H6xQ")
NAMES = b"HEAP"  # signature of a local heap, where the names in a group are
NAMES_HEADER, FREE_HEADER = struct.Struct("<8xQQQ"), struct.Struct("<QQ")
NO_MORE = 1  # free space that is none


class ReadStream:
    """A file to be read by h5py. Reads name their place, so that forked processes may share it.

    Raises:
        BlockingIOError: at the start, if another program has it open for writing.
        OSError: at a read, if a heap is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._name = str(path)
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._at = self._base = 0  # the base is where addresses in the file count from
        try:
            _share(self._descriptor)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:  # h5py takes it for the file's name
        return self._name

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Where the next read begins."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence)
        self._at = offset + (os.fstat(self._descriptor).st_size if start is None else start)
        return self._at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, as far as the file goes."""
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
        """Close the file."""
        os.close(self._descriptor)


class WriteStream:
    """A file to be written by h5py. A write that fails is kept in `failure` and ends no call of libhdf5."""

    def __init__(self, path: Path) -> None:
        self._name = str(path)
        self._file = path.open("w+b", buffering=0)
        self.failure: OSError | None = None

    def __repr__(self) -> str:
        return self._name

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Where the next read or write begins."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where the next read or write begins."""
        return self._file.tell()

    def write(self, data: Any) -> int:
        """Write all, unless a write has failed before."""
        view = memoryview(data).cast("B")
        self._try(lambda: self._write(view))
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with what was written; what was not written is 0."""
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
        """Cut the file, or make it longer."""
        self._try(lambda: self._file.truncate(size))
        return size

    def flush(self) -> None:
        """Nothing is held back here."""

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
    """Walk through the objects of a global heap collection as libhdf5 does, which never ends at one of length 0.

    Source: HDF5 File Format Specification 3.0, section III.E.

    Raises:
        OSError: if an object is shorter than its header or reaches beyond the collection.
    """
    (size,) = read(start, HEAP_HEADER)
    at = HEAP_HEADER.size
    while at + OBJECT_HEADER.size <= size:
        index, length = read(start + at, OBJECT_HEADER)
        # The length of an object is without its header, that of free space with it.
        step = OBJECT_HEADER.size + (length + 7) // 8 * 8 if index else length
        if step < OBJECT_HEADER.size or at + step > size:
            raise OSError(f"an object of the heap at {start} has length {length}")
        at += step


def check_names(read: Read, start: int, base: int) -> None:
    """Walk through the free space of a local heap as libhdf5 does, which never ends where it leads back to itself.

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
    """Keep Ctrl-C and the like waiting: inside libhdf5 an exception is lost, or a crash. What it gives lets them in."""
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
    """Take HDF5's lock for reading, where the file system has locks and the environment wants them."""
    if fcntl is None or os.environ.get("HDF5_USE_FILE_LOCKING", "").upper() in ("FALSE", "0"):
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(error.errno, "another program is writing it") from error
    except OSError:  # a file system without locks
        pass
