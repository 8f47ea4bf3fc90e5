"""The memory of a training step, as the system tells it."""

import sys

import pytest
import torch

from mrirecon.networks import NETWORKS
from mrirecon.training.core.memory import step_memory
from mrirecon.training.core.optimizer import OptimizerSettings
from mrirecon.training.end_to_end.dataset import Batch
from mrirecon.training.end_to_end.module import UnrolledModule


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
def test_a_pass_holds_at_least_the_features_that_its_gradient_needs():
    side, chans = 512, 8
    network = NETWORKS["unet"](chans=chans, num_pool_layers=1)
    module = UnrolledModule(network, optimizer=OptimizerSettings(ema_decay=0.0))
    kspace = torch.randn(1, 1, 2, side, side, dtype=torch.complex64)
    mask = torch.ones(1, side, side, dtype=torch.bool)
    whole = slice(0, side), slice(0, side)
    one = torch.ones(1)
    target = torch.rand(1, side, side)
    batch = Batch(kspace, mask, mask, target, one, ("a",), one.long(), one.long(), whole)
    sizes = step_memory(module, batch, "cpu", "32-true")
    features = (
        4 * side * side * chans * 4
    )  # four blocks of the upper level keep one set each, in float32
    assert features < sizes["pass"] < 40 * features
    assert sizes["total"] == sum(size for name, size in sizes.items() if name != "total")
