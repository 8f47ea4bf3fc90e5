# %% [markdown]
# # A prior and a sampler
#
# A prior knows what images look like: it takes noise off them at every level. A sampler walks down the
# levels and keeps to the measured data on its way. Research software: not for diagnosis or treatment.

# %%
import torch

import mrirecon as mr

scan = mr.demo_scan("11:12")
denoiser, card = mr.load_prior("prior_tiny")
card

# %% [markdown]
# The prior alone: the image with noise of a fifth of its bright level, and what the prior makes of it.

# %%
scale = mr.volume_scale(scan)
truth = scan.references()[0].to(torch.complex64) / scale
noisy = truth + 0.2 * mr.complex_noise_like(truth, torch.Generator().manual_seed(0))
mr.show({"noisy": noisy, "denoised": denoiser(noisy, 0.2)}, truth)

# %% [markdown]
# The sampler: k-space undersampled four times, its operator, the noise levels. `callback` shows what the
# sampler sees.

# %%
mask = mr.make_mask("poisson", scan.shape[2:], 4, center_fraction=0.25, seed=0)
A = mr.sense(mr.estimate_maps(scan), mask)
y, noise = scan.kspace(0) * mask / scale, mr.noise_level(scan) / scale
A

# %%
seen = {}
sigmas = mr.schedules.karras(8, 0.015, 0.3)
x = mr.samplers.dds(
    y,
    A,
    denoiser,
    sigmas,
    noise_std=noise,
    start=A.H(y),
    generator=torch.Generator().manual_seed(0),
    callback=lambda step, sigma, x, x0: seen.update({f"level {sigma:.3f}": x}),
)
steps = [name for index, name in enumerate(seen) if index in (0, 3, 6)]
mr.show(
    {**{name: scan.to_output(seen[name]) for name in steps}, "result": scan.to_output(x)}, truth
)


# %% [markdown]
# A sampler of your own is a function with the same arguments. `mr.reconstruct` takes it as a method, over
# all slices, with draws, options and metrics. This one goes to the denoised image that the data leave,
# without new noise.


# %%
def straight(
    y: torch.Tensor,
    A: mr.LinearOperator,
    denoiser: mr.Denoiser,
    sigmas: torch.Tensor,
    *,
    weight: float = 0.1,
    start: torch.Tensor | None = None,
    generator: object = None,
    callback: object = None,
) -> torch.Tensor:
    """Denoise, then come back to the data; no new noise."""
    x = A.H(y) if start is None else start
    for s in sigmas[:-1].tolist():
        x = A.solve(A.H(y) + weight * denoiser(x, s), weight, x, iterations=5)
    return x


volume = mr.reconstruct(
    scan,
    method=straight,
    weight=0.05,
    levels=8,
    mask="poisson",
    acceleration=4,
    center_fraction=0.25,
)
volume
