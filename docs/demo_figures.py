"""The picture of the README: what `mrirecon demo` draws; and how its report and viewer look in a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import records
from PIL import Image

from mrirecon.cli.demo import ACCELERATION, CENTER_FRACTION, MASK, demo
from mrirecon.report import write_viewer

IMAGES = records.DOCS / "images"
TARGET = IMAGES / "demo.png"
WIDTH, COLOURS = 2000, 256  # a quarter of the size of the file that the demo writes
VIEWED = ("tv", "varnet")
PAGE_WIDTH = 1050  # pixels
PAGES = {"report.html": ("report.webp", 1012), "view.html": ("viewer.webp", 750)}


def draw() -> None:
    """Run the demo, keep its picture, and record the metrics of every method."""
    with tempfile.TemporaryDirectory() as folder:
        demo(output=folder, device="cpu")
        keep(Path(folder) / "demo.png")
        photograph(Path(folder))
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


def keep(picture: Path) -> None:
    """Write the demo's picture for pages, smaller."""
    with Image.open(picture) as whole:
        height = round(WIDTH * whole.height / whole.width)
        small = whole.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
    small.quantize(COLOURS, dither=Image.Dither.NONE).save(TARGET, optimize=True)


def photograph(folder: Path) -> None:
    """Take pictures of the report and of the viewer with chromium, as docs/report.md shows them.

    Raises:
        FileNotFoundError: if there is no chromium.
    """
    write_viewer(folder / "view.html", [folder / f"{name}.nii.gz" for name in VIEWED])
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise FileNotFoundError(
            "there is no chromium: install it to take the pictures of the pages"
        )
    for page, (name, height) in PAGES.items():
        target = IMAGES / name
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=5000"]
        size = f"--window-size={PAGE_WIDTH},{height}"
        place = [f"--screenshot={folder / 'taken.png'}", (folder / page).as_uri()]
        subprocess.run([browser, *options, size, *place], check=True, capture_output=True)
        with Image.open(folder / "taken.png") as taken:
            taken.convert("RGB").save(target, quality=85, method=6)
