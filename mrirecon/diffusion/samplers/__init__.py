"""The gallery: every sampler is one function (y, A, denoiser, sigmas, *, ...) -> image, in sigma coordinates.

What all of them take:

* y: measured k-space, in units in which images have the bright level 1; A: its operator.
* denoiser: the prior; those that pull x through it need a differentiable one.
* sigmas: noise levels, falling and ending in 0 (`mrirecon.schedules`).
* noise_std: s_y, of y per real component, where the method asks for it.
* start: image to start from, noised to sigmas[0]; noise alone without.
* generator: of the noise: one, or one for each image of the batch.
* callback: called with (step, sigma, x, x0).

The defaults of further options are those that reconstruct best here, which `recon` uses too; where a paper has others,
the docstring says so.

Example:
    scale, noise = mr.volume_scale(scan), mr.noise_level(scan)
    sigmas = mr.schedules.karras(20, 0.01, 0.3)
    x = mr.samplers.dds(y / scale, A, denoiser, sigmas, noise_std=noise / scale, start=A.H(y / scale))
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from mrirecon.diffusion.samplers.consistent import ddnm as ddnm
from mrirecon.diffusion.samplers.consistent import dds as dds
from mrirecon.diffusion.samplers.consistent import diffpir as diffpir
from mrirecon.diffusion.samplers.consistent import pnp_admm as pnp_admm
from mrirecon.diffusion.samplers.guided import dps as dps
from mrirecon.diffusion.samplers.guided import mcg as mcg
from mrirecon.diffusion.samplers.guided import pigdm as pigdm
from mrirecon.diffusion.samplers.langevin import langevin as langevin
from mrirecon.diffusion.samplers.langevin import red_diff as red_diff
from mrirecon.diffusion.samplers.replacement import ilvr as ilvr
from mrirecon.diffusion.samplers.replacement import projection as projection
from mrirecon.diffusion.samplers.replacement import repaint as repaint
from mrirecon.diffusion.samplers.score_mri import score_mri as score_mri
from mrirecon.diffusion.samplers.spectral import ddnm_plus as ddnm_plus
from mrirecon.diffusion.samplers.spectral import ddrm as ddrm
from mrirecon.diffusion.samplers.spectral import snips as snips

SAMPLERS: dict[str, Callable[..., Tensor]] = {
    sampler.__name__: sampler
    for sampler in (
        *(score_mri, dps, dds, langevin, projection, repaint, ilvr, mcg, ddnm, ddnm_plus),
        *(pigdm, ddrm, snips, diffpir, red_diff, pnp_admm),
    )
}
