"""Coil maps of a ring of receive coils, from the fields of their current loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.tensors import rss

_NODES = 32  # Chebyshev nodes per axis for the coil fields
_SEGMENTS = 64  # of each coil loop


def birdcage_maps(
    shape: tuple[int, int],
    coils: int,
    *,
    fov_mm: tuple[float, float] | None = None,
    positions_mm: Sequence[float] = (0.0,),
    distance: float = 1.5,
) -> Complex[Tensor, "slice coil readout phase"]:
    """Coil maps of current loops on an elliptic cylinder around the FOV, by the law of Biot and Savart.

    The map of a coil is B_x - i B_y, its receive sensitivity by reciprocity for B0 along the slice axis (Roemer et al.
    1990), divided by the root sum of squares of all coils. More than 12 coils are spread over several rings along
    the slice axis, each turned against the last. Pixel (N // 2, N // 2) is the centre; the same position has the same
    value on every grid.

    Args:
        shape: (readout, phase).
        coils: how many, 1 or more.
        fov_mm: extent of the image; None stands for 1 mm pixels.
        positions_mm: one per slice, distance from the centre of the coil array along the slice axis.
        distance: semi-axes of the cylinder in units of half the FOV; above 1.42, so that no wire crosses the image.

    Raises:
        ValueError: if there are no coils, no pixels, or wires would cross the image.

    Example:
        maps = mr.birdcage_maps((64, 48), 8)[0]  # (coil, readout, phase)
    """
    if coils < 1 or min(shape) < 1:
        raise ValueError(f"cannot make maps of {coils} coils on a {shape[0]} x {shape[1]} grid")
    if distance < 1.42:
        raise ValueError(f"coil distance is {distance}: below 1.42 its wires cross the image")
    half_x, half_y = (0.5 * length for length in (shape if fov_mm is None else fov_mm))
    loops = _coil_array(coils, distance * half_x, distance * half_y)
    # The fields are analytic inside the FOV: few Chebyshev nodes represent them, on any grid.
    polynomial = np.polynomial.chebyshev
    nodes = polynomial.chebpts1(_NODES)
    fit = np.linalg.inv(polynomial.chebvander(nodes, _NODES - 1))
    rows, columns = (
        torch.from_numpy(polynomial.chebvander((np.arange(n) - n // 2) * 2 / n, _NODES - 1) @ fit)
        for n in shape
    )
    x, y = torch.meshgrid(*(torch.from_numpy(h * nodes) for h in (half_x, half_y)), indexing="ij")
    maps = []
    for z in positions_mm:
        points = torch.stack([x, y, torch.full_like(x, z)], dim=-1).reshape(-1, 3)
        fields = _receive_fields(loops, points).reshape(coils, _NODES, _NODES)
        fields = (rows.to(fields.dtype) @ fields @ columns.to(fields.dtype).T).to(torch.complex64)
        maps.append(fields / rss(fields, dim=0))
    return torch.stack(maps)


class _Loops(NamedTuple):
    """Circular current loops whose axes lie in the image plane."""

    centers: Float[Tensor, "coil 3"]
    tangents: Float[Tensor, "coil 3"]
    radius: float


def _coil_array(coils: int, semi_x: float, semi_y: float) -> _Loops:
    """Rings of at most 12 loops on an elliptic cylinder; neighbours overlap a little, as in real arrays."""
    rings = math.ceil(coils / 12)
    mean = 0.5 * (semi_x + semi_y)
    per_ring = [coils // rings + (ring < coils % rings) for ring in range(rings)]
    radius = min(0.55 * 2 * math.pi * mean / per_ring[0], 0.7 * mean)
    centers, tangents = [], []
    for ring, count in enumerate(per_ring):
        height = 1.5 * radius * (ring - (rings - 1) / 2)
        for step in range(count):
            angle = 2 * math.pi * (step + 0.5 * (ring % 2)) / count
            centers.append([semi_x * math.cos(angle), semi_y * math.sin(angle), height])
            tangents.append([-semi_x * math.sin(angle), semi_y * math.cos(angle), 0.0])
    tangent = torch.tensor(tangents, dtype=torch.float64)
    return _Loops(
        torch.tensor(centers, dtype=torch.float64),
        tangent / torch.linalg.vector_norm(tangent, dim=1, keepdim=True),
        radius,
    )


def _receive_fields(
    loops: _Loops, points: Float[Tensor, "point 3"]
) -> Complex[Tensor, "coil point"]:
    """B_x - i B_y of unit currents, without the factor mu0 / 4 pi: the sum of dl x r / |r|^3 along each loop.

    The trapezoidal rule is exact to rounding here: the integrand is periodic and analytic off the wire.
    """
    angle = torch.arange(_SEGMENTS, dtype=torch.float64)[:, None] * (2 * math.pi / _SEGMENTS)
    axial = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    fields = []
    for center, tangent in zip(loops.centers, loops.tangents, strict=True):
        wire = center + loops.radius * (angle.cos() * tangent + angle.sin() * axial)
        step = loops.radius * (angle.cos() * axial - angle.sin() * tangent) * angle[1]
        r = points[:, None] - wire
        field = torch.linalg.cross(step.expand_as(r), r)
        field = (field / torch.linalg.vector_norm(r, dim=-1, keepdim=True) ** 3).sum(dim=1)
        fields.append(torch.complex(field[:, 0], -field[:, 1]))
    return torch.stack(fields)
