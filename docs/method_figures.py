"""Every method on one slice of the embedded scan: pictures, metrics and cost for the gallery of methods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from time import process_time
from typing import Any

import numpy as np
import records
from PIL import Image

import mrirecon as mr
from mrirecon.io import read_image
from mrirecon.io.nifti import affine_ras
from mrirecon.report.orientation import plane
from mrirecon.simulate import demo_simulation

FOLDER = records.DOCS / "images" / "methods"
SLICE = 12
# The first is the one of the pictures, since every method takes it.
MASKS: dict[str, dict[str, Any]] = {
    "equispaced x4": {"mask": "equispaced", "acceleration": 4, "center_fraction": 0.15},
    "poisson x6": {"mask": "poisson", "acceleration": 6, "center_fraction": 0.25},
}
REGULAR = ("zero_filled", "grappa", "cg_sense", "l1_wavelet", "tv", "unrolled_prior")
SPACINGS, CENTRE = (
    (2, 3, 4),
    0.25,
)  # of regular columns, with a centre that is wide enough for grappa
ERROR_GAIN = 4  # of the error's picture
THUMBNAIL, SIDE = 160, 300  # pixels, width and height
ASPECT = 0.8  # of a thumbnail, width over height
TOLERANCE = {"psnr": 0.1, "ssim": 0.005}  # another processor rounds otherwise
GRAY, GAP = 255, 6


@dataclass(frozen=True)
class Shown:
    """Arrays as they lie on the screen, with the width of a pixel over its height."""

    view: Any
    stretch: float
    top: float

    def picture(self, image: np.ndarray, height: int) -> Image.Image:
        """An image in gray, from 0 to `top`."""
        shown = self.view.shown(np.abs(image)) / self.top
        levels = Image.fromarray((np.clip(shown, 0, 1) * 255).round().astype(np.uint8))
        width = round(height * levels.width * self.stretch / levels.height)
        return levels.resize((width, height), Image.Resampling.BICUBIC)


def embedded() -> mr.Scan:
    """The slice of the embedded scan that all are run on."""
    source = files("nibabel") / "tests" / "data" / "example4d.nii.gz"
    data, affine = read_image(str(source))
    assert affine is not None
    return demo_simulation(data[..., 0], affine, slices=slice(SLICE, SLICE + 1)).scan


def measure(methods: Iterable[str]) -> Iterator[tuple[str, dict[str, Any], np.ndarray]]:
    """Each method, its numbers under each mask, and its image under the first one."""
    scan = embedded()
    for name in methods:
        found, images = {}, []
        for label, mask in MASKS.items():
            try:
                start = (
                    process_time()
                )  # of the processor, which other work on the machine changes little
                volume = mr.reconstruct(scan, method=name, **mask)
                spent = process_time() - start
            except ValueError as error:
                found[label] = {"refused": str(error)}
                continue
            images.append(volume.image[0, 0].numpy())
            info = volume.info
            found[label] = {
                "psnr": round(info["metrics"]["psnr"], 2),
                "ssim": round(info["metrics"]["ssim"], 4),
                "seconds": float(f"{spent:.2g}"),
                "evaluations": round(info.get("network_evaluations", 0)),
            }
        yield name, found, images[0]


def draw() -> None:
    """Make the pictures of all methods and their record."""
    scan = embedded()
    reference = scan.reference(0).numpy()
    numbers: dict[str, Any] = {}
    images: dict[str, np.ndarray] = {}
    for name, found, image in measure(mr.METHODS):
        numbers[name], images[name] = found, image
    shown = screen(scan, reference)
    FOLDER.mkdir(parents=True, exist_ok=True)
    whole = thumbnail(shown.picture(reference, SIDE))
    whole.save(FOLDER / "reference_small.webp", quality=80)
    for name, image in images.items():
        thumbnail(shown.picture(image, SIDE)).save(FOLDER / f"{name}_small.webp", quality=80)
        error = np.minimum(np.abs(np.abs(image) - reference) * ERROR_GAIN, shown.top)
        parts = [shown.picture(one, SIDE) for one in (reference, image, error)]
        side_by_side(parts).save(FOLDER / f"{name}.webp", quality=80)
    record(numbers).write("methods")


def draw_regular() -> None:
    """Measure a few methods under regular sampling, for the page on which method to take."""
    scan = embedded()
    numbers = {name: spaced(scan, name) for name in REGULAR}
    rows = [
        [f"[`{name}`](methods/{name}.md)", *(f"{one['psnr']:.2f}" for one in found.values())]
        for name, found in numbers.items()
    ]
    head = ["method", *(f"every {spacing}." for spacing in SPACINGS)]
    records.Record(
        what=f"slice {SLICE} of the embedded scan under regular columns with a centre of {CENTRE:g}; volume PSNR, dB",
        script="python docs/figures.py regular",
        data="embedded",
        made=records.here(),
        seeds={"mask": 0, "scan": 0},
        tolerance=TOLERANCE,
        numbers=numbers,
        tables={"psnr": records.table(head, rows)},
    ).write("regular")


def spaced(scan: mr.Scan, name: str) -> dict[str, dict[str, float]]:
    """PSNR and SSIM of a method by the spacing of regular columns."""
    found = {}
    for spacing in SPACINGS:
        mask = {"mask": "equispaced", "acceleration": spacing, "center_fraction": CENTRE}
        metrics = mr.reconstruct(scan, method=name, **mask).info["metrics"]
        found[f"x{spacing}"] = {
            "psnr": round(metrics["psnr"], 2),
            "ssim": round(metrics["ssim"], 4),
        }
    return found


def screen(scan: mr.Scan, reference: np.ndarray) -> Shown:
    """How slices of the scan are shown: as radiologists see them, white at the 99.5 % quantile of the reference."""
    affine, voxel = affine_ras(scan.geometry, scan.matrix), scan.geometry.voxel_mm
    assert voxel is not None
    view = plane(affine, 2)
    return Shown(view, voxel[view.right] / voxel[view.down], float(np.quantile(reference, 0.995)))


def thumbnail(picture: Image.Image) -> Image.Image:
    """The middle of a picture: the head without the air beside it."""
    width = round(picture.height * ASPECT)
    left = (picture.width - width) // 2
    part = picture.crop((left, 0, left + width, picture.height))
    return part.resize((THUMBNAIL, round(THUMBNAIL / ASPECT)), Image.Resampling.LANCZOS)


def side_by_side(parts: list[Image.Image]) -> Image.Image:
    """Pictures in a row."""
    width = sum(part.width + GAP for part in parts) - GAP
    row = Image.new("L", (width, parts[0].height), GRAY)
    at = 0
    for part in parts:
        row.paste(part, (at, 0))
        at += part.width + GAP
    return row


def record(numbers: dict[str, Any]) -> records.Record:
    """The record of the measured numbers, with the table that pages quote."""
    rows = []
    for name, found in numbers.items():
        cells = [f"[`{name}`](methods/{name}.md)"]
        for label in MASKS:
            one = found[label]
            cells += ["refused", ""] if "refused" in one else [_two(one["psnr"]), _two(one["ssim"])]
        first = found["equispaced x4"]
        rows.append([*cells, first["evaluations"] or "", f"{first['seconds']:g}"])
    heads = [f"{metric}, {label}" for label in MASKS for metric in ("PSNR", "SSIM")]
    return records.Record(
        what=f"slice {SLICE} of the embedded scan by every method with its defaults; fastMRI's volume PSNR and SSIM",
        script="python docs/figures.py methods",
        data="embedded",
        made=records.here(),
        seeds={"mask": 0, "scan": 0, "draws": 0},
        tolerance=TOLERANCE,
        numbers=numbers,
        tables={"all": records.table(["method", *heads, "network evaluations", "seconds"], rows)},
    )


def _two(value: float) -> str:
    return f"{value:.2f}"
