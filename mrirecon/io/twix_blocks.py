"""The blocks of a Siemens twix file: measurements, each with its protocol and its readouts."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class _Samples:
    """Loads readouts whose `row` is their byte offset in the file; may be forked and pickled.

    Attributes:
        path: twix file.
        before: bytes of header before the first channel of a readout.
        between: bytes of header before each channel.
    """

    path: Path
    before: int
    between: int

    def __call__(self, lines: np.ndarray) -> list[np.ndarray]:
        samples = []
        with self.path.open("rb") as file:
            for line in lines:
                layout = np.dtype([("head", f"V{self.between}"), ("data", "<c8", line["samples"])])
                file.seek(int(line["row"]) + self.before)
                block = file.read(int(line["coils"]) * layout.itemsize)
                if len(block) < int(line["coils"]) * layout.itemsize:
                    raise ValueError(f"{self.path}: the file is truncated: copy it again")
                samples.append(np.frombuffer(block, layout)["data"].conj())
        return samples


@dataclass(frozen=True)
class Measurement:
    """One measurement: its parsed header, the header and byte offset of each readout, and a loader of samples."""

    header: dict[str, Any]
    heads: np.ndarray
    places: np.ndarray
    samples: _Samples

    def flagged(self, flag: str) -> np.ndarray:
        """Which readouts carry a flag, given by its name in twixtools."""
        from twixtools.mdh_def import mask_dict

        return np.asarray(self.heads["EvalInfoMask"] & np.uint64(1 << mask_dict[flag]) != 0)

    @property
    def dwell_us(self) -> float:
        """Time per sample in microseconds, from the protocol; 0 where that does not state it."""
        dwell = self.header["MeasYaps"].get("sRXSPEC", {}).get("alDwellTime", [])
        return dwell[0] / 1000 if dwell else 0.0


def read_measurements(path: Path) -> list[Measurement]:
    """The measurements of a file, the scan itself last.

    Raises:
        ValueError: if it is truncated, damaged, or no twix file.
        ImportError: if twixtools is missing.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if not _begins_twix(file.read(8), size):
            raise ValueError(
                f"{path} is no Siemens twix file, it does not begin as one: copy it again if it was one"
            )
    try:
        from twixtools.hdr_def import MultiRaidFileHeader
        from twixtools.helpers import idea_version_check
        from twixtools.twixprot import parse_twix_hdr
    except ImportError as error:
        raise ImportError(
            "reading Siemens twix needs the package twixtools: pip install twixtools"
        ) from error
    found = []
    with path.open("rb") as file, contextlib.redirect_stdout(io.StringIO()):  # twixtools prints
        try:
            is_ve, count = idea_version_check(file)
            extents = [(0, size)]  # VB: one measurement, of unknown length
            if is_ve:
                entries = np.fromfile(file, MultiRaidFileHeader, 1)[0]["entry"][:count]
                extents = [(int(entry["off_"]), int(entry["len_"])) for entry in entries]
            if any(start + length > size for start, length in extents):
                raise ValueError("a measurement ends beyond the file")
            for start, _ in extents:
                file.seek(start)
                header_size = int(np.fromfile(file, "<u4", 1)[0])
                file.seek(start)
                header = parse_twix_hdr(file)
                found.append((header, start + header_size))
        except (
            ValueError,
            LookupError,
            OSError,
            OverflowError,
            RecursionError,
            TypeError,
        ) as error:
            raise ValueError(
                f"{path} is not a whole Siemens twix file: copy it again if it was one"
            ) from error
    if not found or "MeasYaps" not in found[-1][0]:
        raise ValueError(f"{path} is not a Siemens twix file: it has no protocol")
    measurements = [_measurement(path, header, place, is_ve) for header, place in found]
    if not len(measurements[-1].heads):
        raise ValueError(f"{path} holds no readouts")
    return measurements


def _begins_twix(head: bytes, size: int) -> bool:
    """Whether a file begins like VD or VE (0 or 1, number of measurements) or like VB (size and number of headers)."""
    first, count = (int.from_bytes(head[at : at + 4], "little") for at in (0, 4))
    return first <= max(size, 10000) and 1 <= count <= 64


def _measurement(path: Path, header: dict[str, Any], place: int, is_ve: bool) -> Measurement:
    """Read the header of each block up to the end mark, as twixtools does, but stop at an impossible block length."""
    from twixtools.mdh_def import Channel_header, Scan_header, VB17_header, mask_dict

    size = path.stat().st_size
    head = np.dtype(Scan_header if is_ve else VB17_header)
    channel = np.dtype(Channel_header) if is_ve else head
    before = head.itemsize if is_ve else 0
    end, extra = 1 << mask_dict["ACQEND"], 1 << mask_dict["SYNCDATA"]
    heads: list[np.void] = []
    places: list[int] = []
    with path.open("rb") as file:
        while place + head.itemsize <= size:
            file.seek(place)
            block = np.frombuffer(file.read(head.itemsize), head)[0]
            flags = int(block["EvalInfoMask"])
            if flags & end:
                load = _Samples(path, before, channel.itemsize)
                return Measurement(header, np.array(heads, head), np.array(places, "i8"), load)
            samples = channel.itemsize + 8 * int(block["SamplesInScan"])
            length = before + int(block["UsedChannels"]) * samples
            if flags & extra:
                length = int(block["FlagsAndDMALength"]) % 2**25
            else:
                heads.append(block)
                places.append(place)
            if length <= 0:
                break
            place += length
    raise ValueError(f"{path}: no end mark after {len(heads)} readouts: the file is truncated")
