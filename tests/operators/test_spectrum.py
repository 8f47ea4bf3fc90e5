"""The spectrum of the SENSE operator against the operator itself and dense singular values."""

import pytest
import torch
from properties import complex_normal

from mrirecon.birdcage import birdcage_maps
from mrirecon.operators import sense
from mrirecon.operators.spectrum import has_lines, has_spectrum, solve_by_lines, spectrum


def lines(height, width, seed=0):
    """Every column wholly sampled or not."""
    chosen = torch.rand(width, generator=torch.Generator().manual_seed(seed)) < 0.5
    chosen[width // 2] = True
    return chosen.expand(height, width).clone()


def points(height, width, seed=0):
    return torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) < 0.5


def box(height, width):
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[1:-2, 2:-1] = True
    return inside


def phases(height, width):
    """A single coil that changes phases only."""
    return torch.exp(1j * complex_normal(1, height, width).real)


def smooth(height, width, coils=3):
    return birdcage_maps((height, width), coils)[0].to(torch.complex128)


OPERATORS = {
    "columns": sense(smooth(6, 8), lines(6, 8)),
    "columns, odd": sense(smooth(7, 9), lines(7, 9)),
    "rows": sense(smooth(8, 6), lines(6, 8).mT),
    "rows, odd": sense(smooth(9, 5), lines(5, 9).mT),
    "rough maps": sense(complex_normal(2, 6, 7) / 4, lines(6, 7)),
    "maps with holes": sense(smooth(6, 7) * points(6, 7, 5), lines(6, 7)),
    "maps with a border": sense(smooth(6, 7) * box(6, 7), lines(6, 7)),
    "everything": sense(smooth(6, 7), torch.ones(6, 7) > 0),
    "nothing": sense(smooth(6, 7), torch.zeros(6, 7) > 0),
    "one coil, points": sense(phases(6, 7), points(6, 7)),
    "one coil, columns": sense(phases(7, 6), lines(7, 6)),
    "one coil with holes": sense(phases(7, 6) * points(7, 6, 5), lines(7, 6)),
    "a batch": sense(
        torch.stack([smooth(6, 7), smooth(6, 7).flip(-1)]),
        torch.stack([lines(6, 7), lines(6, 7, 1)]),
    ),
    "a batch with one mask": sense(torch.stack([smooth(6, 7), smooth(6, 7).mul(1j)]), lines(6, 7)),
    "a batch of rows": sense(
        torch.stack([smooth(7, 6), smooth(7, 6).flip(-2)]),
        torch.stack([lines(6, 7).mT, lines(6, 7, 1).mT]),
    ),
    "one coil, masks": sense(phases(6, 7), torch.stack([points(6, 7), points(6, 7, 1)])),
    "one coil, batch": sense(torch.stack([phases(6, 7)] * 2), torch.stack([points(6, 7)] * 2)),
}
every_operator = pytest.mark.parametrize("A", OPERATORS.values(), ids=OPERATORS)


def batch_of(A):
    return torch.broadcast_shapes(A.maps.shape[:-3], A.mask.shape[:-2])


@every_operator
def test_the_basis_is_unitary(A):
    basis = spectrum(A)
    shape = (*batch_of(A), *A.mask.shape[-2:])
    x, c = complex_normal(*shape, seed=1), complex_normal(*shape, seed=2)
    assert basis.analyse(x).shape == shape
    torch.testing.assert_close(basis.synthesise(basis.analyse(x)), x)
    torch.testing.assert_close(basis.analyse(basis.synthesise(c)), c)
    left, right = (basis.analyse(x).conj() * c).sum(), (x.conj() * basis.synthesise(c)).sum()
    torch.testing.assert_close(left, right)


@every_operator
def test_the_operator_is_diagonal_in_it(A):
    """A^H A = V d^2 V^H; values below 1e-3 are left out, which changes A^H A by less than 1e-6."""
    basis = spectrum(A)
    assert basis.values.shape == (*batch_of(A), *A.mask.shape[-2:])
    x = complex_normal(4, *batch_of(A), *A.mask.shape[-2:], seed=1)
    rebuilt = basis.synthesise(basis.values**2 * basis.analyse(x))
    torch.testing.assert_close(rebuilt, A.gram(x), rtol=0, atol=1e-5)


@every_operator
def test_singular_values(A):
    """Beside those of the dense operator."""
    basis = spectrum(A)
    height, width = A.mask.shape[-2:]
    units = torch.eye(height * width, dtype=torch.complex128).reshape(-1, height, width)
    for item in range(2 if batch_of(A) else 1):
        pick = (item,) if batch_of(A) else ()
        maps = A.maps[pick] if A.maps.ndim > 3 else A.maps
        mask = A.mask[pick] if A.mask.ndim > 2 else A.mask
        dense = sense(maps, mask)(units).flatten(1)
        expected = torch.linalg.svdvals(dense)[: height * width]
        expected = torch.where(expected < 1e-3, 0, expected)
        found = basis.values[pick].flatten().sort(descending=True).values[: len(expected)]
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@every_operator
def test_functions_of_singular_values(A):
    """Each image with its own: A^H A x + (A^H A)^2 z; what is not there is left out."""
    shape = (*batch_of(A), *A.mask.shape[-2:])
    x, z = complex_normal(*shape, seed=1), complex_normal(*shape, seed=2)
    made = spectrum(A).apply(lambda d: (d**2, d**4), x, z)
    torch.testing.assert_close(made, A.gram(x) + A.gram(A.gram(z)), rtol=0, atol=2e-5)


