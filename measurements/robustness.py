"""What methods lose on scans unlike those that they were made for: more noise, another contrast, another field.

    python measurements/robustness.py data/multicoil_val LOW_FIELD --slices 16:17 --output folder

The first folder holds fully sampled scans of heads that no weights have seen; one slice of each is simulated anew, as
it is, with its contrast inverted in the head, and with more noise. LOW_FIELD holds the folders of figures 6A and 6B of
https://github.com/bispmri/Ultra-low-field-MRI-Scanner (CC0): k-space of two heads measured at 0.055 T with one coil,
and images of the same heads at 3 T, which one coil measures here with little noise and with as much as at 0.055 T.
These three are held against their own fully sampled images with the noise that they have. PSNR in the head. What is in
the folder already is not computed again. Writes docs/records/robustness.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mrirecon as mr
from mrirecon.benchmark import Benchmark, MaskEntry, MethodEntry, find_scans, run_benchmark
from mrirecon.benchmark.regions import find_head
from mrirecon.io.arrays import plain_scan
from mrirecon.scan import Scan

ROOT = Path(__file__).parents[1]
COILS, SNR = 8, 50.0  # of the simulated scans; 34 dB
NOISY = {"SNR 15": 15.0, "SNR 5": 5.0}
HEADS = ("6A", "6B")
CONTRASTS = {"FLAIR": "3T_FLAIR", "FSE": "3T_T2w", "GRE": "3T_T1w"}  # at 0.055 T: at 3 T
SLICE = 1  # of the four in each file
CORNER = 12  # pixels
EIGHT = MaskEntry("uniform1d", 4, center_fraction=0.1, seeds=("file",))
ONE = MaskEntry("uniform1d", 2, center_fraction=0.16, seeds=("file",))  # one coil
METHODS = ("zero_filled", "cg_sense", "tv", "unet", "varnet", "unrolled_prior", "dds", "dip")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("heads", type=Path, help="folder of fully sampled scans")
    parser.add_argument("low_field", type=Path, help="folder that holds Figure 6A and Figure 6B")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--slices", default="16:17", help="which slice of each scan, A:A+1")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    scans = args.output / "scans"
    for condition, name, scan in (
        *as_simulated(args.heads, args.slices),
        *at_fields(args.low_field),
    ):
        path = scans / condition / f"{name}.h5"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            mr.write_scan(scan, path)
    tables = {}
    for folder in sorted(scans.iterdir()):
        benchmark = Benchmark(
            scans=tuple(find_scans([str(folder)])),
            masks=(ONE if " T" in folder.name else EIGHT,),
            methods=tuple(MethodEntry(method=name) for name in args.methods),
            support="head",
            pictured=len(list(folder.iterdir())),
        )
        tables[folder.name] = run_benchmark(benchmark, args.output / "tables" / folder.name)
        print(tables[folder.name].groupby("method", sort=False)["fastmri_psnr"].mean(), flush=True)
    write(tables)


def as_simulated(heads: Path, slices: str) -> Iterator[tuple[str, str, Scan]]:
    """Condition, name and scan of one slice of each head: as it is, with more noise, with its contrast inverted."""
    for number, source in enumerate(find_scans([str(heads)], slices)):
        scan = source.read()
        image = scan.reference(0) if scan.reference else mr.reconstruct(scan).image[0, 0].abs()
        for condition, snr in {"as trained": SNR, **NOISY}.items():
            yield condition, source.name, simulated(image, number, coils=COILS, snr=snr)
        yield (
            "contrast inverted",
            source.name,
            simulated(inverted(image), number, coils=COILS, snr=SNR),
        )


def inverted(image: torch.Tensor) -> torch.Tensor:
    """The image with bright and dark exchanged in the head: the darkest hundredth becomes the bright level."""
    head = find_head(image[None])[0]
    low, high = torch.quantile(image[head], torch.tensor([0.01, 0.99]))
    return torch.where(head, (low + high - image).clamp(0.2 * low, high), image)


def simulated(image: torch.Tensor, seed: int, **options: Any) -> Scan:
    return mr.simulate_scan(image.double().numpy()[:, :, None], seed=seed, **options).scan


def at_fields(folder: Path) -> Iterator[tuple[str, str, Scan]]:
    """Condition, name and scan of one slice of each head and contrast: at 0.055 T, at 3 T, and that with its noise."""
    from scipy.io import loadmat
    from scipy.ndimage import zoom

    for number, (head, contrast) in enumerate((h, c) for h in HEADS for c in CONTRASTS):
        figure = folder / f"Figure {head}"
        low = loadmat(figure / "0.055T" / f"0.055T_{contrast}_kspace_postEMI.mat")["kspace"]
        kspace = torch.from_numpy(low[..., SLICE]).to(torch.complex64)[None]
        kspace = kspace / kspace.abs().max()
        kspace = torch.where(
            kspace == 0, 1e-9, kspace
        )  # a few samples; exact zeros mean missing ones
        name = f"{head} {contrast}"
        scan = plain_scan(name, "array", (1, *kspace.shape), lambda v, i, k=kspace: k)
        yield "0.055 T", name, scan
        image = loadmat(figure / "3T" / f"{CONTRASTS[contrast]}.mat")["image"][..., SLICE]
        image = np.abs(zoom(image.astype(float) - image.min(), 128 / max(image.shape), order=1))
        snr = snr_of(mr.ifft2c(kspace)[0].abs())
        for condition, level in {"3 T": SNR, "3 T, noise of 0.055 T": snr}.items():
            made = simulated(torch.from_numpy(image), number, coils=1, snr=level)
            yield condition, name, replace(made, reference=None, noise_covariance=None)


def snr_of(image: torch.Tensor) -> float:
    """Bright level of the head over the standard deviation of the noise, which is all that the corners hold."""
    part = CORNER
    corners = [
        image[:part, :part],
        image[:part, -part:],
        image[-part:, :part],
        image[-part:, -part:],
    ]
    noise = torch.cat([corner.flatten() for corner in corners]).square().mean().div(2).sqrt()
    return float(torch.quantile(image[find_head(image[None])[0]], 0.99) / noise)


def write(tables: dict[str, Any]) -> None:
    """The record that the page quotes: means, and how far above zero filling."""
    sys.path.insert(0, str(ROOT / "docs"))
    import records

    parts = {
        "shifted": ("as trained", *NOISY, "contrast inverted"),
        "field": ("3 T", "3 T, noise of 0.055 T", "0.055 T"),
    }
    made = {}
    for part, conditions in parts.items():
        means = {name: tables[name].groupby("method")["fastmri_psnr"].mean() for name in conditions}
        rows = [
            [f"`{method}`", *(_cell(means[name], method) for name in conditions)]
            for method in tables[conditions[0]]["method"].unique()
        ]
        made[part] = records.table(["method", *conditions], rows)
    cells = {
        name: table[["method", "scan", "fastmri_psnr", "fastmri_ssim"]].round(4).to_dict("records")
        for name, table in tables.items()
    }
    records.Record(
        what="PSNR in the head on scans with more noise, of another contrast and of another field strength",
        script="python measurements/robustness.py data/multicoil_val low_field --output robustness",
        data="slices of patients 19 and 20, simulated anew; figures 6A and 6B of "
        "bispmri/Ultra-low-field-MRI-Scanner (CC0)",
        made=records.here(),
        seeds={"simulation": "number of the scan", "masks": "file", "draws": 0},
        numbers=cells,
        tables=made,
    ).write("robustness")


def _cell(means: Any, method: str) -> str:
    gain = means[method] - means["zero_filled"]
    return f"{means[method]:.2f}" + ("" if method == "zero_filled" else f" ({gain:+.1f})")


if __name__ == "__main__":
    main()
