"""`--preview FILE.png`: what is known of the slices that are being sampled, while they are."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import torch

from mrirecon.io.files import replacing
from mrirecon.methods.base import Preview
from mrirecon.plots import save_png, upright

REST = 1.0  # seconds from one picture to the next, at least


class PreviewFile:
    """Draws previews into a PNG, the slices side by side, phase axis upwards as in the report."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = float("-inf")

    def __call__(self, preview: Preview) -> None:
        if monotonic() - self.last < REST:
            return
        tiles = upright(preview.image)
        numbers = ", ".join(str(index) for _, index in preview.places)
        about = f"slices {numbers}: level {preview.level} of {preview.levels}, {preview.finished} draws finished"
        with replacing(self.path) as (part,):
            save_png(part, torch.cat([*tiles], dim=-1), tiles[0], about)
        self.last = monotonic()
