# %% [markdown]
# # Compare methods
#
# Which method is best for a scan? Without a reference, samples that are left out and predicted tell; with
# one, the error does. Research software: not for diagnosis or treatment.

# %%
import mrirecon as mr

scan = mr.demo_scan("11:13")
ranking = mr.compare(
    scan,
    ["zero_filled", "cg_sense", {"name": "tv", "iterations": 40}],
    mask="poisson",
    acceleration=4,
    center_fraction=0.25,
)
ranking

# %% [markdown]
# `left_out_error` needs no truth: the smaller the better. Methods of one rank differ by no more than
# chance.

# %%
ranking.ranks

# %% [markdown]
# Here the truth is known, so the true errors can stand beneath. Without it, leave `scan` out.

# %%
mr.show(ranking.volumes, scan)

# %%
{name: round(mr.evaluate(volume, scan).psnr, 1) for name, volume in ranking.volumes.items()}
