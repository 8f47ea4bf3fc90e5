"""What came of methods on one scan: their table, and their ranks by left-out samples."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from torch import Tensor

from mrirecon.brief import brief
from mrirecon.geometry import Geometry
from mrirecon.intervals import mean_interval
from mrirecon.recon.left_out.prediction import LeftOutError
from mrirecon.scan import Scan, Volume
from mrirecon.tensors import as_channels, as_complex

# of the table, in their order
COLUMNS = (
    "method",
    "left_out_error",
    "low",
    "high",
    "data_residual",
    "null_space_share",
    "seconds",
)

IMAGE = "image"  # name of the reconstruction among the tensors that are kept of a result


@dataclass(frozen=True, eq=False)
class Compared:
    """What came of one method.

    Attributes:
        method: its name; of several entries of one method the later ones have a number, as in tv_2.
        volume: the reconstruction; None where it failed.
        left_out: how well it predicts left-out samples; None where it cannot be judged so.
        data_residual: ||A x - y|| / ||y||, mean over the slices; None of a method that works without coil maps.
        null_space_share: share of the image's energy that the scanner did not measure above its noise; None where it
            did not converge or is not known.
        seconds: wall-clock time of the reconstruction with all that is chosen before it, in seconds.
        note: why it is not judged.
        failure: why there is no reconstruction.
    """

    method: str
    volume: Volume | None = None
    left_out: LeftOutError | None = None
    data_residual: float | None = None
    null_space_share: float | None = None
    seconds: float | None = None
    note: str = ""
    failure: str = ""

    __repr__ = brief

    def parts(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Real tensors and plain values that it can be made of again, with the geometry."""
        assert self.volume is not None
        errors = None if self.left_out is None else self.left_out.as_json()
        known = {one.name: getattr(self, one.name) for one in fields(self)}
        about = {**known, "left_out": errors, "volume": self.volume.info}
        image = {IMAGE: as_channels(self.volume.image)}
        return {**image, **self.volume.extras}, json.loads(json.dumps(about, default=float))

    @classmethod
    def of(
        cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any], geometry: Geometry
    ) -> Compared:
        """The inverse of `parts`."""
        extras = {name: x for name, x in tensors.items() if name != IMAGE}
        image = as_complex(tensors[IMAGE])
        volume = Volume(image=image, geometry=geometry, info=about["volume"], extras=extras)
        errors = about["left_out"]
        left_out = None if errors is None else LeftOutError.of(errors)
        return cls(**{**about, "volume": volume, "left_out": left_out})

    def row(self) -> dict[str, str | float | None]:
        """Value by column; None is an empty cell."""
        low, high = (None, None) if self.left_out is None else self.left_out.interval()
        error = None if self.left_out is None else self.left_out.mean
        figures = (self.data_residual, self.null_space_share, self.seconds)
        return dict(zip(COLUMNS, (self.method, error, low, high, *figures), strict=True))


@dataclass(frozen=True, eq=False)
class Ranking:
    """Methods on one scan.

    Attributes:
        scan: as it was reconstructed.
        results: of all methods: first those that are judged, from the least left-out error, then the others in the
            order in which they were asked for.

    Example:
        found = mr.compare("scan.h5", ["cg_sense", "tv"], mask="poisson", acceleration=4)
        print(found.ranks)  # such as {"tv": 1, "cg_sense": 2}
        mr.write_volume(found.volumes["tv"], "tv.nii.gz")
    """

    scan: Scan
    results: Sequence[Compared]

    def __repr__(self) -> str:
        ranks = [
            f"{one.method} {self.ranks.get(one.method, 'failed' if one.failure else 'not judged')}"
            for one in self.results
        ]
        return f"Ranking on {self.scan.source}: {', '.join(ranks)}"

    def _repr_html_(self) -> str:
        """The table, best first, for notebooks."""
        head = "".join(f"<th>{name}</th>" for name in ("rank", *COLUMNS))
        rows = "".join(
            f"<tr>{_cells(self.ranks.get(one.method), one)}</tr>" for one in self.results
        )
        return f"<table><tr>{head}</tr>{rows}</table>"

    @classmethod
    def of(cls, scan: Scan, results: Sequence[Compared]) -> Ranking:
        """The results in their order."""
        judged = [one for one in results if one.left_out is not None]
        done = [one for one in results if one.left_out is None and not one.failure]
        failed = [one for one in results if one.failure]
        return cls(scan, [*sorted(judged, key=_mean), *done, *failed])

    @cached_property
    def ranks(self) -> dict[str, int]:
        """Rank by method, from 1, of those that are judged; methods that tie have the same.

        A method ties with the best one of a rank where the 95 % interval of the mean difference of their errors, paired
        over the sets of left-out samples, contains 0.
        """
        ranks: dict[str, int] = {}
        best: Compared | None = None
        for place, one in enumerate((o for o in self.results if o.left_out is not None), 1):
            if best is None or not tied(one, best):
                best, rank = one, place
            ranks[one.method] = rank
        return ranks

    @property
    def volumes(self) -> dict[str, Volume]:
        """Reconstruction by method."""
        return {one.method: one.volume for one in self.results if one.volume is not None}

    @property
    def failures(self) -> dict[str, str]:
        """What went wrong, by method."""
        return {one.method: one.failure for one in self.results if one.failure}

    def rows(self) -> list[dict[str, str | float | None]]:
        """The table, a row for each method with the columns `COLUMNS`; None is an empty cell."""
        return [one.row() for one in self.results]


def _cells(rank: int | None, one: Compared) -> str:
    shown = [rank, *one.row().values()]
    texts = [f"{x:.4g}" if isinstance(x, float) else "" if x is None else str(x) for x in shown]
    texts += [one.failure or one.note] if one.failure or one.note else []
    return "".join(f"<td>{html.escape(text)}</td>" for text in texts)


def _mean(one: Compared) -> float:
    assert one.left_out is not None
    return one.left_out.mean


def tied(one: Compared, other: Compared) -> bool:
    """Whether the difference of the left-out errors of two methods may be chance."""
    assert one.left_out is not None and other.left_out is not None
    pairs = zip(one.left_out.errors, other.left_out.errors, strict=True)
    mean, half = mean_interval([a - b for a, b in pairs])
    return abs(mean) <= half
