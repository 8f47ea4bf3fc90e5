"""Images as gradient echoes would show them: what turns phase in air, fat and tissue is made up, once, and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from mrirecon.gradient_echo import GradientEcho
from mrirecon.io.files import replacing
from mrirecon.training.prior.images import Prepared


def with_echoes(
    volumes: Sequence[Prepared], echoes: int, echo_ms: tuple[float, float]
) -> list[Prepared]:
    """The volumes, and each magnitude image that says how it lies as several gradient echoes too.

    Args:
        volumes: as prepared; the echoes are kept beside them.
        echoes: of each image, with echo time and susceptibilities of their own.
        echo_ms: range of their echo times.
    """
    found = []
    for volume in volumes:
        found.append(volume)
        if volume.lies and volume.voxel_mm is not None:
            found += [_echo_of(volume, number, echo_ms) for number in range(echoes)]
    return found


def _echo_of(volume: Prepared, number: int, echo_ms: tuple[float, float]) -> Prepared:
    random = np.random.default_rng([int(volume.sha256[:16], 16), number])
    echo = GradientEcho.drawn(random, echo_ms)
    sha256 = hashlib.sha256(repr((volume.sha256, asdict(echo))).encode()).hexdigest()
    path = volume.path.with_name(f"{volume.path.stem}-{sha256[:16]}.npy")
    if not path.exists():
        down, back, left = volume.voxel_mm or (1.0, 1.0, 1.0)
        magnitude = np.moveaxis(np.asarray(volume.array[...], dtype=np.float64), 0, 2)
        image = echo(magnitude, (back, left, down), np.array([0.0, 0.0, 1.0]))
        with replacing(path) as (part,), part.open("wb") as stream:
            np.save(stream, np.moveaxis(image, 2, 0).astype(np.complex64))
    return replace(volume, path=path, sha256=sha256)
