"""`mrirecon simulate`."""

from __future__ import annotations

from mrirecon.cli.run import Command
from mrirecon.gradient_echo import GradientEcho
from mrirecon.io import write_scan
from mrirecon.io.images import read_anatomy
from mrirecon.options import parse_slices
from mrirecon.simulate import simulate_scan


def simulate(
    *,
    image: str,
    output: str,
    coils: int = 8,
    snr: float = 40.0,
    correlation: float = 0.0,
    phase_rad: float = 3.0,
    echo_ms: float = 0.0,
    readout_oversampling: float = 1.0,
    partial_fourier: float = 1.0,
    volume: int = 0,
    slices: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Make multi-coil k-space of a NIfTI image, or of a DICOM series.

    Args:
        image: NIfTI image, or the folder of a DICOM series; its axes become (readout, phase, slice).
        output: .h5 (fastMRI layout, with the truth as reconstruction_rss), .mrd, .cfl, .npy or .npz.
        coils: number of receive coils.
        snr: bright image level over the noise standard deviation per real component.
        correlation: noise correlation of neighbouring coils, from 0 to below 1.
        phase_rad: bound of the object's smooth phase, in radians.
        echo_ms: echo time of a gradient echo at 3 T, which turns the phase near air and of fat; 0 is a spin echo.
        readout_oversampling: k-space FOV over image FOV along the readout.
        partial_fourier: share of the phase-encoding columns acquired, above 0.5.
        volume: which volume of a 4D image.
        slices: A:B takes slices A to B - 1 only.
        seed: seed of phase and noise.
        overwrite: replace an existing output.
    """
    part = parse_slices(slices)
    if seed < 0:
        raise ValueError(f"--seed is {seed}: give 0 or a positive number")
    data, affine, frame = read_anatomy(image)
    if data.ndim == 4:
        if not 0 <= volume < data.shape[3]:
            raise ValueError(f"--volume {volume}: {image} has volumes 0 to {data.shape[3] - 1}")
        data = data[..., volume]
    elif volume != 0:
        raise ValueError(f"--volume {volume}: {image} has one volume")
    scan = simulate_scan(
        data,
        coils=coils,
        snr=snr,
        correlation=correlation,
        phase_rad=phase_rad,
        echo=GradientEcho(echo_ms) if echo_ms else None,
        readout_oversampling=readout_oversampling,
        partial_fourier=partial_fourier,
        affine=affine,
        frame=frame,
        seed=seed,
        source=image,
    ).scan.select(part)
    lost = write_scan(scan, output, overwrite=overwrite)
    print(f"{output}: {' x '.join(map(str, scan.shape))} (slice x coil x readout x phase)")
    for what in (scan.geometry.note, *lost):
        if what:
            print(f"note: {what}")


COMMAND = Command(
    "simulate",
    simulate,
    "IMAGE --output OUTPUT",
    {
        "image": {
            "metavar": "IMAGE",
            "help": "NIfTI image, or the folder of a DICOM series; its axes become (readout, phase, slice)",
        }
    },
    (
        "brain.nii.gz --output simulated.h5 --coils 12 --snr 30",
        "brain.nii.gz --output simulated.mrd --slices 1:2",
    ),
)