@every_operator
def test_which_operators_have_a_spectrum(A):
    assert has_spectrum(A)


def test_single_precision_keeps_its_type_and_knows_what_is_not_seen():
    A = sense(smooth(7, 8).to(torch.complex64), lines(7, 8))
    one = sense(torch.ones(1, 7, 8, dtype=torch.complex64), lines(7, 8))
    for operator in (A, one):
        basis = spectrum(operator)
        x = complex_normal(7, 8, dtype=torch.complex64)
        assert basis.values.dtype == torch.float32
        assert basis.analyse(x).dtype == basis.synthesise(x).dtype == torch.complex64
        assert basis.apply(lambda d: (d,), x).dtype == torch.complex64
    half = torch.zeros(7, 8, dtype=torch.bool)
    half[:, ::2] = (
        True  # one coil with a hole and half of the lines: half of the directions are not seen
    )
    hole = torch.ones(1, 7, 8, dtype=torch.complex64)
    hole[0, 0, 0] = 0
    values = spectrum(sense(hole, half)).values
    double = spectrum(sense(hole.to(torch.complex128), half)).values
    assert torch.equal(values == 0, double == 0)
    assert 7 * 4 <= int((values == 0).sum()) <= 7 * 4 + 1


def test_operators_without_a_cheap_spectrum():
    with pytest.raises(
        ValueError, match=r"varies along both axes.*give coils: lanczos or each"
    ) as error:
        spectrum(sense(smooth(6, 7), points(6, 7)))
    assert "\n" not in str(error.value)
    mixed = torch.stack([lines(6, 6), lines(6, 6, 1).mT])
    with pytest.raises(ValueError, match="varies along both axes"):
        spectrum(sense(smooth(6, 6), mixed))
    assert not has_spectrum(sense(smooth(6, 6), mixed))
    with pytest.raises(ValueError, match="one set of coil maps"):
        spectrum(sense(torch.stack([smooth(6, 7)] * 2), lines(6, 7), sets=True))


def test_double_precision_helps_where_single_does_not(monkeypatch):
    """LAPACK's single-precision eigenvalues sometimes do not converge where many are alike."""
    real, asked = torch.linalg.eigh, []

    def fails_in_single(matrices):
        asked.append(matrices.dtype)
        if matrices.dtype == torch.complex64:
            raise torch.linalg.LinAlgError("failed to converge")
        return real(matrices)

    A = sense(smooth(6, 8).to(torch.complex64), lines(6, 8))
    expected = spectrum(A)
    monkeypatch.setattr(torch.linalg, "eigh", fails_in_single)
    basis = spectrum(A)
    assert asked == [torch.complex64, torch.complex128]
    torch.testing.assert_close(basis.values, expected.values, atol=1e-4, rtol=0)
    x = complex_normal(6, 8).to(torch.complex64)
    torch.testing.assert_close(basis.synthesise(basis.analyse(x)), x)


LINED = ["columns", "columns, odd", "rows", "rows, odd", "rough maps", "nothing"]


@pytest.mark.parametrize("weight", [1e-2, 1e-6, 1e-10])
@pytest.mark.parametrize(
    "name", [*LINED, "maps with holes", "maps with a border", "everything", "one coil, columns"]
)
def test_solution_by_lines(name, weight):
    """(A^H A + weight) x = b, to the last digits that the condition number leaves."""
    A = OPERATORS[name]
    shape = A.mask.shape
    unit = torch.eye(shape.numel(), dtype=torch.complex128).reshape(-1, *shape)
    dense = torch.stack([A.H(A(image)).flatten() for image in unit], 1)
    b = complex_normal(*shape, seed=4)
    expected = torch.linalg.solve(dense + weight * unit.flatten(1), b.flatten()).reshape(shape)
    assert has_lines(A)
    error = (solve_by_lines(A, b, weight) - expected).norm() / expected.norm()
    assert float(error) < 1e-15 / weight + 1e-12


def test_solution_by_lines_in_parts(monkeypatch):
    A, b = OPERATORS["maps with a border"], complex_normal(6, 7, seed=4)
    whole = solve_by_lines(A, b, 0.1)
    monkeypatch.setattr("mrirecon.operators.spectrum.LINES", 2 * 7 * 7)
    torch.testing.assert_close(solve_by_lines(A, b, 0.1), whole)


@pytest.mark.parametrize("sets", [False, True])
def test_operators_without_lines(sets):
    maps = torch.stack([smooth(6, 7)] * 2) if sets else smooth(6, 7)
    assert not has_lines(sense(maps, lines(6, 7) if sets else points(6, 7), sets=sets))
