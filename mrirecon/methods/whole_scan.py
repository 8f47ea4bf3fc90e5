"""From a scan to the volume with all that is to be said about it: what `recon` does, and `mrirecon.reconstruct`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from inspect import signature
from os import fspath
from pathlib import Path
from types import NoneType
from typing import Any, Literal

import torch
from torch import Tensor

from mrirecon import prepare
from mrirecon.calibration import calibration_note
from mrirecon.coverage import coverage_of
from mrirecon.echo import center_echo
from mrirecon.io import read_scan
from mrirecon.io.cfl import parts_of
from mrirecon.io.files import PathLike
from mrirecon.io.layout import Layout
from mrirecon.methods.base import Progress, SliceMethod
from mrirecon.methods.calibrate import Calibrated, GivenMaps, MapSource
from mrirecon.methods.choices import (
    GivenMask,
    MaskChoice,
    choose_maps,
    maps_of_slices,
    narrowed,
    parse_slices,
    undersampled,
)
from mrirecon.methods.device import choose_device
from mrirecon.methods.draws import Preview
from mrirecon.methods.named import build_method, check_options, is_slow, options_of, who_has
from mrirecon.methods.provenance import completed
from mrirecon.noise import dead_coils, partly_dead, silent_coils
from mrirecon.scan import Scan, Volume
from mrirecon.weights import sha256_of


@dataclass(frozen=True, kw_only=True)
class Request:
    """A reconstruction as it is asked for; what is wrong with it is found before a scan is read.

    Attributes:
        method: its name and its options.
        mask: retrospective undersampling.
        maps: where coil maps come from.
        slices: a run of slices.
        partial_fourier: what to do about the side of k-space that partial Fourier left out.
        whiten: prewhiten when the scan has a noise measurement.
        compress_coils: combine the coils to this many virtual ones.
        compression: one matrix for the scan (svd), or one per readout position (geometric).
        remove_oversampling: crop the readout to the reconstruction FOV before reconstructing.
        layout: how the scan's array is stored, where that is not as usual.
    """

    method: Mapping[str, Any]
    mask: MaskChoice | GivenMask | None = None
    maps: MapSource = field(default_factory=Calibrated)
    slices: slice = field(default_factory=lambda: slice(None))
    partial_fourier: Literal["zero", "homodyne", "pocs"] = "zero"
    whiten: bool = True
    compress_coils: int | None = None
    compression: Literal["svd", "geometric"] = "svd"
    remove_oversampling: bool = False
    layout: Layout = field(default_factory=Layout)

    def __post_init__(self) -> None:
        """Refuse wrong options of the method, and slices that are no run."""
        self._usual()
        if self.slices.step not in (None, 1):
            raise ValueError(f"slices have a step of {self.slices.step}: give a run such as 10:12")

    def describe(self, source: str) -> dict[str, Any]:
        """For the JSON: all that the result depends on; of the scan's file its size and time of change."""
        start, stop = self.slices.start, self.slices.stop
        whole = start is None and stop is None
        compressed = self.compress_coils is not None
        return {
            "source": source,
            "scan": _status(source),
            "method": dict(self.method),
            "mask": None if self.mask is None else self.mask.describe(),
            "maps": self.maps.describe(),
            "partial_fourier": self.partial_fourier,
            "whiten": self.whiten,
            "compress_coils": [self.compress_coils, self.compression] if compressed else None,
            "remove_oversampling": self.remove_oversampling,
            "layout": asdict(self.layout),
            "slices": None if whole else f"{start or 0}:{'' if stop is None else stop}",
            "sha256": {name: sha256_of(*parts) for name, parts in self.files().items()},
        }

    def _usual(self) -> SliceMethod:
        """The method before it knows the scan."""
        return build_method(self.method, partial_fourier=self.partial_fourier)

    def files(self) -> dict[str, tuple[Path, ...]]:
        """The files, besides the scan, that the result depends on."""
        named = {
            "mask": self.mask.kind if isinstance(self.mask, MaskChoice) else None,
            "maps": self.maps.describe().get("source"),
        }
        given = {name: _parts(path) for name, path in named.items() if path is not None}
        return {**self._usual().files(), **{name: parts for name, parts in given.items() if parts}}

    def read(self, path: PathLike) -> Scan:
        """The scan of a file.

        Raises:
            ValueError, OSError: if it cannot be read.
        """
        return read_scan(path, self.layout)

    def prepared(self, scan: Scan) -> tuple[Scan, dict[str, Any] | None]:
        """The scan as the method gets it, and how its mask came about, for the JSON.

        It has all slices, whichever are asked for: scale, noise and compression are those of the scan.

        Raises:
            ValueError, OSError: if the scan does not suit the request.
        """
        scan.run(self.slices)  # refuses what lies beyond
        if self.remove_oversampling:
            scan = prepare.remove_oversampling(scan)
        # A kind of mask is drawn about the echo; a given one names samples of the file.
        given = self.mask is not None and self.mask.is_given
        scan = scan if given else center_echo(scan)
        coverage, made = coverage_of(scan), None
        scan = narrowed(scan, coverage)
        if self.mask is not None:
            scan, made = undersampled(scan, coverage, self.mask.kind, self.mask.make)
        scan = center_echo(scan) if given else scan
        if self.compress_coils is not None:
            silent = silent_coils(scan)
            if partly := partly_dead(scan, silent, dead_coils(scan, silent)[0])[0]:
                said = f"coils without signal in {len(partly)} of {scan.volumes} volumes are compressed with the others"
                scan = replace(scan, notes=(*scan.notes, f"{said}: leave out --compress_coils"))
            scan = prepare.compress_coils(scan, self.compress_coils, self.compression)
        notes = list(self.maps.notes()) if isinstance(self.maps, GivenMaps) else []
        if (note := calibration_note(scan)) is not None:
            notes.append(note)
        return replace(scan, notes=(*scan.notes, *notes)), made

    def configured(self, scan: Scan, **loop: Any) -> SliceMethod:
        """The method, ready for a scan that is `prepared`; `loop` are options of the loop over slices, as `device`."""
        return build_method(
            self.method,
            maps=maps_of_slices(self.maps, scan, self.slices),
            partial_fourier=self.partial_fourier,
            whiten=self.whiten,
            slices=self.slices,
            **loop,
        )


