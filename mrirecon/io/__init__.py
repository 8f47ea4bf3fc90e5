"""Readers and writers, one module per format; a file's content decides on its reader first, its suffix second."""

from mrirecon.io.files import sidecar, write_json
from mrirecon.io.maps import MAPS_SUFFIXES, read_maps, write_maps
from mrirecon.io.mask_arrays import expand_mask
from mrirecon.io.masks import MASK_SUFFIXES, read_mask, write_mask
from mrirecon.io.nifti import affine_ras, read_image
from mrirecon.io.scans import SCAN_SUFFIXES, read_scan, write_scan
from mrirecon.io.volumes import (
    VOLUME_SUFFIXES,
    check_output,
    is_complete,
    read_volume,
    write_volume,
)

__all__ = [
    "MAPS_SUFFIXES",
    "MASK_SUFFIXES",
    "SCAN_SUFFIXES",
    "VOLUME_SUFFIXES",
    "affine_ras",
    "check_output",
    "expand_mask",
    "is_complete",
    "read_image",
    "read_maps",
    "read_mask",
    "read_scan",
    "read_volume",
    "sidecar",
    "write_json",
    "write_maps",
    "write_mask",
    "write_scan",
    "write_volume",
]
