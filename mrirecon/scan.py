"""What one acquisition is.

A `Scan` is what every reader returns and every method takes. It holds no k-space: `Scan.kspace(slice)` reads one
slice when it is asked for, so a 40-slice 32-coil scan costs the memory of one slice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from mrirecon.geometry import Geometry
from mrirecon.scan_pictures import ScanPictures
from mrirecon.tensors import fft2c, ifft2c, largest_part, measured_points, pad_to
from mrirecon.volume import Volume as Volume


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan(ScanPictures):
    """One Cartesian acquisition, read lazily, as 2D problems of one common size.

    Shapes are (slice, coil, readout, phase); the phase-encoding axis is last. A 3D acquisition arrives as 2D problems
    too: its readout has become the slice axis, and (readout, phase) are its two phase-encoding directions.

    Attributes:
        source: path or description, for messages and provenance.
        format: name of the reader.
        shape: (slice, coil, readout, phase) of one volume's k-space.
        read: (volume, slice) -> k-space (coil, readout, phase), zero where not sampled.
        volumes: repetitions, contrasts, phases and sets, flattened; `volume_names` says which is which.
        sampling: (volume, slice) -> mask, as the file has it; None: samples exactly zero in all coils are unsampled.
        acquired: grid points the protocol covers; zero padding, partial Fourier and partial echo are excluded.
        calibration: (volume, slice) -> separately acquired calibration k-space on the same grid, zero elsewhere.
        crop: image window (readout, phase) inside the reconstruction FOV, in pixels of the k-space grid.
        matrix: output size; where it differs from the window the image is interpolated by zero-filling k-space.
        oversampling: k-space FOV / reconstruction FOV along the readout.
        echo_shifts: samples (readout, phase) by which `echo.center_echo` rolled the k-space of each volume to have its
            echo at the centre; none where it rolled nothing.
        is_3d: whether the slice axis came from an inverse FFT along the readout (the whole scan is in memory then).
        noise_covariance: E[n n^H] per complex sample, from a noise scan.
        reference: slice -> magnitude target (readout, phase) of `matrix` size, only ever used for metrics.
        header: ISMRMRD XML, when the file has one.
        first_slice: number of the first slice in the file, where others were left out before it.
        mask_kind: name of the retrospective mask in `masks.MASKS`, where one was applied.
        attributes: whatever else the file says (fastMRI `acquisition`, `max`, `norm`, `patient_id`, ...).
        acquisition: who and what was scanned, by DICOM keyword, where `Placement.of` put it.
        notes: what the reader had to assume or ignore; `info` prints them.
        axes: names of the axes of the array in the file, in their order; none where a header orders the data.
        kept: what was found of its slices and takes little memory, by what it is; a scan made from this one begins
            with nothing.

    Example:
        >>> scan = mr.read_scan("scan.h5")
        >>> scan
        Scan scan.h5 (fastmri): 3 slices x 4 coils x 40 x 32, output 40 x 32
        >>> kspace, sampled = scan.measured(0)  # of the first slice
        >>> scan.select(slice(0, 2)).undersample(mask).shape
        (2, 4, 40, 32)
    """

    source: str
    format: str
    shape: tuple[int, int, int, int]
    read: Callable[[int, int], Complex[Tensor, "coil readout phase"]]
    acquired: Bool[Tensor, "readout phase"]
    crop: tuple[slice, slice]
    matrix: tuple[int, int]
    volumes: int = 1
    volume_names: tuple[str, ...] = ()
    sampling: Callable[[int, int], Bool[Tensor, "readout phase"]] | None = None
    calibration: Callable[[int, int], Complex[Tensor, "coil readout phase"]] | None = None
    geometry: Geometry = field(default_factory=Geometry)
    oversampling: float = 1.0
    echo_shifts: tuple[tuple[float, float], ...] = ()
    is_3d: bool = False
    noise_covariance: Complex[Tensor, "coil coil"] | None = None
    reference: Callable[[int], Float[Tensor, "readout phase"]] | None = None
    header: str | None = None
    first_slice: int = 0
    mask_kind: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    acquisition: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    kept: dict[str, Any] = field(init=False, repr=False, default_factory=dict)

    def __repr__(self) -> str:
        slices, coils, readout, phase = self.shape
        volumes = f"{self.volumes} volumes of " if self.volumes > 1 else ""
        return (
            f"Scan {self.source} ({self.format}): {volumes}{slices} slices x {coils} coils x {readout} x {phase}, "
            f"output {self.matrix[0]} x {self.matrix[1]}"
        )

    @property
    def is_image(self) -> bool:
        """Whether it is a real-valued image, whose Fourier transform stands for k-space."""
        return self.format == "NIfTI"

    def kspace(self, index: int, volume: int = 0) -> Complex[Tensor, "coil readout phase"]:
        """Measured k-space of one slice, checked to be finite and in a range that float32 can compute with.

        Raises:
            ValueError: if it holds NaN or infinite samples, or its largest is beyond 1e-15 to 1e15.
        """
        kspace = self.read(volume, index)
        largest = largest_part(kspace)
        if not math.isfinite(largest):
            raise ValueError(
                f"{self.source}: k-space of slice {self.first_slice + index} holds NaN or infinite samples: "
                "repair or re-export the file"
            )
        if largest and not 1e-15 <= largest <= 1e15:
            raise ValueError(
                f"{self.source}: the largest sample of slice {self.first_slice + index} is {largest:.3g}, beyond what "
                f"single precision can compute with: multiply the k-space by {1 / largest:.0e}"
            )
        return kspace

    def measured(
        self, index: int, volume: int = 0
    ) -> tuple[Complex[Tensor, "coil readout phase"], Bool[Tensor, "readout phase"]]:
        """k-space of one slice and which of its points were sampled, with one read of the file.

        Points that are called sampled, but are zero in all coils, were not (`tensors.measured_points`).

        Raises:
            ValueError: if the k-space holds NaN or infinite samples.
        """
        kspace = self.kspace(index, volume)
        declared = None if self.sampling is None else self.sampling(volume, index)
        return kspace, measured_points(kspace, declared)

    def mask(self, index: int, volume: int = 0) -> Bool[Tensor, "readout phase"]:
        """Which grid points of one slice were sampled."""
        if self.sampling is not None:
            return self.sampling(volume, index)
        return measured_points(self.read(volume, index))

    def middle(self, volume: int = 0) -> int | None:
        """The slice nearest the middle that has samples; None where none has."""
        count = self.shape[0]
        order = sorted(range(count), key=lambda index: abs(index - count // 2))
        return next((i for i in order if bool(self.read(volume, i).any())), None)

    def drop_coils(self, coils: Sequence[int], note: str) -> Scan:
        """The scan without these coils."""
        kept = [coil for coil in range(self.shape[1]) if coil not in coils]

        def of(read: Callable[[int, int], Tensor]) -> Callable[[int, int], Tensor]:
            return lambda volume, index: read(volume, index)[kept]

        noise = self.noise_covariance
        return replace(
            self,
            shape=(self.shape[0], len(kept), *self.shape[2:]),
            read=CoilMix(self, lambda kspace, index: kspace[kept]),
            calibration=None if self.calibration is None else of(self.calibration),
            noise_covariance=None if noise is None else noise[kept][:, kept],
            notes=(*self.notes, note),
        )

    def run(self, slices: slice) -> range:
        """The numbers of a contiguous run of slices.

        Raises:
            ValueError: if the run is empty or reaches beyond the scan.
        """
        count = self.shape[0]
        start, stop = slices.start or 0, count if slices.stop is None else slices.stop
        if not 0 <= start < stop <= count:
            raise ValueError(
                f"slices {start}:{stop} lie beyond {self.source}, which has slices 0:{count}"
            )
        return range(start, stop)

    def select(self, slices: slice) -> Scan:
        """The scan restricted to a contiguous run of slices.

        Raises:
            ValueError: if the run is empty or reaches beyond the scan.
        """
        run = self.run(slices)
        start, stop = run.start, run.stop
        shift = _shift_slices(start)
        return replace(
            self,
            shape=(stop - start, *self.shape[1:]),
            first_slice=self.first_slice + start,
            read=shift(self.read),
            sampling=shift(self.sampling),
            calibration=shift(self.calibration),
            reference=None if self.reference is None else _offset(self.reference, start),
            geometry=self.geometry.select(slice(start, stop)),
        )

    def undersample(
        self, mask: Bool[Tensor, "readout phase"], note: str = "", kind: str | None = None
    ) -> Scan:
        """The scan as if only the points of `mask` had been measured (intersection with what was).

        Separately acquired calibration data stay: they are no part of what is undersampled.

        Raises:
            ValueError: if the mask has another size than the k-space.
        """
        if tuple(mask.shape) != self.shape[2:]:
            raise ValueError(
                f"mask is {mask.shape[0]} x {mask.shape[1]}, k-space of {self.source} is "
                f"{self.shape[2]} x {self.shape[3]} (readout x phase): make the mask for this scan"
            )

        def read(volume: int, index: int) -> Tensor:
            return self.read(volume, index) * mask

        def sampling(volume: int, index: int) -> Tensor:
            return self.mask(index, volume) & mask

        known = None if self.sampling is None else sampling
        notes = (*self.notes, note) if note else self.notes
        return replace(self, read=read, sampling=known, notes=notes, mask_kind=kind)

    def to_output(self, image: Complex[Tensor, "*batch readout phase"]) -> Tensor:
        """Crop an image on the k-space grid to the reconstruction FOV and matrix."""
        return self.to_matrix(image[..., self.crop[0], self.crop[1]])

    def to_matrix(self, image: Complex[Tensor, "*batch readout phase"]) -> Tensor:
        """Bring an image of the reconstruction FOV to the matrix.

        A matrix larger than the window is reached by zero-filling k-space, which keeps intensities.
        """
        size = (image.shape[-2], image.shape[-1])
        if size == self.matrix:
            return image
        gain = (self.matrix[0] * self.matrix[1] / (size[0] * size[1])) ** 0.5
        return gain * ifft2c(pad_to(fft2c(image), self.matrix))

    @property
    def echo_shift(self) -> tuple[float, float]:
        """`echo_shifts` of the first volume."""
        return self.echo_shifts[0] if self.echo_shifts else (0.0, 0.0)

    def echo_phase(self, volume: int = 0) -> Complex[Tensor, "readout phase"] | None:
        """What an image of a volume is multiplied by to have the phase of the k-space as measured; None for 1.

        Rolled by s of N samples, k-space gives an image the phase 2 pi s n / N at pixel n from the centre of its grid.
        """
        if not self.echo_shifts or not any(self.echo_shifts[volume]):
            return None
        axes = []
        for axis in (0, 1):
            grid, matrix, window = self.shape[2 + axis], self.matrix[axis], self.crop[axis]
            kept = window.stop - window.start
            pixel = (torch.arange(matrix, dtype=torch.float64) - matrix // 2) * kept / matrix
            pixel += window.start + kept // 2 - grid // 2
            axes.append(-2 * torch.pi * self.echo_shifts[volume][axis] / grid * pixel)
        angle = axes[0][:, None] + axes[1]
        return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


@dataclass(frozen=True, eq=False)
class CoilMix:
    """Reads the slices of a scan and combines their coils sample by sample.

    What is known of single samples of the scan, such as its calibration data, is known of the combination.

    Attributes:
        before: the scan that is read.
        mix: (k-space (coil, ...), slice) -> the combinations (virtual, ...).
    """

    before: Scan
    mix: Callable[[Tensor, int], Tensor]

    def __call__(self, volume: int, index: int) -> Complex[Tensor, "coil readout phase"]:
        return self.mix(self.before.read(volume, index), index)


def one_volume(scan: Scan, volume: int) -> Scan:
    """A scan with one of its volumes, counted from 0.

    Raises:
        ValueError: if there is no such volume.
    """
    if not 0 <= volume < scan.volumes:
        there = f"volumes 0 to {scan.volumes - 1}" if scan.volumes > 1 else "one volume, 0"
        raise ValueError(f"volume {volume}: {scan.source} has {there}")

    def of(function: Callable[[int, int], Tensor]) -> Callable[[int, int], Tensor]:
        return lambda _, index: function(volume, index)

    return replace(
        scan,
        volumes=1,
        volume_names=(),
        read=of(scan.read),
        sampling=None if scan.sampling is None else of(scan.sampling),
        calibration=None if scan.calibration is None else of(scan.calibration),
        echo_shifts=scan.echo_shifts[volume : volume + 1],
    )


def _shift_slices(start: int) -> Callable[[Any], Any]:
    def shift(function: Callable[[int, int], Tensor] | None) -> Callable[[int, int], Tensor] | None:
        if function is None:
            return None
        return lambda volume, index: function(volume, index + start)

    return shift


def _offset(function: Callable[[int], Tensor], start: int) -> Callable[[int], Tensor]:
    return lambda index: function(index + start)
