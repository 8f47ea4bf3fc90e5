"""Reconstruct the same scans with every method, in this checkout and in another, and compare the images bit by bit.

    python measurements/identical.py --against ../mrirecon-before

Only `mrirecon.reconstruct` is used, so that what lies below it may change. Figures and extra images are compared
too. One thread; about 5 minutes for each checkout. Exit status 1 where something differs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
FIGURES = (
    "data_residual",
    "residual_over_noise",
    "null_space_share",
    "network_evaluations",
    "posterior_std",
)


def scans():
    """Name -> scan: noise measurement or not, volumes, partial Fourier, oversampling, an echo off the centre."""
    from mrirecon.phantom import shepp_logan
    from mrirecon.simulate import simulate_scan

    def phantom(slices=2, shape=(48, 40), **options):
        image = shepp_logan(shape)[:, :, None] * torch.linspace(1, 0.6, slices)
        return simulate_scan(image.numpy(), **{"coils": 5, "snr": 60.0, **options}).scan

    def columns(scan, step=2, calibration=16):
        width = scan.shape[3]
        mask = torch.zeros(scan.shape[2:], dtype=torch.bool)
        mask[:, ::step] = True
        mask[:, width // 2 - calibration // 2 : width // 2 + calibration // 2] = True
        return scan.undersample(mask)

    plain = phantom()
    several = replace(
        plain, volumes=2, read=lambda volume, index: plain.read(0, index) * (1 + 0.5 * volume)
    )
    rolled = phantom(1, shape=(64, 60))
    rolled = replace(
        rolled, read=lambda volume, index, read=rolled.read: read(volume, index).roll(12, -2)
    )
    dead = replace(
        plain,
        read=lambda volume, index: (
            plain.read(0, index) * torch.tensor([1, 0, 1, 1, 1])[:, None, None]
        ),
    )
    found = {
        "plain": columns(phantom(snr=None)),
        "noisy": columns(phantom(3, snr=20.0, correlation=0.4)),
        "two volumes": columns(several),
        "partial Fourier": columns(phantom(1, partial_fourier=0.65)),
        "oversampled": columns(phantom(1, readout_oversampling=2.0)),
        "odd": columns(phantom(1, shape=(33, 35))),
        "echo": columns(rolled, 2, 20),
        "dead coil": columns(dead),
        "one coil": columns(phantom(1, coils=1)),
    }
    return found


def options_of(name):
    import mrirecon as mr

    parameters = mr.METHODS[name].__dataclass_fields__
    if "levels" in parameters and "weights" in parameters:
        own = {"levels": 4, "samples": 2, "seed": 3}
        return own | ({"steps_per_level": 1} if "steps_per_level" in parameters else {})
    return {}


def cases():
    """(name of the scan, method, options of `reconstruct`)."""
    import mrirecon as mr

    for scan in scans():
        for method in mr.METHODS:
            yield scan, method, options_of(method)
    extra = {
        "tv": [
            {"partial_fourier": "homodyne"},
            {"maps": mr_maps(2)},
            {"slices": "1:3"},
            {"whiten": False},
            {"compress_coils": 3},
            {"mask": "uniform1d", "acceleration": 2},
        ],
        "cg_sense": [
            {"partial_fourier": "pocs"},
            {"maps": "lowres"},
            {"remove_oversampling": True},
        ],
        "dds": [
            {"trust": True, "draws": True},
            {"start": "noise"},
            {"start": "varnet"},
            {"slices": "1:2"},
            {"noise_std": 0.01},
            {"z_smoothness": 0.01},
            {"mask": "poisson", "acceleration": 3},
        ],
        "varnet": [{"trust": True}, {"slices": "1:2"}],
        "humus": [{"slices": "1:2"}],
        "unrolled_prior": [{"trust": True}],
        "score_mri": [{"coils": "hybrid"}, {"start": "grappa"}],
        "dps": [{"images_at_once": 1}],
    }
    for method, many in extra.items():
        for options in many:
            for scan in ("noisy", "partial Fourier", "oversampled"):
                yield scan, method, {**options_of(method), **options}


def mr_maps(sets):
    import mrirecon as mr

    return (mr.EstimatedMaps if "EstimatedMaps" in dir(mr) else mr.Calibrated)(sets=sets)


def write(path, only):
    """One array for each image and figure; a refusal is its sentence."""
    import mrirecon as mr

    torch.set_num_threads(1)
    found, made, clock = {}, scans(), {}
    for scan, method, options in cases():
        if only and method not in only:
            continue
        key = f"{scan} | {method} | {options}".replace("Calibrated(", "EstimatedMaps(")
        began = time.perf_counter()
        try:
            volume = mr.reconstruct(made[scan], method=method, device="cpu", **options)
        except ValueError as error:
            found[f"{key} | refused"] = np.array(str(error))
            continue
        clock[method] = clock.get(method, 0) + time.perf_counter() - began
        found[f"{key} | image"] = volume.image.numpy()
        for name, image in volume.extras.items():
            found[f"{key} | {name}"] = image.numpy()
        for name in FIGURES:
            if name in volume.info:
                found[f"{key} | {name}"] = np.array(volume.info[name])
        found[f"{key} | notes"] = np.array(sorted(volume.info["notes"]))
    np.savez(path, **found)
    print(" ".join(f"{name} {seconds:.1f}" for name, seconds in clock.items()))


def differences(one, other):
    for key in sorted({*one, *other}):
        if key not in one or key not in other:
            yield f"{key}: only {'here' if key in one else 'there'}"
        elif one[key].dtype.kind in "US":
            if one[key].tolist() != other[key].tolist():
                yield f"{key}: {one[key].tolist()} / {other[key].tolist()}"
        elif not np.array_equal(one[key], other[key], equal_nan=True):
            with np.errstate(all="ignore"):
                gap = np.abs(one[key] - other[key]).max() / np.abs(other[key]).max()
            yield f"{key}: differs by {gap:.2g}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, help="the other checkout")
    parser.add_argument(
        "--methods", nargs="*", default=[], help="all that are registered, if left out"
    )
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write, options.methods)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for number, root in enumerate((ROOT, options.against.resolve())):
            path = Path(folder) / f"{number}.npz"
            command = [
                sys.executable,
                __file__,
                "--write",
                str(path),
                "--methods",
                *options.methods,
            ]
            subprocess.run(
                command, check=True, env={**os.environ, "PYTHONPATH": str(root)}, cwd=folder
            )
            with np.load(path) as arrays:
                results.append(dict(arrays))
        found = list(differences(*results))
    print("\n".join(found))
    print(f"{len(results[0])} results, {len(found)} differ")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
