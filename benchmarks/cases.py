"""Which scans, masks and pixels the quality benchmarks judge: simulated scans of held-out patients with their truth.

FOLDER is a set of `data_scripts/simulate_training_set.py` (with `--snr_db 30 40` for the numbers in the docs): methods
are tuned on scans of its `multicoil_train` and judged on `multicoil_val`, whose patients no network and no prior has
seen. Coil maps come from each mask's calibration region.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from mrirecon.io import read_scan
from mrirecon.masks import make_mask
from mrirecon.methods import METHODS
from mrirecon.metrics import Metrics, evaluate
from mrirecon.scan import Scan, Volume
from mrirecon.weights import shipped_weights

CENTER = 24  # samples, side of the centre of the Poisson masks
# Title: (kind, acceleration, centre as a share of the columns; None is the square above).
PATTERNS: dict[str, tuple[str, float, float | None]] = {
    "uniform1d x4": ("uniform1d", 4.0, 0.08),
    "gaussian1d x8": ("gaussian1d", 8.0, 0.04),
    "poisson x8": ("poisson", 8.0, None),
    "poisson x15": ("poisson", 15.0, None),
}
WEIGHTS = (0.000625, 0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
CONVERGED = {"iterations": 150}  # of l1_wavelet and tv


def files(folder: Path, part: str = "multicoil_val") -> list[Path]:
    """The scans of a part of the set."""
    found = sorted((folder / part).glob("[!.]*.h5"))
    if not found:
        raise SystemExit(f"{folder / part} holds no scan: make them with simulate_training_set.py")
    return found


def undersampled(path: Path, slices: int, pattern: str, seed: int) -> Scan:
    """The middle slices of a scan, undersampled."""
    kind, acceleration, center = PATTERNS[pattern]
    scan = read_scan(str(path))
    start = (scan.shape[0] - slices) // 2
    scan = scan.select(slice(start, start + slices))
    shape = scan.shape[2:]
    share = CENTER / min(shape) if center is None else center
    mask = make_mask(kind, shape, acceleration, center_fraction=share, seed=seed)
    return scan.undersample(mask, kind=kind)


def truth(scan: Scan) -> Float[Tensor, "slice readout phase"]:
    """The noise-free magnitude."""
    assert scan.reference is not None
    return torch.stack([scan.reference(index) for index in range(scan.shape[0])])


def head(target: Float[Tensor, "slice readout phase"]) -> Bool[Tensor, "slice readout phase"]:
    """The support: above a twentieth of the bright level, holes filled, the largest piece of each slice."""
    bright = float(torch.quantile(target.flatten()[::7], 0.99))
    return torch.stack([_largest(_filled(image > 0.05 * bright)) for image in target])


def brain(target: Float[Tensor, "slice readout phase"]) -> Bool[Tensor, "slice readout phase"]:
    """Without scalp, whose bright fat sets the range of the data and is easy.

    Tissue (above half the median of the inner head) is eroded, by 1 to 8 pixels, until the dark skull has parted scalp
    and brain: until there is a piece larger than a fifth of the head that does not reach its rim. It is grown back by
    as much, and its holes, such as ventricles, are filled. Slices where scalp and brain do not part have no brain.
    """
    pairs = zip(target, head(target), strict=True)
    return torch.stack([_brain_of(image, outer) for image, outer in pairs])


def judged(volume: Volume, target: Tensor) -> dict[str, Metrics]:
    """`fastmri`'s numbers inside the support and inside the brain."""
    image = volume.image[0]
    regions = {"support": head(target), "brain": brain(target)}
    return {
        name: evaluate(image, target, support=region)
        for name, region in regions.items()
        if bool(region.any())
    }


def best_weight(method: str, scans: Iterable[Scan]) -> float:
    """The weight of `l1_wavelet` or `tv` with the highest mean PSNR in the support."""
    known = [(scan, truth(scan)) for scan in scans]

    def score(weight: float) -> float:
        run = METHODS[method](regularization=weight, **CONVERGED)
        return sum(evaluate(run(s).image[0], t, support=head(t)).psnr for s, t in known)

    return max(WEIGHTS, key=score)


def networks() -> list[str]:
    """The networks whose weights are shipped."""
    there = shipped_weights()
    return [
        name for name in ("unet", "varnet", "humus", "unrolled_prior") if f"{name}_tiny" in there
    ]


def _filled(mask: Tensor) -> Tensor:
    return torch.from_numpy(ndimage.binary_fill_holes(mask.numpy()))


def _largest(mask: Tensor) -> Tensor:
    labels, count = ndimage.label(mask.numpy())
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())[1:]
    return torch.from_numpy(labels == 1 + int(sizes.argmax()))


def _brain_of(image: Tensor, outer: Tensor) -> Tensor:
    depth = ndimage.distance_transform_edt(outer.numpy())
    deep, rim = depth > 0.4 * depth.max(), outer.numpy() & (depth < 0.05 * depth.max())
    if not deep.any():
        return torch.zeros_like(outer)
    tissue = image.numpy() > 0.5 * np.median(image.numpy()[deep])
    for steps in range(1, 9):
        labels, count = ndimage.label(ndimage.binary_erosion(tissue, iterations=steps))
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        for n in range(1, count + 1):
            if sizes[n] > 0.2 * outer.sum() and not (rim & (labels == n)).any():
                grown = ndimage.binary_dilation(labels == n, iterations=steps, mask=tissue)
                return torch.from_numpy(ndimage.binary_fill_holes(grown))
    return torch.zeros_like(outer)


def options_text(options: dict[str, Any]) -> str:
    """Options as they are typed, short."""
    return ", ".join(f"{name} {value}" for name, value in options.items())
