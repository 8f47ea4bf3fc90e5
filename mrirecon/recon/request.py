"""The one list of options of a reconstruction: `reconstruct` takes them, and the command line is made from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, TypeAlias

from torch import Tensor

from mrirecon import prepare
from mrirecon.brief import brief
from mrirecon.calibration import calibration_note
from mrirecon.coverage import coverage_of
from mrirecon.device import choose_device
from mrirecon.echo import center_echo
from mrirecon.io.files import suffix_of
from mrirecon.io.images import read_scan_or_image
from mrirecon.io.layout import Layout
from mrirecon.io.place import Placement
from mrirecon.methods.base import Method, Preview
from mrirecon.methods.registry import as_method, options_of, who_has
from mrirecon.noise import dead_coils, partly_dead, silent_coils
from mrirecon.options import Count, check, parse_slices
from mrirecon.progress import progress_of
from mrirecon.recon.coil_maps import EstimatedMaps, GivenMaps, MapSource, maps_from, maps_of_slices
from mrirecon.recon.left_out.adaptation import Adaptable
from mrirecon.recon.left_out.judge import NOTHING, Judgement, judgement_of
from mrirecon.recon.pipeline import Pipeline, Progress, check_partial_fourier
from mrirecon.recon.record import describe_mask, metrics_of
from mrirecon.recon.sources import files_of, status_of
from mrirecon.recon.undersampling import MaskSource, mask_from, narrow, undersample
from mrirecon.scan import Scan, Volume, one_volume
from mrirecon.weights import save_weights, sha256_of

Path_: TypeAlias = str | PathLike[str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """A reconstruction as it is asked for; what is wrong with it is found before a scan is read.

    Attributes:
        method: its name, `{"name": NAME, OPTION: VALUE}`, or an object or class with `solve`.
        mask: undersample retrospectively with this kind of mask (see mrirecon mask --help), with the mask of a file, or
            with a tensor (readout, phase).
        acceleration: acceleration of the mask.
        center_fraction: calibration share of the mask; 0.08 up to acceleration 5, else 0.04.
        mask_seed: seed of the mask.
        maps: espirit, lowres, a file of coil maps, a tensor (slice, coil, readout, phase), or a source of maps.
        calibration: how maps are estimated.
        slices: A:B reconstructs slices A to B - 1 only.
        volume: of a scan with several volumes take only this one, from 0.
        partial_fourier: what to do about the side that partial Fourier left out.
        whiten: prewhiten when the scan has a noise measurement.
        compress_coils: combine the coils to this many virtual ones, for speed.
        compression: one matrix for the scan (svd), or one per readout position (geometric).
        remove_oversampling: crop the readout to the reconstruction FOV before reconstructing, for speed.
        enlarge: make pixels so many times smaller, by k-space beyond what was measured (super-resolution).
        layout: how the array of the scan is stored, where that is not as usual.
        place: where the image lies, where the file does not say.
        adapt: adapt the weights of a network, or of the prior of a sampler, to the scan, in so many steps or, with
            auto, until left-out samples are predicted no better.
        adapt_slices: slices of the scan that it learns from.
        adapt_save: file (.safetensors) for the adapted weights, which other scans of the protocol can be given.
        left_out_seed: seed of the choice of samples that are left out, for these and for parameters that are auto.
        calibrate: true writes error bars, as wide as left-out samples tell; it takes three slices more of draws, and
            seven times the time of a method that gives one image. A file that mrirecon benchmark --error_bars true
            wrote has the widths that scans with references told.
        level: share of the truth that the intervals of calibrate are to hold.

    Raises:
        ValueError: if the method, an option or a value does not exist or does not suit the others.
        OSError: if a file that is named cannot be read.

    Example:
        request = mr.Request(method="tv", mask="poisson", acceleration=4)
        data, made = request.prepare(scan)
        volume = request.pipeline(data, device="cpu").run()
    """

    method: Any = "l1_wavelet"
    mask: Path_ | Tensor | None = None
    acceleration: float | int | None = None
    center_fraction: float | int | None = None
    mask_seed: int = 0
    maps: Any = "espirit"
    calibration: EstimatedMaps = field(default_factory=EstimatedMaps)
    slices: str | slice | None = None
    volume: int | None = None
    partial_fourier: Literal["zero", "homodyne", "pocs"] = "zero"
    whiten: bool = True
    compress_coils: Count | None = None
    compression: Literal["svd", "geometric"] = "svd"
    remove_oversampling: bool = False
    enlarge: Count = 1
    layout: Layout = field(default_factory=Layout)
    place: Placement = field(default_factory=Placement)
    adapt: Count | Literal["auto"] | None = None
    adapt_slices: Count = NOTHING.adapt_slices
    adapt_save: Path_ | None = None
    left_out_seed: int = NOTHING.left_out_seed
    calibrate: bool | Path_ = NOTHING.calibrate
    level: float = NOTHING.level

    __repr__ = brief

    def __post_init__(self) -> None:
        """Resolve what is named, which refuses what does not exist.

        Raises:
            ValueError, OSError: if an option is impossible, or a file that is named cannot be read.
        """
        if self.adapt_save is not None and self.adapt is None:
            raise ValueError(
                "adapt_save is for adapted weights: add adapt, such as auto (--adapt auto)"
            )
        if self.adapt_save is not None:
            suffix_of(self.adapt_save, (".safetensors",))
        check_partial_fourier(self.solver, self.partial_fourier)
        self.judgement.check(self.solver)
        _ = self.mask_source, self.map_source, self.run_of_slices, self.place.reference

    @cached_property
    def solver(self) -> Method:
        """The method with its options."""
        return as_method(self.method)

    @cached_property
    def mask_source(self) -> MaskSource | None:
        """The retrospective mask."""
        return mask_from(self.mask, self.acceleration, self.center_fraction, self.mask_seed)

    @cached_property
    def map_source(self) -> MapSource:
        """Where coil maps come from."""
        return maps_from(self.maps, self.calibration)

    @cached_property
    def judgement(self) -> Judgement:
        """What left-out samples decide."""
        names = ("adapt", "adapt_slices", "left_out_seed", "level")
        given = {name: getattr(self, name) for name in names}
        return judgement_of(self.calibrate, self.solver, self.mask_source, **given)

    @cached_property
    def run_of_slices(self) -> slice:
        """The slices to reconstruct."""
        return parse_slices(self.slices)

    def read(self, path: Path_) -> Scan:
        """The scan of a file.

        Raises:
            ValueError, OSError: if it cannot be read.
        """
        return read_scan_or_image(path, self.layout)

    def prepare(self, scan: Scan) -> tuple[Scan, dict[str, Any] | None]:
        """The scan as the method gets it, and how its mask came about, for the JSON.

        It has all slices, whichever are asked for: scale, noise and compression are those of the scan.

        Raises:
            ValueError, OSError: if the scan does not suit the request.
        """
        scan.run(self.run_of_slices)  # refuses what lies beyond
        scan = self.place.of(scan if self.volume is None else one_volume(scan, self.volume))
        if self.remove_oversampling:
            scan = prepare.remove_oversampling(scan)
        scan = prepare.enlarge(scan, self.enlarge)
        # A kind of mask is drawn about the echo; a given one names samples of the file.
        mask, made = self.mask_source, None
        given = mask is not None and mask.is_given
        scan = scan if given else center_echo(scan)
        coverage = coverage_of(scan)
        scan = narrow(scan, coverage)
        if mask is not None:
            scan, made = undersample(scan, coverage, mask)
        scan = center_echo(scan) if given else scan
        if self.compress_coils is not None:
            silent = silent_coils(scan)
            if partly := partly_dead(scan, silent, dead_coils(scan, silent)[0])[0]:
                said = f"coils without signal in {len(partly)} of {scan.volumes} volumes are compressed with the others"
                scan = replace(scan, notes=(*scan.notes, f"{said}: leave out --compress_coils"))
            scan = prepare.compress_coils(scan, self.compress_coils, self.compression)
        maps = self.map_source
        notes = list(maps.notes()) if isinstance(maps, GivenMaps) else []
        if (note := calibration_note(scan)) is not None:
            notes.append(note)
        return replace(scan, notes=(*scan.notes, *notes)), made

    def pipeline(self, scan: Scan, **loop: Any) -> Pipeline:
        """What runs a scan that is `prepare`d through the method; `loop` are further attributes of `Pipeline`."""
        return Pipeline(
            method=self.solver,
            scan=scan,
            maps=maps_of_slices(self.map_source, scan, self.run_of_slices),
            partial_fourier=self.partial_fourier,
            whiten=self.whiten,
            slices=self.run_of_slices,
            judgement=self.judgement,
            **loop,
        )

    def save_adapted(self, pipeline: Pipeline, *, overwrite: bool = False) -> None:
        """Write the weights that a pipeline adapted, where that is asked for.

        Raises:
            OSError: if they cannot be written.
        """
        if self.adapt_save is not None:
            assert isinstance(pipeline.solver, Adaptable)
            network, card = pipeline.solver.model
            save_weights(network, self.adapt_save, card, overwrite=overwrite)

    def complete(
        self, volume: Volume, scan: Scan, mask: Mapping[str, Any] | None, source: str
    ) -> Volume:
        """The volume with everything its JSON should say: mask, request, metrics beside the scan's reference."""
        found = describe_mask(volume, mask)
        metrics, note = metrics_of(volume, scan.select(self.run_of_slices))
        notes = [*found["notes"], *([note] if note else [])]
        return replace(
            volume, info={**found, "notes": notes, "request": self.describe(source), **metrics}
        )

    def describe(self, source: str) -> dict[str, Any]:
        """For the JSON: all that the result depends on; of the scan's file its size and time of change."""
        start, stop, _ = self.run_of_slices.indices(2**31)
        resolved = {
            "method": {"name": self.solver.name, **self.solver.parameters()},
            "mask": None if self.mask_source is None else self.mask_source.describe(),
            "maps": self.map_source.describe(),
            "slices": [start, None if self.run_of_slices.stop is None else stop],
            "layout": asdict(self.layout),
            "place": asdict(self.place),
        }
        # These are in the resolved ones.
        left_out = ("acceleration", "center_fraction", "mask_seed", "calibration", "adapt_save")
        plain = {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if one.name not in (*resolved, *left_out)
        }
        hashes = {name: sha256_of(*parts) for name, parts in self.files().items()}
        return {"source": source, "scan": status_of(source), **resolved, **plain, "sha256": hashes}

    def files(self) -> dict[str, tuple[Path, ...]]:
        """The files, besides the scan, that the result depends on."""
        mask = self.mask_source
        named = {
            "calibrate": None if isinstance(self.calibrate, bool) else fspath(self.calibrate),
            "mask": mask.kind if mask is not None and mask.is_given else None,
            "maps": self.map_source.describe().get("source"),
        }
        given = {name: files_of(path) for name, path in named.items() if path is not None}
        given["like"] = self.place.files()
        return {**self.solver.files(), **{name: parts for name, parts in given.items() if parts}}


