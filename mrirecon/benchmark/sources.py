"""The scans of a benchmark: files, or simulated from images; which slices of them; noise added to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrirecon.io import read_image, read_scan
from mrirecon.io.batch import Inputs
from mrirecon.io.cfl import parts_of
from mrirecon.options import check, fits, names_of, parse_slices
from mrirecon.scale import volume_scale
from mrirecon.scan import Scan, one_volume
from mrirecon.simulate import simulate_scan

EMBEDDED = "embedded"  # the brain volume that nibabel comes with
NOT_PLAIN = ("image", "affine", "source", "noise_covariance")  # of `simulate_scan`
_NOISE = 3  # first word of the seeds; those of `simulate` are 1 and 2


@dataclass(frozen=True, kw_only=True)
class Source:
    """A scan that is read when it is its turn.

    Attributes:
        path: k-space file; of a simulated scan the image.
        name: in the table.
        slices: a number takes so many in the middle, A:B those from A to B - 1, None all.
        simulation: options of `simulate_scan`; None for a file of k-space.
        volume: of a scan with several; None where it has one.

    Raises:
        ValueError: if the slices are neither a number nor A:B.
    """

    path: str
    name: str
    slices: int | str | None = None
    simulation: Mapping[str, Any] | None = None
    volume: int | None = None

    def __post_init__(self) -> None:
        """Check the slices."""
        if isinstance(self.slices, int) and self.slices < 1:
            raise ValueError(f"middle is {self.slices}: give 1 or more")
        self.part(1)

    @property
    def place(self) -> tuple[str, str]:
        """Where it comes from: two sources of one place are one scan."""
        return str(Path(self.path).resolve()), repr(sorted((self.simulation or {}).items()))

    @property
    def parts(self) -> tuple[Path, ...]:
        """The files it consists of.

        Raises:
            FileNotFoundError, IsADirectoryError, PermissionError: if one cannot be read.
        """
        if self.simulation is not None and self.path == EMBEDDED:
            return (Path(str(files("nibabel") / "tests" / "data" / "example4d.nii.gz")),)
        return parts_of(Path(self.path))

    def identity(self, sha256: str) -> dict[str, Any]:
        """All that its samples depend on."""
        chosen = {} if self.volume is None else {"volume": self.volume}
        return {"sha256": sha256, "slices": self.slices, "simulation": self.simulation, **chosen}

    def read(self) -> Scan:
        """The scan, with its slices.

        Raises:
            ValueError, OSError: if it cannot be read, has no such slices, or several volumes.
        """
        scan = read_scan(self.path) if self.simulation is None else self._simulated()
        if self.volume is not None and self.simulation is None:
            scan = one_volume(scan, self.volume)
        if scan.volumes > 1:
            raise ValueError(
                f"{scan.source} has {scan.volumes} volumes: choose one, such as volume 0 (--volume 0)"
            )
        return scan.select(self.part(scan.shape[0]))

    def part(self, count: int) -> slice:
        """The slices of so many."""
        if not isinstance(self.slices, int):
            return parse_slices(self.slices)
        taken = min(self.slices, count)
        return slice((count - taken) // 2, (count - taken) // 2 + taken)

    def _simulated(self) -> Scan:
        image, affine = read_image(str(self.parts[0]))
        options = dict(self.simulation or {})
        volume = options.pop("volume", 0)
        if image.ndim == 4:
            image = image[..., volume]
        scan = simulate_scan(image, affine=affine, source=self.name, **options).scan
        assert scan.reference is not None
        return replace(scan, read=cache(scan.read), reference=cache(scan.reference))


def find_scans(
    paths: Sequence[str],
    slices: int | str | None = None,
    limit: int | None = None,
    volume: int | None = None,
) -> list[Source]:
    """The scans that files, folders and patterns stand for (`Inputs.named`); `limit` of them, evenly spread.

    Raises:
        FileNotFoundError: if a path does not exist, a folder holds no scan, or no file matches a pattern.
        ValueError: if `slices` or `limit` are impossible.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}: give 1 or more")
    found = [Path(one) for one in Inputs.named(paths).paths]
    unique = list({path.resolve(): path for path in found}.values())
    if limit is not None and limit < len(unique):
        unique = [unique[int((n + 0.5) * len(unique) / limit)] for n in range(limit)]
    stems = [path.stem for path in unique]
    names = [p.stem if stems.count(p.stem) == 1 else str(p) for p in unique]
    pairs = zip(unique, names, strict=True)
    sources = [
        Source(path=str(path), name=name, slices=slices, volume=volume) for path, name in pairs
    ]
    for source in sources:
        _ = source.parts  # says what is missing
    return sources


def chosen_slices(slices: str | None, middle: int | None) -> int | str | None:
    """What `Source.slices` is for the two options.

    Raises:
        ValueError: if both are given.
    """
    if slices is not None and middle is not None:
        raise ValueError(f"slices {slices} and middle {middle}: leave one of them out")
    return slices if middle is None else middle


def simulated_scans(images: Sequence[Mapping[str, Any]], slices: int | str | None) -> list[Source]:
    """Simulated scans: each has an image (`embedded` is that of the demo), a name, and options of `simulate_scan`.

    Raises:
        ValueError, OSError: if an image is missing, or an option does not exist.
    """
    known = [name for name in names_of(simulate_scan) if name not in NOT_PLAIN]
    more = ["image", "name", "volume"]
    made = []
    for number, entry in enumerate(images):
        plain = {key: value for key, value in entry.items() if key not in more}
        where = f"simulated scan {number}"
        check(simulate_scan, plain, where, known=[*more, *known])
        if not fits(entry.get("volume", 0), int):
            raise ValueError(f"{where}: volume is {entry['volume']!r}: it takes a whole number")
        if (image := entry.get("image")) is None:
            raise ValueError(f"{where} has no image: give a NIfTI file or embedded")
        name = entry.get("name", f"{Path(str(image)).name.partition('.')[0]} {number}")
        options = {key: value for key, value in entry.items() if key not in ("image", "name")}
        made.append(Source(path=str(image), name=str(name), slices=slices, simulation=options))
        _ = made[-1].parts  # says what is missing
    return made


def add_noise(scan: Scan, level: float, seed: int) -> tuple[Scan, float]:
    """The scan with white noise added to its measured samples, and its standard deviation per real component.

    Args:
        scan: fully sampled.
        level: standard deviation over the bright level of the images (`scale.volume_scale`).
        seed: of the noise; each slice has a stream of its own, so that masks do not change it.
    """
    if level == 0:
        return scan, 0.0
    std = level * volume_scale(scan)

    def read(volume: int, index: int) -> Tensor:
        kspace = scan.read(volume, index)
        measured = (
            (kspace != 0).any(dim=0) if scan.sampling is None else scan.sampling(volume, index)
        )
        random = np.random.default_rng((_NOISE, seed, index))
        parts = std * torch.from_numpy(random.standard_normal((2, *kspace.shape)))
        return kspace + torch.complex(parts[0], parts[1]).to(kspace.dtype) * measured

    covariance = scan.noise_covariance
    if covariance is not None:
        covariance = covariance + 2 * std**2 * torch.eye(len(covariance), dtype=covariance.dtype)
    note = f"noise of {level:g} of the bright level added (standard deviation {std:.4g} per real component)"
    noisy = replace(scan, read=read, noise_covariance=covariance, notes=(*scan.notes, note))
    return noisy, std
