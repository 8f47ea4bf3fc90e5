"""The picture of the README and of the home page: what `mrirecon demo` draws."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import records

from mrirecon.cli.demo import ACCELERATION, CENTER_FRACTION, MASK, demo

TARGET = records.DOCS / "images" / "demo.png"


def draw() -> None:
    """Run the demo, keep its picture, and record the metrics of every method."""
    with tempfile.TemporaryDirectory() as folder:
        demo(output=folder, device="cpu")
        shutil.copy(Path(folder) / "demo.png", TARGET)
        found = {
            path.name.partition(".")[0]: path.read_text()
            for path in Path(folder).glob("*.nii.gz.json")
        }
    numbers = {}
    for name, text in found.items():
        info = json.loads(text)
        numbers[name] = {
            "psnr": round(info["metrics"]["psnr"], 2),
            "ssim": round(info["metrics"]["ssim"], 4),
            "seconds": float(f"{info['seconds_per_slice']:.2g}"),
        }
    ordered = dict(sorted(numbers.items(), key=lambda one: one[1]["psnr"]))
    rows = [
        [f"`{name}`", f"{one['psnr']:.2f}", f"{one['ssim']:.3f}", f"{one['seconds']:g}"]
        for name, one in ordered.items()
    ]
    records.Record(
        what=f"the embedded scan by the methods of the demo, {MASK} x{ACCELERATION:g}, centre {CENTER_FRACTION:g}",
        script="python docs/figures.py demo",
        data="embedded",
        made=records.here(),
        seeds={"mask": 0, "scan": 0, "draws": 0},
        tolerance={"psnr": 0.1, "ssim": 0.005},
        numbers=ordered,
        tables={"all": records.table(["method", "PSNR, dB", "SSIM", "seconds per slice"], rows)},
    ).write("demo")
