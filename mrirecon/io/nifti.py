"""NIfTI: the only place where LPS millimetres become RAS.

Inside, positions are LPS (DICOM, MRD); NIfTI world coordinates are RAS, so x and y change sign. The affine maps the
centre of voxel (0, 0, 0) and the positions are those of pixel N // 2, the centre of a centred FFT (trap T32).
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mrirecon.io.files import PathLike, existing_file
from mrirecon.scan import Geometry, Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT: coordinates of the scanner; 0 is "unknown"


def affine_ras(geometry: Geometry, matrix: tuple[int, int]) -> Float[np.ndarray, "4 4"]:
    """4 x 4 matrix from voxel index (readout, phase, slice) to RAS millimetres.

    Raises:
        ValueError: if the geometry is not known.
    """
    return LPS_TO_RAS @ geometry.affine_lps(matrix)


def write_nifti(volume: Volume, path: Path) -> None:
    """Write the magnitude as float32, axes (readout, phase, slice[, volume]).

    Sform and qform get code 1 (scanner) where position and directions are known; the qform only if a rotation can
    express the affine. Otherwise both codes are 0 and only the voxel size, if known, is stated.

    Raises:
        ValueError: if the geometry is of another number of slices.
    """
    import nibabel

    magnitude = volume.image.abs().float().permute(2, 3, 1, 0).numpy()
    if magnitude.shape[3] == 1:
        magnitude = magnitude[..., 0]
    readout, phase, slices = magnitude.shape[:3]
    geometry = volume.geometry
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape(magnitude.shape)
    header.set_xyzt_units("mm", "sec")
    header["descrip"] = _description(volume)
    spacing = np.asarray(geometry.voxel_mm or (1.0, 1.0, 1.0))
    if geometry.known:
        positions = len(geometry.centers_mm or ())
        if positions != slices:
            raise ValueError(
                f"the geometry has {positions} slice positions, the image {slices} slices"
            )
        affine = affine_ras(geometry, (readout, phase))
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        header.set_sform(affine, code=SCANNER)
        header.set_qform(affine, code=SCANNER)
        if not np.allclose(header.get_qform(), affine, atol=1e-3 * spacing.min()):
            header.set_qform(None, code=0)  # sheared: no rotation and voxel sizes give this affine
    header.set_zooms((*spacing, 0.0)[: magnitude.ndim])  # time between volumes: not known
    # Without an affine argument nibabel writes the header as it is, codes included.
    image = nibabel.Nifti1Image(magnitude, None, header)
    with path.open("wb") as stream:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", 1, stream, mtime=0) as packed:  # the same bytes every time
                image.to_stream(packed)
        else:
            image.to_stream(stream)


def read_image(
    path: PathLike,
) -> tuple[Float[np.ndarray, "x y z *volume"], Float[np.ndarray, "4 4"] | None]:
    """Data (x, y, z[, volume]) as float32 and the affine to RAS mm, None where the file does not claim one.

    Raises:
        FileNotFoundError, IsADirectoryError: if there is no such file.
        ValueError: if it is no NIfTI, damaged, complex or coloured, 1 x 1, empty, or not finite.
    """
    import nibabel

    path = existing_file(path)
    try:
        image: Any = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Pair):
            raise ValueError(f"it is {type(image).__name__}")
        kind = image.get_data_dtype().kind
        data = np.asarray(image.dataobj, dtype=np.float32) if kind in "biuf" else None
    except Exception as error:  # of damaged files nibabel raises a dozen kinds
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is no NIfTI image, or a damaged one: {reason}") from error
    if data is None:
        raise ValueError(f"{path} holds {image.get_data_dtype()}: give a magnitude image")
    if data.ndim == 2:
        data = data[:, :, None]
    if data.ndim not in (3, 4) or data.size == 0 or data.shape[:2] == (1, 1):
        size = " x ".join(map(str, data.shape))
        raise ValueError(f"{path} is {size}: give an image of two or more axes, larger than 1 x 1")
    if not np.isfinite(data).all():
        raise ValueError(f"{path} holds NaN or infinite values: repair or re-export the image")
    affine, code = image.get_sform(coded=True)
    if not code:
        affine, code = image.get_qform(coded=True)
    if not code or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        return data, None
    return data, np.asarray(affine, dtype=np.float64)


def turned(
    image: Float[np.ndarray, "x y z"], affine: Float[np.ndarray, "4 4"], codes: str
) -> tuple[Float[np.ndarray, "a b c"], Float[np.ndarray, "4 4"]]:
    """An image with its axes swapped and flipped, nothing resampled, and its affine.

    Args:
        image: any volume.
        affine: from array index to RAS mm.
        codes: the anatomical directions in which the axes are to grow, as nearly as they can: PLS for posterior, left,
            superior.
    """
    from nibabel import orientations

    wanted = orientations.axcodes2ornt(tuple(codes))
    turn = orientations.ornt_transform(orientations.io_orientation(affine), wanted)
    result = np.ascontiguousarray(orientations.apply_orientation(image, turn))
    return result, affine @ orientations.inv_ornt_aff(turn, image.shape)


def _description(volume: Volume) -> bytes:
    """At most 79 bytes: the method, the acceleration, and what is not known."""
    words = ["mrirecon"]
    if "method" in volume.info:
        words.append(str(volume.info["method"]))
    acceleration = volume.info.get("acceleration")
    if isinstance(acceleration, dict) and isinstance(acceleration.get("achieved"), float):
        words.append(f"R={acceleration['achieved']:.4g}")
    if volume.geometry.voxel_mm is None:
        words.append("; voxel size unknown")
    elif not volume.geometry.known:
        words.append("; orientation unknown")
    return " ".join(words).replace(" ;", ";").encode("ascii", "replace")[:79]
