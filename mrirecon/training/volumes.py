"""fastMRI-protocol volume metrics from slices that were reconstructed in any order, on any number of processes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import torch.distributed
from jaxtyping import Float
from torch import Tensor

from mrirecon.metrics import Metrics, ssim_map


@runtime_checkable
class Numbered(Protocol):
    """What was judged."""

    @property
    def volume(self) -> str: ...

    @property
    def number(self) -> int: ...


Part = TypeVar("Part")
Score = TypeVar("Score", bound=Numbered)


class SliceScore(NamedTuple):
    """What a volume's metrics need to know of one slice: a few numbers instead of two images.

    Attributes:
        volume: name of the volume.
        number: of the slice.
        maximum: of the volume's target.
        squared_error: sum over the pixels.
        energy: sum of the target's squares.
        pixels: their number.
        ssim: mean over the slice, with the volume's maximum.
        loss: of the slice.
    """

    volume: str
    number: int
    maximum: float
    squared_error: float
    energy: float
    pixels: int
    ssim: float
    loss: float


def score_slice(
    image: Float[Tensor, "h w"],
    target: Float[Tensor, "h w"],
    maximum: float,
    *,
    volume: str,
    number: int,
    loss: float,
) -> SliceScore:
    """Judge one slice, in double precision like `mrirecon.metrics.evaluate`."""
    x, t = image.double(), target.double()
    return SliceScore(
        volume=volume,
        number=number,
        maximum=maximum,
        squared_error=float((x - t).square().sum()),
        energy=float(t.square().sum()),
        pixels=t.numel(),
        ssim=float(ssim_map(x, t, maximum).mean()) if maximum > 0 else math.nan,
        loss=loss,
    )


def volume_metrics(scores: Iterable[SliceScore]) -> dict[str, Metrics]:
    """Volume -> metrics under the protocol `fastmri`, as `evaluate` finds them for the volume as a whole.

    Takes what `gather` returns: with its order, sums do not depend on who judged which slice. Volumes whose target is
    zero are left out.
    """
    volumes: dict[str, list[SliceScore]] = defaultdict(list)
    for score in scores:
        volumes[score.volume].append(score)
    return {name: _metrics(v) for name, v in volumes.items() if any(s.energy > 0 for s in v)}


def mean_metrics(volumes: Mapping[str, Metrics]) -> dict[str, float]:
    """`nmse`, `psnr` and `ssim` averaged over volumes; nothing where there is no volume."""
    keys = ("nmse", "psnr", "ssim") if volumes else ()
    return {
        key: math.fsum(getattr(metrics, key) for metrics in volumes.values()) / len(volumes)
        for key in keys
    }


def gather(scores: list[Score]) -> list[Score]:
    """The scores of all processes, on every one of them, in order of volume and slice.

    Slices judged twice (samplers fill up the last batches of a process) count once.
    """
    unique = {(s.volume, s.number): s for part in of_all_processes(scores) for s in part}
    return [unique[key] for key in sorted(unique)]


def of_all_processes(part: Part) -> list[Part]:
    """What each process has, on every one of them, in their order; all must call this together."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [part]
    parts = [part] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, part)
    return parts


def _metrics(slices: list[SliceScore]) -> Metrics:
    error = sum(score.squared_error for score in slices)
    nmse = error / sum(score.energy for score in slices)
    mse = error / sum(score.pixels for score in slices)
    peak = slices[0].maximum
    psnr = 10 * math.log10(peak**2 / mse) if mse else math.inf
    ssim = sum(score.ssim for score in slices) / len(slices)
    return Metrics("fastmri", False, nmse, math.sqrt(nmse), psnr, ssim)
