"""What several test folders share: golden numbers, the real scan, BART."""

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from golden_data import REAL_SCAN, golden_arrays, golden_facts

if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has one core, and so has what it starts
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def brain8():
    """The real 8-coil scan (case A), the 1D x4 scan derived from it (case B), and what sigpy and BART made of them."""
    # Imported here: older releases of jaxtyping, all for Python 3.10, watch what is imported after this file.
    from mrirecon.tensors import fft2c

    recorded = {
        name: value.float() if value.dtype == torch.float16 else value
        for name, value in golden_arrays("brain8_reference").items()
    }
    info = golden_facts("brain8_reference")
    a = torch.from_numpy(np.load(REAL_SCAN))
    random = np.random.RandomState(1)
    noise = random.randn(8, 230, 180) + 1j * random.randn(8, 230, 180)
    full = fft2c(recorded["A/sigpy_maps"] * recorded["A/sigpy_l1wavelet"])
    full = (full + info["noise_sigma_B"] * torch.from_numpy(noise)).to(torch.complex64)
    mask = recorded["mask_1d_x4"].expand(230, 180).clone()
    return SimpleNamespace(
        recorded=recorded,
        results=info["results"],
        a=a,
        mask_a=(a != 0).any(dim=0),
        b=full * mask,
        mask_b=mask,
        reference=recorded["B/reference"].abs(),
    )


class WithoutDouble(torch.Tensor):
    """Stands for a tensor on a device that has no float64, as mps: what is computed from it must not need that."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        result = super().__torch_function__(function, types, args, kwargs or {})
        if function is torch.Tensor.cpu:
            return result.as_subclass(torch.Tensor)
        for part in result if isinstance(result, tuple) else (result,):
            if isinstance(part, cls) and part.dtype in (torch.float64, torch.complex128):
                raise TypeError(f"{function.__name__}: this device has no float64")
        return result


@pytest.fixture
def without_double():
    """A function that moves a tensor to a device that has no float64."""
    return lambda x: x.as_subclass(WithoutDouble)


@pytest.fixture
def bart(tmp_path):
    """A function that runs BART, as in bart("ecalib -m1", kspace), on arrays of shape (..., coil, y, x)."""
    if shutil.which("bart") is None:
        pytest.skip("BART is not installed")

    def run(command, *inputs):
        names = []
        for number, array in enumerate(inputs):
            names.append(str(tmp_path / f"in{number}"))
            _write(names[-1], np.asarray(array))
        target = str(tmp_path / "out")
        subprocess.run(
            ["bart", *command.split(), *names, target],
            check=True,
            capture_output=True,
            cwd=tmp_path,
        )
        return torch.from_numpy(_read(target))

    return run


def _write(name, array):
    """(y, x), (coil, y, x) or (set, coil, y, x) as BART's dimensions y, x, 1, coil, set."""
    array = array.reshape((1,) * (4 - array.ndim) + array.shape).transpose(2, 3, 1, 0)
    shape = (*array.shape[:2], 1, *array.shape[2:])
    Path(name + ".hdr").write_text("# Dimensions\n" + " ".join(map(str, shape)) + "\n")
    array.astype(np.complex64).ravel(order="F").tofile(name + ".cfl")


def _read(name):
    shape = [int(n) for n in Path(name + ".hdr").read_text().splitlines()[1].split()]
    array = np.fromfile(name + ".cfl", np.complex64).reshape(shape[:5], order="F")
    return np.ascontiguousarray(array.transpose(4, 3, 2, 0, 1).squeeze())
