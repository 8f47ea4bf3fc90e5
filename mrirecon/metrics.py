"""Image quality under named protocols; `fastmri` gives the same numbers as the fastMRI leaderboard.

PSNR of the same volume differs by more than 10 dB between choices of maximum, window and average, so that the name of
the protocol is part of every result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from mrirecon.io.given import Images, pair_of

WINDOW = 7  # side of the uniform SSIM window, in pixels


class Metrics(NamedTuple):
    """The result of `evaluate`; `_asdict()` gives JSON types.

    Attributes:
        protocol: name in `PROTOCOLS`.
        inside_support: whether only pixels inside a support were evaluated.
        nmse: sum of squared errors over sum of squares of the target.
        nrmse: square root of it (of the whole volume, or per slice and then averaged).
        psnr: peak signal-to-noise ratio in dB.
        ssim: structural similarity, at most 1.
    """

    protocol: str
    inside_support: bool
    nmse: float
    nrmse: float
    psnr: float
    ssim: float


class Sums(NamedTuple):
    """Sums over one slice from which the metrics of its volume are computed.

    Attributes:
        squared_error: sum of squared errors over the pixels.
        energy: sum of squares of the target.
        pixels: number of pixels.
        ssim: mean SSIM of the slice, with the volume's maximum; NaN where no window fits.
    """

    squared_error: float
    energy: float
    pixels: int
    ssim: float


class SliceScore(NamedTuple):
    """The evaluation of one slice; the slices of a volume may be evaluated in any order and by several processes.

    Attributes:
        volume: name of the volume.
        number: number of the slice.
        maximum: maximum of the volume's target.
        sums: sums from which the metrics of the volume are computed.
        loss: validation loss of the slice.
    """

    volume: str
    number: int
    maximum: float
    sums: Sums
    loss: float


PROTOCOLS = {
    "fastmri": "NMSE and PSNR of the whole volume, SSIM averaged over slices, all with the volume's maximum",
    "slice": "every slice by itself with its own maximum, then averaged",
    "dds-minmax": "every slice of both volumes rescaled to [0, 1] by its own minimum and maximum, then averaged",
}
"""The protocols by name, each with a description.

Example:
    print(mr.PROTOCOLS["fastmri"])
"""


def evaluate(
    reconstruction: Images,
    target: Images,
    protocol: str = "fastmri",
    *,
    max_value: float | None = None,
    support: Bool[Tensor, "_ _ _"] | None = None,
) -> Metrics:
    """Compare a volume with its target under a named protocol, in double precision.

    `fastmri` equals nmse, psnr and ssim of `fastmri.evaluate` (which crops volumes that are not square beforehand; this
    function never crops). `dds-minmax` is what the code of DDS and Score-MRI reports; it does not depend on scale and
    offset of the images, and serves only for comparison with their tables.

    Args:
        reconstruction: a volume, an array (slice, readout, phase) or a file of one; of complex images the magnitude.
        target: ground truth in the same units, likewise; or a scan, which has it as its reference.
        protocol: a name in `PROTOCOLS`.
        max_value: peak for PSNR and SSIM under `fastmri`, such as the attribute `max` of a file; None takes the maximum
            of the target.
        support: evaluate only these pixels. Peaks are those inside the support, SSIM is averaged over windows centred
            in it, and slices without support are left out.

    Raises:
        ValueError: if one is no image, shapes disagree, images are smaller than the SSIM window, a value is not finite,
            a target (slice) is zero or constant, the support is empty, or the protocol is unknown.
        OSError: if a file cannot be read.

    Example:
        >>> mr.evaluate(volume, scan).psnr > 20
        True
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}")
    if max_value is not None and protocol != "fastmri":
        raise ValueError(f"protocol {protocol!r} takes each slice's own peak: leave out max_value")
    x, t = (_magnitude(*one) for one in pair_of(reconstruction, target))
    _check_shapes(x, t)
    inside = None if support is None else support.cpu()
    if inside is not None:
        if inside.shape != t.shape:
            raise ValueError(f"support is {tuple(inside.shape)}, target is {tuple(t.shape)}")
        kept = inside.flatten(1).any(dim=1)
        if not kept.any():
            raise ValueError("support is empty: no pixel is left to judge")
        x, t, inside = x[kept], t[kept], inside[kept]

    if protocol == "fastmri":
        groups = [(x, t, inside)]
    else:
        parts = zip(x.split(1), t.split(1), strict=True)
        groups = [
            (*pair, None if inside is None else inside[i : i + 1]) for i, pair in enumerate(parts)
        ]
    if protocol == "dds-minmax":
        groups = [(_unit_range(a, m), _unit_range(b, m), m) for a, b, m in groups]
        max_value = 1.0
    scores = torch.tensor([_scores(*group, max_value) for group in groups], dtype=torch.float64)
    nmse, nrmse, psnr, ssim = scores.mean(dim=0).tolist()
    return Metrics(protocol, support is not None, nmse, nrmse, psnr, ssim)