def reconstruct(
    scan: PathLike | Scan,
    *,
    method: str = "l1_wavelet",
    mask: PathLike | Tensor | None = None,
    acceleration: int | float | None = None,
    center_fraction: int | float | None = None,
    mask_seed: int = 0,
    maps: PathLike | Tensor | MapSource = "espirit",
    slices: slice | str | None = None,
    partial_fourier: Literal["zero", "homodyne", "pocs"] = "zero",
    whiten: bool = True,
    compress_coils: int | None = None,
    compression: Literal["svd", "geometric"] = "svd",
    remove_oversampling: bool = False,
    axes: str | None = None,
    kspace_centre: str = "middle",
    image_centre: str = "middle",
    variable: str | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    preview: Callable[[Preview], object] | None = None,
    **options: Any,
) -> Volume:
    """Reconstruct one scan; the volume has the same `info` as the JSON that `mrirecon recon` writes.

    Args:
        scan: k-space file, or a scan at hand.
        method: one of `METHODS`.
        mask: undersample retrospectively with this kind of mask, with the mask of a file, or with a tensor
            (readout, phase).
        acceleration: of the mask.
        center_fraction: calibration share of the mask; 0.08 up to acceleration 5, else 0.04.
        mask_seed: seed of the mask.
        maps: espirit, lowres, a file of coil maps, a tensor (slice, coil, readout, phase), or for example
            `Calibrated(size=32)`.
        slices: a run of slices, such as slice(10, 12) or "10:12".
        partial_fourier: what to do about the side that partial Fourier left out.
        whiten: prewhiten when the scan has a noise measurement.
        compress_coils: combine the coils to this many virtual ones, for speed.
        compression: one matrix for the scan (svd), or one per readout position (geometric).
        remove_oversampling: crop the readout to the reconstruction FOV before reconstructing, for speed.
        axes: names of the stored axes of an array, such as "readout,phase,coil" (`Layout`).
        kspace_centre: where the array has the centre of k-space: middle, corner, or one for each of readout and phase.
        image_centre: where the centre of the image comes out, likewise.
        variable: name of the array in a .mat, .npz or HDF5 file.
        device: auto takes a GPU where there is one.
        progress: called with (slices done, slices in all); a diffusion method counts parts of a slice too.
        preview: of a diffusion method, called every few noise levels with what is known of the slices it is at.
        options: those of the method, such as `weights`, `samples`, `seed`, `regularization`.

    Raises:
        ValueError: if the method, an option or a value does not exist, or the scan does not suit them.
        OSError: if a file cannot be read.
    """
    _check_names(method, options)
    request = Request(
        method={"name": method, **check_options(method, options)},
        mask=_mask(mask, acceleration, center_fraction, mask_seed),
        maps=_maps(maps),
        slices=run_of_slices(slices),
        partial_fourier=partial_fourier,
        whiten=whiten,
        compress_coils=compress_coils,
        compression=compression,
        remove_oversampling=remove_oversampling,
        layout=Layout(
            axes=axes, kspace_centre=kspace_centre, image_centre=image_centre, variable=variable
        ),
    )
    if preview is not None and not is_slow(request.method):
        raise ValueError(f"preview: {method} shows nothing before it is done, dds would")
    where = choose_device(device)
    source = scan.source if isinstance(scan, Scan) else fspath(scan)
    data, made = request.prepared(scan if isinstance(scan, Scan) else request.read(scan))
    shown = {} if preview is None else {"preview": preview}
    solve = request.configured(data, device=where, progress=progress, **shown)
    return completed(solve(data), data.select(request.slices), made, request.describe(source))


