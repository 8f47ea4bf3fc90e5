"""The gallery: every sampler is one function (y, A, denoiser, sigmas, *, ...) -> image, in sigma coordinates.

Arguments of all samplers:

* y: measured k-space (*batch, coil, y, x), in units in which images have the bright level 1.
* A: its operator.
* denoiser: the prior; samplers with a gradient through it (those of `guided.py`) need a differentiable one.
* sigmas: noise levels, decreasing to 0 (`mrirecon.schedules`).
* noise_std: standard deviation s_y of the noise in y per real component, where the method needs it.
* start: first image, to which noise of level sigmas[0] is added; without it the sampler starts from noise alone.
* generator: random generator, or one for each image of the batch.
* callback: called with (step, sigma, x, x0).

All raise ValueError for an impossible schedule or option. The defaults of further options are those that reconstruct
best with the priors of this project; where a paper has other values, the docstring says so.

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
from mrirecon.diffusion.samplers.guided import reconstruction_guidance as reconstruction_guidance
from mrirecon.diffusion.samplers.langevin import langevin as langevin
from mrirecon.diffusion.samplers.langevin import red_diff as red_diff
from mrirecon.diffusion.samplers.pyramid import pyramid as pyramid
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
        *(pigdm, ddrm, snips, diffpir, red_diff, pnp_admm, reconstruction_guidance, pyramid),
    )
}
