"""What the ISMRMRD header of a fastMRI file determines, and which columns its samples say are covered."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mrirecon.geometry import Geometry
from mrirecon.io.layout import IMAGE, Arrangement, Layout, as_complex
from mrirecon.io.mrd_header import Encoding, HeaderInfo, parse_header
from mrirecon.io.reconcile import FAINT, covering
from mrirecon.tensors import fftshift

ASSUMED_SPACING = "slice spacing assumed equal to slice thickness; position and orientation unknown"


def from_header(
    source: str,
    header: str,
    shape: tuple[int, int, int, int],
    arrangement: Arrangement | None = None,
) -> dict[str, Any]:
    """The fields of `Scan` that an ISMRMRD header determines, read as the fastMRI package reads it.

    The voxel size is that of the k-space grid, encoded FOV / encoded matrix: reconSpace may describe the vendor's
    interpolated image (512 x 512 in FLAIR 203, where the target has 213 x 213 of twice the size).

    Raises:
        ValueError: if the header cannot be read, is not Cartesian, or has another number of columns than the data, or
            none that is acquired.
    """
    try:
        info = parse_header(header)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    encoding = info.encoding
    if encoding.trajectory in ("radial", "goldenangle", "spiral"):
        raise ValueError(
            f"{source}: the trajectory is {encoding.trajectory}, only Cartesian is read"
        )
    readout, phase = shape[2:]
    notes = _contradictions(source, info, shape, arrangement)
    left, right = _padding(encoding, phase)
    if left >= right:
        limit = encoding.limits["kspace_encoding_step_1"]
        raise ValueError(
            f"{source}: of {phase} phase-encoding columns ismrmrd_header has none acquired (limits: maximum "
            f"{limit.maximum}, center {limit.center}): correct the header, or delete it to read with geometry unknown"
        )
    acquired = torch.zeros(readout, phase, dtype=torch.bool)
    acquired[:, left:right] = True
    if (voxel_mm := _voxel_mm(encoding)) is None:
        notes.append("the header has no field of view: voxel size unknown")
    fields = {
        "acquired": acquired,
        "geometry": Geometry(voxel_mm=voxel_mm, note=ASSUMED_SPACING),
        "oversampling": _oversampling(encoding),
        "notes": tuple(notes),
    }
    return fields | window(shape, (encoding.recon_matrix or (readout, phase))[:2])


def _contradictions(
    source: str, info: HeaderInfo, shape: tuple[int, int, int, int], arrangement: Arrangement | None
) -> list[str]:
    """Notes on where header and k-space have different sizes.

    Raises:
        ValueError: if the number of columns differs.
    """
    _, coils, readout, phase = shape
    matrix = info.encoding.encoded_matrix or (readout, phase)
    order = None if arrangement is None else _order_by_header(info, arrangement)
    notes = []
    if matrix[1] != phase:
        remedy = "correct the header, or delete it to read with geometry unknown"
        if order is not None:
            remedy = f"the axes of kspace look swapped, in their order they are --axes {order}"
        raise ValueError(
            f"{source}: ismrmrd_header has {matrix[1]} phase-encoding columns, kspace {phase}: {remedy}"
        )
    if matrix[0] != readout:
        notes.append(
            f"the header has {matrix[0]} readout samples, k-space {readout}: k-space is believed"
        )
    said = f"the header has {info.coils} receiver channels, k-space"
    if order is not None:
        notes.append(f"{said} is read with {coils}: the axes look swapped, give --axes {order}")
    elif (
        arrangement is not None and "coil" in arrangement.names and info.coils not in (None, coils)
    ):
        notes.append(f"{said} {coils} coils: k-space is believed")
    return notes


def _order_by_header(info: HeaderInfo, arrangement: Arrangement) -> str | None:
    """The order of the stored axes in which they have the header's sizes; None where they have them already."""
    matrix = info.encoding.encoded_matrix
    if matrix is None or info.coils is None:
        return None
    wanted = {"readout": matrix[0], "phase": matrix[1], "coil": info.coils}
    stored = [IMAGE.get(name, name) for name in arrangement.names]
    if "coil" not in stored:  # coils of one slice, where the header's slices are not as many
        limit = info.encoding.limits.get("slice")
        if info.coils == 1 or (
            limit is not None and limit.maximum + 1 == arrangement.size("slice")
        ):
            return None
        orders = permutations("coil" if name == "slice" else name for name in stored)
    else:
        if all(arrangement.size(name) == size for name, size in wanted.items()):
            return None
        orders = permutations(stored)
    for order in orders:
        other = Arrangement(order, arrangement.sizes)
        if all(other.size(name) == size for name, size in wanted.items()):
            return ",".join(order)
    return None