def ssim_map(
    image: Float[Tensor, "*batch y x"],
    target: Float[Tensor, "*batch y x"],
    max_value: float | Float[Tensor, "*#batch"],
    *,
    window: int = WINDOW,
    k1: float = 0.01,
    k2: float = 0.03,
) -> Float[Tensor, "*batch h w"]:
    """Structural similarity (Wang et al., IEEE TIP 13:600, 2004) in every full window; differentiable.

    Uniform window and sample covariance, as in scikit-image's default and fastMRI's `SSIMLoss`, which is
    1 - ssim_map(...).mean() for `max_value` of shape (batch, 1) and images (batch, 1, y, x).

    Args:
        image: image under test.
        target: image to compare with.
        max_value: peak, one for all or one per image.
        window: side of the window in pixels; h = y - window + 1.
        k1: constant of the luminance term.
        k2: constant of the contrast term.

    Raises:
        ValueError: if the images differ in shape or are smaller than the window, or a peak is not positive.
    """
    _check_shapes(image, target, window)
    peak = torch.as_tensor(max_value, dtype=target.dtype, device=target.device)[..., None, None]
    if not bool((peak > 0).all() & peak.isfinite().all()):
        raise ValueError("SSIM needs a positive maximum: the target is zero or `max` is missing")
    c1, c2 = (k1 * peak) ** 2, (k2 * peak) ** 2
    sample = window**2 / (window**2 - 1)
    mean_x, mean_t = _box_mean(image, window), _box_mean(target, window)
    product, power = mean_x * mean_t, mean_x * mean_x + mean_t * mean_t
    covariance = sample * (_box_mean(image * target, window) - product)
    variances = sample * (_box_mean(image * image + target * target, window) - power)
    return (2 * product + c1) / (power + c1) * ((2 * covariance + c2) / (variances + c2))


def nrmse(reconstruction: Num[Tensor, "..."], target: Num[Tensor, "..."]) -> float:
    """|reconstruction - target| / |target| in the 2-norm, over all elements; complex arrays are compared as such.

    Raises:
        ValueError: if the shapes differ or the target is zero.
    """
    if reconstruction.shape != target.shape:
        raise ValueError(
            f"reconstruction is {tuple(reconstruction.shape)}, target is {tuple(target.shape)}"
        )
    norm = float(torch.linalg.vector_norm(target))
    if norm == 0:
        raise ValueError("target is zero everywhere: a relative error has no meaning")
    return float(torch.linalg.vector_norm(reconstruction - target)) / norm


def common_gain(reconstruction: Num[Tensor, "..."], target: Num[Tensor, "..."]) -> float | None:
    """The factor between a reconstruction and its target, if that is most of their difference; else None.

    The factor must be above 2 or below 1/2, and after scaling by it less than a quarter of the energy may differ.
    """
    x, t = reconstruction.abs().double().flatten(), target.abs().double().flatten()
    if x.shape != t.shape or not bool(x.any()) or not bool(t.any()):
        return None
    cosine = float((x / x.norm()) @ (t / t.norm()))
    gain = cosine * float(x.norm() / t.norm())
    return gain if cosine**2 > 0.75 and not 0.5 < gain < 2 else None


def score_slice(
    image: Float[Tensor, "h w"],
    target: Float[Tensor, "h w"],
    maximum: float,
    *,
    volume: str,
    number: int,
    loss: float,
) -> SliceScore:
    """Evaluate one slice for the metrics of its volume, in double precision.

    Args:
        image: reconstruction of the slice.
        target: target of the slice, in the same units.
        maximum: maximum of the volume's target; if it is not positive, the slice has no SSIM.
        volume: name of the volume.
        number: number of the slice.
        loss: validation loss of the slice, stored with the result.
    """
    found = _sums(image.double(), target.double(), None, maximum if maximum > 0 else None)
    return SliceScore(volume, number, maximum, found, loss)


