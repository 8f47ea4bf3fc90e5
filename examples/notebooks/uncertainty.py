# %% [markdown]
# # Uncertainty
#
# A sampler draws many images that the data allow. Where they differ, neither the scanner nor the prior has
# decided. What they agree on can be wrong all the same. Research software: not for diagnosis or treatment.

# %%
import torch

import mrirecon as mr

scan = mr.demo_scan("11:12")
volume = mr.reconstruct(
    scan,
    method="dds",
    samples=4,
    levels=8,
    trust=True,
    mask="uniform1d",
    acceleration=4,
    center_fraction=0.08,
)
volume

# %% [markdown]
# The mean of the draws, their standard deviation, and the part of the image that the scanner did not
# measure.

# %%
mean = volume.image[0].abs()
error = (mean - scan.references()).abs()
white = float(mean.quantile(0.995))
mr.show(
    {"mean of 4 draws": mean, "true error": 5 * error, "5 std": 5 * volume.extras["std"]},
    window=(0, white),
)

# %%
volume.plot(extra="null_space", window=(0, white / 5))

# %% [markdown]
# `residual_over_noise` is 1 where the data are explained as well as their noise allows.

# %%
{name: volume.info[name] for name in ("residual_over_noise", "null_space_share", "posterior_std")}

# %% [markdown]
# Does the standard deviation tell the error? Its correlation over the pixels of the head:

# %%
inside = scan.references() > 0.1 * white
pair = torch.stack([volume.extras["std"][0][inside], error[inside]])
round(float(torch.corrcoef(pair)[0, 1]), 2)
