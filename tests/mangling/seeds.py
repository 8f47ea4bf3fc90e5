"""Small whole files of every format that is read, each in a folder of its own: what is mangled."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrirecon.io import write_maps, write_mask, write_scan, write_volume
from mrirecon.networks.denoiser import DenoiserUNet
from mrirecon.phantom import shepp_logan
from mrirecon.scan import Scan, Volume
from mrirecon.simulate import simulate_scan
from mrirecon.weights import card_of, save_weights

SHAPE, SLICES, COILS = (24, 20), 3, 4


@dataclass(frozen=True)
class Seed:
    """A whole file: what it is read as, and the function that writes it into a folder and gives the name to read."""

    kind: str
    write: Callable[[Path], Path]


def simulated(coils: int = COILS, slices: int = SLICES, **options: Any) -> Scan:
    """An undersampled phantom with a reference, oblique geometry and noise that the coils share."""
    image = shepp_logan(SHAPE)[:, :, None] * torch.linspace(1, 0.6, slices)
    turn = np.array([[0, -1, 0], [0.8, 0, 0.6], [0.6, 0, -0.8]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * [2, 2, 4], (20, -20, 5)
    scan = simulate_scan(
        image.numpy(), coils=coils, snr=30.0, correlation=0.2, affine=affine, **options
    ).scan
    mask = torch.zeros(scan.shape[2:], dtype=torch.bool)
    mask[:, ::2] = mask[:, 6:14] = True
    return scan.undersample(mask)


def _calibrated() -> Scan:
    scan = simulated(readout_oversampling=2.0)
    centre = torch.zeros(scan.shape[2:])
    centre[16:32, 6:14] = 1
    return replace(scan, calibration=lambda volume, index: scan.read(volume, index) * centre)


def _scan(name: str, scan: Callable[[], Scan]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        write_scan(scan(), folder / name)
        return folder / name

    return write


def _public_fastmri(folder: Path) -> Path:
    """As the public files are: no group of ours."""
    import h5py

    path = _scan("public.h5", simulated)(folder)
    with h5py.File(path, "r+") as file:
        del file["mrirecon"]
    return path


def _single_coil(folder: Path) -> Path:
    import h5py

    path = _scan("single.h5", lambda: simulated(coils=1))(folder)
    with h5py.File(path, "r+") as file:
        del file["mrirecon"], file["ismrmrd_header"]
    return path


def _mrd_with_noise(folder: Path) -> Path:
    """Two repetitions and a noise scan, the latter by the ismrmrd package."""
    import ismrmrd

    scan = _calibrated()
    scan = replace(scan, volumes=2, volume_names=("repetition 0", "repetition 1"))
    path = folder / "noise.h5"
    write_scan(scan, folder / "noise.mrd")
    (folder / "noise.mrd").rename(path)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((COILS, 64)) + 1j * rng.standard_normal((COILS, 64))
    acquisition = ismrmrd.Acquisition.from_array(noise.astype(np.complex64))
    acquisition.sample_time_us = 5.0
    acquisition.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    with ismrmrd.Dataset(str(path), "dataset") as file:
        file.append_acquisition(acquisition)
    return path


def _volume_encoded() -> Scan:
    """A 3D acquisition: points in two phase-encoding directions."""
    scan = simulated()
    points = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) < 0.5
    points[8:16, 6:14] = True
    return scan.undersample(points)


def _twix(folder: Path) -> Path:
    import twixtools

    protocol = {
        "sKSpace.lBaseResolution": 12,
        "sKSpace.lPhaseEncodingLines": 20,
        "sKSpace.lPartitions": 1,
        "sKSpace.lImagesPerSlab": 1,
        "sKSpace.ucDimension": 2,
        "sKSpace.ucTrajectory": 1,
        "sSliceArray.asSlice[0].dReadoutFOV": 120.0,
        "sSliceArray.asSlice[0].dPhaseFOV": 200.0,
        "sSliceArray.asSlice[0].dThickness": 4.0,
        "sRXSPEC.alDwellTime[0]": 5000,
        "alTE[0]": 3000,
    }
    lines = "".join(f"{name} = {value}\n" for name, value in protocol.items())
    text = f"### ASCCONV BEGIN ###\n{lines}### ASCCONV END ###\n".encode()
    buffer = b"MeasYaps\0" + struct.pack("<I", len(text)) + text + bytes(48)
    header = np.frombuffer(struct.pack("<II", 8 + len(buffer), 1) + buffer, "S1")
    kspace = simulated(coils=2, slices=2)
    readouts = []
    for index, line in np.ndindex(2, SHAPE[1]):
        data = kspace.read(0, index)[:, :, line].numpy().conj()
        block = twixtools.mdb.Mdb_local(np.ascontiguousarray(data))
        block.mdh.CenterCol, block.mdh.CenterLin = SHAPE[0] // 2, SHAPE[1] // 2
        block.mdh.Counter.Lin, block.mdh.Counter.Sli = line, index
        block.mdh.SliceData.SlicePos.Tra = 5.0 * index
        block.mdh.SliceData.Quaternion[:] = (1.0, 0.0, 0.0, 0.0)
        readouts.append(block)
    path = folder / "meas.dat"
    with contextlib.redirect_stdout(io.StringIO()):
        twixtools.write_twix([{"hdr_str": header, "mdb": readouts}], str(path))
    return path


def _mat(packed: bool) -> Callable[[Path], Path]:
    """Level 5, with or without compression, among what else people save."""

    def write(folder: Path) -> Path:
        from scipy.io import savemat

        kspace = simulated(coils=1).kspace(0)[0].numpy()
        content = {"kspace": kspace, "TR": 500.0, "name": "head", "mask": kspace != 0}
        savemat(folder / "scan.mat", content, do_compression=packed)
        return folder / "scan.mat"

    return write


def _mat73(folder: Path) -> Path:
    """HDF5 behind MATLAB's 512 bytes, axes reversed, complex numbers as records."""
    import h5py

    kspace = simulated(coils=1).kspace(0)[0].numpy().T
    records = np.empty(kspace.shape, [("real", "<f4"), ("imag", "<f4")])
    records["real"], records["imag"] = kspace.real, kspace.imag
    path = folder / "scan73.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["kspace"], file["TR"] = records, np.array([[500.0]])
        for name, kind in (("kspace", "single"), ("TR", "double")):
            file[name].attrs["MATLAB_class"] = np.bytes_(kind)
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def _image(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        scan = simulated()
        assert scan.reference is not None
        image = torch.stack([scan.reference(index) for index in range(SLICES)])
        volume = Volume(image=image[None].to(torch.complex64), geometry=scan.geometry)
        write_volume(volume, folder / name)
        return folder / name

    return write


def _mask(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        import h5py

        from mrirecon.io.cfl import write_cfl

        mask, path = simulated().mask(0), folder / name
        if path.suffix == ".npz":
            np.savez(path, mask=mask.numpy())
        elif path.suffix == ".h5":
            with h5py.File(path, "w") as file:
                file["mask"] = mask.numpy()
        elif path.suffix == ".cfl":
            sizes = dict(enumerate(mask.shape))
            write_cfl((path, path.with_suffix(".hdr")), sizes, [mask.T.to(torch.complex64)])
        else:
            write_mask(path, mask)
        return path

    return write


def _maps(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        simulation = simulate_scan(shepp_logan(SHAPE).numpy(), coils=COILS, snr=30.0)
        write_maps(folder / name, simulation.maps(0)[None], {"method": "true"})
        return folder / name

    return write


def _weights(folder: Path) -> Path:
    network = DenoiserUNet(widths=(8, 8))
    save_weights(network, folder / "tiny.safetensors", card_of(network, data="a phantom"))
    return folder / "tiny.safetensors"


SEEDS: dict[str, Seed] = {
    "fastmri": Seed("scan", _scan("own.h5", _calibrated)),
    "fastmri public": Seed("scan", _public_fastmri),
    "fastmri one coil": Seed("scan", _single_coil),
    "mrd": Seed("scan", _mrd_with_noise),
    "mrd 3D": Seed("scan", _scan("volume.mrd", _volume_encoded)),
    "cfl": Seed("scan", _scan("scan.cfl", simulated)),
    "npy": Seed("scan", _scan("scan.npy", simulated)),
    "npz": Seed("scan", _scan("scan.npz", simulated)),
    "twix": Seed("scan", _twix),
    "mat": Seed("scan", _mat(packed=False)),
    "mat packed": Seed("scan", _mat(packed=True)),
    "mat 7.3": Seed("scan", _mat73),
    "image nii": Seed("image", _image("head.nii")),
    "image nii.gz": Seed("image", _image("head.nii.gz")),
    "mask npy": Seed("mask", _mask("mask.npy")),
    "mask npz": Seed("mask", _mask("mask.npz")),
    "mask png": Seed("mask", _mask("mask.png")),
    "mask h5": Seed("mask", _mask("mask.h5")),
    "mask cfl": Seed("mask", _mask("mask.cfl")),
    "maps npy": Seed("maps", _maps("maps.npy")),
    "maps cfl": Seed("maps", _maps("maps.cfl")),
    "maps h5": Seed("maps", _maps("maps.h5")),
    "weights": Seed("weights", _weights),
    "volume h5": Seed("volume", _image("image.h5")),
    "volume npy": Seed("volume", _image("image.npy")),
}
