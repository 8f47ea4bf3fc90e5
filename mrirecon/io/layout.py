"""How a k-space array is stored: the order of its axes, and where the centres of k-space and image are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.scan import Scan
from mrirecon.tensors import fft2c, fftshift, ifftshift

AXES = ("volume", "average", "slice", "partition", "coil", "readout", "phase", "x", "y")
IMAGE = {"x": "readout", "y": "phase"}  # axes of an image, and what they are in k-space
PLANE = ("readout", "phase")
ONE_ARRAY = ("npy", "cfl")  # formats that hold one array without a name


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How an array is stored, where that differs from what is usual in its format.

    Attributes:
        axes: names of the stored axes in their order, such as readout,phase,coil; there are slice, coil, readout,
            phase, volume, average (averages are averaged), partition (the second phase encoding of a 3D scan: it is
            inverse Fourier-transformed and becomes the slices), and x and y, which are readout and phase of an image:
            it is Fourier-transformed.
        kspace_centre: where the centre of k-space is stored: middle (index N // 2), corner (index 0), or one for each
            of readout and phase, such as middle,corner.
        image_centre: where the centre of the image comes out: middle, corner (half a field of view off), or one for
            each of readout and phase.
        variable: name of the array in a .mat, .npz or HDF5 file.
    """

    axes: str | None = None
    kspace_centre: str = "middle"
    image_centre: str = "middle"
    variable: str | None = None

    def __post_init__(self) -> None:
        """Refuse impossible layouts before a scan is read.

        Raises:
            ValueError: naming the option, its value and the values that it takes.
        """
        for option in ("kspace_centre", "image_centre"):
            words = getattr(self, option).split(",")
            if len(words) > 2 or not {word.strip() for word in words} <= {"middle", "corner"}:
                raise ValueError(
                    f"{option} is {getattr(self, option)!r}: give middle, corner, or one for each of readout and "
                    "phase, such as middle,corner"
                )
        names = self.names or PLANE
        along = [IMAGE.get(name, name) for name in names]
        doubled = len(set(along)) < len(along)
        if doubled or not set(names) <= set(AXES) or not set(PLANE) <= set(along):
            raise ValueError(
                f"axes is {self.axes!r}: give each stored axis one of the names {', '.join(AXES)}; readout and phase "
                "(x and y of an image) must be among them, such as slice,coil,readout,phase"
            )
        if {"slice", "partition"} <= set(names):
            raise ValueError(
                f"axes is {self.axes!r}: the partitions of a 3D scan become its slices, name the slice axis volume"
            )
        for name, corner in zip(PLANE, self.corners("kspace_centre"), strict=True):
            if corner and name not in names:
                raise ValueError(
                    f"kspace_centre is {self.kspace_centre!r}, but axes says that {name} is an axis of an image: "
                    "give image_centre"
                )

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the stored axes, None where they are not given."""
        return None if self.axes is None else tuple(name.strip() for name in self.axes.split(","))

    def check(self, source: str, format: str, *allowed: str) -> None:
        """Refuse options that do not apply to a format.

        Raises:
            ValueError: if an option other than the `allowed` ones is given.
        """
        for name, value in asdict(self).items():
            if name not in allowed and value != getattr(Layout, name):
                holds = (
                    "holds one array without a name"
                    if format in ONE_ARRAY
                    else "orders its data itself"
                )
                raise ValueError(f"{source} is {format}, which {holds}: leave out --{name} {value}")

    def corners(self, option: str) -> tuple[bool, bool]:
        """Whether the centre named by `option` is in the corner, along (readout, phase)."""
        words = [word.strip() for word in getattr(self, option).split(",")]
        return words[0] == "corner", words[-1] == "corner"

    def moved(self, option: str, axes: Sequence[int]) -> str:
        """The value of `kspace_centre` or `image_centre` with middle and corner exchanged along these axes."""
        corners = [corner != (axis in axes) for axis, corner in enumerate(self.corners(option))]
        words = ["corner" if corner else "middle" for corner in corners]
        return words[0] if words[0] == words[1] else ",".join(words)

    def as_stored(self, mask: Bool[Tensor, "readout phase"]) -> Bool[Tensor, "readout phase"]:
        """A mask with its centre in the middle, shifted to the storage order of the array, as `centred` expects it."""
        dims = self._dims("kspace_centre")
        return ifftshift(mask, dims) if dims else mask

    def centred(self, scan: Scan) -> Scan:
        """The scan with the centres of k-space and image at index N // 2."""
        shifted, turned = self._dims("kspace_centre"), self._dims("image_centre")
        if not shifted and not turned:
            return scan

        def moved(x: Tensor) -> Tensor:
            return fftshift(x, shifted) if shifted else x

        def centre(kspace: Tensor) -> Tensor:
            kspace = moved(kspace)
            for dim in turned:
                kspace = kspace * _ramp(kspace.shape[dim]).reshape(-1, *(1,) * (-1 - dim))
            return kspace

        return replace(
            scan,
            read=_after(scan.read, centre),
            calibration=_after(scan.calibration, centre),
            sampling=_after(scan.sampling, moved),
            acquired=moved(scan.acquired),
        )

    def _dims(self, option: str) -> list[int]:
        """The axes, counted from the last, along which the centre named by `option` is in the corner."""
        return [axis - 2 for axis, corner in enumerate(self.corners(option)) if corner]


