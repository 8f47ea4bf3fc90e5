"""Scans one after the other, and what is said of each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mrirecon.options import EXPECTED, one_line
from mrirecon.scan import Volume


def for_each(
    command: str,
    scans: Sequence[str],
    outputs: Sequence[Path],
    work: Callable[[str, Path], int | None],
) -> int:
    """Do the work for each scan; one of several that fails keeps no other from it. Returns the exit status.

    Raises:
        ValueError, OSError: if the only scan there is fails.
    """
    failures = 0
    for source, target in zip(scans, outputs, strict=True):
        try:
            failures += bool(work(source, target))
        except EXPECTED as error:
            if len(scans) == 1:
                raise
            failures += 1
            say_failed(command, source, error)
    return 1 if failures else 0


def say_failed(command: str, source: str, error: Exception) -> None:
    """One line about one of several scans."""
    text = one_line(error)
    named = "" if source in text else f"{source}: "
    print(f"mrirecon {command}: error: {named}{text}", file=sys.stderr)


def summary(target: Path, volume: Volume) -> str:
    """One line about a written volume."""
    info = volume.info
    parts = [
        f"{target}: {info['method']}",
        f"acceleration {info['acceleration']['achieved']:.2f}",
        f"{info['seconds_per_slice']:.2f} s/slice",
    ]
    if "data_residual" in info:
        parts.append(f"data residual {100 * info['data_residual']:.1f} %")
    if "metrics" in info:
        m = info["metrics"]
        parts.append(f"PSNR {m['psnr']:.2f} dB, SSIM {m['ssim']:.4f} ({m['protocol']})")
    return ", ".join(parts)
