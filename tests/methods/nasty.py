"""Inputs that nobody would call a scan, or that are one in an unusual way; and what a method may answer to them.

`test_nasty_inputs.py` tries a part of methods x inputs, `measurements/nasty.py` all of them.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import mrirecon as mr
from mrirecon.methods import SAMPLER_METHODS, UNTRAINED
from mrirecon.phantom import shepp_logan
from mrirecon.simulate import simulate_scan
from mrirecon.tensors import fft2c

# Few levels, and few steps of each: what fails does so at the first.
SHORT: dict[str, dict[str, Any]] = {
    **{method.name: {"levels": 3} for method in SAMPLER_METHODS},
    **{method.name: {"iterations": 10, "channels": 4} for method in UNTRAINED},
    "variational": {"iterations": 10, "width": 4, "samples": 2},
    "langevin": {"levels": 3, "steps_per_level": 1},
    "snips": {"levels": 3, "steps_per_level": 1},
    "unrolled_prior": {},
    "csgm": {"iterations": 3},
}
# Words of the libraries below us, which say nothing to whoever has a scan.
RAW = re.compile(
    r"linalg|lapack|error code|einsum|singleton|\bdim\b|stride|dtype|NoneType|object has no|"
    r"must match|The size of tensor|\[Errno|out of bounds|broadcast",
    re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class Nasty:
    """What is written to a file and reconstructed.

    Attributes:
        kspace: (volume, slice, coil, readout, phase), written as npy, or as cfl where there are several volumes.
        options: of `mr.reconstruct`; tensors given as maps become a file.
        noise_covariance: makes it a fastMRI file that holds it.
        scale: by what the usual scan was multiplied, where the image must be the usual one times that.
    """

    kspace: np.ndarray
    options: dict[str, Any] = field(default_factory=dict)
    noise_covariance: np.ndarray | None = None
    scale: float | None = None


@cache
def _measured(shape: tuple[int, int], coils: int, slices: int, snr: float | None) -> np.ndarray:
    image = shepp_logan(shape)[:, :, None] * torch.linspace(1, 0.6, slices)
    noise = {"snr": snr} if snr else {}
    scan = simulate_scan(image.numpy(), coils=coils, **noise).scan
    return torch.stack([scan.kspace(index) for index in range(slices)]).numpy()


def columns(width: int) -> np.ndarray:
    """Every second column and the central third."""
    sampled = np.arange(width) % 2 == 0
    sampled[width // 2 - width // 6 : width // 2 + width // 6] = True
    return sampled


def measured(
    shape: tuple[int, int] = (32, 28), coils: int = 4, slices: int = 1, snr: float | None = 50.0
) -> np.ndarray:
    """The usual scan: an undersampled phantom, (1, slice, coil, readout, phase)."""
    return (_measured(shape, coils, slices, snr) * columns(shape[1]))[None].astype(np.complex64)


def _changed(change: Callable[[np.ndarray], Any], **options: Any) -> Nasty:
    kspace = measured(**options)
    change(kspace)
    return Nasty(kspace)


def _put(where: Any, value: complex) -> Callable[[np.ndarray], Any]:
    return lambda kspace: kspace.__setitem__(where, value)


def _scaled(factor: float) -> Nasty:
    return Nasty((measured() * np.float64(factor)).astype(np.complex64), scale=factor)


def _kept(where: Any, **options: Any) -> Nasty:
    """Only these samples."""
    kspace = measured(**options)
    rest = np.zeros_like(kspace)
    rest[where] = kspace[where]
    return Nasty(rest)


def _imaged(image: np.ndarray, coils: int = 4) -> Nasty:
    """Fully sampled k-space of an image seen by coils of one constant phase each."""
    phases = np.exp(1j * np.arange(coils))[:, None, None] / np.sqrt(coils)
    return Nasty(fft2c(torch.from_numpy(image * phases)).numpy()[None, None].astype(np.complex64))


def _noise(shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def _pixel() -> np.ndarray:
    image = np.zeros((32, 28), np.complex64)
    image[10, 17] = 1
    return image


def _times(factors: list[float]) -> Nasty:
    return Nasty(measured() * np.array(factors, np.float32)[:, None, None])


def _covariance(matrix: np.ndarray) -> Nasty:
    return Nasty(measured(), noise_covariance=matrix.astype(np.complex64))


def _maps(change: Callable[[np.ndarray], Any]) -> Nasty:
    maps = np.ones((2, 4, 32, 28), np.complex64) / 2
    change(maps)
    return Nasty(measured(slices=2), {"maps": torch.from_numpy(maps)})


def _two_volumes() -> Nasty:
    return Nasty(np.concatenate([measured(slices=2), np.zeros((1, 2, 4, 32, 28), np.complex64)]))


def _stray() -> Nasty:
    """Fully sampled centre, and one sample far outside of it."""
    mask = np.zeros((32, 28), bool)
    mask[8:24, 8:20] = mask[1, 26] = True
    return Nasty(measured(snr=50.0) * 0 + _measured((32, 28), 4, 1, 50.0)[None] * mask)


def _spike() -> Nasty:
    kspace = measured()
    kspace[..., 3, 14] = 1e5 * np.abs(kspace).max()
    return Nasty(kspace)


CENTRE = (..., 16, 14)
INPUTS: dict[str, Callable[[], Nasty]] = {
    "as usual": lambda: Nasty(measured(), scale=1.0),
    # samples
    "a zero sample in the centre": lambda: _changed(_put(CENTRE, 0)),
    "all zero": lambda: Nasty(measured() * 0),
    "one NaN": lambda: _changed(_put((0, 0, 1, 16, 14), np.nan)),
    "all NaN": lambda: _changed(_put(..., np.nan)),
    "one infinite": lambda: _changed(_put((0, 0, 1, 16, 14), np.inf)),
    "all infinite": lambda: _changed(_put(..., np.inf)),
    "a spike of 1e5": _spike,
    "all real": lambda: Nasty(measured().real.astype(np.complex64)),
    "one sample, at the centre": lambda: _kept(CENTRE),
    "one sample, elsewhere": lambda: _kept((..., 5, 12)),
    "pure noise": lambda: Nasty(_noise((1, 2, 4, 32, 28)) * columns(28)),
    # images
    "noise-free": lambda: Nasty(measured(snr=None)),
    "fully sampled": lambda: Nasty(_measured((32, 28), 4, 1, 50.0)[None]),
    "one bright pixel": lambda: _imaged(_pixel()),
    "a constant image": lambda: _imaged(np.ones((32, 28), np.complex64)),
    # scales
    **{
        f"times {factor:g}": (lambda factor=factor: _scaled(factor))
        for factor in (1e-30, 1e-22, 1e-18, 1e-12, 1e-6, 1e6, 1e12, 1e18, 1e22, 1e30)
    },
    # sizes
    "one readout sample": lambda: Nasty(measured((32, 28))[..., 16:17, :]),
    "one column": lambda: Nasty(measured((32, 28))[..., 14:15]),
    "2 x 2": lambda: Nasty(_noise((1, 1, 4, 2, 2))),
    "4 x 4": lambda: Nasty(measured((32, 28))[..., 14:18, 12:16]),
    "prime sizes": lambda: Nasty(measured((31, 29))),
    "odd sizes": lambda: Nasty(measured((33, 27))),
    "8 x 256": lambda: Nasty(measured((8, 256))),
    "256 x 8": lambda: Nasty(measured((256, 8))),
    # sampling
    "one line through the centre": lambda: _kept((..., 14)),
    "one line beside the centre": lambda: _kept((..., 10)),
    "centre column missing": lambda: _changed(_put((..., 14), 0)),
    "centre missing": lambda: _changed(_put((..., slice(10, 18)), 0)),
    "right half missing": lambda: _changed(_put((..., slice(14, None)), 0)),
    "left half missing": lambda: _changed(_put((..., slice(0, 14)), 0)),
    "first half of the readout missing": lambda: _changed(
        _put((..., slice(0, 16), slice(None)), 0)
    ),
    "one quadrant": lambda: _kept((..., slice(16, None), slice(14, None))),
    "a stray sample": _stray,
    # coils
    "one coil": lambda: Nasty(measured(coils=1)),
    "identical coils": lambda: Nasty(np.repeat(measured(coils=1), 4, axis=2)),
    "a dead coil": lambda: _times([1, 0, 1, 1]),
    "all coils dead but one": lambda: _times([0, 0, 1, 0]),
    "coils of 1 to 1e6": lambda: _times([1, 1e2, 1e4, 1e6]),
    "more coils than pixels": lambda: Nasty(measured((8, 8), coils=80)),
    # slices and volumes
    "first slice empty": lambda: _changed(_put((0, 0), 0), slices=3),
    "middle slice empty": lambda: _changed(_put((0, 1), 0), slices=3),
    "last slice empty": lambda: _changed(_put((0, 2), 0), slices=3),
    "all slices empty but one": lambda: _changed(_put((0, slice(0, 2)), 0), slices=3),
    "second volume empty": _two_volumes,
    # noise and maps
    "noise of a dead coil": lambda: _covariance(np.diag([1.0, 0, 1, 1])),
    "noise of rank one": lambda: _covariance(np.ones((4, 4))),
    "no noise": lambda: _covariance(np.zeros((4, 4))),
    "noise of a negative coil": lambda: _covariance(np.diag([1.0, -1, 1, 1])),
    "maps that are zero": lambda: _maps(_put(..., 0)),
    "maps that are zero in a slice": lambda: _maps(_put((1,), 0)),
    "maps that are zero in half of the image": lambda: _maps(_put((..., slice(0, 14)), 0)),
    "maps of 1e-20": lambda: _maps(_put(..., 1e-20)),
    "maps with a NaN": lambda: _maps(_put((0, 0, 0, 0), np.nan)),
}


def written(nasty: Nasty, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The scan as a file, and the options with maps as one."""
    from mrirecon.io.arrays import plain_scan

    options = dict(nasty.options)
    if "maps" in options:
        np.save(folder / "maps.npy", options["maps"].numpy())
        options["maps"] = str(folder / "maps.npy")
    kspace = torch.from_numpy(np.ascontiguousarray(nasty.kspace))
    path = folder / "scan.npy"
    if nasty.noise_covariance is None and len(kspace) == 1:
        np.save(path, nasty.kspace[0])
        return path, options
    known: dict[str, Any] = {"volumes": len(kspace)}
    if nasty.noise_covariance is not None:
        path = folder / "scan.h5"
        known["noise_covariance"] = torch.from_numpy(nasty.noise_covariance)
    else:
        path = folder / "scan.cfl"
    shape = tuple(kspace.shape[1:])
    mr.write_scan(plain_scan("memory", "test", shape, lambda v, i: kspace[v, i], **known), path)
    return path, options


