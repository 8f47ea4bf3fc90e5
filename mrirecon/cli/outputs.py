"""What is said about a reconstruction that was written."""

from __future__ import annotations

from pathlib import Path

from mrirecon.scan import Volume


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
