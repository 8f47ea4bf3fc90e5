"""Folders of small random volumes in the public layout, and the official package's view of them."""

import warnings

import h5py
import numpy as np

HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><experimentalConditions>
<H1resonanceFrequency_Hz>123000000</H1resonanceFrequency_Hz></experimentalConditions><encoding>
<encodedSpace><matrixSize><x>{y}</x><y>{x}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>{y}</x><y>{x}</y><z>7.5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>{h}</x><y>{w}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>{h}</x><y>{w}</y><z>5</z></fieldOfView_mm></reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{maximum}</maximum>
<center>{center}</center></kspace_encoding_step_1></encodingLimits>
<trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"""


def write(path, shape, window, *, padding=(0, 0), target=True, header=True, mask=None, seed=0):
    """A volume of (slice, coil, y, x), or (slice, y, x) for single coil; returns its k-space."""
    rng = np.random.default_rng((seed, *shape))
    x, (left, right) = shape[-1], padding
    kspace = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    kspace[..., :left] = 0
    kspace[..., x - right :] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        if mask is not None:
            kspace *= mask
            file["mask"] = mask
        file["kspace"] = kspace
        if header:
            file["ismrmrd_header"] = HEADER.format(
                y=shape[-2],
                x=x,
                h=window[0],
                w=window[1],
                center=x // 2 - left,
                maximum=x - right - left - 1,
            )
        if target:
            image = np.abs(rng.normal(size=(shape[0], *window))).astype(np.float32)
            file["reconstruction_rss" if len(shape) == 4 else "reconstruction_esc"] = image
            file.attrs["max"] = image.max()
    return kspace


def official(folder, challenge="multicoil", transform=None):
    """The folder as `fastmri.data.SliceDataset` serves it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastmri.data import SliceDataset
    return SliceDataset(root=folder, challenge=challenge, transform=transform)


def official_varnet(folder, mask_function=None):
    from fastmri.data.transforms import VarNetDataTransform

    return official(folder, transform=VarNetDataTransform(mask_func=mask_function, use_seed=True))
