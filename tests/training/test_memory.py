"""The memory of a training step, as the system tells it."""

import multiprocessing
import sys

import pytest
import torch

from mrirecon.networks import NETWORKS
from mrirecon.training.core.memory import step_memory
from mrirecon.training.core.optimizer import OptimizerSettings
from mrirecon.training.end_to_end.dataset import Batch
from mrirecon.training.end_to_end.module import UnrolledModule

SIDE, CHANS = 512, 8


def step() -> dict[str, int]:
    network = NETWORKS["unet"](chans=CHANS, num_pool_layers=1)
    module = UnrolledModule(network, optimizer=OptimizerSettings(ema_decay=0.0))
    kspace = torch.randn(1, 1, 2, SIDE, SIDE, dtype=torch.complex64)
    mask = torch.ones(1, SIDE, SIDE, dtype=torch.bool)
    whole = slice(0, SIDE), slice(0, SIDE)
    one = torch.ones(1)
    target = torch.rand(1, SIDE, SIDE)
    batch = Batch(kspace, mask, mask, target, one, ("a",), one.long(), one.long(), whole)
    return step_memory(module, batch, "cpu", "32-true")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
def test_a_pass_holds_at_least_the_features_that_its_gradient_needs():
    # in a process of its own: one that ran other tests has memory left over, and takes no more
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        sizes = pool.apply(step)
    features = 4 * SIDE * SIDE * CHANS * 4  # four blocks of the upper level, in float32
    assert features < sizes["pass"] < 40 * features
    assert sizes["total"] == sum(size for name, size in sizes.items() if name != "total")
