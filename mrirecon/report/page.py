"""The HTML report: one file that works offline, with the pictures and every number behind them."""

from __future__ import annotations

import base64
import html
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mrirecon.io.files import check_target, replacing
from mrirecon.report.pictures import ERROR_GAIN, comparison
from mrirecon.scan import Scan, Volume

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
img { max-width: 100%; border-radius: 4px; }
figure { margin: 1rem 0; } figcaption, .quiet { opacity: .75; font-size: .9rem; }
table { border-collapse: collapse; margin: 1rem 0; } div.wide { overflow-x: auto; }
th, td { text-align: right; padding: .25rem .7rem; border-bottom: 1px solid #8886; }
th:first-child, td:first-child { text-align: left; }
pre { overflow-x: auto; background: #8882; padding: 1rem; border-radius: 4px; font-size: .8rem; }
.warning { border-left: 4px solid #d80; padding: .3rem 1rem; background: #d801; }
"""


def write_report(
    path: str | Path, results: Sequence[tuple[Scan, Volume]], *, overwrite: bool = False
) -> None:
    """Write the report of reconstructions; those of the same source stand side by side.

    Raises:
        OSError: if the file exists (without `overwrite`) or cannot be written.
    """
    by_source: dict[str, list[tuple[Scan, Volume]]] = defaultdict(list)
    for scan, volume in results:
        by_source[scan.source].append((scan, volume))
    sections = [_section(source, items) for source, items in by_source.items()]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>mrirecon report</title><style>{STYLE}</style></head><body><h1>Reconstruction report</h1>"
        '<p class="warning">Research software: not for diagnosis or treatment.</p>'
        f"{''.join(sections)}</body></html>"
    )
    with replacing(check_target(path, overwrite)) as (part,):
        part.write_text(page, encoding="utf-8")


def picture(items: Sequence[tuple[Scan, Volume]]) -> bytes:
    """The middle slice of every reconstruction of one scan, as PNG."""
    scan = items[0][0]
    index = scan.shape[0] // 2
    images: dict[str, Tensor] = {}
    for _, volume in items:
        method = str(volume.info["method"])
        again = sum(name.partition(" (")[0] == method for name in images)
        images[f"{method} ({again + 1})" if again else method] = volume.image[0, index].abs()
    title = f"{Path(scan.source).name}, slice {index} of 0 to {scan.shape[0] - 1}"
    if scan.volumes > 1:
        title += f", volume 0 of 0 to {scan.volumes - 1}"
    # A 3D scan's mask lies on its two phase-encoding axes, like the images shown.
    return comparison(images, reference=_reference(scan, index), mask=scan.mask(index), title=title)


def _reference(scan: Scan, index: int) -> Tensor | None:
    """The target of a slice, where there is one that fits the image."""
    if scan.reference is None:
        return None
    target = scan.reference(index)
    fits = tuple(target.shape) == scan.matrix and bool(torch.isfinite(target).all())
    return target if fits else None


def _section(source: str, items: Sequence[tuple[Scan, Volume]]) -> str:
    encoded = base64.b64encode(picture(items)).decode()
    infos = [volume.info for _, volume in items]
    notes = sorted({note for info in infos for note in info.get("notes", ())})
    listed = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    scan = items[0][0]
    size = "{} slice(s), {} coil(s), k-space {} x {} (readout x phase)".format(*scan.shape)
    caption = "One window level for all."
    if any("metrics" in info for info in infos):
        caption += f" Errors are against the reference, {ERROR_GAIN} times brighter."
    details = "".join(
        f"<details><summary>{html.escape(str(info['method']))}: every parameter</summary>"
        f"<pre>{html.escape(json.dumps(info, indent=2, default=str))}</pre></details>"
        for info in infos
    )
    return (
        f'<h2>{html.escape(Path(source).name)}</h2><p class="quiet">{html.escape(source)}: {size}</p>'
        f'<figure><img alt="reconstructions side by side" src="data:image/png;base64,{encoded}">'
        f"<figcaption>{caption}</figcaption></figure>"
        f'<div class="wide">{_table(infos)}</div><ul class="quiet">{listed}</ul>{details}'
    )


def _table(infos: Sequence[Any]) -> str:
    protocol = next((info["metrics"]["protocol"] for info in infos if "metrics" in info), None)
    head = ["method", "acceleration", "data residual", "s / slice"]
    head += [f"PSNR dB ({protocol})", "SSIM", "NMSE"] if protocol else []
    rows = [f"<tr>{''.join(f'<th>{h}</th>' for h in head)}</tr>"]
    for info in infos:
        cells = [str(info["method"]), f"{info['acceleration']['achieved']:.2f}"]
        residual = info.get("data_residual")
        cells += [
            "" if residual is None else f"{100 * residual:.1f} %",
            f"{info['seconds_per_slice']:.2f}",
        ]
        if protocol:
            metrics = info.get("metrics")
            cells += (
                [f"{metrics['psnr']:.2f}", f"{metrics['ssim']:.4f}", f"{metrics['nmse']:.5f}"]
                if metrics
                else ["", "", ""]
            )
        rows.append(f"<tr>{''.join(f'<td>{html.escape(c)}</td>' for c in cells)}</tr>")
    return f"<table>{''.join(rows)}</table>"
