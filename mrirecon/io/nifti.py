"""NIfTI files; only this module converts between LPS and RAS.

Positions in this package are LPS (as in DICOM and MRD), NIfTI world coordinates are RAS: x and y change sign. The
affine maps the centre of voxel (0, 0, 0), while the positions of `Geometry` are those of pixel N // 2, the centre of a
centred FFT.
"""

from __future__ import annotations

import gzip
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mrirecon.geometry import FRAMES, Geometry
from mrirecon.io.dicom import is_dicom
from mrirecon.io.files import PathLike, existing_file
from mrirecon.scan import Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
VOXEL_UNKNOWN = "voxel size unknown"  # in the description field of written files


def affine_ras(geometry: Geometry, matrix: tuple[int, int]) -> Float[np.ndarray, "4 4"]:
    """4 x 4 matrix from voxel index (readout, phase, slice) to RAS millimetres.

    Raises:
        ValueError: if the geometry is not known.
    """
    return LPS_TO_RAS @ geometry.affine_lps(matrix)


def write_nifti(volume: Volume, path: Path) -> None:
    """Write the magnitude as float32, axes (readout, phase, slice[, volume]).

    Sform and qform get the code of the geometry's frame (1, scanner) where position and directions are known; the qform
    only if a rotation can express the affine. Otherwise both codes are 0 and only the voxel size, if known, is stated.

    Raises:
        ValueError: if geometry and image have different numbers of slices.
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
        code = FRAMES.index(geometry.frame) + 1  # 0 is "unknown"
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        header.set_sform(affine, code=code)
        header.set_qform(affine, code=code)
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
    """Data (x, y, z[, volume]) as float32 and the affine to RAS mm (None where sform and qform code are 0).

    Raises:
        FileNotFoundError, IsADirectoryError: if there is no such file.
        ValueError: if it is not NIfTI, damaged, complex, coloured, 1 x 1, empty, or has values that are not finite.

    Example:
        image, affine = mr.read_image("head.nii.gz")
    """
    path = existing_file(path)
    image, data = _load(path)
    if data.dtype.kind == "c":
        raise ValueError(f"{path} holds {image.get_data_dtype()}: give a magnitude image")
    if data.ndim not in (3, 4) or data.shape[:2] == (1, 1):
        size = " x ".join(map(str, data.shape))
        raise ValueError(f"{path} is {size}: give an image of two or more axes, larger than 1 x 1")
    if not np.isfinite(data).all():
        raise ValueError(f"{path} holds NaN or infinite values: repair or re-export the image")
    return data, _claimed_affine(image)


@dataclass(frozen=True, eq=False)
class ImageFile:
    """A NIfTI image prepared for display.

    Attributes:
        data: magnitude; values that are not finite are 0.
        affine: from array index to RAS mm; None where both the sform and the qform code are 0.
        voxel_mm: voxel size along x, y and z; None if unknown.
        notes: how the data were changed for display.
    """

    data: Float[np.ndarray, "x y z volume"]
    affine: Float[np.ndarray, "4 4"] | None
    voxel_mm: tuple[float, float, float] | None
    notes: tuple[str, ...] = ()


def read_for_display(path: PathLike) -> ImageFile:
    """Any image in a NIfTI file, for display: complex data as magnitude, axes beyond the third as volumes.

    Raises:
        FileNotFoundError, IsADirectoryError: if there is no such file.
        ValueError: if it is no NIfTI, damaged, coloured or empty.
    """
    path = existing_file(path)
    image, data = _load(path)
    notes = []
    if data.dtype.kind == "c":
        data = np.abs(data)
        notes.append("complex values: the magnitude is shown")
    if data.ndim > 4:
        notes.append(f"axes {' x '.join(map(str, data.shape[3:]))} are shown one after the other")
    data = data.reshape(*data.shape[:3], -1)
    bad = int(data.size - np.isfinite(data).sum())
    if bad:
        data = np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0)
        notes.append(f"{bad} voxel(s) are NaN or infinite and shown as 0")
    affine = _claimed_affine(image)
    unit = {"meter": 1000.0, "micron": 0.001}.get(image.header.get_xyzt_units()[0], 1.0)
    if affine is not None and unit != 1.0:
        affine = np.diag([unit, unit, unit, 1.0]) @ affine
    sizes = np.asarray([*image.header.get_zooms(), 1.0, 1.0][:3], dtype=float) * unit
    if affine is not None:
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
    unknown = VOXEL_UNKNOWN in str(image.header["descrip"]) or not (sizes > 0).all()
    voxel = None if affine is None and unknown else (*map(float, sizes),)
    return ImageFile(np.asarray(data, np.float32), affine, voxel, tuple(notes))  # type: ignore[arg-type]


def axis_codes(affine: Float[np.ndarray, "4 4"]) -> tuple[str, str, str]:
    """The anatomical direction (R, L, A, P, S or I) nearest to that in which each array axis grows, all different."""
    from nibabel import orientations

    codes = orientations.aff2axcodes(affine)
    return codes[0], codes[1], codes[2]


def obliquity_degrees(affine: Float[np.ndarray, "4 4"]) -> float:
    """The largest angle, in degrees, between an array axis and the anatomical axis nearest to it."""
    from nibabel import affines

    return float(np.degrees(affines.obliquity(affine)).max())


@contextmanager
def _quietly() -> Iterator[None]:
    """Suppress what nibabel and numpy log and warn about damaged files, for which an error is raised anyway."""
    from nibabel.imageglobals import logger

    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _open(path: Path) -> Any:
    """The nibabel image, its values not read yet.

    Raises:
        ValueError: if it is not a NIfTI image; the message says how to convert it.
    """
    import nibabel

    if is_dicom(path):
        raise ValueError(
            f"{path} is one DICOM image: give the folder of its series, or make NIfTI of it with dcm2niix"
        )
    try:
        image: Any = nibabel.load(path, mmap=False)
    except Exception as error:  # of damaged files nibabel raises a dozen kinds
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} is no NIfTI image, or a damaged one: {reason}: give a whole .nii or .nii.gz"
        ) from error
    if not isinstance(image, nibabel.Nifti1Pair):
        raise ValueError(
            f"{path} is {type(image).__name__} of nibabel, no NIfTI image: make it one with "
            f'nibabel.save(nibabel.load("{path.name}"), "{path.stem}.nii.gz")'
        )
    return image


@_quietly()
def _load(path: Path) -> tuple[Any, np.ndarray]:
    """The nibabel image and its values, float32 or complex64, of three axes or more."""
    image = _open(path)
    try:
        kind = image.get_data_dtype().kind
        wanted = np.complex64 if kind == "c" else np.float32
        data = np.asarray(image.dataobj, dtype=wanted) if kind in "biufc" else None
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is no NIfTI image, or a damaged one: {reason}") from error
    if data is None:
        raise ValueError(f"{path} holds {image.get_data_dtype()}: give a magnitude image")
    if data.size == 0:
        size = " x ".join(map(str, data.shape))
        raise ValueError(f"{path} is {size}: give an image of two or more axes, larger than 1 x 1")
    return image, data.reshape(*data.shape, *(1,) * (3 - data.ndim))


@_quietly()
def read_frame(path: PathLike) -> str:
    """The reference frame of an image's affine, one of `FRAMES`, by its sform or qform code.

    Raises:
        ValueError: as `read_image`.
    """
    code = _claimed_code(_open(existing_file(path)))[1]
    return FRAMES[code - 1] if 1 <= code <= len(FRAMES) else FRAMES[0]


@_quietly()
def _claimed_affine(image: Any) -> np.ndarray | None:
    """The affine to RAS mm: the sform, else the qform; None where both codes are 0 or the matrix is singular."""
    affine, code = _claimed_code(image)
    if affine is None or not code or not np.isfinite(affine).all():
        return None
    if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        return None
    return np.asarray(affine, dtype=np.float64)


def _claimed_code(image: Any) -> tuple[np.ndarray | None, int]:
    affine, code = image.get_sform(coded=True)
    return (affine, int(code)) if code else image.get_qform(coded=True)


def read_grid(path: PathLike) -> tuple[tuple[int, int, int], Float[np.ndarray, "4 4"]] | None:
    """Size of the first three axes of an image, and its affine to RAS mm; None where it claims none.

    Raises:
        FileNotFoundError, IsADirectoryError: if there is no such file.
        ValueError: if it is no NIfTI.
    """
    image = _open(existing_file(path))
    affine = _claimed_affine(image)
    x, y, z = (*image.shape, 1, 1)[:3]
    return None if affine is None else ((int(x), int(y), int(z)), affine)


def turned(
    image: Float[np.ndarray, "x y z *volume"], affine: Float[np.ndarray, "4 4"], codes: str
) -> tuple[Float[np.ndarray, "a b c *volume"], Float[np.ndarray, "4 4"]]:
    """An image reoriented by swapping and flipping axes, without resampling, and its new affine.

    Args:
        image: any volume.
        affine: from array index to RAS mm.
        codes: anatomical directions in which the axes should grow, such as PLS for posterior, left, superior; oblique
            axes grow in the nearest direction.
    """
    from nibabel import orientations

    turn = _turn(affine, codes)
    result = np.ascontiguousarray(orientations.apply_orientation(image, turn))
    return result, affine @ orientations.inv_ornt_aff(turn, image.shape[:3])


def turned_grid(
    shape: tuple[int, int, int], affine: Float[np.ndarray, "4 4"], codes: str
) -> tuple[tuple[int, int, int], Float[np.ndarray, "4 4"]]:
    """Shape and affine that `turned` gives an image of this shape."""
    from nibabel import orientations

    turn = _turn(affine, codes)
    x, y, z = (shape[axis] for axis in np.argsort(turn[:, 0]))
    return (x, y, z), affine @ orientations.inv_ornt_aff(turn, shape)


def _turn(affine: np.ndarray, codes: str) -> np.ndarray:
    from nibabel import orientations

    wanted = orientations.axcodes2ornt(tuple(codes))
    return orientations.ornt_transform(orientations.io_orientation(affine), wanted)


def _description(volume: Volume) -> bytes:
    """The description field (at most 79 bytes): method, acceleration, and what of the geometry is unknown."""
    words = ["mrirecon"]
    if "method" in volume.info:
        words.append(str(volume.info["method"]))
    acceleration = volume.info.get("acceleration")
    if isinstance(acceleration, dict) and isinstance(acceleration.get("achieved"), float):
        words.append(f"R={acceleration['achieved']:.4g}")
    if volume.geometry.note.startswith("given by"):
        words.append("; geometry given")
    if volume.geometry.voxel_mm is None:
        words.append(f"; {VOXEL_UNKNOWN}")
    elif not volume.geometry.known:
        words.append("; orientation unknown")
    return " ".join(words).replace(" ;", ";").encode("ascii", "replace")[:79]
