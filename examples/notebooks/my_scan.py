# %% [markdown]
# # My scan
#
# Read a scan, look at it, reconstruct it, write a volume. The scan here is simulated from the brain volume
# that comes with nibabel; put `mr.read_scan("scan.h5")` in its place to use your own. Research software:
# not for diagnosis or treatment.

# %%
from pathlib import Path
from tempfile import mkdtemp

import mrirecon as mr

scan = mr.demo_scan("10:14")
scan

# %% [markdown]
# What was measured, as it comes: all slices, and k-space in decibels.

# %%
scan.plot(":")

# %%
scan.plot(kind="kspace")

# %% [markdown]
# Keep a fourth of the samples and reconstruct from those. On a scan that is undersampled already, leave out
# `mask` and `acceleration`.

# %%
volume = mr.reconstruct(scan, method="tv", mask="poisson", acceleration=4, iterations=40)
volume

# %%
volume.plot(":")

# %% [markdown]
# A NIfTI volume that lies as the scanner says, with a JSON beside it that says how it was made.

# %%
output = Path(mkdtemp()) / "brain.nii.gz"
mr.write_volume(volume, output)
sorted(path.name for path in output.parent.iterdir())

# %% [markdown]
# This scan knows its truth: `mr.evaluate` takes volumes, scans, arrays and files.

# %%
mr.evaluate(output, scan)
