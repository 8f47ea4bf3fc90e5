# %% [markdown]
# # Compare methods on one scan
#
# One scan, one mask, six methods, one metric. The scan is simulated from the brain volume that comes with
# nibabel: the truth is known, and nothing is downloaded. Put a path such as `"scan.h5"` in place of `scan` to
# use your own.

# %%
from importlib.resources import files
from typing import Any

import matplotlib.pyplot as plt

import mrirecon as mr

image, affine = mr.read_image(str(files("nibabel") / "tests" / "data" / "example4d.nii.gz"))
scan = mr.simulate_scan(image[..., 0], coils=8, snr=40.0, affine=affine).scan
print(scan.source, scan.shape, "slices, coils, readout, phase")

# %% [markdown]
# `mr.reconstruct` does what `mrirecon recon` does on the command line. Options of a method are keywords like
# all others; a method may be an object too, as in `method=mr.methods.TotalVariation(iterations=50)`.

# %%
METHODS: dict[str, dict[str, Any]] = {
    "zero_filled": {},
    "cg_sense": {},
    "l1_wavelet": {},
    "tv": {},
    "varnet": {},
    "dds": {"samples": 4, "seed": 0},
}
volumes = {}
for name, options in METHODS.items():
    volumes[name] = mr.reconstruct(
        scan,
        method=name,
        mask="poisson",
        acceleration=6,
        center_fraction=0.25,
        slices="11:12",
        **options,
    )

# %% [markdown]
# Everything that the JSON beside a volume would say is in `volume.info`: the achieved acceleration, seconds,
# the residual ||A x - y|| / ||y||, and the metrics, because a simulated scan knows its truth.

# %%
print(f"{'method':12} {'PSNR':>6} {'SSIM':>6} {'s':>6}  acceleration")
for name, volume in volumes.items():
    metrics = volume.info["metrics"]
    print(
        f"{name:12} {metrics['psnr']:6.2f} {metrics['ssim']:6.3f} {volume.info['seconds_per_slice']:6.2f}  "
        f"{volume.info['acceleration']['achieved']:.2f}"
    )

# %% [markdown]
# Side by side, all in the same grey window, with the error below at five times the contrast.

# %%
assert scan.reference is not None
truth = scan.reference(11).numpy()
white = float(truth.max())
figure, axes = plt.subplots(
    2, len(volumes), figsize=(1.6 * len(volumes), 4.8), layout="constrained"
)
for (top, bottom), (name, volume) in zip(axes.T, volumes.items(), strict=True):
    shown = volume.image[0, 0].abs().numpy()
    top.imshow(shown, cmap="gray", vmin=0, vmax=white)
    top.set_title(f"{name}\n{volume.info['metrics']['psnr']:.1f} dB", fontsize=9)
    bottom.imshow(abs(shown - truth), cmap="gray", vmin=0, vmax=white / 5)
for axis in axes.flat:
    axis.set_axis_off()
figure.savefig("compare_methods.png", dpi=80)

# %% [markdown]
# ![Six methods and their errors](compare_methods.png)
#
# For a quick look at one of them, `volume.plot()` draws the middle slice; a notebook shows a volume by itself.
#
# `dds` is the mean of four draws, which removes the speckle of a single one. `varnet` and the prior of `dds`
# were trained on heads, but not on this one. Where a scan lies outside what weights were trained for,
# `volume.info["notes"]` says so:

# %%
for name in ("varnet", "dds"):
    print(name, *volumes[name].info["notes"], sep="\n  ")
