# %% [markdown]
# # Train a network
#
# A small U-Net on simulated scans, for half a minute at most: enough to see how it goes, not to have a good network.
# Long trainings are for `mrirecon train` (resume, logs, several GPUs). Research software: not for diagnosis
# or treatment.

# %%
from pathlib import Path
from tempfile import mkdtemp

from pytorch_lightning import Trainer

import mrirecon as mr
from mrirecon.training.core.optimizer import OptimizerSettings
from mrirecon.training.core.trainer import quiet
from mrirecon.training.end_to_end.data import FastMRIDataModule
from mrirecon.training.end_to_end.loss import Loss
from mrirecon.training.end_to_end.module import UnrolledModule
from mrirecon.weights.store import card_of

folder = Path(mkdtemp())
for part, slices in (("train", "8:14"), ("val", "16:18")):
    (folder / f"multicoil_{part}").mkdir()
    mr.write_scan(mr.demo_scan(slices), folder / f"multicoil_{part}" / "head.h5")

# %% [markdown]
# Network, loss and data: masks are drawn anew for each slice and epoch.

# %%
network = mr.networks.NETWORKS["unet"](chans=8, num_pool_layers=3)
network

# %%
mask = mr.MaskSpec("uniform1d", 4, center_fraction=0.08)
data = FastMRIDataModule(folder, masks=[mask], workers=0)
how = OptimizerSettings(lr=1e-2, schedule="cosine", lr_end=1e-4)
module = UnrolledModule(network, Loss(ssim=1.0, l1=1.0), how)

# %%
with quiet():
    trainer = Trainer(
        max_steps=400,
        accelerator="cpu",
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
    )
    trainer.fit(module, data)
{name: round(float(value), 3) for name, value in trainer.callback_metrics.items()}

# %% [markdown]
# Saved with a card, the weights reconstruct any scan, here and on the command line (`--weights`).

# %%
weights = folder / "unet.safetensors"
mr.save_weights(network.eval(), weights, card_of(network, data="two slabs of nibabel's head"))
scan = mr.demo_scan("16:18")
less = {"mask": "uniform1d", "acceleration": 4, "center_fraction": 0.08}
volumes = [
    mr.reconstruct(scan, method="zero_filled", **less),
    mr.reconstruct(scan, method="unet", weights=str(weights), **less),
]
mr.show(volumes, scan)
