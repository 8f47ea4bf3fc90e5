"""`mrirecon evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mrirecon.cli.run import Command
from mrirecon.io import VOLUME_SUFFIXES, read_volume, write_json
from mrirecon.io.cfl import check_apart
from mrirecon.io.files import check_target, replacing
from mrirecon.metrics import PROTOCOLS, common_gain
from mrirecon.metrics import evaluate as measure
from mrirecon.perceptual import SMALLEST, haarpsi

MEAN = "mean of volumes"


def evaluate(
    *,
    recon: str,
    target: str,
    protocol: Literal["fastmri", "slice", "dds-minmax"] = "fastmri",
    volume: int | None = None,
    output: str | None = None,
    overwrite: bool = False,
) -> None:
    """Compare a reconstruction with its target.

    Args:
        recon: volume written by recon, or a folder of them.
        target: volume, or fastMRI file with its target, or a folder with files of the same names.
        protocol: fastmri (the leaderboard's), slice, or dds-minmax (forgives scale; for the DDS tables only).
        volume: of files with several volumes take this one, from 0.
        output: also write the numbers as JSON.
        overwrite: replace an existing output.
    """
    if output is not None:
        check_apart([output], [recon, target])
        check_target(output, overwrite)
    pairs = _pairs(Path(recon), Path(target))
    rows, notes = {}, []
    seen: dict[str, float | None] = {}
    for one, other in pairs:
        image, truth = read_volume(one, volume), read_volume(other, volume)
        if image.shape != truth.shape:
            sizes = [" x ".join(map(str, x.shape)) for x in (image, truth)]
            raise ValueError(
                f"{one} is {sizes[0]}, {other} is {sizes[1]} (slice x readout x phase): give volumes of one size"
            )
        rows[one.name] = measure(image, truth, protocol)
        large = min(truth.shape[1:]) >= SMALLEST
        seen[one.name] = haarpsi(image, truth) if large else None
        if not large:
            notes.append(f"{one.name} has no HaarPSI, which needs {SMALLEST} x {SMALLEST} pixels")
        gain = None if protocol == "dds-minmax" else common_gain(image, truth)
        if gain is not None:
            notes.append(
                f"{one.name} is {gain:.3g} times its target, which explains most of the difference: bring both to one "
                "unit, or take --protocol dds-minmax, which forgives the scale"
            )
    width = max(len(name) for name in (*rows, MEAN))
    print(f"protocol {protocol}: {PROTOCOLS[protocol]}")
    print(f"{'':<{width}}  {'NMSE':>10}  {'NRMSE':>8}  {'PSNR dB':>8}  {'SSIM':>7}  {'HaarPSI':>7}")
    volumes = {name: m._asdict() | {"haarpsi": seen[name]} for name, m in rows.items()}
    known = [one for one in seen.values() if one is not None]
    keys = ("nmse", "nrmse", "psnr", "ssim")
    mean = {key: sum(m[key] for m in volumes.values()) / len(rows) for key in keys}
    mean["haarpsi"] = sum(known) / len(known) if known else None
    for name, m in (volumes | ({MEAN: mean} if len(rows) > 1 else {})).items():
        numbers = f"{m['nmse']:10.6f}  {m['nrmse']:8.4f}  {m['psnr']:8.3f}  {m['ssim']:7.4f}"
        numbers += f"  {'-':>7}" if m["haarpsi"] is None else f"  {m['haarpsi']:7.4f}"
        print(f"{name:<{width}}  {numbers}")
    for note in notes:
        print(f"note: {note}")
    if output is not None:
        with replacing(Path(output)) as (part,):
            write_json(part, {"protocol": protocol, "mean": mean, "volumes": volumes})


def _pairs(recon: Path, target: Path) -> list[tuple[Path, Path]]:
    """Files to compare; two folders are matched by file name without suffix, and what has no match is counted.

    Raises:
        ValueError: if one is a folder and the other not, or no name is in both.
    """
    if not recon.is_dir() and not target.is_dir():
        return [(recon, target)]
    if not (recon.is_dir() and target.is_dir()):
        raise ValueError(f"{recon} and {target}: give two files or two folders")
    made, known = _volumes(recon), _volumes(target)
    names = sorted(made.keys() & known.keys())
    if not names:
        raise ValueError(
            f"no file name of {recon} is in {target}: give folders with files of the same names"
        )
    for folder, files in ((recon, made), (target, known)):
        if alone := len(files) - len(names):
            print(
                f"note: {alone} of {len(files)} volumes in {folder} have no partner and are left out"
            )
    return [(made[name], known[name]) for name in names]


def _volumes(folder: Path) -> dict[str, Path]:
    """Name without suffix -> file."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((s for s in VOLUME_SUFFIXES if path.name.lower().endswith(s)), None)
        if suffix is None or path.name.startswith("."):
            continue
        name = path.name[: -len(suffix)]
        if name in found:
            raise ValueError(f"{folder} holds both {found[name].name} and {path.name}: remove one")
        found[name] = path
    return found


COMMAND = Command(
    "evaluate",
    evaluate,
    "RECON TARGET",
    {
        "recon": {"metavar": "RECON", "help": "volume written by recon, or a folder of them"},
        "target": {
            "metavar": "TARGET",
            "help": "volume, fastMRI file with its target, or a folder with files of the same names",
        },
    },
    ("brain.nii.gz truth.nii.gz", "volumes data/multicoil_val --output metrics.json"),
)
