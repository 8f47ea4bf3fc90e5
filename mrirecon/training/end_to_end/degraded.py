"""Training of DiracDiffusion: slices degraded to a random time, and what the network makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.diffusion.dirac import nested_mask
from mrirecon.networks.dirac import Dirac
from mrirecon.operators import sense
from mrirecon.tensors import complex_noise_like, stream_of
from mrirecon.training.end_to_end.dataset import Batch
from mrirecon.training.end_to_end.loss import Loss, incremental_loss


def degraded_loss(
    network: Dirac, batch: Batch, loss: Loss, key: Sequence[int]
) -> Float[Tensor, ""]:
    """`incremental_loss` of the slices at random times, relative to the noise of each scan.

    x0 has the magnitude of the target and the phase of the coil-combined image of all of k-space: targets of simulated
    scans are free of noise, and a network whose truth is noisy learns to keep noise. y_t = M_t (F S x0 + s_t z), with t
    between 0 and 1 and s_t between `network.noise_end` times the noise of the scan and that noise.

    Args:
        network: gives Phi.
        batch: with the fully sampled k-space.
        loss: how far it looks ahead.
        key: of the random numbers.
    """
    stream = stream_of(*key)
    maps, scale, noise = network.prepared(batch.kspace[:, 0], batch.mask, batch.calibration)
    clean = _clean(batch, maps) / scale[:, None, None]
    times = torch.rand(len(clean), generator=stream).tolist()
    masks, ahead = (
        torch.stack(
            [nested_mask(one, max(t - dt, 0.0)) for one, t in zip(batch.mask, times, strict=True)]
        )
        for dt in (0.0, loss.look_ahead)
    )
    level = network.noise_end ** (1 - torch.tensor(times, device=noise.device))
    A = sense(maps, masks)
    y = A(clean)
    sigma = level * noise
    y = y + sigma[:, None, None, None] * complex_noise_like(y, stream) * masks[:, None]
    found = network.reconstruct(y, A, sigma)
    A = sense(maps, ahead)
    return incremental_loss(A(found), A(clean), level)


def _clean(batch: Batch, maps: Complex[Tensor, "batch coil y x"]) -> Complex[Tensor, "batch y x"]:
    """x0 in the units of the k-space; beyond the window of the target it is the coil-combined image."""
    assert batch.full is not None
    A = sense(maps, torch.ones_like(batch.mask))
    clean = A.H(batch.full)
    if batch.target is not None:
        window = (..., *batch.crop)
        magnitude = batch.target.to(clean.real.dtype) * A.support()[window]
        clean[window] = torch.polar(magnitude, clean[window].angle())
    return clean