def volume_metrics(scores: Iterable[SliceScore]) -> dict[str, Metrics]:
    """Volume -> metrics under the protocol `fastmri`, equal to those of `evaluate` for the whole volume.

    Volumes whose target is zero are left out. The order of the scores changes only the last digits.
    """
    volumes: dict[str, list[SliceScore]] = {}
    for score in scores:
        volumes.setdefault(score.volume, []).append(score)
    return {
        name: Metrics("fastmri", False, *_combined([s.sums for s in those], those[0].maximum))
        for name, those in volumes.items()
        if any(score.sums.energy > 0 for score in those)
    }


def mean_metrics(volumes: Mapping[str, Metrics]) -> dict[str, float]:
    """`nmse`, `psnr` and `ssim` averaged over volumes; empty where there is no volume."""
    keys = ("nmse", "psnr", "ssim") if volumes else ()
    return {
        key: math.fsum(getattr(metrics, key) for metrics in volumes.values()) / len(volumes)
        for key in keys
    }


def _scores(
    x: Tensor, target: Tensor, inside: Tensor | None, max_value: float | None
) -> tuple[float, float, float, float]:
    """NMSE, NRMSE, PSNR and SSIM of images (slice, y, x) with a common peak."""
    judged = _pixels(target, inside)
    if not bool(judged.any()):
        raise ValueError(
            "target is zero in the whole volume or in a slice that is judged by itself: "
            "leave such slices out, or choose another protocol"
        )
    peak = float(judged.max()) if max_value is None else max_value
    if not 0 < peak < math.inf:
        raise ValueError(f"maximum of the target is {peak}: give a positive max_value")
    return _combined(
        [
            _sums(x[i], target[i], None if inside is None else inside[i], peak)
            for i in range(len(target))
        ],
        peak,
    )


def _sums(x: Tensor, target: Tensor, inside: Tensor | None, peak: float | None) -> Sums:
    a, b = _pixels(x, inside), _pixels(target, inside)
    similarity = math.nan
    if peak is not None:
        values = _pixels(ssim_map(x, target, peak), None if inside is None else _centers(inside))
        similarity = float(values.mean()) if values.numel() else math.nan
    return Sums(float((a - b).square().sum()), float(b.square().sum()), b.numel(), similarity)


def _combined(slices: Sequence[Sums], peak: float) -> tuple[float, float, float, float]:
    """NMSE, NRMSE, PSNR and SSIM of slices with a common peak; SSIM without slices that no window fits."""
    error = math.fsum(one.squared_error for one in slices)
    if math.isnan(error):  # the image holds NaN, as after a diverged training
        return math.nan, math.nan, math.nan, math.nan
    nmse = error / math.fsum(one.energy for one in slices)
    mse = error / sum(one.pixels for one in slices)
    psnr = 10 * math.log10(peak**2 / mse) if mse > 0 else math.inf
    known = [one.ssim for one in slices if not math.isnan(one.ssim)]
    if not known and peak > 0:
        raise ValueError("support touches only the edge of the images: no SSIM window fits")
    return nmse, math.sqrt(nmse), psnr, math.fsum(known) / len(known) if known else math.nan


def _pixels(x: Tensor, inside: Tensor | None) -> Tensor:
    return x if inside is None else x[inside]


def _centers(inside: Tensor) -> Tensor:
    """Pixels on which an SSIM window can be centred."""
    edge = WINDOW // 2
    return inside[edge : inside.shape[0] - edge, edge : inside.shape[1] - edge]


def _box_mean(x: Tensor, window: int) -> Tensor:
    """Mean over every full window, one axis after the other; unlike running sums this loses no digits in float32."""
    for axis in (-2, -1):
        count = x.shape[axis] - window + 1
        shifted = [x.narrow(axis, start, count) for start in range(window)]
        x = sum(shifted[1:], shifted[0]) / window
    return x


def _unit_range(x: Tensor, inside: Tensor | None) -> Tensor:
    low, high = _pixels(x, inside).aminmax()
    if high == low:
        raise ValueError("a slice is constant: protocol 'dds-minmax' cannot rescale it")
    return (x - low) / (high - low)


def _magnitude(x: Tensor, name: str) -> Tensor:
    x = x.detach().cpu()
    x = (x.abs() if x.is_complex() else x).to(torch.float64)
    if not x.isfinite().all():
        raise ValueError(f"{name} holds NaN or infinite values")
    return x


def _check_shapes(image: Tensor, target: Tensor, window: int = WINDOW) -> None:
    if image.shape != target.shape:
        raise ValueError(f"reconstruction is {tuple(image.shape)}, target is {tuple(target.shape)}")
    if min(target.shape[-2:]) < window:
        raise ValueError(
            f"images are {target.shape[-2]} x {target.shape[-1]}: SSIM needs {window} x {window} pixels or more"
        )
