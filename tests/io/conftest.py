import numpy as np
import pytest
import torch

from mrirecon.io.arrays import plain_scan


@pytest.fixture
def make_scan():
    """A factory of random scans that hold their k-space in memory."""

    def make(shape=(3, 2, 6, 5), *, columns=None, volumes=1, seed=0, **known):
        rng = np.random.default_rng(seed)
        size = (volumes, *shape)
        kspace = rng.normal(size=size) + 1j * rng.normal(size=size)
        kspace = torch.from_numpy(kspace.astype(np.complex64))
        if columns is not None:
            kspace = kspace * torch.as_tensor(columns)
        scan = plain_scan(
            "memory", "test", shape, lambda v, i: kspace[v, i].clone(), volumes=volumes, **known
        )
        return scan, kspace

    return make
