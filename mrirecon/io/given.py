"""Images as people have them: a volume, a scan with its reference, an array, or a file."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Num
from torch import Tensor

from mrirecon.io.volumes import read_volume
from mrirecon.scan import Scan
from mrirecon.volume import Volume

Images: TypeAlias = Volume | Scan | Tensor | np.ndarray | str | PathLike[str]


def one_volume(given: Images, name: str) -> Num[Tensor, "slice readout phase"]:
    """The slices of one volume, whatever holds them; a single slice is a volume of one.

    Args:
        given: a reconstruction; a scan, whose reference is meant; an array; or a file that `read_volume` reads.
        name: what it is, for messages.

    Raises:
        ValueError: if it is none of these, or holds several volumes.
        OSError: if there is no such file.
    """
    image = _image(given, name)
    if image.ndim == 2:
        return image[None]
    if image.ndim == 4 and len(image) == 1:
        return image[0]
    if image.ndim != 3:
        size = " x ".join(map(str, image.shape))
        raise ValueError(
            f"{name} is {size}: give one volume (slice, readout, phase), such as volume.image[0]"
        )
    return image


def pair_of(reconstruction: Images, target: Images) -> Iterator[tuple[Tensor, str]]:
    """Both with their names; of a target with all slices of a scan those that were reconstructed.

    Raises:
        ValueError, OSError: as `one_volume`.
    """
    image, truth = one_volume(reconstruction, "reconstruction"), one_volume(target, "target")
    if isinstance(reconstruction, Volume) and not isinstance(target, Volume):
        first, count = reconstruction.first_slice, len(image)
        whole = len(truth) > count and first + count <= len(truth)
        truth = truth[first : first + count] if whole and reconstruction.is_part else truth
    yield image, "reconstruction"
    yield truth, "target"


def _image(given: Images, name: str) -> Tensor:
    if isinstance(given, Volume):
        return given.image
    if isinstance(given, Scan):
        return given.references()
    if isinstance(given, Tensor):
        return given
    if isinstance(given, np.ndarray) and given.dtype.kind in "fciu":
        return torch.from_numpy(np.ascontiguousarray(given))
    if isinstance(given, str | PathLike):
        return read_volume(given)
    kind = f"{given.dtype} array" if isinstance(given, np.ndarray) else type(given).__name__
    raise ValueError(
        f"{name} is a {kind}: give a volume, a scan with a reference, an array (slice, readout, phase) or a file"
    )
