"""What the report of a benchmark shows: a few slices of every method on some of its scans, kept beside the records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from mrirecon.benchmark.cells import Cell, Record
from mrirecon.benchmark.plan import Benchmark
from mrirecon.benchmark.solve import Solver
from mrirecon.io.files import replacing
from mrirecon.report import Item, evenly, plots_of, png_of
from mrirecon.scan import Scan, Volume

SLICES = 3  # in the middle of a scan


class Pictures:
    """Images of the cells that the report shows: of `benchmark.pictured` scans, the first seed of mask and method."""

    def __init__(self, folder: Path, benchmark: Benchmark) -> None:
        self.folder = folder
        scans = benchmark.scans
        shown = evenly(len(scans), benchmark.pictured) if benchmark.pictured else []
        self._scans = [scans[index] for index in shown]

    def wants(self, cell: Cell) -> bool:
        """Whether the report shows this cell."""
        return cell.is_first and any(cell.source is scan for scan in self._scans)

    def has(self, key: str) -> bool:
        """Whether the images of a cell are there."""
        return self._path(key).is_file()

    def save(self, key: str, volume: Volume) -> None:
        """Keep the middle slices of a reconstruction.

        Raises:
            OSError: if they cannot be written.
        """
        middle = _middle(volume.image.shape[1])
        layers = {"image": volume.image.abs(), **volume.extras}
        kept = {name: layer[:1, middle].float().contiguous() for name, layer in layers.items()}
        with replacing(self._path(key)) as (part,):
            part.write_bytes(save(kept))

    def items(
        self, results: Iterable[tuple[Cell, Record, str]], benchmark: Benchmark, device: str
    ) -> Iterator[Item]:
        """What `write_report` takes: middle slices of undersampled scans, with the reconstructions that there are."""
        solver = Solver(benchmark, device)
        for cell, record, key in results:
            if not self.wants(cell) or "failure" in record:
                continue
            truth, problem = solver.problem(cell)
            middle = _middle(problem.scan.shape[0])
            target = truth.target[middle]
            try:
                layers = load_file(self._path(key))
            except (OSError, SafetensorError):
                layers = {}
            shapes = {layer.shape[1:] for layer in layers.values()}
            if "image" not in layers or shapes != {target.shape}:
                continue  # lost or changed since: the report does without
            scan = replace(
                problem.scan.select(middle),
                source=_title(cell, problem.scan, benchmark),
                reference=lambda index, target=target: target[index],  # type: ignore[misc]
            )
            protocol = benchmark.protocols[0]  # metrics are those of all slices
            metrics = {"protocol": protocol, **record["metrics"][protocol]}
            info = {**record, "method": cell.method.name, "metrics": metrics}
            image = layers.pop("image") + 0j
            yield scan, Volume(image=image, geometry=scan.geometry, info=info, extras=layers)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def write_plots(folder: Path, rows: Sequence[Record], benchmark: Benchmark) -> dict[str, bytes]:
    """Write the plots of the table to plots/; gives them by title, as PNG."""
    protocol = benchmark.protocols[0]
    figures = plots_of(rows, [f"{protocol}_{name}" for name in ("psnr", "ssim")])
    plots = {title: png_of(figure) for title, figure in figures.items()}
    (folder / "plots").mkdir(exist_ok=True)
    for title, png in plots.items():
        name = re.sub(r"\W+", "_", title).strip("_").lower()
        with replacing(folder / "plots" / f"{name}.png") as (part,):
            part.write_bytes(png)
    return plots


def _middle(count: int) -> slice:
    start = max(0, (count - SLICES) // 2)
    return slice(start, min(start + SLICES, count))


def _title(cell: Cell, scan: Scan, benchmark: Benchmark) -> str:
    """Scan and mask; which of the judged slices are shown, in the file's numbers, unless all are."""
    first, count, shown = scan.first_slice, scan.shape[0], _middle(scan.shape[0])
    noise = f", noise {cell.noise:g}" if len(benchmark.noise) > 1 else ""
    part = f"slices {first + shown.start} to {first + shown.stop - 1} of {first} to {first + count - 1}"
    return f"{cell.source.name}, {cell.mask.name}{noise}" + (f", {part}" if count > SLICES else "")