def _status(source: str) -> dict[str, int] | None:
    """Whether a file is still the same is told by this, for its hash takes as long as reading it; None of no file."""
    if not (parts := _parts(source)):
        return None
    status = [part.stat() for part in parts]
    return {
        "size": sum(part.st_size for part in status),
        "modified": max(part.st_mtime_ns for part in status),
    }


def _parts(source: str) -> tuple[Path, ...]:
    """The files of that name; none where it is the name of something else, as of a kind of mask."""
    try:
        return parts_of(Path(source))
    except OSError:
        return ()


_OF_COMMAND_LINE = {"accel": "acceleration=", "calibration": "maps=mr.Calibrated(...)"}


def _check_names(method: str, options: Mapping[str, Any]) -> None:
    """A mistyped keyword of `reconstruct` lands among the options of the method: find what is nearest in both."""
    own = [name for name in signature(reconstruct).parameters if name not in ("scan", "options")]
    known = options_of(method)
    for option in options:
        if option in _OF_COMMAND_LINE:
            raise ValueError(
                f"unknown keyword {option!r}: in Python it is {_OF_COMMAND_LINE[option]}"
            )
        near = get_close_matches(option, own, n=1, cutoff=0.8)
        if near and not who_has(option) and not get_close_matches(option, known, cutoff=0.8):
            raise ValueError(f"unknown keyword {option!r}: did you mean {near[0]}?")


def run_of_slices(given: object) -> slice:
    """The slices that are meant.

    Raises:
        ValueError: if they are no run.
    """
    if isinstance(given, slice) and all(
        isinstance(edge, (int, NoneType)) for edge in (given.start, given.stop)
    ):
        return given
    if not isinstance(given, (str, NoneType)):
        raise ValueError(f"slices is {given!r}: give a run, such as slice(10, 12) or '10:12'")
    return parse_slices(given)


def _mask(
    mask: PathLike | Tensor | None,
    acceleration: int | float | None,
    center_fraction: int | float | None,
    seed: int,
) -> MaskChoice | GivenMask | None:
    if isinstance(mask, Tensor):
        if acceleration is not None or center_fraction is not None:
            raise ValueError("the given mask fixes the acceleration: leave it out")
        return GivenMask(mask)
    if mask is not None:
        return MaskChoice(fspath(mask), acceleration, center_fraction, seed)
    if acceleration is not None or center_fraction is not None:
        raise ValueError(
            "acceleration and center_fraction belong to a mask: add its kind, mask='poisson'"
        )
    return None


def _maps(maps: PathLike | Tensor | MapSource) -> MapSource:
    if isinstance(maps, Tensor):
        return GivenMaps(maps.to(torch.complex64), "a tensor", kind="given")
    return maps if isinstance(maps, MapSource) else choose_maps(maps, Calibrated())
