"""Networks that predict samples which they did not see: what they learn from where there are no references."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from mrirecon.methods.left_out import squared_error
from mrirecon.networks import PredictsKspace
from mrirecon.recon.left_out.loss import prediction_loss
from mrirecon.training.end_to_end.dataset import Batch


class Prediction(NamedTuple):
    """One set of left-out samples of a slice, and all of k-space as a network has it that did not see them.

    Attributes:
        predicted: by the network.
        measured: k-space of the scan.
        points: samples that were left out.
        weight: how much each of them counts.
    """

    predicted: Complex[Tensor, "coil y x"]
    measured: Complex[Tensor, "coil y x"]
    points: Bool[Tensor, "y x"]
    weight: Float[Tensor, "y x"]

    def loss(self) -> Float[Tensor, ""]:
        """`prediction_loss` of the samples."""
        points = self.points
        return prediction_loss(
            self.predicted[:, points], self.measured[:, points], self.weight[points]
        )

    def squared_error(self) -> tuple[float, float]:
        """Weighted squared error and energy of the samples."""
        return squared_error(*self)


def predictions(network: PredictsKspace, batch: Batch) -> Iterator[Prediction]:
    """Predict each set of left-out samples of a batch from its other samples, one set of all slices after another."""
    assert batch.left_out is not None and batch.weight is not None
    measured = batch.kspace[:, batch.kspace.shape[1] // 2]
    for number, points in enumerate(batch.left_out.unbind(1)):
        seen = batch.without(number)
        predicted = network.refine(seen.kspace, seen.mask, seen.calibration)
        yield from map(Prediction, predicted, measured, points, batch.weight)


def left_out_loss(found: Iterable[Prediction]) -> Float[Tensor, ""]:
    """The mean loss of sets and slices."""
    return torch.stack([one.loss() for one in found]).mean()
