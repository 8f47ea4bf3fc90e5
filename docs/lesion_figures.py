"""The picture of docs/robustness.md: a slice of the embedded scan with lesions, and what methods make of them."""

from __future__ import annotations

from typing import Any

import method_figures
import numpy as np
import records
import torch
from PIL import Image

import mrirecon as mr
from mrirecon.benchmark.lesions import Edit, Lesions, figures_of

FILE = records.DOCS / "images" / "lesions.png"
METHODS = ("zero_filled", "cg_sense", "tv", "varnet", "unrolled_prior", "dds", "dip")
MASK = {"mask": "uniform1d", "acceleration": 4, "center_fraction": 0.15}
LESIONS = Lesions(count=4, radius=2.5, contrast=0.4)
HEIGHT, GAIN = 170, 3.0  # pixels; how much brighter differences are shown


def draw() -> None:
    """Reconstruct the slice with and without lesions, draw both, and write the record."""
    scan = method_figures.embedded()
    edit = edited(scan)
    found = {name: judged(scan, edit, name) for name in METHODS}
    shown = method_figures.screen(scan, edit.before[0].numpy())
    pictures = [(edit.after[0], edit.after[0] - edit.before[0])]
    pictures += [(with_, with_ - without) for with_, without, _ in found.values()]
    rows = [
        [shown.picture(gain * pair[n].numpy(), HEIGHT) for pair in pictures]
        for n, gain in enumerate((1.0, GAIN))
    ]
    sheet(rows).save(FILE, optimize=True)
    record({name: figures_of([one]) for name, (_, _, one) in found.items()}).write("lesion_example")


def edited(scan: mr.Scan) -> Edit:
    """The slice with its lesions."""
    assert scan.reference is not None
    return LESIONS.edit(scan, scan.reference(0)[None])


def judged(
    scan: mr.Scan, edit: Edit, name: str
) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    """Magnitudes with and without the lesions, and what became of them."""
    volumes = [mr.reconstruct(one, method=name, device="cpu", **MASK) for one in (edit.scan, scan)]
    with_, without = (volume.image[0].abs() for volume in volumes)
    return with_[0], without[0], edit.judge(volumes[0], without)


def sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """Pictures of one size in rows, in 64 grays."""
    stacked = np.vstack([np.hstack([np.asarray(one) for one in row]) for row in rows])
    return Image.fromarray((stacked // 4 * 4).astype(np.uint8))


def record(figures: dict[str, dict[str, float]]) -> records.Record:
    """What the page says beside the picture."""
    rows = [
        [f"`{name}`", f"{one['kept']:.0%}", f"{4 * one['lost']:.0f} of 4"]
        for name, one in figures.items()
    ]
    kept = ("kept", "lost", "invented")
    return records.Record(
        what="four bright lesions put into a slice of the embedded scan: how much of their contrast methods keep",
        script="python docs/figures.py lesion_example",
        data="embedded",
        made=records.here(),
        seeds={"lesions": 0, "mask": 0, "draws": 0},
        tolerance={"kept": 0.03},
        numbers={name: {key: round(one[key], 4) for key in kept} for name, one in figures.items()},
        tables={"kept": records.table(["method", "contrast kept", "lesions lost"], rows)},
    )
