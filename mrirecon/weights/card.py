"""The description (card) of a file of weights, as JSON beside it, and warnings where a scan does not fit it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, TypeVar, get_origin, get_type_hints

from mrirecon.brief import brief
from mrirecon.calibration import width
from mrirecon.coverage import achieved_acceleration
from mrirecon.masks import MASKS
from mrirecon.nearest import suggest
from mrirecon.options import fits
from mrirecon.scan import Scan

SCHEMA = 1
OUTSIDE = "weights were trained for"  # part of every warning of a card
# Achieved accelerations differ from the nominal one, by 10 % and more for fastMRI's random masks.
TOLERANCE = 1.2
# Wide, since bright levels are stated from maxima or quantiles, and since networks normalise their input.
INTENSITY_TOLERANCE = 2.0
PIXEL_TOLERANCE = 1.05  # fields of view are rounded
NARROW = 3  # samples; all masks used in training have a wider fully sampled centre

Described = TypeVar("Described")


@dataclass(frozen=True, kw_only=True)
class TrainingRange:
    """The range of scans a network was trained on; entries that are empty or None are unknown and give no warnings.

    `Card.warnings` compares a scan with masks, accelerations, coils, matrix, intensity and pixel_mm. sigma limits the
    noise levels of samplers; center_fractions and patches are for information only.

    Attributes:
        masks: kinds of masks, of `mrirecon.masks.MASKS`.
        accelerations: nominal accelerations.
        center_fractions: fractions of calibration columns, one for each acceleration.
        coils: smallest and largest number of receive coils.
        matrix: smallest and largest k-space grid, each (readout, phase).
        intensity: lowest and highest bright level of the images (`scale.volume_scale`), in the units of the k-space.
        pixel_mm: for a prior or a generator, smallest and largest side of a pixel in mm.
        sigma: for a prior, lowest and highest noise level, in units of the bright level.
        patches: for a prior or a generator, sides of the training images in pixels.
    """

    masks: tuple[str, ...] = ()
    accelerations: tuple[float, ...] = ()
    center_fractions: tuple[float, ...] = ()
    coils: tuple[int, int] | None = None
    matrix: tuple[tuple[int, int], tuple[int, int]] | None = None
    intensity: tuple[float, float] | None = None
    pixel_mm: tuple[float, float] | None = None
    sigma: tuple[float, float] | None = None
    patches: tuple[int, ...] = ()

    __repr__ = brief


@dataclass(frozen=True, kw_only=True)
class Card:
    """The description that is stored with weights.

    Attributes:
        network: key of `mrirecon.networks.MODELS`.
        config: constructor arguments of the network.
        data: training data.
        licence: licence of the weights.
        attribution: works to cite.
        training: the range of scans it was trained on.
        bright_level: for a prior, bright level of its training images (`scale.volume_scale`), which samplers scale to
            1; about 0.5 for images with maximum 1. None means unknown, and 1 is used.
        settings: settings of the training, such as loss, optimizer and steps.
        seeds: seeds of the training, by their purpose.
        metrics: measured image quality, with the data it was measured on.
        commit: git commit of the code that trained it.
        source: for imported weights, name and SHA-256 of the original file.
        sha256: SHA-256 of the weights file beside the card, set when that is written.
        notes: further information for users.
        advice: a sentence that every reconstruction with these weights says, as that another method does better.
    """

    network: str
    config: Mapping[str, Any] = field(repr=False)
    data: str = field(default="", repr=False)
    licence: str = ""
    attribution: str = field(default="", repr=False)
    training: TrainingRange = field(default_factory=TrainingRange)
    bright_level: float | None = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    seeds: Mapping[str, Any] = field(default_factory=dict, repr=False)
    metrics: Mapping[str, Any] = field(default_factory=dict, repr=False)
    commit: str = field(default="", repr=False)
    source: str = field(default="", repr=False)
    sha256: str = ""
    notes: tuple[str, ...] = field(default=(), repr=False)
    advice: str = field(default="", repr=False)

    __repr__ = brief

    def __post_init__(self) -> None:
        """Check the bright level.

        Raises:
            ValueError: if it is not above 0, or infinite.
        """
        level = self.bright_level
        if level is not None and not 0 < level < math.inf:
            raise ValueError(f"bright_level is {level}: it must be above 0 and finite")

    def warnings(
        self,
        scan: Scan,
        mask: str | None = None,
        acceleration: float | None = None,
        intensity: float | None = None,
    ) -> list[str]:
        """One sentence for each property in which a scan lies outside the training range.

        Compared are mask, acceleration, number of coils, k-space grid, bright level and pixel size, as far as known.

        Args:
            scan: the undersampled scan that will be reconstructed.
            mask: kind of its mask; for one that is not in MASKS only the sampling of columns or points is compared.
            acceleration: acquired over sampled points; by default that of the middle slice.
            intensity: bright level of its images (`scale.volume_scale`); not compared if None.
        """
        trained = self.training
        coils, y, x = scan.shape[1:]
        pattern = scan.mask(scan.middle() or 0)
        if acceleration is None:
            acceleration = achieved_acceleration(pattern, scan.acquired).total
        kinds = set(trained.masks)
        if mask not in MASKS:
            kinds = {_samples(kind) for kind in kinds}
            rows = pattern[pattern.any(dim=1)]
            mask = "of whole columns" if bool((rows == rows[:1]).all()) else "of points"
        found = []

        def warn(here: str, there: str) -> None:
            found.append(
                f"{scan.source} is not what the {self.network} {OUTSIDE}: {here}, theirs {there}"
            )

        if kinds and mask not in kinds:
            warn(f"its mask is {mask}", " or ".join(sorted(kinds)))
        if kinds and (centre := width(pattern)) < NARROW:
            warn(f"the fully sampled centre of its mask is {centre} sample(s) wide", "a wider one")
        if rates := trained.accelerations:
            low, high = min(rates), max(rates)
            if not low / TOLERANCE <= acceleration <= high * TOLERANCE:
                warn(f"its acceleration is {acceleration:.3g}", _span(low, high))
        if trained.coils and not trained.coils[0] <= coils <= trained.coils[1]:
            warn(f"it has {coils} coil(s)", _span(*trained.coils))
        if trained.matrix:
            (y0, x0), (y1, x1) = trained.matrix
            if not (y0 <= y <= y1 and x0 <= x <= x1):
                warn(f"its k-space is {y} x {x}", _span(f"{y0} x {x0}", f"{y1} x {x1}"))
        if trained.intensity and intensity is not None:
            low, high = trained.intensity
            if not low / INTENSITY_TOLERANCE <= intensity <= high * INTENSITY_TOLERANCE:
                warn(f"its bright level is {intensity:.3g}", _span(low, high))
        if trained.pixel_mm and scan.geometry.voxel_mm is not None:
            low, high = trained.pixel_mm
            sides = scan.geometry.voxel_mm[:2]
            if min(sides) * PIXEL_TOLERANCE < low or max(sides) > high * PIXEL_TOLERANCE:
                warn(f"its pixels are {sides[0]:.3g} x {sides[1]:.3g} mm", _span(low, high))
        return found

    def as_json(self) -> dict[str, Any]:
        """The card as JSON types, with the version of the schema."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, values: object) -> Card:
        """The card of parsed JSON.

        Raises:
            ValueError: if it has another schema, lacks an entry, or has an unknown one or one of the wrong kind.
        """
        if not isinstance(values, Mapping) or "schema" not in values:
            raise ValueError("it is no card of weights: it has no 'schema'")
        if values["schema"] != SCHEMA:
            raise ValueError(f"it has schema {values['schema']!r}, this version knows {SCHEMA}")
        for name in ("network", "config"):
            if name not in values:
                raise ValueError(f"it lacks {name!r}")
        return _described(cls, {key: value for key, value in values.items() if key != "schema"})


