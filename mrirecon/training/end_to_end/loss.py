"""What is minimised: terms relative to the volume's maximum, or to samples, so that weights mean the same anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Complex, Float, Num
from torch import Tensor

from mrirecon.metrics import ssim_map
from mrirecon.tensors import rss

OF_IMAGES = ("ssim", "l1", "complex")  # terms that compare with a target


@dataclass(frozen=True)
class Loss:
    """Weighted sum of losses of the magnitude image, of the complex coil images, and of left-out samples.

    Those of images count for files with a target, that of left-out samples for all.

    Attributes:
        ssim: weight of 1 - SSIM (the fastMRI baselines' loss).
        l1: weight of the mean absolute error over the maximum.
        complex: weight of the error of the coil images, phase included, over the maximum; for unrolled networks and
            fully sampled files. It sees the noise of the full k-space as truth.
        self_supervised: weight of the error of measured samples that are left out and predicted from the others, which
            needs no target (SSDU, Yaman et al. 2020); for networks that give k-space.
        incremental: weight of the error at a random time of DiracDiffusion (`incremental_loss`), for networks that undo
            a degradation and fully sampled files.
        look_ahead: how far ahead of t the degradation is in which that error is measured: 0 counts only what the
            network still sees, 1 all of k-space; more is better for PSNR, less for sharpness.
        splits: sets of samples that are left out of a slice in a step, one set at a time (multi-mask SSDU).
        share: of the samples outside the calibration centre in each set, at most 0.5; of 1/2, 1/3, ... the nearest
            one is taken.
        weighting: none, or k: each left-out sample counts for all that are not seen at its distance from the k-space
            origin (`LeftOut.k_weight`).

    Raises:
        ValueError: if a weight is negative, all are zero, or the samples cannot be split so.
    """

    ssim: float = 1.0
    l1: float = 0.0
    complex: float = 0.0
    self_supervised: float = 0.0
    incremental: float = 0.0
    look_ahead: float = 0.5
    splits: int = 1
    share: float = 0.3
    weighting: Literal["none", "k"] = "none"

    def __post_init__(self) -> None:
        weights = {
            name: getattr(self, name) for name in (*OF_IMAGES, "self_supervised", "incremental")
        }
        for name, weight in weights.items():
            if not 0 <= weight < float("inf"):
                raise ValueError(f"loss.{name} is {weight}: give 0 or a positive weight")
        if not any(weights.values()):
            raise ValueError(
                "all weights of the loss are 0: give loss.ssim or loss.l1 a weight, or, without targets, "
                "loss.self_supervised"
            )
        if not 0 <= self.look_ahead <= 1:
            raise ValueError(f"loss.look_ahead is {self.look_ahead}: give a time from 0 to 1")
        if self.splits < 1:
            raise ValueError(f"loss.splits is {self.splits}: give at least 1")
        if not 0 < self.share <= 0.5:
            raise ValueError(f"loss.share is {self.share}: give more than 0 and at most 0.5")

    @property
    def of_full(self) -> bool:
        """Whether a term needs the fully sampled k-space."""
        return self.complex > 0 or self.incremental > 0

    @property
    def of_images(self) -> tuple[str, ...]:
        """Terms that need a target."""
        return tuple(name for name in OF_IMAGES if getattr(self, name))

    def __call__(
        self,
        image: Float[Tensor, "batch h w"],
        target: Float[Tensor, "batch h w"],
        maximum: Float[Tensor, "batch"],
        coils: tuple[Complex[Tensor, "batch coil y x"], Complex[Tensor, "batch coil y x"]]
        | None = None,
    ) -> Float[Tensor, ""]:
        """The losses of the images of a batch; those that are black according to `maximum` and `target` cost nothing.

        Args:
            image: found.
            target: wanted.
            maximum: of each volume.
            coils: coil images found and wanted, for `complex`.
        """
        total = image.new_zeros(())
        if self.ssim:
            total = total + self.ssim * ssim_loss(image, target, maximum)
        if self.l1:
            total = total + self.l1 * l1_loss(image, target, maximum)
        if self.complex:
            assert coils is not None
            total = total + self.complex * complex_loss(*coils, _gain(target, maximum))
        return total


def ssim_loss(
    image: Float[Tensor, "batch h w"],
    target: Float[Tensor, "batch h w"],
    maximum: Float[Tensor, "batch"],
) -> Float[Tensor, ""]:
    """1 - SSIM averaged over the batch: fastMRI's `SSIMLoss`, with the volume's maximum as its data range."""
    image, target = _relative(image, target, maximum)
    return 1 - ssim_map(image, target, 1.0).mean()


def l1_loss(
    image: Float[Tensor, "batch h w"],
    target: Float[Tensor, "batch h w"],
    maximum: Float[Tensor, "batch"],
) -> Float[Tensor, ""]:
    """Mean absolute error, relative to the volume's maximum."""
    image, target = _relative(image, target, maximum)
    return (image - target).abs().mean()


def complex_loss(
    coil_images: Complex[Tensor, "batch coil y x"],
    truth: Complex[Tensor, "batch coil y x"],
    gain: Float[Tensor, "batch"],
) -> Float[Tensor, ""]:
    """Root of the sum over coils of the squared complex error, averaged over pixels and multiplied by `gain`."""
    return (rss(coil_images - truth) * gain[:, None, None]).mean()


def incremental_loss(
    found: Num[Tensor, "batch channel y x"],
    wanted: Num[Tensor, "batch channel y x"],
    level: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Squared error summed over channels, averaged over pixels, over s_t^2: DiracDiffusion's losses.

    Incremental reconstruction compares A_t' Phi with A_t' x0 at a time t' ahead of t, the plain loss A_t Phi with
    A_t x0. The weight is that of the noise at t in both.
    """
    error = (found - wanted).abs().square().sum(1).mean((-2, -1))
    return (error / (level.square() + 1e-9)).mean()


def _relative(image: Tensor, target: Tensor, maximum: Tensor) -> tuple[Tensor, Tensor]:
    """Both images over the maximum, in float32: raw k-space units (1e-6, say) would underflow in SSIM's products."""
    gain = _gain(target, maximum)[:, None, None]
    return image.float() * gain, target.float() * gain


def _gain(target: Tensor, maximum: Tensor) -> Tensor:
    """1 / maximum. A file without its `max` attribute has the maximum 0: the target's own takes its place."""
    peak = torch.where(maximum > 0, maximum, target.amax(dim=(-2, -1))).float()
    return torch.where(peak > 0, 1 / peak.clamp_min(torch.finfo(peak.dtype).tiny), 0)
