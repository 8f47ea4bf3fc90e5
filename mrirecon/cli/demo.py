"""`mrirecon demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mrirecon.cli.outputs import summary
from mrirecon.cli.run import Command
from mrirecon.device import Device, choose_device
from mrirecon.io import write_volume
from mrirecon.io.files import make_folder
from mrirecon.io.volumes import extra_path
from mrirecon.masks import MaskSpec
from mrirecon.methods.walk import SHIPPED as PRIOR
from mrirecon.options import parse_slices
from mrirecon.phantom import demo_scan
from mrirecon.progress import slices_progress
from mrirecon.recon.request import Request
from mrirecon.recon.undersampling import DrawnMask
from mrirecon.report import comparison, write_png, write_report
from mrirecon.weights import shipped_weights

CLASSICAL = ("zero_filled", "cg_sense", "l1_wavelet", "tv")
NETWORKS = ("unet", "varnet", "humus", "unrolled_prior")
# About a minute on two cores.
SAMPLED: dict[str, dict[str, Any]] = {"dds": {"samples": 4, "levels": 10}}
MASK, ACCELERATION, CENTER_FRACTION = "poisson", 6.0, 0.25


def demo(*, output: str = "demo", slices: str | None = None, device: Device = "auto") -> None:
    """Reconstruct the embedded scan by classical methods, the networks and a diffusion sampler; nothing is downloaded.

    Args:
        output: folder for the NIfTI volumes, the picture and the report; those of an earlier demo are replaced.
        slices: A:B takes slices A to B - 1 of 24 only.
        device: where to compute; auto takes a GPU where there is one.
    """
    chosen, where = parse_slices(slices), choose_device(device)
    folder = make_folder(Path(output))
    scan = demo_scan(chosen)
    mask = DrawnMask(MaskSpec(MASK, ACCELERATION, CENTER_FRACTION))
    sampled, made = mask.make((scan.shape[2], scan.shape[3]), torch.ones(scan.shape[2:]).bool())
    note = f"undersampled retrospectively ({MASK}, acceleration {ACCELERATION:g})"
    scan = scan.undersample(sampled, note)
    results = []
    there = shipped_weights()
    trained = [name for name in NETWORKS if f"{name}_tiny" in there]
    drawn = SAMPLED if PRIOR in there else {}
    for name in (*CLASSICAL, *trained, *drawn):
        request = Request(method={"name": name, **SAMPLED.get(name, {})})
        with slices_progress(name) as progress:
            volume = request.pipeline(scan, device=where, progress=progress).run()
        volume = request.complete(volume, scan, made, scan.source)
        target = folder / f"{name}.nii.gz"
        write_volume(volume, target, overwrite=True)
        print(summary(target, volume))
        for extra in volume.extras:
            draws = volume.info["parameters"]["samples"]
            print(f"{extra_path(target, extra)}: standard deviation of {draws} draws")
        results.append((scan, volume))
    write_png(comparison(results), folder / "demo.png")
    write_report(folder / "report.html", results, overwrite=True)
    print(
        f"{folder / 'demo.png'}: all of them side by side; {folder / 'report.html'}: with every number"
    )


COMMAND = Command("demo", demo, "[--output DIR]")