def _samples(kind: str) -> str:
    return "of points" if MASKS[kind].samples == "points" else "of whole columns"


def _span(low: object, high: object) -> str:
    low, high = (f"{x:.3g}" if isinstance(x, float) else str(x) for x in (low, high))
    return low if low == high else f"{low} to {high}"


def _described(kind: type[Described], values: object, where: str = "") -> Described:
    """A dataclass from parsed JSON, every entry checked against its type."""
    hints = get_type_hints(kind)
    if not isinstance(values, Mapping):
        raise ValueError(f"{where.rstrip('.')} is {values!r}: it must hold {', '.join(hints)}")
    given = {}
    for name, value in values.items():
        if name not in hints:
            raise ValueError(f"it has an unknown entry {where + name!r}: {suggest(name, hints)}")
        wanted = hints[name]
        if is_dataclass(wanted):
            value = _described(wanted, value, f"{where}{name}.")  # type: ignore[arg-type]
        elif get_origin(wanted) is not Mapping:
            value = _as_tuples(value)
        if not fits(value, wanted):
            shown = getattr(wanted, "__name__", wanted) if get_origin(wanted) is None else wanted
            raise ValueError(f"{where}{name} is {values[name]!r}: it must be {shown}")
        given[name] = value
    return kind(**given)


def _as_tuples(value: object) -> object:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value
