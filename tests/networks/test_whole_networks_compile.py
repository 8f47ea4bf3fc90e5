"""Whole networks trace into one graph, without a break."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys

import torch

from mrirecon.birdcage import birdcage_maps
from mrirecon.masks.own import uniform1d
from mrirecon.networks import NETWORKS, calibration_of
from mrirecon.operators import sense
from mrirecon.phantom import shepp_logan
from mrirecon.tensors import fft2c

SMALL = {
    "unet": {"chans": 4, "num_pool_layers": 2},
    "varnet": {"num_cascades": 3, "chans": 4, "pools": 2, "sens_chans": 2, "sens_pools": 2},
    "humus": {
        "num_cascades": 3, "sens_chans": 2, "img_size": [40, 40], "window_size": 5, "embed_dim": 8,
        "depths": [2], "num_heads": [1], "bottleneck_heads": 2, "num_adj_slices": 3,
    },
    "unrolled_prior": {"steps": 2, "cg_steps": 2, "denoiser": {"widths": [8, 8]}},
}
SHAPE = 40, 37
torch.manual_seed(0)
network = NETWORKS[sys.argv[1]](**SMALL[sys.argv[1]]).eval()
for weight in network.parameters():
    if not weight.any():
        torch.nn.init.normal_(weight, std=0.02)
mask = uniform1d(SHAPE, 3, center_fraction=0.25, seed=0)
maps = birdcage_maps(SHAPE, 4)[0]
y = fft2c(maps * shepp_logan(SHAPE)) * mask
call, given = network, (
    y.expand(1, network.adjacent_slices, *y.shape), mask[None], calibration_of(mask[None]),
    (slice(4, 36), slice(None)),
)
if sys.argv[1] == "unrolled_prior":
    call, given = network.reconstruct, (y[None], sense(maps, mask), torch.tensor([0.01]))
with torch.no_grad():
    expected = call(*given)
    found = torch.compile(call, backend="eager", fullgraph=True)(*given)
assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
"""


@pytest.mark.parametrize("name", ["unet", "varnet", "humus", "unrolled_prior"])
def test_one_graph(name):
    """In a process of its own: the type checks of the tests cannot be compiled."""
    line = [sys.executable, "-W", "error", "-c", SCRIPT, name]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