def reconstruct(
    scan: Path_ | Scan,
    *,
    method: Any = "l1_wavelet",
    device: str = "auto",
    progress: Progress | bool | None = None,
    preview: Callable[[Preview], object] | None = None,
    **options: Any,
) -> Volume:
    """Reconstruct one scan; the volume has the same `info` as the JSON that `mrirecon recon` writes.

    Args:
        scan: k-space file, or a scan at hand.
        method: one of `METHODS` by name, or an object or class with `solve`.
        device: name of a torch device, or auto, which takes a GPU where there is one.
        progress: a line of progress is shown on a terminal and in a notebook; false (or MRIRECON_PROGRESS=0 in the
            environment) shows none, true shows it anywhere; a function is called with (slices done, slices in all),
            where a diffusion method counts parts of a slice too.
        preview: for a diffusion method, called every few noise levels with what is known of the slices it is at.
        options: those of `Request`, such as mask, acceleration, maps, slices; those of its `Layout`, such as axes, and
            of its `Placement`, such as voxel_size; and those of the method, such as weights, samples, seed.

    Raises:
        ValueError: if the method, an option or a value does not exist, or the scan does not suit them.
        OSError: if a file cannot be read.

    Example:
        >>> volume = mr.reconstruct("scan.h5", method="tv", mask="poisson", acceleration=4, regularization=0.01)
        >>> volume
        Volume by tv: 3 x 40 x 32 (slice, readout, phase)
        >>> round(volume.info["acceleration"]["achieved"], 1)
        4.0
    """
    request = request_of(method, options)
    if preview is not None and not request.solver.slow:
        name = request.solver.name
        raise ValueError(f"preview: {name} shows nothing before it is done, dds would")
    where = choose_device(device)
    source = scan.source if isinstance(scan, Scan) else fspath(scan)
    data, made = request.prepare(scan if isinstance(scan, Scan) else request.read(scan))
    with progress_of(progress, request.solver.name) as told:
        pipeline = request.pipeline(data, device=where, progress=told, preview=preview)
        volume = pipeline.run()
    request.save_adapted(pipeline)
    return request.complete(volume, data, made, source)


