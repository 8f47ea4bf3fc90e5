"""What a benchmark is made of: scans, masks, noise levels, methods, and how methods are tuned."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from mrirecon.benchmark.entries import MaskEntry, MethodEntry, check_name
from mrirecon.benchmark.lesions import Lesions
from mrirecon.benchmark.sources import Source, chosen_slices, find_scans
from mrirecon.metrics import PROTOCOLS
from mrirecon.recon import EstimatedMaps

METRICS = {"psnr": True, "ssim": True, "nmse": False, "nrmse": False}  # name -> larger is better
Support = bool | Literal["maps", "head", "brain"]  # True is maps


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How options with several values are chosen: the combination that is best on the mean of other scans.

    Attributes:
        scans: files or folders, none of which may be among those of the table.
        slices: A:B takes slices A to B - 1 of each only.
        middle: take only so many slices in the middle of each.
        limit: take only so many of the scans, evenly spread over them.
        volume: of scans with several volumes take this one.
        protocol: of the metric.
        metric: psnr, ssim, nmse or nrmse.

    Raises:
        ValueError: if a name is unknown.
    """

    scans: list[str] = field(default_factory=list)
    slices: str | None = None
    middle: int | None = None
    limit: int | None = None
    volume: int | None = None
    protocol: str = "fastmri"
    metric: str = "psnr"

    def __post_init__(self) -> None:
        """Check the names."""
        check_name("protocol", self.protocol, PROTOCOLS)
        check_name("metric", self.metric, METRICS)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Everything that a table is made of.

    Attributes:
        scans: of the table; names must differ.
        masks: names must differ.
        methods: names must differ.
        noise: levels of noise to add, per real component of each coil's k-space, over the bright level of the images.
        noise_seed: of the added noise.
        protocols: of the metrics, such as fastmri, slice, dds-minmax.
        support: judge only where the coil maps of the fully sampled scan are not zero (maps, or true), only the head or
            only the brain; false judges the whole image.
        remove_oversampling: crop the readout to the reconstruction FOV before undersampling.
        calibration: how coil maps are estimated.
        tuning: how methods with options to tune are tuned.
        error_bars: hold the truth against draws, or reconstructions from fewer samples, and write what `recon
            --calibrate FILE` takes; methods with one image take seven times as long.
        lesions: small lesions that are put into the anatomy, or taken out of it, and what becomes of them.
        pictured: so many scans, evenly spread, are shown in the report, each under every mask and noise level.

    Raises:
        ValueError, OSError: if something is missing, twice there, unknown, or impossible.
    """

    scans: tuple[Source, ...]
    masks: tuple[MaskEntry, ...]
    methods: tuple[MethodEntry, ...]
    noise: tuple[float, ...] = (0.0,)
    noise_seed: int = 0
    protocols: tuple[str, ...] = ("fastmri",)
    support: Support = False
    remove_oversampling: bool = False
    calibration: EstimatedMaps = field(default_factory=EstimatedMaps)
    tuning: Tuning = field(default_factory=Tuning)
    error_bars: bool = False
    lesions: Lesions = field(default_factory=Lesions)
    pictured: int = 2

    def __post_init__(self) -> None:
        """Check what does not need the scans."""
        for what in ("scans", "masks", "methods", "noise", "protocols"):
            if not getattr(self, what):
                raise ValueError(f"the benchmark has no {what}: give one or more")
        for what in ("scans", "masks", "methods"):
            names = [entry.name for entry in getattr(self, what)]
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(
                    f"two {what} are called {twice[0]}: give one of them another `name`"
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

    def check_files(self) -> None:
        """Raise ValueError or OSError for weights, or another file of a method, that are missing."""
        for method in self.methods:
            for tuned in method.grid or [{}]:
                method.sha256(tuned)

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
        return tuple(find_scans(wanted.scans, part, wanted.limit, wanted.volume))
