"""Images to simulate k-space from: NIfTI, or the folder of a DICOM series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from mrirecon.io.dicom import read_series
from mrirecon.io.files import PathLike
from mrirecon.io.nifti import read_frame, read_image


def read_anatomy(
    path: PathLike,
) -> tuple[Float[np.ndarray, "x y z *volume"], Float[np.ndarray, "4 4"] | None, str]:
    """Data (x, y, z[, volume]), the affine to RAS mm (None if unknown), and its reference frame (`Geometry.frame`).

    Raises:
        OSError, ValueError, ModuleNotFoundError: as `read_image` and `read_series`.
    """
    if Path(path).is_dir():
        return *read_series(Path(path)), "scanner"
    return *read_image(path), read_frame(path)
