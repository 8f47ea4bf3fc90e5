"""Bounds of a quadratic form beside the eigenvalues of its matrix."""

import pytest
import torch
from properties import complex_normal

from mrirecon.operators.quadrature import damped_share

SIZE = 40


def matrix(values, seed=0):
    """A Hermitian matrix with these eigenvalues, and its eigenvectors."""
    vectors = torch.linalg.qr(complex_normal(len(values), len(values), seed=seed)).Q
    return vectors @ (values[:, None] * vectors.mH), vectors


SPECTRA = {
    "even": torch.linspace(0, 1, SIZE, dtype=torch.float64),
    "falling": torch.logspace(0, -9, SIZE, dtype=torch.float64),
    "projection": (torch.arange(SIZE) < 30).double(),
    "full rank": torch.linspace(0.5, 1, SIZE, dtype=torch.float64),
}


@pytest.mark.parametrize("delta", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_the_share_lies_between_the_bounds_after_any_number_of_steps(spectrum, delta):
    values = SPECTRA[spectrum]
    G, vectors = matrix(values)
    x = complex_normal(5, 8, seed=1)
    weights = (vectors.mH @ x.flatten()).abs().square() / x.norm() ** 2
    share = float((weights * (delta / (values + delta)) ** 2).sum())

    def gram(v):
        return (G @ v.flatten()).reshape(5, 8)

    gaps = []
    for steps in (1, 2, 3, 5, 8, 13, 21, 34, 55, 200):
        low, high = damped_share(gram, x, delta, steps=steps, accuracy=1e-9)
        assert low <= share * (1 + 1e-6) and share <= high * (1 + 1e-6), steps
        gaps.append(high / low - 1)
    assert gaps[0] > 0.01 and gaps[-1] < 1e-3


@pytest.mark.parametrize("steps", [1, 2, 5, 9])
def test_the_bounds_are_those_of_gauss_and_gauss_radau(steps):
    """T from Lanczos's process, every vector made orthogonal to all before it; `delta` forced to be an eigenvalue."""
    delta = 1e-2
    G, _ = matrix(SPECTRA["even"])
    B = G + delta * torch.eye(SIZE, dtype=torch.float64)
    basis = [complex_normal(SIZE, seed=1)]
    basis[0] = basis[0] / basis[0].norm()
    for _ in range(steps):
        v = B @ basis[-1]
        for _ in range(2):
            v = v - sum(torch.vdot(b, v) * b for b in basis)
        basis.append(v / v.norm())
    V = torch.stack(basis, 1)
    T = (V.mH @ B @ V).real
    below = T[-1, -2]
    inner = torch.linalg.solve(
        T[:-1, :-1] - delta * torch.eye(steps).double(), torch.eye(steps)[:, -1].double()
    )
    T[-1, -1] = delta + below**2 * inner[-1]
    assert float(torch.linalg.eigvalsh(T)[0]) == pytest.approx(delta, rel=1e-6)
    gauss, radau = (
        float(delta**2 * torch.linalg.inv(part)[:, 0].square().sum()) for part in (T[:-1, :-1], T)
    )
    x = complex_normal(SIZE, seed=1)[None]
    low, high = damped_share(
        lambda v: (G @ v.flatten())[None], x, delta, steps=steps, accuracy=1e-9
    )
    assert low == pytest.approx(gauss, rel=1e-8)
    assert high == pytest.approx(radau, rel=1e-8)


def test_it_stops_where_the_bounds_are_near_enough():
    asked = []
    G, _ = matrix(SPECTRA["even"])

    def gram(v):
        asked.append(v)
        return (G @ v.flatten()).reshape(5, 8)

    x = complex_normal(5, 8, seed=1)
    low, high = damped_share(gram, x, 1e-2, steps=1000, accuracy=0.1)
    assert low < high <= 1.1 * low
    assert 5 <= len(asked) <= 20 and len(asked) % 5 == 0


def test_an_image_without_signal_has_no_share():
    assert damped_share(lambda v: v, torch.zeros(3, 4) + 0j, 0.1, steps=5, accuracy=0.1) == (0, 0)


def test_the_image_is_not_changed():
    x = complex_normal(5, 8, seed=1)
    before = x.clone()
    damped_share(lambda v: v, x, 0.1, steps=5, accuracy=0.1)
    assert torch.equal(x, before)
