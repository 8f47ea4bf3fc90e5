# %% [markdown]
# # Write a sampler, and test it
#
# A sampler is one function of the data `y`, the operator `A`, a denoiser and the noise levels. This page writes
# one and tests it where the answer is known: with a Gaussian prior the posterior is Gaussian, and its mean
# comes from one linear system.

# %%
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import mrirecon as mr
from mrirecon.options import Positive
from mrirecon.tensors import fft2, ifft2

# %% [markdown]
# ## The sampler
#
# At level s the denoiser says that the image is D, give or take r, with r² = c s² / (c + s²) and c the variance
# of images: what s leaves open of them. The data say A x = y, give or take s_y. The two together ask for
#
# x₀' = argmin ||y - A x||² / s_y² + ||x - D||² / r²
#
# which is PiGDM without the Jacobian of the denoiser: no gradient of the network is needed. Then comes the
# usual step down to the level s', half of it new noise: x ← x₀' + s' (√½ e + √½ z) with e = (x - x₀') / s.


# %%
def hedged(
    y: Tensor,
    A: mr.LinearOperator,
    denoiser: mr.Denoiser,
    sigmas: Tensor,
    *,
    noise_std: float,
    variance: float = 1.0,
    cg_steps: int = 10,
    start: Tensor | None = None,
    generator: Any = None,
    callback: Callable[..., object] | None = None,
) -> Tensor:
    """The denoised image and the data, each weighed by what it leaves open."""
    back = A.H(y)
    x = float(sigmas[0]) * mr.complex_noise_like(back, generator)
    x = x if start is None else start + x
    for step, (s, lower) in enumerate(pairwise(sigmas.tolist())):
        D = denoiser(x, s)
        weight = noise_std**2 * (1 / s**2 + 1 / variance)
        x0 = mr.conjugate_gradient(
            lambda v, w=weight: A.gram(v) + w * v,  # type: ignore[misc]
            back + weight * D,
            D,
            iterations=cg_steps,
        )
        if callback is not None:
            callback(step, s, x, x0)
        e, z = (x - x0) / s, mr.complex_noise_like(x, generator)
        x = x0 + lower * (0.5**0.5 * e + 0.5**0.5 * z)
    return x


# %% [markdown]
# ## A problem with a known answer
#
# Images of variance 1 whose power falls towards high frequencies; 4 coils, a third of the columns, noise 0.05.

# %%
SHAPE, NOISE, DRAWS = (25, 25), 0.05, 32
random = torch.Generator().manual_seed(0)
maps = mr.birdcage_maps(SHAPE, 4)[0].to(torch.complex128)
A = mr.sense(maps, mr.make_mask("uniform1d", SHAPE, 3, center_fraction=0.16, seed=0))
f = torch.arange(SHAPE[0], dtype=torch.float64)
f = torch.minimum(f, SHAPE[0] - f) / SHAPE[0]
power = (1 + 400 * (f[:, None] ** 2 + f**2)) ** -1.5
power = power / power.mean()
zero = torch.zeros(SHAPE, dtype=torch.complex128)
truth = ifft2(power.sqrt() * fft2(mr.complex_noise_like(zero, random)))
y = A(truth)
y = y + NOISE * mr.complex_noise_like(y, random) * A.mask
prior = mr.GaussianDenoiser(zero, power)

# %% [markdown]
# The exact posterior mean solves (Aᴴ A + s_y² P⁻¹) x = Aᴴ y, P the covariance of the prior.

# %%
mean = mr.conjugate_gradient(
    lambda x: A.gram(x) + NOISE**2 * ifft2(fft2(x) / power), A.H(y), iterations=500, tolerance=1e-10
)

# %% [markdown]
# ## The test
#
# Draw many images at once (a batch of the same data) and compare their mean with the exact one. `dds` and
# `pigdm`, two samplers of the gallery, do the same for comparison. `pigdm` must be told that images have the
# variance 1 here: its default, 0.1, is that of the prior that comes along, and diverges on these.

