"""The pictures of docs/masks.md and its table of true accelerations; the same seed gives the same files."""

from __future__ import annotations

import hashlib

import numpy as np
import records
from PIL import Image

from mrirecon.masks import MASKS, default_center_fraction, make_mask

FOLDER = records.DOCS / "images" / "masks"
POISSON = {
    "poisson_2": (2, {}),
    "poisson_4": (4, {}),
    "poisson_15": (15, {}),
    "poisson_elliptical": (8, {"elliptical": True}),
}
SEEDS = 50


def draw() -> None:
    """Draw every kind, and record the mean, smallest and largest true acceleration of 50 seeds."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, mask in pictures().items():
        levels = Image.fromarray(mask.astype(np.uint8) * 255).convert("1")
        levels.save(FOLDER / f"{name}.png", optimize=True)
    achieved = {kind: {f"R = {R}": _spread(kind, R) for R in (4, 8)} for kind in MASKS}
    rows = [[f"`{kind}`", *map(_said, found.values())] for kind, found in achieved.items()]
    records.Record(
        what=f"true acceleration of every kind of mask on 320 x 320 points, {SEEDS} seeds; pictures of 256 x 256",
        script="python docs/figures.py masks",
        data="embedded",
        made=records.here(),
        seeds={"pictures": 0, "table": [0, SEEDS - 1]},
        tolerance={"points": 0},
        numbers={
            "achieved": achieved,
            "sha256": {name: fingerprint(mask) for name, mask in pictures().items()},
        },
        tables={"achieved": records.table(["kind", "R = 4, 8 %", "R = 8, 4 %"], rows)},
    ).write("masks")


def pictures() -> dict[str, np.ndarray]:
    """The masks that are shown, by the name of their file."""
    shown = {
        kind: one(kind, (256, 256), 8 if MASKS[kind].samples == "points" else 4) for kind in MASKS
    }
    more = {
        name: one("poisson", (256, 256), R, **options) for name, (R, options) in POISSON.items()
    }
    return {**shown, **more}


def one(
    kind: str, shape: tuple[int, int], acceleration: int, seed: int = 0, **options: bool
) -> np.ndarray:
    """One mask with the customary calibration, as a numpy array."""
    return make_mask(
        kind,
        shape,
        acceleration,
        center_fraction=default_center_fraction(acceleration),
        seed=seed,
        **options,
    ).numpy()


def fingerprint(mask: np.ndarray) -> str:
    """What tells whether a mask is the same to the last point."""
    return hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()


def _spread(kind: str, acceleration: int) -> dict[str, float]:
    found = [1 / one(kind, (320, 320), acceleration, seed).mean() for seed in range(SEEDS)]
    values = {"mean": np.mean(found), "smallest": min(found), "largest": max(found)}
    return {name: round(float(value), 2) for name, value in values.items()}


def _said(found: dict[str, float]) -> str:
    low, high = f"{found['smallest']:.2f}", f"{found['largest']:.2f}"
    return f"{found['mean']:.2f}" + ("" if low == high else f" ({low} to {high})")
