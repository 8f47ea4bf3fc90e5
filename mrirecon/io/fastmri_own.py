"""The group `mrirecon` of a fastMRI file: what that layout has no place for, checked entry by entry when it is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from dataclasses import fields as dataclass_fields
from typing import Any

import numpy as np
import torch

from mrirecon.io.hdf5 import read_text
from mrirecon.io.layout import size_text
from mrirecon.io.mask_arrays import as_mask, expand_mask
from mrirecon.scan import FRAMES, Geometry, Scan

Shape = tuple[int, int, int, int]


class _Wrong(ValueError):
    """An entry is not as it must be; the message says how it must be."""


def write_own(scan: Scan, group: Any) -> None:
    """Write what `read_own` reads."""
    group["geometry"] = json.dumps(asdict(scan.geometry))
    group["acquired"] = scan.acquired.numpy()
    group["crop"] = [[part.start, part.stop] for part in scan.crop]
    group["matrix"] = scan.matrix
    group["oversampling"] = scan.oversampling
    if scan.noise_covariance is not None:
        group["noise_covariance"] = scan.noise_covariance.numpy()
    if scan.calibration is not None:
        calibration = group.create_dataset("calibration", scan.shape, np.complex64)
        for index in range(scan.shape[0]):
            calibration[index] = scan.calibration(0, index).numpy()


def read_own(source: str, group: Any, shape: Shape) -> dict[str, Any]:
    """The fields of `Scan` that the group holds; that there is `calibration` is True, it is read by slice.

    Raises:
        ValueError: naming the file and the entry that is missing or not as it must be.
    """
    if not hasattr(group, "keys"):
        raise ValueError(f"{source}: 'mrirecon' is no group: delete it from the file")
    fields: dict[str, Any] = {}
    for name, (read, optional) in ENTRIES.items():
        try:
            if name in group:
                fields[name] = read(group[name], source, shape)
            elif not optional:
                raise _Wrong("it is missing")
            if name == "matrix":
                _check_window(fields)
        except _Wrong as error:
            raise ValueError(
                f"{source}: mrirecon/{name}: {error}: delete the group 'mrirecon' from the file"
            ) from error
    return fields


def _geometry(dataset: Any, source: str, shape: Shape) -> Geometry:
    try:
        known = json.loads(read_text(dataset, source))
    except ValueError as error:
        raise _Wrong("it is no text of JSON") from error
    names = [field.name for field in dataclass_fields(Geometry)]
    if not isinstance(known, Mapping) or not set(known) <= set(names):
        raise _Wrong(f"it must hold {', '.join(names)}")
    voxel, directions, centers = (known.get(name) for name in names[:3])
    note, frame = known.get("note", ""), known.get("frame", FRAMES[0])
    if voxel is not None and not (_numbers(voxel, (3,)) and min(voxel) > 0):
        raise _Wrong(f"voxel_mm is {_short(voxel)}, expected three positive numbers")
    if directions is not None and not (
        _numbers(directions, (3, 3))
        and np.allclose(np.linalg.norm(directions, axis=1), 1, atol=0.01)
    ):
        raise _Wrong(f"directions are {_short(directions)}, expected three unit vectors")
    if directions is not None and abs(np.linalg.det(directions)) < 0.1:
        raise _Wrong(f"directions are {_short(directions)}, which lie in one plane")
    if centers is not None and not _numbers(centers, (shape[0], 3)):
        raise _Wrong(
            f"centers_mm are {_short(centers)}, expected {shape[0]} positions, one per slice"
        )
    if not isinstance(note, str):
        raise _Wrong(f"note is {_short(note)}, expected a text")
    if frame not in FRAMES:
        raise _Wrong(f"frame is {_short(frame)}, expected one of {', '.join(FRAMES)}")
    return Geometry(_tuples(voxel), _tuples(directions), _tuples(centers), note, frame)


def _acquired(dataset: Any, source: str, shape: Shape) -> torch.Tensor:
    try:
        acquired = expand_mask(as_mask("it", _array(dataset)), shape[2:], "it")
    except ValueError as error:
        raise _Wrong(str(error).removeprefix("it: ")) from error
    if not bool(acquired.any()):
        raise _Wrong("no point is acquired")
    return acquired


def _crop(dataset: Any, source: str, shape: Shape) -> tuple[slice, slice]:
    crop = _array(dataset)
    if crop.shape != (2, 2) or crop.dtype.kind not in "iu":
        raise _Wrong(f"it is {_short(crop.tolist())}, expected first and last of readout and phase")
    for (start, stop), size in zip(crop.tolist(), shape[2:], strict=True):
        if not 0 <= start < stop <= size:
            raise _Wrong(f"{start}:{stop} is no part of 0:{size}")
    return slice(*crop[0].tolist()), slice(*crop[1].tolist())


def _matrix(dataset: Any, source: str, shape: Shape) -> tuple[int, int]:
    matrix = _array(dataset)
    # The image is interpolated to it: a wrong one would fill the memory.
    largest = 16 * max(shape[2:])
    if (
        matrix.shape != (2,)
        or matrix.dtype.kind not in "iu"
        or not all(1 <= n <= largest for n in matrix.tolist())
    ):
        raise _Wrong(f"it is {_short(matrix.tolist())}, expected two sizes from 1 to {largest}")
    return int(matrix[0]), int(matrix[1])


def _check_window(fields: Mapping[str, Any]) -> None:
    """The image is interpolated from the window to the matrix, never made smaller."""
    matrix, window = fields["matrix"], tuple(part.stop - part.start for part in fields["crop"])
    if any(have < want for have, want in zip(matrix, window, strict=True)):
        raise _Wrong(
            f"it is {size_text(matrix)}, smaller than the window of {size_text(window)}, mrirecon/crop"
        )


def _oversampling(dataset: Any, source: str, shape: Shape) -> float:
    number = _array(dataset)
    if number.shape != () or number.dtype.kind not in "iuf" or not 1 <= number <= shape[2]:
        raise _Wrong(f"it is {_short(number.tolist())}, expected a number of at least 1")
    return float(number)


def _noise_covariance(dataset: Any, source: str, shape: Shape) -> torch.Tensor:
    coils = shape[1]
    covariance = _array(dataset)
    if covariance.shape != (coils, coils) or covariance.dtype.kind not in "fc":
        size = " x ".join(map(str, covariance.shape))
        raise _Wrong(
            f"it is {size} of {covariance.dtype}, expected {coils} x {coils} complex numbers"
        )
    if not np.isfinite(covariance).all():
        raise _Wrong("it holds NaN or infinite values")
    tolerance = 1e-4 * float(np.abs(covariance).max())
    hermitian = np.allclose(covariance, covariance.conj().T, atol=tolerance)
    if not hermitian or np.linalg.eigvalsh(covariance).min() < -tolerance:
        raise _Wrong("it is no covariance: it must be Hermitian, with no negative eigenvalue")
    return torch.from_numpy(covariance.astype(np.result_type(covariance, np.complex64)))


def _calibration(dataset: Any, source: str, shape: Shape) -> bool:
    size = getattr(dataset, "shape", None)
    if size != shape or dataset.dtype.kind != "c":
        raise _Wrong(f"it is {size}, expected complex numbers of the size of kspace, {shape}")
    return True


ENTRIES: dict[str, tuple[Callable[[Any, str, Shape], Any], bool]] = {  # reader, may be missing
    "geometry": (_geometry, False),
    "acquired": (_acquired, False),
    "crop": (_crop, False),
    "matrix": (_matrix, False),
    "oversampling": (_oversampling, False),
    "noise_covariance": (_noise_covariance, True),
    "calibration": (_calibration, True),
}


def _array(dataset: Any) -> np.ndarray:
    """The numbers of a dataset, which is looked at before it is read: a damaged one may be huge or of any kind."""
    kind = getattr(dataset, "dtype", None)
    if kind is None or kind.kind not in "biufc":
        raise _Wrong("it holds no numbers")
    if dataset.size > 1 << 26:
        raise _Wrong(f"it holds {dataset.size} numbers")
    return np.asarray(dataset[()])


def _numbers(value: Any, shape: tuple[int, ...]) -> bool:
    """Whether nested lists are finite numbers of that shape."""
    try:
        array = np.asarray(value)
    except ValueError:  # of unequal lengths
        return False
    return array.shape == shape and array.dtype.kind in "iuf" and bool(np.isfinite(array).all())


def _tuples(value: Any) -> Any:
    """Nested lists of numbers as tuples of floats."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value if value is None else float(value)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 80 else f"{text[:77]}..."
