"""`mrirecon info`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrirecon.calibration import calibration_note
from mrirecon.cli.config import UsageError
from mrirecon.cli.outputs import for_each
from mrirecon.cli.run import Command
from mrirecon.cli.shared import LAYOUT, PLACE, SCANS_ARGUMENT
from mrirecon.coverage import achieved_acceleration, calibration_region, covered_by
from mrirecon.echo import center_echo
from mrirecon.geometry import Geometry
from mrirecon.io import MASK_SUFFIXES, read_scan, write_mask
from mrirecon.io.batch import Inputs
from mrirecon.io.cfl import check_apart
from mrirecon.io.files import check_target, suffix_of
from mrirecon.io.layout import USUAL, Layout
from mrirecon.io.place import NOWHERE, Placement
from mrirecon.pattern import Pattern, pattern_of
from mrirecon.recon.advice import compression_hint
from mrirecon.recon.coil_maps import EstimatedMaps, calibration_block
from mrirecon.recon.partial_fourier import missing_side
from mrirecon.scan import Scan

AXES = ("readout", "phase")


def info(
    *,
    scan: list[str],
    mask_output: str | None = None,
    overwrite: bool = False,
    layout: Layout = USUAL,
    place: Placement = NOWHERE,
) -> int:
    """Print what scans hold, how they were sampled, and what recon would do with them.

    Args:
        scan: k-space files, folders of them, or patterns.
        mask_output: also write the mask of the middle slice, as .png (white is sampled) or .npy.
        overwrite: replace an existing mask.
        layout: how their arrays are stored.
        place: where their images lie, which the lines on geometry then say.
    """
    scans = Inputs.named(scan, layout)
    if mask_output is not None:
        if len(scans.paths) > 1:
            raise UsageError(f"--mask_output {mask_output} takes the mask of one scan: give one")
        suffix_of(mask_output, MASK_SUFFIXES)
        check_apart([mask_output], scans.paths)
        check_target(mask_output, overwrite)

    def tell(path: str, mask_file: Path) -> None:
        stored = place.of(read_scan(path, layout))
        data = center_echo(stored)
        lines = {**_contents(data), **_sampling(data), **_geometry(data.geometry), **_plan(data)}
        width = max(map(len, lines)) + 2
        print(f"{path}")
        for name, text in lines.items():
            print(f"  {name:<{width}}{text}")
        for note in data.notes:
            print(f"  {'note':<{width}}{note}")
        if mask_output is not None:
            write_mask(mask_file, stored.measured(stored.middle() or 0)[1], overwrite=overwrite)
            print(f"{mask_file}: the mask of slice {stored.middle() or 0}")

    return for_each("info", scans.paths, [Path(mask_output or "")] * len(scans.paths), tell)


def _contents(scan: Scan) -> dict[str, str]:
    slices, coils, readout, phase = scan.shape
    window = [part.stop - part.start for part in scan.crop]
    mib = 8 * coils * readout * phase / 2**20
    lines = {
        "format": scan.format,
        "k-space": f"{slices} slice(s) x {coils} coil(s) x {readout} readout x {phase} phase, complex64",
        "volumes": f"{scan.volumes}"
        + (f" ({', '.join(scan.volume_names)})" if scan.volume_names else ""),
        "encoding": "3D: slices are readout positions after an inverse FFT; readout and phase are the two "
        "phase-encoding directions"
        if scan.is_3d
        else "2D",
        "readout oversampling": f"{scan.oversampling:g}",
        "image window": f"{window[0]} x {window[1]} of the {readout} x {phase} grid",
        "output matrix": f"{scan.matrix[0]} x {scan.matrix[1]}",
        "reference image": "yes (used for metrics only)" if scan.reference is not None else "no",
        "noise measurement": "no",
        "memory": f"{slices * mib:.4g} MiB: a 3D scan is transformed as a whole"
        if scan.is_3d
        else f"{mib:.4g} MiB of k-space at a time (one slice)",
    }
    if scan.noise_covariance is not None:
        std = np.sqrt(np.diagonal(scan.noise_covariance.numpy()).real / 2)
        lines["noise measurement"] = (
            f"yes: standard deviation per real component {std.min():.3g} to {std.max():.3g} over the coils"
        )
    return lines


def _sampling(scan: Scan) -> dict[str, str]:
    middle = scan.middle() or 0
    _, mask = scan.measured(middle)  # refuses NaN and infinite samples
    acquired = covered_by(mask, scan.acquired)
    total, without = achieved_acceleration(mask, acquired)
    region = calibration_region(mask)
    pattern = pattern_of(mask, acquired)
    lines = {
        "sampling": pattern.text,
        "begin with": _begin_with(pattern, scan.shape[1]),
        "acquired": f"{int(acquired.any(dim=1).sum())} readout x {int(acquired.any(dim=0).sum())} phase positions, "
        f"{int(acquired.sum())} points (zero padding, partial Fourier and empty corners excluded)",
        "sampled": f"{int(mask.sum())} points, {int(mask.any(dim=0).sum())} of {mask.shape[1]} columns "
        f"(slice {middle})",
        "acceleration": f"{total:.3f} over acquired points, {without:.3f} outside the calibration region",
        "calibration region": "none"
        if region is None
        else " x ".join(str(part.stop - part.start) for part in region),
        "partial Fourier": "no",
    }
    if (note := calibration_note(scan)) is not None:
        lines["calibration region"] += f"; {note}"
    side = missing_side(acquired)
    if side is not None:
        axis, first, stop = side
        lines["partial Fourier"] = (
            f"along {AXES[axis]}: {first}:{stop} of {acquired.shape[axis]} acquired (see --partial_fourier)"
        )
    return lines


def _begin_with(pattern: Pattern, coils: int) -> str:
    """The methods to try first."""
    if pattern.kind == "full":
        return "zero_filled, or adjoint, which keeps the phase"
    if pattern.kind == "centre":
        return "zero_filled: nothing tells what lies beyond"
    if pattern.kind == "random" or coils == 1:
        return "l1_wavelet or tv; for a head unrolled_prior"
    both = "cg_sense or grappa" if pattern.kind == "columns" else "cg_sense"
    return f"{both}; for a head unrolled_prior"


def _geometry(geometry: Geometry) -> dict[str, str]:
    voxel = geometry.voxel_mm
    lines = {
        "voxel size": "unknown"
        if voxel is None
        else " x ".join(f"{v:.4g}" for v in voxel) + " mm (readout, phase, slice)",
        "orientation": "unknown: the NIfTI will say so",
    }
    if geometry.known and geometry.directions is not None and geometry.centers_mm is not None:
        named = [_anatomical(direction) for direction in geometry.directions]
        center = ", ".join(f"{x:.1f}" for x in np.mean(geometry.centers_mm, axis=0))
        lines["orientation"] = (
            f"readout to {named[0]}, phase to {named[1]}, slices to {named[2]}; centre {center} mm LPS"
        )
    if geometry.note:
        lines["geometry note"] = geometry.note
    return lines


def _anatomical(direction: tuple[float, float, float]) -> str:
    """The patient side a direction (LPS) points to, its strongest component first."""
    sides = (("right", "left"), ("anterior", "posterior"), ("inferior", "superior"))
    strength = np.abs(direction)
    order = [axis for axis in np.argsort(-strength) if strength[axis] > 0.2]
    return "-".join(sides[axis][int(direction[axis] > 0)] for axis in order)


def _plan(scan: Scan) -> dict[str, str]:
    try:
        default = EstimatedMaps()
        block = calibration_block(scan, scan.middle() or 0, default.size, 2 * default.kernel)
        maps = f"ESPIRiT from a {block.shape[-2]} x {block.shape[-1]} block of every slice"
    except ValueError:
        maps = "none possible: give --maps FILE, or a method without maps (zero_filled)"
    if scan.shape[1] == 1:
        maps = "1 everywhere (single coil)"
    whiten = "prewhitened, " if scan.noise_covariance is not None else ""
    plan = {"recon would": f"take the data {whiten}with maps: {maps}"}
    if (hint := compression_hint(scan.shape[1])) is not None:
        plan["for speed"] = f"{hint}; not for networks, which were trained with all coils"
    return plan


COMMAND = Command(
    "info",
    info,
    "SCAN...",
    {"scan": SCANS_ARGUMENT},
    ("scan.h5", "scan.h5 --mask_output mask.png", "kspace.mat --axes readout,phase,coil"),
    flat={**LAYOUT, **PLACE},
)
