"""Writes how far two levels of a sampler are from themselves as torch.compile traces them, in one graph."""

import sys

import torch
import torch._dynamo

from mrirecon.birdcage import birdcage_maps
from mrirecon.diffusion import denoiser_of, karras
from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.masks.own import poisson
from mrirecon.networks.denoiser import DenoiserUNet
from mrirecon.operators import sense

SHAPE = (16, 12)


def main(name: str) -> None:
    if name == "dps":  # which differentiates on its way
        if not hasattr(torch._dynamo.config, "trace_autograd_ops"):
            sys.exit("this torch traces no gradients")
        torch._dynamo.config.trace_autograd_ops = True
    torch.manual_seed(0)
    network = DenoiserUNet(widths=(4, 8)).eval().requires_grad_(False)
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=0.1)
    A = sense(birdcage_maps(SHAPE, 3)[0], poisson(SHAPE, 2, center_fraction=0.3, seed=0))
    options = {"noise_std": 0.02} if name == "dds" else {}
    levels, denoiser = karras(2, 0.01, 0.3).tolist(), denoiser_of(network)

    def sample(y: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        return SAMPLERS[name](y, A, denoiser, levels, start=start, **options)

    compiled = torch.compile(sample, fullgraph=True, backend="eager")
    y = A(torch.randn(SHAPE, dtype=torch.complex64))
    found = []
    for run in (sample, compiled):
        torch.manual_seed(1)  # of the noise, which has no generator in a graph
        found.append(run(y, A.H(y)))
    expected, traced = found
    sys.stdout.write(str(float((traced - expected).norm() / expected.norm())))


if __name__ == "__main__":
    main(sys.argv[1])
