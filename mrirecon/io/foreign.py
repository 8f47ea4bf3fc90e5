"""Files in formats that are not read, such as images and raw data of vendors: what they are, and what converts them."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from mrirecon.io.dicom import is_dicom

CONVERT = "is {kind}: convert it to MRD with {converter}, and give that"
IMAGE = (
    "is {kind}: an image has lost the coils and the phase that reconstruction needs; give the raw data "
    "(fastMRI or MRD HDF5, BART cfl, npy, npz, mat or Siemens twix), or {remedy}"
)
SIMULATE = "make k-space of it with the command simulate"
AS_NIFTI = "make it NIfTI with {tool}, and k-space of that with the command simulate"
DICOM = "make k-space of the folder of its series with the command simulate (dcm2niix makes NIfTI of it)"
GE = "ge_to_ismrmrd (github.com/ismrmrd/ge_to_ismrmrd, with GE's Orchestra SDK)"
PHILIPS = "philips_to_ismrmrd (github.com/ismrmrd/philips_to_ismrmrd)"
BRUKER = "bruker_to_ismrmrd (github.com/ismrmrd/bruker_to_ismrmrd)"


def foreign(path: Path, head: bytes) -> str | None:
    """What a file is and how to convert it, by its first bytes, its name and its neighbours; None if not recognised."""
    if image := _image(path, head):
        return image
    if raw := _raw(path, head):
        kind, converter = raw
        return CONVERT.format(kind=kind, converter=converter)
    return None


def is_nifti(path: Path, head: bytes) -> bool:
    """Whether a file that begins so is a NIfTI image, or a compressed file named like one."""
    if head.startswith(b"\x1f\x8b"):
        return path.name.lower().endswith(".nii.gz")
    return head[344:347] in (b"n+1", b"ni1") or head[4:7] in (b"n+2", b"ni2")


def foreign_folder(path: Path) -> str | None:
    """As `foreign`, for a folder: a scan of Bruker, Agilent or Varian, or DICOM images."""
    for name in ("fid", "ser", "rawdata.job0", "2dseq"):
        if (path / name).is_file() and (advice := foreign(path / name, b"")):
            return advice
    if any(is_dicom(file) for file in sorted(path.iterdir())[:3]):
        return IMAGE.format(kind="a folder of DICOM images", remedy=SIMULATE)
    return None


def foreign_hdf5(path: Path, names: Collection[str]) -> str | None:
    """As `foreign`, for an HDF5 file with these names in its root group."""
    if "ArchiveMetaData" in names or path.name.startswith("ScanArchive"):
        return CONVERT.format(kind="a GE ScanArchive", converter=GE)
    if "minc-2.0" in names:
        return IMAGE.format(kind="a MINC image", remedy=AS_NIFTI.format(tool="mnc2nii"))
    if set(names) == {"mask"}:
        return f"is a sampling mask, no k-space: give it to recon with --mask {path}"
    return None


def _image(path: Path, head: bytes) -> str | None:
    """Advice for images and pictures."""
    suffix = path.suffix.lower()
    header = path.with_suffix(".hdr")
    if suffix == ".img" and header.is_file():  # the header of the pair has the signature
        with header.open("rb") as stream:
            head = stream.read(len(head))
    by_nibabel = AS_NIFTI.format(tool='nibabel (nibabel.save(nibabel.load(FILE), "x.nii.gz"))')
    if head[128:132] == b"DICM":
        return IMAGE.format(kind="a DICOM image", remedy=DICOM)
    if is_nifti(path, head):
        return IMAGE.format(kind="a NIfTI image", remedy=f"{SIMULATE} (recon denoises it as it is)")
    if suffix in (".hdr", ".img") and head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        return IMAGE.format(kind="an Analyze image", remedy=by_nibabel)
    if suffix in (".mgh", ".mgz"):
        return IMAGE.format(kind="a FreeSurfer image", remedy=AS_NIFTI.format(tool="mri_convert"))
    if suffix in (".par", ".rec") or (b"DATA DESCRIPTION FILE" in head and suffix != ".list"):
        return IMAGE.format(kind="a Philips PAR/REC image", remedy=AS_NIFTI.format(tool="dcm2niix"))
    if head.startswith(b"CDF") and suffix == ".mnc":
        return IMAGE.format(kind="a MINC image", remedy=AS_NIFTI.format(tool="mnc2nii"))
    if path.name == "2dseq":
        return IMAGE.format(kind="a Bruker image", remedy=AS_NIFTI.format(tool="brkraw or Bru2Nii"))
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")):
        return IMAGE.format(kind="a picture", remedy="save it as NIfTI for the command simulate")
    return None


def _raw(path: Path, head: bytes) -> tuple[str, str] | None:
    """Kind of vendor raw data, and its converter."""
    suffix, beside = path.suffix.lower(), path.parent
    if suffix == ".7" or re.fullmatch(r"P\d{5}.*", path.name):
        return "a GE P-file", GE
    partner = {".raw": ".lab", ".data": ".list", ".list": ".data"}.get(suffix)
    if suffix in (".lab", ".sin") or (partner and path.with_suffix(partner).is_file()):
        return f"a Philips raw file ({suffix})", PHILIPS
    if path.name == "fid" and (beside / "procpar").is_file():
        return "an Agilent or Varian fid", "nmrglue (nmrglue.varian.read) and python-ismrmrd"
    named = path.name in ("fid", "ser", "acqp", "method") or path.name.startswith("rawdata.job")
    if named and ((beside / "acqp").is_file() or (beside / "method").is_file()):
        return "a Bruker raw file", BRUKER
    return None
