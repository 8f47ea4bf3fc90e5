"""What a report says of one scan: the table, every parameter, warnings, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mrirecon.brief import counted
from mrirecon.io.files import printable
from mrirecon.io.nifti import affine_ras
from mrirecon.io.volumes import describe
from mrirecon.report.orientation import described
from mrirecon.scan import Scan, Volume
from mrirecon.weights import OUTSIDE


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        key: in the volume's JSON, dots between levels.
        title: with its unit.
        form: how a value is written.
        best: which value is best: 1 the highest, -1 the lowest, 0 none.
        about: what it is, in a sentence.
    """

    key: str
    title: str
    form: str
    best: int = 0
    about: str = ""


COLUMNS = (
    Column("acceleration.achieved", "acceleration", "{:.2f}", 0, "acquired points over sampled points"),
    Column("metrics.psnr", "PSNR / dB", "{:.2f}", 1, "peak signal-to-noise ratio against the reference"),
    Column("metrics.ssim", "SSIM", "{:.4f}", 1, "structural similarity to the reference"),
    Column("metrics.nmse", "NMSE", "{:.5f}", -1, "squared error over squared reference"),
    Column("left_out.error", "left-out error", "{:.1%}", -1, "of samples left out and predicted, noise included"),
    Column("data_residual", "data residual", "{:.1%}", 0, "what of the measured k-space the image does not explain"),
    Column("residual_over_noise", "residual / noise", "{:.2f}", 0, "1 where the data are explained as the truth would"),
    Column("posterior_std", "deviation", "{:.2%}", 0, "standard deviation of the draws, over the bright level"),
    Column("null_space_share", "null-space share", "{:.2%}", 0, "of the energy: from the prior, not the scanner"),
    Column("network_evaluations", "network evaluations", "{:.0f}", 0, "of one draw of one slice"),
    Column("seconds_per_slice", "s / slice", "{:.2f}", 0, "wall-clock time"),
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """The metrics of one scan's reconstructions.

    Attributes:
        columns: those with a value, as (title, what it is).
        rows: (method, cells); a cell is (text, whether it is the best).
        protocol: of the metrics, empty where there are none.
    """

    columns: list[tuple[str, str]]
    rows: list[tuple[str, list[tuple[str, bool]]]]
    protocol: str


def table(names: Sequence[str], volumes: Sequence[Volume]) -> Table:
    """The table; a column that no method fills is left out, and the best of several is marked."""
    protocols = {str(v.info["metrics"]["protocol"]) for v in volumes if v.info.get("metrics")}
    columns = []
    cells: list[list[tuple[str, bool]]] = [[] for _ in volumes]
    for column in COLUMNS:
        values = [lookup(volume.info, column.key) for volume in volumes]
        numbers = [value for value in values if value is not None]
        if not numbers:
            continue
        columns.append((column.title, column.about))
        best = max(column.best * value for value in numbers)
        marked = column.best != 0 and len(numbers) > 1
        for row, value in zip(cells, values, strict=True):
            text = "-" if value is None else column.form.format(value)
            row.append((text, marked and value is not None and column.best * value == best))
    return Table(columns, list(zip(names, cells, strict=True)), ", ".join(sorted(protocols)))


def lookup(info: Mapping[str, Any], key: str) -> float | None:
    """A number of nested values, None where it is not."""
    value: Any = info
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return None if value is None else float(value)


def parameters(volume: Volume) -> list[tuple[str, str]]:
    """Everything the JSON beside the volume says, as (name, value), dots between levels."""
    return list(_flat("", describe(volume)))


def warnings(names: Sequence[str], volumes: Sequence[Volume]) -> dict[str, list[str]]:
    """In what a scan differs from what weights were trained for -> the methods that warn of it, each with its words."""
    found: dict[str, list[str]] = {}
    for name, volume in zip(names, volumes, strict=True):
        for note in map(str, volume.info.get("notes", ())):
            _, outside, words = note.partition(f"{OUTSIDE}: ")
            if outside:
                here, _, there = words.partition(", theirs ")
                found.setdefault(here, []).append(f"{name} (theirs {there})" if there else name)
    return found


def remarks(volumes: Sequence[Volume]) -> list[str]:
    """All other notes."""
    notes = [str(note) for volume in volumes for note in volume.info.get("notes", ())]
    return [note for note in dict.fromkeys(notes) if OUTSIDE not in note]


def missing(scan: Scan, volumes: Sequence[Volume], errors_shown: bool) -> list[str]:
    """What the page does not show, and why."""
    lines = []
    if scan.reference is None:
        lines.append("no reference: no error map, no metrics")
    elif not errors_shown:
        lines.append("the reference does not fit the image or is of one volume only: no error map")
    if not any("std" in volume.extras for volume in volumes):
        lines.append(
            "no standard-deviation map: no method here drew several samples (its option samples) or was calibrated"
        )
    if not any("null_space" in volume.extras for volume in volumes):
        lines.append("no null-space map: no method here was asked for one (its option trust)")
    if any("data_residual" not in volume.info for volume in volumes):
        lines.append("no data residual of methods that work without coil maps")
    return lines


def in_short(scan: Scan, volume: Volume) -> str:
    """The scan in half a line, for its heading."""
    slices, coils = scan.shape[:2]
    words = [
        counted(slices, "slice"),
        counted(coils, "coil"),
        f"{scan.matrix[0]} x {scan.matrix[1]}",
    ]
    rate = lookup(volume.info, "acceleration.achieved")
    kind = dict(volume.info.get("mask") or {}).get("kind")
    if rate is not None:
        words.append(f"acceleration {rate:.2f}" + (f" ({kind})" if kind else ""))
    return ", ".join(words)


def about(scan: Scan, volume: Volume) -> list[tuple[str, str]]:
    """The scan in a few lines."""
    slices, coils, readout, phase = scan.shape
    lines = [
        ("source", printable(scan.source)),
        ("format", scan.format),
        (
            "k-space",
            f"{counted(slices, 'slice')}, {counted(coils, 'coil')}, {readout} x {phase} (readout x phase)",
        ),
        ("image", f"{scan.matrix[0]} x {scan.matrix[1]}"),
    ]
    if scan.volumes > 1:
        lines.append(("volumes", f"{scan.volumes} {' '.join(scan.volume_names)}".strip()))
    voxel, known = volume.geometry.voxel_mm, volume.geometry.known
    sizes = "unknown" if voxel is None else " x ".join(f"{mm:.4g}" for mm in voxel) + " mm"
    lines.append(("voxel size", sizes))
    affine = affine_ras(volume.geometry, scan.matrix) if known else None
    lines.append(("orientation", described(affine)))
    if volume.geometry.note:
        lines.append(("geometry note", volume.geometry.note))
    return lines


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, (list, tuple)):
        yield name, ", ".join(map(str, value)) or "none"
    else:
        yield name, "none" if value in (None, "", {}) else str(value)
