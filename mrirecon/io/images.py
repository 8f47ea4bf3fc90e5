"""Images: to simulate k-space from, NIfTI or the folder of a DICOM series; and as the scan of one coil."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from mrirecon.geometry import Geometry, geometry_from_affine
from mrirecon.io.arrays import plain_scan
from mrirecon.io.dicom import read_series
from mrirecon.io.files import PathLike
from mrirecon.io.foreign import is_nifti
from mrirecon.io.layout import Layout
from mrirecon.io.nifti import read_frame, read_image
from mrirecon.io.scans import head_of, read_scan
from mrirecon.scan import Scan
from mrirecon.tensors import fft2c

AS_IT_IS = (
    "this is an image: its Fourier transform stands for the k-space of one coil (A = I), so that a method with a prior "
    "denoises it, and the others give it back"
)


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


def read_scan_or_image(path: PathLike, layout: Layout) -> Scan:
    """As `read_scan`; a NIfTI image becomes the scan of one coil whose k-space is its Fourier transform.

    Raises:
        OSError, ValueError: as `read_scan` and `read_image`, or if the image is zero.
    """
    if not (Path(path).is_file() and is_nifti(Path(path), head_of(Path(path)))):
        return read_scan(path, layout)
    layout.check(str(path), "NIfTI")
    data, affine = read_image(path)
    if not data.any():
        raise ValueError(f"{path} is zero everywhere: there is nothing to denoise")
    image = torch.from_numpy(data if data.ndim == 4 else data[..., None])
    readout, phase, slices, volumes = image.shape
    geometry = Geometry()
    if affine is not None:
        geometry = geometry_from_affine(affine, (readout, phase, slices))
    return plain_scan(
        str(path),
        "NIfTI",
        (slices, 1, readout, phase),
        lambda volume, index: fft2c(image[None, :, :, index, volume].to(torch.complex64)),
        sampling=lambda volume, index: torch.ones(readout, phase, dtype=torch.bool),
        volumes=volumes,
        volume_names=tuple(f"volume {n}" for n in range(volumes)) if volumes > 1 else (),
        geometry=replace(geometry, frame=read_frame(path)),
        notes=(AS_IT_IS,),
    )
