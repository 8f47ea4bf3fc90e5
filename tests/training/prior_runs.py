"""Small images of several patients, and configurations that train a prior on them."""

import nibabel
import numpy as np

from mrirecon.phantom import shepp_logan

SHAPE = (48, 40)  # posterior to anterior, left to right
PIXEL, SLICES = 1.0, 5
NETWORK = {"name": "denoiser", "widths": [8, 16]}


def write_nifti(path, seed, slices=SLICES, pixel=PIXEL):
    """A phantom of its own brightness and place, stored as (right to left, anterior to posterior, up)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    head = np.minimum(shepp_logan(SHAPE).numpy(), 0.3) / 0.3  # a skull would outshine it
    image = head.T[:, :, None] * np.linspace(1, 0.7, slices)
    image = np.roll(image, random.integers(-3, 4, 2), (0, 1)) * random.uniform(50, 150)
    image += random.normal(0, 0.1, image.shape)
    affine = np.diag([-pixel, -pixel, 4.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(np.abs(image).astype(np.float32), affine), path)


def make_images(root, patients=5):
    """root/patientNN/t1.nii.gz, and a mask to be left out."""
    for number in range(patients):
        write_nifti(root / f"patient{number:02d}" / "t1.nii.gz", number)
    write_nifti(root / "patient00" / "mask.nii.gz", 99)
    return root


def data_options(root, cache, **changed):
    return {
        "sources": [str(root)],
        "cache": str(cache),
        "validation": ["patient04"],
        "exclude": ["mask"],
        "patches": [(0.5, 16), (0.5, 24)],
        "batch_size": 4,
        "workers": 0,
        **changed,
    }


def config(root, output, **changed):
    """A configuration as the command line makes it; `changed` are groups to update."""
    made = {
        "output": str(output),
        "seed": 0,
        "images": 0,
        "compile": False,
        "weights": None,
        "network": NETWORK,
        "data": data_options(root, root.parent / "cache"),
        "loss": {},
        "optimizer": {
            "kind": "adamw",
            "lr": 0.003,
            "schedule": "cosine",
            "warmup_steps": 2,
            "ema_decay": 0.9,
        },
        "checkpoints": {"every_minutes": 0.0},
        "trainer": {
            "max_epochs": 2,
            "accelerator": "cpu",
            "devices": 1,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
        },
        "about": {"data": "", "licence": "", "attribution": ""},
    }
    for group, values in changed.items():
        made[group] = values if group == "network" else {**made[group], **values}
    return made