USUAL = Layout()


@dataclass(frozen=True)
class Arrangement:
    """The axes of a stored array.

    Attributes:
        names: name of each axis, from `AXES`.
        sizes: size of each axis.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    def size(self, name: str) -> int:
        """Size of an axis, stored as k-space or as an image axis; 1 where there is none."""
        found = [
            n
            for axis, n in zip(self.names, self.sizes, strict=True)
            if name in (axis, IMAGE.get(axis))
        ]
        return found[0] if found else 1

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(slice, coil, readout, phase)."""
        slices = self.size("slice") * self.size("partition")
        return slices, self.size("coil"), self.size("readout"), self.size("phase")

    def read(self, array: Any, volume: int, index: int) -> Complex[Tensor, "coil readout phase"]:
        """A copy of one slice of an array (numpy, `FileArray` or HDF5 dataset); averages are averaged."""
        chosen = {"volume": volume, "slice": index, "partition": index}
        block = array[tuple(chosen.get(name, slice(None)) for name in self.names)]
        left = [name for name in self.names if name not in chosen]
        block = as_complex(np.asarray(block))
        if "average" in left:
            block = _averaged(block, left.index("average"))
            left.remove("average")
        if "coil" not in left:
            block, left = block[None], ["coil", *left]
        along = [IMAGE.get(name, name) for name in left]
        block = block.transpose([along.index(name) for name in ("coil", *PLANE)])
        shared = isinstance(array, np.ndarray)  # with the array, or with the file it is mapped from
        block = np.array(block, np.complex64, order="C", copy=True) if shared else block
        kspace = torch.from_numpy(np.ascontiguousarray(block, np.complex64))
        images = [PLANE.index(IMAGE[name]) - 2 for name in left if name in IMAGE]
        return fft2c(kspace, images) if images else kspace


def _after(read: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The function `read(volume, slice)` followed by `change`; None stays None."""
    return read and (lambda volume, index: change(read(volume, index)))


def is_complex_record(dtype: np.dtype) -> bool:
    """Whether a dtype is a record of real and imaginary part, as MATLAB writes complex numbers to HDF5."""
    return dtype.names == ("real", "imag") and all(dtype[name].kind == "f" for name in dtype.names)


def as_complex(block: np.ndarray) -> np.ndarray:
    """The block with complex records (`is_complex_record`) as complex numbers."""
    if not is_complex_record(block.dtype):
        return block
    return np.asarray(block["real"] + np.complex64(1j) * block["imag"])


def size_text(shape: Sequence[int]) -> str:
    """`8 x 230 x 180`."""
    return " x ".join(map(str, shape))


def _averaged(block: np.ndarray, axis: int) -> np.ndarray:
    """The mean over the averages that measured each sample, so that complementary averages are combined."""
    measured = np.count_nonzero(block, axis=axis)
    return np.asarray(block.sum(axis=axis) / np.maximum(measured, 1), np.complex64)


@lru_cache(maxsize=8)
def _ramp(size: int) -> Complex[Tensor, " k"]:
    """The linear phase that shifts the image by size // 2 pixels: alternating signs for an even size."""
    k = torch.arange(size, dtype=torch.float64) - size // 2
    angle = 2 * torch.pi * (k * (size // 2) % size) / size
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
