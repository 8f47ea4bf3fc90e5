# %% [markdown]
# # Uncertainty and null space of one slice
#
# A sampler gives a different image for every seed. Where the draws differ, neither the scanner nor the prior
# has decided. This page draws eight images of one slice, looks at where they differ, and at what the scanner
# did not measure.

# %%
from importlib.resources import files

import matplotlib.pyplot as plt
import torch
from scipy.stats import t as student

import mrirecon as mr

image, affine = mr.read_image(str(files("nibabel") / "tests" / "data" / "example4d.nii.gz"))
scan = mr.simulate_scan(image[..., 0], coils=8, snr=40.0, affine=affine).scan
volume = mr.reconstruct(
    scan,
    method="dds",
    samples=8,
    trust=True,
    mask="uniform1d",
    acceleration=6,
    center_fraction=0.08,
    slices="11:12",
)
info = volume.info

# %% [markdown]
# ## Three numbers
#
# * `residual_over_noise`: the misfit of the measured samples over their noise. 1 is what the true image would
#   have; far below 1 the image has fitted the noise, far above 1 it contradicts what was measured.
# * `null_space_share`: the share of the image's energy in x - (AᴴA + δ)⁻¹AᴴA x, which the measurement would not
#   show above its noise. That part comes from the prior.
# * `posterior_std`: the standard deviation of the draws, root mean square over the head, over the bright level.

# %%
for name in ("residual_over_noise", "null_space_share", "null_space_delta", "posterior_std"):
    print(f"{name:22} {info[name]:.4g}")

# %% [markdown]
# ## Three maps
#
# `volume.extras` holds what `recon` would write beside the image: the standard deviation and, with
# `trust=True`, the null-space part. The truth is known here, so the true error can be seen too. On a real scan
# it never can.

# %%
assert scan.reference is not None
truth = scan.reference(11)
mean = volume.image[0, 0].abs()
error = (mean - truth).abs()
std, hidden = volume.extras["std"][0, 0], volume.extras["null_space"][0, 0]
white = float(truth.max())
panels = {
    "mean of 8 draws": (mean, white),
    "true error": (error, white / 5),
    "standard deviation": (std, white / 5),
    "null-space part": (hidden, white / 5),
}
figure, axes = plt.subplots(1, 4, figsize=(9, 3.2), layout="constrained")
for axis, (name, (picture, top)) in zip(axes, panels.items(), strict=True):
    axis.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=top)
    axis.set_title(name, fontsize=9)
    axis.set_axis_off()
figure.savefig("uncertainty.png", dpi=80)

# %% [markdown]
# ![Mean, true error, standard deviation, null-space part](uncertainty.png)
#
# ## Do the maps predict the error?
#
# Rank correlation with the true error over the pixels of the head, and how often the truth lies in the
# interval that would hold it with 90 % if the draws were those of the posterior. The deviation of eight draws is
# an estimate, so the interval is Student's with 7 degrees of freedom; their mean is off too, hence the root.

# %%
inside = truth > 0.1 * white


def rank(x: torch.Tensor) -> torch.Tensor:
    """0 for the smallest value, 1 for the next."""
    return x[inside].argsort().argsort().double()


for name, predicted in (("standard deviation", std), ("null-space part", hidden)):
    pair = torch.stack([rank(predicted), rank(error)])
    print(f"{name:20} rank correlation with the error {float(torch.corrcoef(pair)[0, 1]):.2f}")
half = float(student.ppf(0.95, 8 - 1)) * (1 + 1 / 8) ** 0.5
covered = (error <= half * std)[inside].double().mean()
print(f"truth in the 90 % interval: {100 * float(covered):.0f} %")

# %% [markdown]
# When this page was written the two correlations were 0.19 and 0.12, and the interval held the truth in 59 % of
# the head. So on this slice the maps say little about where the error of a pixel is large, and the draws agree
# more than they should.
#
# ## What this does not mean
#
# * A small standard deviation is no promise. The draws agree wherever the prior is sure, and a prior is sure of
#   what it has seen in training. A lesion that it never saw can be removed from every draw alike.
# * The spread is that of *this sampler*, not of the posterior: the gallery says how far the two are apart where
#   both are known.
# * Errors of the model (motion, wrong coil maps, wrong noise level) are in no map at all.
#
# [Uncertainty](../uncertainty.md) says more.