def request_of(method: Any, options: Mapping[str, Any]) -> Request:
    """The request of a method and keywords, which are those of `Request`, `Layout`, `Placement` or the method.

    Raises:
        ValueError: if a keyword is none of them, naming the nearest; or as `Request`.
    """
    parts = {"layout": Layout, "place": Placement}
    own = [one.name for one in fields(Request) if one.name not in ("method", *parts)]
    inner = {part: [one.name for one in fields(kind)] for part, kind in parts.items()}
    others = [name for names in inner.values() for name in names]
    of_method = {k: v for k, v in options.items() if k not in (*own, *others, *parts)}
    known = options_of(method) if isinstance(method, str) else []
    for option in of_method:
        if option == "accel":
            raise ValueError("unknown keyword 'accel': in Python it is acceleration=")
        near = get_close_matches(option, [*own, *others], n=1, cutoff=0.8)
        if near and not who_has(option) and not get_close_matches(option, known, cutoff=0.8):
            raise ValueError(f"unknown keyword {option!r}: did you mean {near[0]}?")
    made = {
        part: replace(
            options.get(part, kind()), **check(kind, _chosen(inner[part], options), "reconstruct")
        )
        for part, kind in parts.items()
    }
    given = _chosen(own, options)
    if "slices" in given:
        given["slices"] = parse_slices(given["slices"])
    return Request(
        method=as_method(method, of_method),
        **made,
        **check(Request, given, "reconstruct"),
    )


def _chosen(names: list[str], options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in names if name in options}