def answer(method: str, nasty: Nasty, folder: Path) -> tuple[str, str]:
    """What a method answers to an input: ("image" or "refused", ...) are right, ("fault", why) is not."""
    path, options = written(nasty, folder)
    options = {**SHORT.get(method, {}), **options}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            volume = mr.reconstruct(path, method=method, device="cpu", **options)
        except (ValueError, OSError) as error:
            text = str(error)
            if "\n" in text or RAW.search(text) or not 20 < len(text) < 700:
                return "fault", f"message: {text[:300]}"
            return "refused", text.replace(str(folder), "")
        except Exception as error:
            return "fault", f"{type(error).__name__}: {str(error)[:300]}"
    wrong = _wrong(volume, nasty)
    if not wrong and nasty.scale not in (None, 1.0):
        wrong = _another_image(volume.image, nasty.scale, method)
    return ("fault", wrong) if wrong else ("image", "; ".join(volume.info["notes"]))


@cache
def _usual_image(method: str) -> torch.Tensor:
    with TemporaryDirectory() as folder:
        path, _ = written(INPUTS["as usual"](), Path(folder))
        volume = mr.reconstruct(path, method=method, device="cpu", **SHORT.get(method, {}))
    return volume.image.to(torch.complex128)


def _another_image(image: torch.Tensor, scale: float, method: str) -> str:
    usual = _usual_image(method)
    difference = torch.linalg.vector_norm(image.to(usual.dtype) / scale - usual)
    error = float(difference / torch.linalg.vector_norm(usual))
    return "" if error < 0.02 else f"NRMSE {error:.2g} to the usual image times the scale"


def _wrong(volume: mr.Volume, nasty: Nasty) -> str:
    """What is wrong with an image: NaN, zeros that nobody mentions, or another image than the input's scale makes."""
    image = volume.image
    if not bool(torch.isfinite(image.abs()).all()):
        return "NaN or infinite image"
    if not bool(image.any()):
        return "all-zero image"
    notes = volume.info["notes"]
    for number, index in np.ndindex(*image.shape[:2]):
        if bool(image[number, index].any()):
            if not nasty.kspace[number, index].any():
                return f"volume {number} slice {index} has no samples and an image"
        elif not any(f"slice {index} " in note or f"slices {index} " in note for note in notes):
            return f"volume {number} slice {index} is zero, and no note names it"
    for name, extra in volume.extras.items():
        if not bool(torch.isfinite(extra).all()) or bool((extra < 0).any()):
            return f"{name} is NaN, infinite or negative"
    largest = float(image.abs().max())
    expected = float(np.sqrt((np.abs(nasty.kspace.astype(np.complex128)) ** 2).sum()))
    if not 1e-6 < largest / expected < 1e3:
        return f"image of up to {largest:.3g} from k-space of norm {expected:.3g}"
    return ""
