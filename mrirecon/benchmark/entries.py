"""What a benchmark is made of: scans, masks, noise levels, methods, and how methods are tuned."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import Any

from mrirecon.benchmark.sources import Source, chosen_slices, find_scans
from mrirecon.masks import MaskSpec, Seed
from mrirecon.methods import METHODS, Method, as_method
from mrirecon.metrics import PROTOCOLS
from mrirecon.nearest import suggest
from mrirecon.recon import EstimatedMaps
from mrirecon.weights import sha256_of

Options = Mapping[str, Any]

METRICS = {"psnr": True, "ssim": True, "nmse": False, "nrmse": False}  # name -> larger is better
OF_FILE = "file"  # the seed of a mask that follows from the name of the scan's file


@dataclass(frozen=True)
class MaskEntry(MaskSpec):
    """A mask of the table.

    Attributes:
        seeds: one mask for each; `file` draws it from the name of each scan's file, as fastMRI does in validation.
        name: in the table.
    """

    seeds: tuple[int | str, ...] = (0,)
    name: str = ""

    def __post_init__(self) -> None:
        """Check what can be checked before the size is known, and name the mask where it has no name.

        Raises:
            ValueError: if the kind is unknown, or a number is out of its range.
        """
        super().__post_init__()
        if not self.seeds:
            raise ValueError(f"mask {self.kind}: seeds is empty: give one or more")
        for seed in self.seeds:
            if seed != OF_FILE and not (isinstance(seed, int) and seed >= 0):
                raise ValueError(
                    f"mask {self.kind}: seed is {seed!r}: give 0, a positive whole number, or {OF_FILE}"
                )
        check_seeds(f"mask {self.kind}", self.seeds)
        if not self.name:
            object.__setattr__(self, "name", f"{self.kind} x{self.acceleration:g}")

    def request(self, seed: Seed) -> dict[str, Any]:
        """All that the mask depends on but the grid."""
        return {
            "kind": self.kind,
            "acceleration": float(self.acceleration),
            "center_fraction": None if self.center_size is not None else self.fraction(),
            "center_size": self.center_size,
            "seed": seed,
            "options": dict(self.options),
        }


@dataclass(frozen=True, kw_only=True)
class MethodEntry:
    """A method of the table.

    Attributes:
        method: of `METHODS`.
        options: its parameters.
        seeds: of a method that draws: one result for each.
        tune: values to try for an option, on the tuning scans, for each mask and noise level.
        name: in the table.
    """

    method: str
    options: Options = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    tune: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        """Build the method once, so that wrong options are found before any work, and name it.

        Raises:
            ValueError: if the method or an option does not exist, or a value is impossible.
        """
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}: {suggest(self.method, METHODS)}")
        if not self.name:
            object.__setattr__(self, "name", self.method)
        known = {f.name for f in fields(METHODS[self.method])}
        for option in [*self.options, *self.tune]:
            if option not in known:
                hint = suggest(option, known)
                raise ValueError(f"method {self.name} has no option {option!r}: {hint}")
        if "seed" in known:
            own = self.options.get("seed", _default(METHODS[self.method], "seed"))
            object.__setattr__(self, "seeds", tuple(self.seeds or (own,)))
        elif self.seeds:
            raise ValueError(f"method {self.name} has seeds, but draws nothing: leave them out")
        check_seeds(f"method {self.name}", self.seeds)
        for option, values in self.tune.items():
            if not values:
                raise ValueError(f"method {self.name}: tune {option} is empty: list values to try")
        for options in self.grid or [{}]:
            try:
                self.build(options)
            except TypeError as error:
                raise ValueError(f"method {self.name}: {error}") from error

    @property
    def grid(self) -> list[dict[str, Any]]:
        """Every combination of the values to try; empty for a method that is not tuned."""
        if not self.tune:
            return []
        names = list(self.tune)
        return [
            dict(zip(names, values, strict=True))
            for values in itertools.product(*self.tune.values())
        ]

    def build(self, tuned: Options, seed: int | None = None) -> Method:
        """The method, with what was tuned."""
        drawn = {} if seed is None else {"seed": seed}
        return as_method(self.method, {**self.options, **tuned, **drawn})

    def weights(self, tuned: Options) -> str | None:
        """Name or file of its weights; None for a method that has none."""
        usual = _default(METHODS[self.method], "weights")
        given = {**self.options, **tuned}.get("weights", usual)
        return None if given is None else str(given)

    def sha256(self, tuned: Options) -> dict[str, str]:
        """Of the files that it reads: weights, a first image.

        Raises:
            ValueError, OSError: if there is no such file.
        """
        try:
            files = self.build(tuned).files()
        except FileNotFoundError as error:
            raise FileNotFoundError(f"method {self.name}: {error}") from error
        return {name: sha256_of(*parts) for name, parts in files.items()}


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How options with several values are chosen: the combination that is best on the mean of other scans.

    Attributes:
        scans: files or folders, none of which may be among those of the table.
        slices: A:B takes slices A to B - 1 of each only.
        middle: take only so many slices in the middle of each.
        limit: take only so many of the scans, evenly spread over them.
        protocol: of the metric.
        metric: psnr, ssim, nmse or nrmse.
    """

    scans: list[str] = field(default_factory=list)
    slices: str | None = None
    middle: int | None = None
    limit: int | None = None
    protocol: str = "fastmri"
    metric: str = "psnr"

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            ValueError: if one is unknown.
        """
        check_name("protocol", self.protocol, PROTOCOLS)
        check_name("metric", self.metric, METRICS)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Everything that a table is made of.

    Attributes:
        scans: of the table; names must differ.
        masks: names must differ.
        methods: names must differ.
        noise: added noise per real component of each coil's k-space, over the bright level of the images; 0 adds none.
        noise_seed: of the added noise.
        protocols: of `PROTOCOLS`.
        support: judge only the pixels where the coil maps of the fully sampled scan are not zero.
        remove_oversampling: crop the readout to the reconstruction FOV before undersampling.
        calibration: how coil maps are estimated.
        tuning: how methods with options to tune are tuned.
        pictured: scans whose images are kept for the report, evenly spread.
    """

    scans: tuple[Source, ...]
    masks: tuple[MaskEntry, ...]
    methods: tuple[MethodEntry, ...]
    noise: tuple[float, ...] = (0.0,)
    noise_seed: int = 0
    protocols: tuple[str, ...] = ("fastmri",)
    support: bool = False
    remove_oversampling: bool = False
    calibration: EstimatedMaps = field(default_factory=EstimatedMaps)
    tuning: Tuning = field(default_factory=Tuning)
    pictured: int = 2

    def __post_init__(self) -> None:
        """Check what does not need the scans.

        Raises:
            ValueError, OSError: if something is missing, twice there, unknown, or impossible.
        """
        for what in ("scans", "masks", "methods", "noise", "protocols"):
            if not getattr(self, what):
                raise ValueError(f"the benchmark has no {what}: give one or more")
        for kind, names in (
            ("scans", [scan.name for scan in self.scans]),
            ("masks", [mask.name for mask in self.masks]),
            ("methods", [method.name for method in self.methods]),
        ):
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise ValueError(
                    f"two {kind} are called {twice[0]}: give one of them another `name`"
                )
        for level in self.noise:
            if not 0 <= level < math.inf:
                raise ValueError(f"noise is {level}: give 0 or a positive number")
        if self.pictured < 0:
            raise ValueError(f"pictured is {self.pictured}: give 0 or more")
        for protocol in self.protocols:
            check_name("protocol", protocol, PROTOCOLS)
        tuned = [method.name for method in self.methods if method.tune]
        if tuned and not self.tuning.scans:
            raise ValueError(
                f"method {tuned[0]} is to be tuned, but there are no tuning scans: give --tuning.scans with other scans"
            )
        ours = {source.place for source in self.scans}
        for source in self.tuning_scans:
            if source.place in ours:
                raise ValueError(
                    f"{source.path} is a scan of the table and a tuning scan: tune on other scans"
                )

    @cached_property
    def tuning_scans(self) -> tuple[Source, ...]:
        """The scans to tune on; none where nothing is tuned.

        Raises:
            ValueError, OSError: if the slices are impossible, or files are missing.
        """
        wanted = self.tuning
        if not any(method.tune for method in self.methods):
            return ()
        part = chosen_slices(wanted.slices, wanted.middle)
        return tuple(find_scans(wanted.scans, part, wanted.limit))


def check_name(what: str, name: object, known: Mapping[str, Any]) -> None:
    """Raise ValueError unless the name is known."""
    if name not in known:
        raise ValueError(f"unknown {what} {name!r}: {suggest(str(name), known)}")


def check_seeds(where: str, seeds: Sequence[int | str]) -> None:
    """Raise ValueError for a seed that is there twice: its results would count twice."""
    if twice := [seed for seed in seeds if seeds.count(seed) > 1]:
        raise ValueError(f"{where}: seed {twice[0]} is there twice: give each seed once")


def _default(kind: type, name: str) -> Any:
    """Default of a dataclass's field; None where it has none, or no such field."""
    found = next((f.default for f in fields(kind) if f.name == name), None)
    return None if found is MISSING else found
