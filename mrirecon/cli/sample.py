"""`mrirecon sample`."""

from __future__ import annotations

from pathlib import Path

from mrirecon.cli.mask import SHAPE, as_numbers
from mrirecon.cli.run import Command
from mrirecon.device import choose_device
from mrirecon.diffusion import draw_images
from mrirecon.geometry import Geometry
from mrirecon.io import VOLUME_SUFFIXES, check_output, write_volume
from mrirecon.io.files import check_target, replacing, suffix_of
from mrirecon.plots import montage, save_png, upright
from mrirecon.volume import Volume
from mrirecon.weights import load_prior


def sample(
    *,
    shape: list[int],
    output: str,
    weights: str = "prior_tiny",
    count: int = 4,
    levels: int = 40,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
) -> None:
    """Draw images from a prior, without any data: what it takes for an image.

    Args:
        shape: readout and phase size, as in `--shape 128 128` or 128x128.
        output: a volume whose slices are the images, or .png with all of them.
        weights: name of shipped weights of a prior, or a file.
        count: number of images.
        levels: noise levels from the highest to the lowest that the prior was trained for.
        seed: the same seed gives the same images.
        device: name of a torch device, or auto.
        overwrite: replace an existing output.
    """
    for name, value in (("count", count), ("levels", levels), ("shape", min(shape))):
        if value < 1:
            raise ValueError(f"--{name} is {value}: give at least 1")
    if seed < 0:
        raise ValueError(f"--seed is {seed}: give at least 0")
    png = suffix_of(output, (".png", *VOLUME_SUFFIXES)) == ".png"
    path = check_target(output, overwrite) if png else check_output(output, overwrite)
    where = choose_device(device)
    denoiser, card = load_prior(weights, where)
    size = (shape[0], shape[1])
    images = draw_images(denoiser, count, size, levels=levels, seed=seed, device=where).cpu()
    if png:
        shown = upright(images)
        with replacing(Path(path)) as (part,):
            save_png(part, montage(shown), shown)
    else:
        info = {
            "method": "sample",
            "parameters": {"weights": weights, "levels": levels, "seed": seed},
            "weights": {"name": weights, **card.as_json()},
            "notes": ["drawn from a prior without data: nobody was scanned"],
        }
        write_volume(
            Volume(image=images[None], geometry=Geometry(), info=info), path, overwrite=overwrite
        )
    images_drawn = "1 image" if count == 1 else f"{count} images"
    print(
        f"{output}: {images_drawn} {size[0]} x {size[1]} drawn from {weights}: nobody was scanned"
    )


COMMAND = Command(
    "sample",
    sample,
    "--shape H W --output OUTPUT",
    {"--shape": SHAPE},
    (
        "--shape 128 128 --output drawn.png",
        "--shape 64x64 --count 2 --levels 20 --seed 3 --output drawn.nii.gz",
    ),
    prepare=as_numbers,
)
