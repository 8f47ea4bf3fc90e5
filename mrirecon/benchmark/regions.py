"""Where images of heads are judged: in the head, or in the brain alone, both found in the truth."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor


def find_head(target: Float[Tensor, "slice y x"]) -> Bool[Tensor, "slice y x"]:
    """Pixels above a twentieth of the bright level, holes filled, the largest piece of each slice."""
    from scipy.ndimage import binary_fill_holes, label

    bright = float(torch.quantile(target.flatten()[::7], 0.99))
    found = np.zeros(target.shape, dtype=bool)
    for index, image in enumerate(target.numpy()):
        labels, count = label(binary_fill_holes(image > 0.05 * bright))
        if count:
            found[index] = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    return torch.from_numpy(found)


def find_brain(target: Float[Tensor, "slice y x"]) -> Bool[Tensor, "slice y x"]:
    """The head without scalp, whose bright fat sets the range of the data and is easy.

    Tissue (above half the median of the inner head) is eroded, by 1 to 8 pixels, until the dark skull has parted scalp
    and brain: until there is a piece larger than a fifth of the head that does not reach its rim. It is grown back by
    as much, and its holes, such as ventricles, are filled. Slices where scalp and brain do not part have no brain.
    """
    pairs = zip(target.numpy(), find_head(target).numpy(), strict=True)
    return torch.from_numpy(np.stack([_brain_of(image, head) for image, head in pairs]))


def _brain_of(image: np.ndarray, head: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(head)
    deep, rim = depth > 0.4 * depth.max(), head & (depth < 0.05 * depth.max())
    if deep.any():
        tissue = image > 0.5 * np.median(image[deep])
        for steps in range(1, 9):
            labels, count = ndimage.label(ndimage.binary_erosion(tissue, iterations=steps))
            sizes = np.bincount(labels.ravel(), minlength=count + 1)
            for number in range(1, count + 1):
                piece = labels == number
                if sizes[number] > 0.2 * head.sum() and not (rim & piece).any():
                    grown = ndimage.binary_dilation(piece, iterations=steps, mask=tissue)
                    return np.asarray(ndimage.binary_fill_holes(grown))
    return np.zeros_like(head)
