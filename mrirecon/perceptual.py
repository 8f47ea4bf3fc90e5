"""A perceptual similarity that needs no weights: what Haar wavelets, like the first cells of vision, tell apart."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, pad

from mrirecon.io.given import Images, pair_of

C, ALPHA = 30.0, 4.2  # of the paper, for images whose largest value is PEAK
PEAK = 255.0
SCALES = (1, 2, 3)  # sides of 2, 4 and 8 pixels
SMALLEST = 16  # pixels along a side: below it the largest wavelet fills the image


def haarpsi(reconstruction: Images, target: Images) -> float:
    """Haar wavelet-based perceptual similarity index, from 0 to 1, averaged over slices.

    Reisenhofer, Bosse, Kutyniok & Wiegand 2018 (arXiv:1607.06140), their equations 10 to 13 for grey images, with the
    maximum of the target as the largest grey value. Slices of the target that are zero are left out.

    Args:
        reconstruction: a volume, an array (slice, readout, phase) or a file of one; of complex images the magnitude.
        target: ground truth in the same units, likewise; or a scan, which has it as its reference.

    Raises:
        ValueError: if one is no image, shapes disagree, slices are smaller than 16 x 16, or the target is zero.
        OSError: if a file cannot be read.

    Example:
        >>> mr.haarpsi(volume, scan) > 0.5
        True
    """
    x, truth = (image.abs().double() for image, _ in pair_of(reconstruction, target))
    if x.shape != truth.shape:
        raise ValueError(f"reconstruction is {tuple(x.shape)}, target is {tuple(truth.shape)}")
    if min(truth.shape[1:]) < SMALLEST:
        raise ValueError(
            f"slices are {tuple(truth.shape[1:])}: HaarPSI needs {SMALLEST} x {SMALLEST} pixels"
        )
    shown = truth.flatten(1).any(dim=1)
    if not bool(shown.any()):
        raise ValueError("target is zero: there is nothing to compare with")
    grey = PEAK / truth.max()
    return float(_similarity(x[shown] * grey, truth[shown] * grey).mean())


def _similarity(
    x: Float[Tensor, "slice y x"], truth: Float[Tensor, "slice y x"]
) -> Float[Tensor, " slice"]:
    one, other = _coefficients(x), _coefficients(truth)  # (slice, orientation, scale, y, x)
    fine = 2 * one[:, :, :2] * other[:, :, :2] + C
    fine = (fine / (one[:, :, :2].square() + other[:, :, :2].square() + C)).mean(2)
    weight = torch.maximum(one[:, :, 2], other[:, :, 2])
    told = (torch.sigmoid(ALPHA * fine) * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)
    return (torch.logit(told) / ALPHA).square()


def _coefficients(image: Float[Tensor, "slice y x"]) -> Float[Tensor, "slice 2 3 v u"]:
    """Magnitudes of horizontal and vertical Haar coefficients at three scales of half the image, not decimated."""
    half = avg_pool2d(pad(image[:, None], (0, 1, 0, 1)), 2, ceil_mode=False)
    found = []
    for scale in SCALES:
        side = 2**scale
        edge = torch.full((1, 1, side, side), 1 / side, dtype=image.dtype)
        edge[..., : side // 2, :] *= -1
        # The pixel is the first one after the middle of the wavelet.
        around = (side // 2 - 1, side // 2)
        wide = pad(half, (*around, *around))
        found.append(torch.cat([conv2d(wide, edge), conv2d(wide, edge.mT)], 1).abs())
    return torch.stack(found, 2)
