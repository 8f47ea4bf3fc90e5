"""Functions of singular values by Lanczos's method, beside the exact ones and polynomials of the operator."""

import pytest
import torch
from properties import complex_normal

from mrirecon.birdcage import birdcage_maps
from mrirecon.operators import sense
from mrirecon.operators.lanczos import LanczosSpectrum
from mrirecon.operators.spectrum import spectrum

SHAPE = (6, 5)


def operator(batch=False):
    """Three coils and every second column; of a batch the second item has a mask of its own."""
    maps = birdcage_maps(SHAPE, 3)[0].to(torch.complex128)
    lines = torch.zeros(SHAPE, dtype=torch.bool)
    lines[:, ::2] = True
    masks = torch.stack([lines, ~lines]) if batch else lines
    return sense(maps.expand(2, *maps.shape) if batch else maps, masks)


def steps_of(d):
    """Three functions, of which two jump."""
    return torch.where(d > 0.5, 1 / d.clamp_min(0.5), 0), d**2, torch.where(d > 0.3, 0.2, 1.0)


@pytest.mark.parametrize("batch", [False, True])
def test_as_many_steps_as_pixels_are_exact(batch):
    A = operator(batch)
    images = [complex_normal(4, *[2] * batch, *SHAPE, seed=n) for n in range(3)]
    exact = spectrum(A).apply(steps_of, *images)
    found = LanczosSpectrum(A.gram, 30).apply(steps_of, *images)
    torch.testing.assert_close(found, exact, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_polynomials_need_one_step_more_than_their_degree(steps):
    points = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) < 0.5
    A = sense(operator().maps, points)
    x, expected = complex_normal(2, *SHAPE), None
    expected = 3 * x
    for _ in range(steps - 1):
        expected = A.gram(expected)
    found = LanczosSpectrum(A.gram, steps).apply(lambda d: (3 * d ** (2 * steps - 2),), x)
    torch.testing.assert_close(found, expected)


def test_images_that_span_little():
    """A zero image stays zero, and one whose Krylov space is exhausted is right after that."""
    A = operator()
    walk = LanczosSpectrum(A.gram, 12)
    zero = torch.zeros(SHAPE, dtype=torch.complex128)
    assert not walk.apply(lambda d: (1 + d,), zero).any()
    (basis,) = (spectrum(A),)
    c = zero.clone()
    c[2, 3] = 2.0
    found = walk.apply(lambda d: (torch.where(d > 0.1, 5 * d, 7),), basis.synthesise(c))
    d = basis.values[2, 3]
    expected = basis.synthesise(c) * (5 * d if d > 0.1 else 7)
    torch.testing.assert_close(found, expected)


def test_single_precision_stays():
    A = sense(operator().maps.to(torch.complex64), operator().mask)
    x = complex_normal(*SHAPE, dtype=torch.complex64)
    found = LanczosSpectrum(A.gram, 5).apply(lambda d: (d,), x)
    assert found.dtype == torch.complex64
    torch.testing.assert_close(found, spectrum(A).apply(lambda d: (d,), x), rtol=0, atol=0.05)