def window(shape: tuple[int, int, int, int], size: tuple[int, int]) -> dict[str, Any]:
    """The image crop of fastMRI; where k-space is narrower than asked, a square of its width."""
    readout, phase = shape[2:]
    rows, columns = (phase, phase) if phase < size[1] else size
    matrix = (min(rows, readout), columns)
    return {
        "matrix": matrix,
        "crop": (centred_part(readout, matrix[0]), centred_part(phase, matrix[1])),
    }


def centred_part(have: int, want: int) -> slice:
    """The middle `want` of `have` pixels, as the fastMRI package crops."""
    start = (have - want) // 2
    return slice(start, start + want)


def _padding(encoding: Encoding, phase: int) -> tuple[int, int]:
    """First acquired column, and the one after the last: `padding_left` and `padding_right` of fastMRI."""
    limit = encoding.limits.get("kspace_encoding_step_1")
    if limit is None or limit.maximum == 0:
        return 0, phase
    left = phase // 2 - limit.center
    return max(left, 0), min(left + limit.maximum + 1, phase)


def measured_columns(
    kspace: Any, arrangement: Arrangement, layout: Layout
) -> Bool[Tensor, " phase"] | None:
    """Where the centre row of the middle slice has samples, with its centre at N // 2; None of an image."""
    names, corners = arrangement.names, layout.corners("kspace_centre")
    if set(names) & set(IMAGE):
        return None
    row = 0 if corners[0] else arrangement.size("readout") // 2
    chosen = {"volume": 0, "slice": arrangement.size("slice") // 2, "readout": row}
    block = as_complex(np.asarray(kspace[tuple(chosen.get(name, slice(None)) for name in names)]))
    phase = [name for name in names if name not in chosen].index("phase")
    level = np.abs(np.moveaxis(block, phase, 0)).reshape(arrangement.size("phase"), -1)
    columns = torch.from_numpy(level.max(axis=1) > FAINT * level.max())
    return fftshift(columns, (0,)) if corners[1] else columns


def padding_by_data(
    known: dict[str, Any], columns: Bool[Tensor, " phase"] | None
) -> dict[str, Any]:
    """The covered columns of the data, where these have samples in what the header calls zero padding."""
    acquired = known["acquired"]
    if columns is None or not bool((columns & ~acquired[0]).any()):
        return {}
    found, said = columns.nonzero()[[0, -1], 0].tolist(), acquired[0].nonzero()[:, 0].tolist()
    range_of = f"{said[0]} to {said[-1]}" if said else "none"
    note = (
        f"the columns that the header covers are {range_of}, but {found[0]} to {found[1]} hold samples: k-space is "
        "believed"
    )
    acquired = covering(columns.expand_as(acquired), acquired)
    return {"acquired": acquired, "notes": (*known["notes"], note)}


def _voxel_mm(encoding: Encoding) -> tuple[float, float, float] | None:
    matrix, fov = encoding.encoded_matrix, encoding.encoded_fov_mm
    if matrix is None or fov is None:
        matrix, fov = encoding.recon_matrix, encoding.recon_fov_mm
    if matrix is None or fov is None:
        return None
    thickness = (encoding.recon_fov_mm or fov)[2]
    return fov[0] / matrix[0], fov[1] / matrix[1], thickness


def _oversampling(encoding: Encoding) -> float:
    if encoding.encoded_fov_mm is None or encoding.recon_fov_mm is None:
        return 1.0
    return max(1.0, round(encoding.encoded_fov_mm[0] / encoding.recon_fov_mm[0], 3))