# %%
sigmas = mr.schedules.geometric(100, 0.01, 30.0)
SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "hedged": hedged,
    "dds": mr.samplers.dds,
    "pigdm": partial(mr.samplers.pigdm, prior_variance=1.0),
}
draws, distance = {}, {}
for name, sampler in SAMPLERS.items():
    many = y.expand(DRAWS, *y.shape)
    seed = torch.Generator().manual_seed(1)
    draws[name] = sampler(many, A, prior, sigmas, noise_std=NOISE, generator=seed)
    distance[name] = float((draws[name].mean(0) - mean).norm() / mean.norm())
    print(f"{name:8} distance of the mean {distance[name]:.3f}")

# %% [markdown]
# ## A sharper test
#
# With a Gaussian prior the sampler is linear in its noise: what it does to *no noise at all* is the mean of its
# draws, and the draws must scatter around it, not around something else. Their mean may be off by its own
# standard error, no more. A sign error, a wrong factor √2 or noise that is used twice fails here, whatever the
# picture looks like.


# %%
def without_noise(steps: int = 10) -> Tensor:
    """The recursion of `hedged` with z = 0, written down again."""
    x = torch.zeros_like(zero)
    for s, lower in pairwise(sigmas.tolist()):
        D = prior(x, s)
        w = NOISE**2 * (1 / s**2 + 1)
        x0 = mr.conjugate_gradient(
            lambda v, w=w: A.gram(v) + w * v,  # type: ignore[misc]
            A.H(y) + w * D,
            D,
            iterations=steps,
        )
        x = x0 + lower * 0.5**0.5 * (x - x0) / s
    return x


spread = draws["hedged"].var(0).sqrt()
error = (draws["hedged"].mean(0) - without_noise()).abs() / (spread / DRAWS**0.5)
print(f"off by {float(error.square().mean().sqrt()):.2f} standard errors (1 is expected)")
assert 0.7 < float(error.square().mean().sqrt()) < 1.3

# %%
figure, axes = plt.subplots(1, 4, figsize=(9, 2.8), layout="constrained")
shown = {
    "exact posterior mean": mean.abs(),
    "mean of the draws": draws["hedged"].mean(0).abs(),
    "one draw": draws["hedged"][0].abs(),
    "standard deviation, x 5": 5 * spread,
}
for axis, (name, picture) in zip(axes, shown.items(), strict=True):
    axis.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=float(mean.abs().max()))
    axis.set_title(name, fontsize=9)
    axis.set_axis_off()
figure.savefig("own_sampler.png", dpi=80)

# %% [markdown]
# ![Exact mean, mean of draws, one draw, standard deviation](own_sampler.png)
#
# ## Use it on scans
#
# A method of a few lines takes it over the slices of a scan, with draws, standard deviation, preview and all other
# options of the gallery. `start` and `callback` are for this: the first image, and who watches. The options of the
# function are its own too; the default of `variance` here suits the prior that comes along.


# %%
@mr.register
@dataclass(frozen=True, kw_only=True)
class Hedged(mr.methods.Posterior, sampler=hedged):
    """The denoised image and the data, each weighed by what it leaves open."""

    variance: Positive = 0.1


image, affine = mr.read_image(str(files("nibabel") / "tests" / "data" / "example4d.nii.gz"))
scan = mr.simulate_scan(image[..., 0], coils=8, snr=40.0, affine=affine).scan
less: dict[str, Any] = {
    "mask": "uniform1d",
    "acceleration": 4,
    "center_fraction": 0.08,
    "slices": "11:12",
}
for method in (Hedged(), "dds"):
    volume = mr.reconstruct(scan, method=method, **less)
    print(f"{volume.info['method']:8} {volume.info['metrics']['psnr']:.1f} dB")

# %% [markdown]
# Registered, it has a name: `method="hedged"` works as well. The entry point `hedged = "my_package:Hedged"` of the
# group `mrirecon.methods` in the metadata of a package gives it that name on the command line, too. To add it to
# this repository, see `CONTRIBUTING.md`.
