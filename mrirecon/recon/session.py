"""Scans of files, reconstructed to files one after another; several processes share the slices of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mrirecon.io import check_output, is_complete, sidecar, write_volume
from mrirecon.io.files import PathLike
from mrirecon.io.volumes import check_volumes
from mrirecon.methods.base import Preview
from mrirecon.options import EXPECTED
from mrirecon.recon.pipeline import Pipeline, Progress
from mrirecon.recon.request import Request
from mrirecon.recon.slice_store import SliceStore
from mrirecon.recon.team import Elsewhere, Team
from mrirecon.scan import Scan, Volume


@runtime_checkable
class Listener(Protocol):
    """Who is told what happens."""

    def progress(self, title: str) -> AbstractContextManager[Progress]:
        """A line of progress."""
        ...

    def wrote(self, target: Path, volume: Volume) -> None:
        """A reconstruction was written."""
        ...

    def skipped(self, target: Path) -> None:
        """One was there already."""
        ...

    def failed(self, source: str, error: Exception) -> None:
        """One of several scans could not be reconstructed."""
        ...


@dataclass(frozen=True, eq=False)
class Job:
    """One scan to reconstruct."""

    title: str
    scan: Scan
    pipeline: Pipeline
    mask: dict[str, Any] | None


@dataclass(eq=False)
class Session:
    """Reconstructs scans as one request says.

    Attributes:
        request: what is asked for.
        device: where to compute.
        listener: who is told.
        overwrite: replace what is there.
        inputs: files that no output may replace.
        preview: takes what is known of slices that are being sampled.
        beside: gives further JSON files that are written with an output.
        team: the processes of this run.
        done: what was reconstructed, as `write_report` takes it.
        complete: scans whose reconstruction was there already.
        failures: how many scans could not be reconstructed.
    """

    request: Request
    device: str
    listener: Listener
    overwrite: bool = False
    inputs: list[PathLike] = field(default_factory=list)
    preview: Callable[[Preview], object] | None = None
    beside: Callable[[Path, Volume, Scan], Mapping[Path, Mapping[str, Any]]] | None = None
    team: Team = field(default_factory=Team)
    done: list[tuple[Scan, Volume]] = field(default_factory=list)
    complete: list[str] = field(default_factory=list)
    failures: int = 0

    def run(self, pairs: Iterable[tuple[str, Path]]) -> None:
        """Reconstruct each scan to its output; one of several that fails keeps no other from it.

        Raises:
            ValueError, OSError: if the only scan there is cannot be reconstructed.
        """
        pairs = list(pairs)
        for source, target in pairs:
            try:
                if self.team.first(partial(self._is_done, source, target)):
                    self.complete.append(Path(source).name)
                    continue
                job = self.team.each(partial(self._prepare, source, target))
                if self.team.size > 1:
                    self._share_out(job)
                self.team.first(partial(self._write, job, source, target))
            except (*EXPECTED, Elsewhere) as error:
                if len(pairs) == 1:
                    raise
                self.failures += 1
                if self.team.leads:
                    self.listener.failed(source, error)

    def _is_done(self, source: str, target: Path) -> bool:
        about = self.request.describe(source)
        if self.overwrite or not already_done(target, about):
            return False
        SliceStore(target, about).clear()  # of a run that was killed when all but this was done
        self.listener.skipped(target)
        return True

    def _prepare(self, source: str, target: Path) -> Job:
        check_output(target, self.overwrite)
        data, made = self.request.prepare(self.request.read(source))
        check_volumes(target, data.volumes)  # before the work, not after it
        judged = self.request.adapt is not None or self.request.calibrate is not False
        slow = self.request.solver.slow or self.team.size > 1 or judged
        keep = SliceStore(target, self.request.describe(source)) if slow else None
        preview = self.preview if self.team.leads else None
        pipeline = self.request.pipeline(data, device=self.device, keep=keep, preview=preview)
        if self.team.size > 1:
            pipeline.check_shares()
        return Job(f"{self.request.solver.name} {Path(source).name}", data, pipeline, made)

    def _share_out(self, job: Job) -> None:
        """Let every process solve its share of the slices, which are kept beside the output for the first to read."""
        keep = job.pipeline.keep
        assert keep is not None
        self.team.first(keep.open)

        def decide() -> None:
            with self.listener.progress(job.title) as progress:
                _ = replace(job.pipeline, progress=progress).judged

        if job.pipeline.judges:  # what left-out samples decide is kept there too, for all to find
            self.team.first(decide)

        def solve() -> None:
            if not keep.is_open():
                raise ValueError(
                    f"{keep.folder} is not there, where the first process made it: all machines must see the folder of "
                    "--output"
                )
            title = f"{job.title}, process 0 of {self.team.size}"
            line = self.listener.progress(title) if self.team.leads else nullcontext(None)
            with line as progress:
                pipeline = replace(job.pipeline, progress=progress)
                pipeline.solve_share(self.team.rank, self.team.size)

        self.team.each(solve)

    def _write(self, job: Job, source: str, target: Path) -> None:
        # What several processes have solved is put together without a progress line.
        line = self.listener.progress(job.title) if self.team.size == 1 else nullcontext(None)
        with line as progress:
            pipeline = replace(job.pipeline, progress=progress)
            volume = pipeline.run()
        self.request.save_adapted(pipeline, overwrite=self.overwrite)
        volume = self.request.complete(volume, job.scan, job.mask, source)
        lost = write_volume(
            volume,
            target,
            overwrite=self.overwrite,
            inputs=self.inputs,
            beside=None if self.beside is None else self.beside(target, volume, job.scan),
        )
        volume = replace(volume, info={**volume.info, "notes": [*volume.info["notes"], *lost]})
        if job.pipeline.keep is not None:
            job.pipeline.keep.clear()
        self.listener.wrote(target, volume)
        self.done.append((job.scan.select(self.request.run_of_slices), volume))


def already_done(target: Path, request: dict[str, Any]) -> bool:
    """Whether the output is complete and was made by this very request.

    Raises:
        FileExistsError: if it was made otherwise.
    """
    if not is_complete(target):
        return False
    try:
        made = json.loads(sidecar(target).read_text(encoding="utf-8"))
    except ValueError:
        made = None
    if not isinstance(made, dict) or made.get("request") != json.loads(json.dumps(request)):
        raise FileExistsError(
            f"{target} exists and was made with other settings or from other files: "
            "give --overwrite or another --output"
        )
    return True
