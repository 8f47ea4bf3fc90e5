"""Draw the pictures of docs/masks.md and print its table of true accelerations.

Run `python docs/make_mask_pictures.py`; the same seed gives the same files.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from mrirecon.masks import MASKS, default_center_fraction, make_mask

FOLDER = Path(__file__).parent / "images" / "masks"
POISSON = {
    "poisson_2": (2, {}),
    "poisson_4": (4, {}),
    "poisson_15": (15, {}),
    "poisson_elliptical": (8, {"elliptical": True}),
}


def save(name: str, mask: np.ndarray) -> None:
    """Write a mask as a black and white PNG, one pixel per sample."""
    Image.fromarray(mask.astype(np.uint8) * 255).convert("1").save(
        FOLDER / f"{name}.png", optimize=True
    )


def draw(
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


def main() -> None:
    """Draw every kind, then print the mean, smallest and largest true acceleration of 50 seeds."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for kind in MASKS:
        save(kind, draw(kind, (256, 256), 8 if MASKS[kind].samples == "points" else 4))
    for name, (acceleration, options) in POISSON.items():
        save(name, draw("poisson", (256, 256), acceleration, **options))
    sys.stdout.write("| kind | R = 4, 8 % | R = 8, 4 % |\n|---|---|---|\n")
    for kind in MASKS:
        cells = []
        for acceleration in (4, 8):
            achieved = [1 / draw(kind, (320, 320), acceleration, seed).mean() for seed in range(50)]
            low, high = f"{min(achieved):.2f}", f"{max(achieved):.2f}"
            spread = "" if low == high else f" ({low} to {high})"
            cells.append(f"{np.mean(achieved):.2f}{spread}")
        sys.stdout.write(f"| `{kind}` | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
