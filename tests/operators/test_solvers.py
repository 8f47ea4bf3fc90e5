"""Solvers against dense algebra and problems solved in closed form."""

import itertools

import numpy as np
import pytest
import torch
from properties import complex_normal

from mrirecon.operators import (
    Gradient,
    Wavelet,
    conjugate_gradient,
    fista,
    largest_eigenvalue,
    pdhg,
    sense,
    solvers,
)
from mrirecon.operators.gradient import project_to_ball, soft_threshold


def matrix_problem(rows=30, columns=20, seed=0):
    A, b = complex_normal(rows, columns, seed=seed), complex_normal(rows, 1, seed=seed + 1)
    return A / torch.linalg.matrix_norm(A, 2), b


def test_conjugate_gradients_solve_tikhonov_exactly():
    A, b = matrix_problem()
    identity = torch.eye(20, dtype=A.dtype)
    expected = torch.linalg.solve(A.mH @ A + 0.01 * identity, A.mH @ b)
    x = conjugate_gradient(lambda x: A.mH @ (A @ x) + 0.01 * x, A.mH @ b, iterations=60)
    torch.testing.assert_close(x, expected)
    start = complex_normal(20, 1, seed=5)
    warm = conjugate_gradient(lambda x: A.mH @ (A @ x) + 0.01 * x, A.mH @ b, start, iterations=60)
    torch.testing.assert_close(warm, expected)


def test_conjugate_gradients_from_zero_reach_the_solution_of_smallest_norm():
    A, b = matrix_problem(10, 20)
    x = conjugate_gradient(lambda x: A.mH @ (A @ x), A.mH @ b, iterations=40, tolerance=1e-12)
    torch.testing.assert_close(x, torch.linalg.pinv(A) @ b)


def test_the_conjugate_gradient_error_falls_in_the_energy_norm_at_every_step():
    A, b = matrix_problem()
    solution = torch.linalg.lstsq(A, b).solution
    errors = []
    conjugate_gradient(
        lambda x: A.mH @ (A @ x),
        A.mH @ b,
        iterations=15,
        callback=lambda _, x: errors.append(float(torch.linalg.vector_norm(A @ (x - solution)))),
    )
    assert len(errors) == 15
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))


def test_items_of_a_batch_stop_on_their_own():
    diagonal = torch.tensor([[1.0] * 6, [1, 2, 3, 4, 5, 6], [1, 1, 1, 9, 9, 9]]).reshape(3, 2, 3)
    b = complex_normal(3, 2, 3)
    b[2] = 0  # an empty slice
    steps = []
    x = conjugate_gradient(
        lambda x: diagonal * x,
        b,
        iterations=50,
        tolerance=1e-10,
        callback=lambda i, x: steps.append(x.clone()),
    )
    torch.testing.assert_close(x, b / diagonal)
    assert torch.equal(steps[0][0], steps[-1][0])  # solved in one step, then left alone
    assert 5 <= len(steps) <= 8
    for item in range(3):
        alone = conjugate_gradient(
            lambda x, d=diagonal[item]: d * x, b[item], iterations=50, tolerance=1e-10
        )
        torch.testing.assert_close(x[item], alone)


def test_conjugate_gradients_survive_zero():
    zero = torch.zeros(2, 4, 4, dtype=torch.complex64)
    assert not conjugate_gradient(lambda x: x, zero, iterations=5).any()
    assert not conjugate_gradient(lambda x: 0 * x, zero + 1, iterations=5).any()


@pytest.mark.parametrize("scale", [1.0, 1e-8])
def test_gradients_of_conjugate_gradients_that_end_early_are_those_of_the_solution(scale):
    """A projection is solved in one step; the further residuals are rounding errors of rounding errors."""
    kept = complex_normal((1, 6, 6)).real > -0.3
    b, weight = (scale * complex_normal((1, 6, 6), seed=1) * kept).requires_grad_(), 0.5
    x = conjugate_gradient(lambda v: v * kept, b, weight=weight, iterations=20)
    (gradient,) = torch.autograd.grad(x.real.sum(), b)
    expected = (kept / (1 + weight)).to(
        gradient
    )  # of parts outside too, which solve x = b / weight there
    assert (gradient * kept - expected).abs().max() < 1e-5


def test_fista_solves_the_lasso_of_an_orthogonal_matrix_in_one_step():
    Q = torch.linalg.qr(complex_normal(20, 20)).Q
    b, weight = complex_normal(20, 1, seed=3), 0.8
    x = fista(
        lambda x: Q.mH @ (Q @ x - b),
        lambda x: soft_threshold(x, weight),
        torch.zeros_like(b),
        step=1.0,
        iterations=1,
    )
    torch.testing.assert_close(x, soft_threshold(Q.mH @ b, weight))


def test_fista_meets_the_optimality_conditions_of_a_general_lasso():
    A, b = matrix_problem(30, 40)
    weight = 0.05
    x = fista(
        lambda x: A.mH @ (A @ x - b),
        lambda x: soft_threshold(x, weight),
        torch.zeros(40, 1, dtype=A.dtype),
        step=1.0,
        iterations=3000,
    )
    correlation = A.mH @ (b - A @ x)
    kept = x.abs() > 0
    assert 3 < int(kept.sum()) < 40
    torch.testing.assert_close(correlation[kept], (weight * x / x.abs())[kept], atol=1e-8, rtol=0)
    assert float(correlation[~kept].abs().max()) <= weight * (1 + 1e-8)


def tv_denoise(v, weight, iterations=2000):
    D = Gradient()
    return pdhg(
        lambda x: x - v,
        D,
        D.adjoint,
        lambda u, _: project_to_ball(u, weight),
        torch.zeros_like(v),
        lipschitz=1.0,
        norm=8**0.5,
        balance=1.0,
        iterations=iterations,
    )


def test_total_variation_of_a_step_shrinks_its_two_levels_by_weight_over_length():
    step = torch.tensor([[5.0] * 4 + [1.0] * 16], dtype=torch.complex128)
    expected = torch.tensor([[5.0 - 2 / 4] * 4 + [1.0 + 2 / 16] * 16], dtype=torch.complex128)
    torch.testing.assert_close(tv_denoise(step, 2.0, 4000), expected, atol=1e-3, rtol=0)
    flat = tv_denoise(step, 100.0, 6000)  # beyond the merging weight only the mean is left
    torch.testing.assert_close(flat, step.mean().expand_as(step), atol=1e-2, rtol=0)


def test_pdhg_and_fista_reach_the_same_total_variation_minimum():
    D, v, weight = Gradient(), complex_normal(12, 9), 0.4
    dual = fista(
        lambda p: D(D.adjoint(p) - v),
        lambda p: project_to_ball(p, weight),
        torch.zeros_like(D(v)),
        step=1 / 8,
        iterations=3000,
        item_axes=3,
    )
    torch.testing.assert_close(tv_denoise(v, weight), v - D.adjoint(dual), atol=1e-3, rtol=0)


def test_pdhg_with_wavelets_meets_fista():
    mask = torch.rand(32, 28, generator=torch.Generator().manual_seed(1)) < 0.6
    maps = complex_normal(3, 32, 28)
    A = sense(maps / torch.linalg.vector_norm(maps, dim=0), mask)
    W, y, weight = Wavelet((32, 28)), A(complex_normal(32, 28, seed=9)), 0.3
    b = A.H(y)

    def objective(x):
        misfit = (A(x) - y).abs().square().sum() / 2
        return float(misfit + weight * W(x).abs().sum())

    by_fista = fista(
        lambda x: A.gram(x) - b,
        lambda x: W.H(soft_threshold(W(x), weight)),
        torch.zeros_like(b),
        step=1.0,
        iterations=400,
    )
    by_pdhg = pdhg(
        lambda x: A.gram(x) - b,
        W,
        W.adjoint,
        lambda u, _: u / u.abs().clamp_min(weight) * weight,
        torch.zeros_like(b),
        lipschitz=1.0,
        norm=1.0,
        balance=1.0,
        iterations=400,
    )
    assert objective(by_pdhg) == pytest.approx(objective(by_fista), rel=1e-4)
    assert objective(by_fista) < 0.99 * objective(b)


def test_pdhg_gives_the_dual_proximal_map_its_step():
    """For g = 1/2 |x - c|^2 it is (u - step c) / (1 + step)."""
    v, c = complex_normal(6, 5), complex_normal(6, 5, seed=1)
    x = pdhg(
        lambda x: x - v,
        lambda x: x,
        lambda u: u,
        lambda u, step: (u - step * c) / (1 + step),
        torch.zeros_like(v),
        lipschitz=1.0,
        norm=1.0,
        balance=2.0,
        iterations=500,
    )
    torch.testing.assert_close(x, (v + c) / 2, atol=1e-4, rtol=0)


def test_pdhg_takes_the_steps_of_its_paper():
    """Chen, Lan & Ouyang 2014, algorithm 2 with beta = (t + 1) / 2 and theta = (t - 1) / t, in numpy."""
    A, K, b, start = (
        complex_normal(*shape, seed=seed).numpy()
        for seed, shape in enumerate([(9, 6), (7, 6), (9,), (6,)])
    )
    lipschitz, norm = np.linalg.norm(A, 2) ** 2, np.linalg.norm(K, 2)
    weight, balance = 0.7, 1.7

    def project(u):
        return u / np.maximum(abs(u) / weight, 1)

    expected, y = [], 0
    x = x_before = average = start
    tau = 1 / (norm * balance)
    for t in range(1, 13):
        beta, theta = (t + 1) / 2, (t - 1) / t
        eta = t / (2 * lipschitz + t * norm / balance)
        middle = (1 - 1 / beta) * average + x / beta
        y = project(y + tau * K @ (x + theta * (x - x_before)))
        gradient = A.conj().T @ (A @ middle - b)
        x_before, x = x, x - eta * (gradient + K.conj().T @ y)
        average = (1 - 1 / beta) * average + x / beta
        expected.append(average)
    found = []
    pdhg(
        lambda x: torch.from_numpy(A.conj().T @ (A @ x.numpy() - b)),
        lambda x: torch.from_numpy(K @ x.numpy()),
        lambda u: torch.from_numpy(K.conj().T @ u.numpy()),
        lambda u, _: torch.from_numpy(project(u.numpy())),
        torch.from_numpy(start),
        lipschitz=float(lipschitz),
        norm=float(norm),
        balance=balance,
        iterations=12,
        callback=lambda _, x: found.append(x.numpy().copy()),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_largest_eigenvalue_is_per_item():
    A = complex_normal(3, 8, 8)
    G = A.mH @ A
    found = largest_eigenvalue(lambda x: G @ x, complex_normal(3, 8, 1, seed=2), iterations=500)
    torch.testing.assert_close(
        found.flatten(), torch.linalg.matrix_norm(A, 2) ** 2, rtol=1e-6, atol=0
    )


def test_nothing_of_the_callers_is_overwritten():
    b, start = (torch.randn(2, 5, 4, dtype=torch.complex128) for _ in range(2))
    before, seen = (b.clone(), start.clone()), []

    def gram(x):
        return 2 * x + x.roll(1, -1) / 2 + x.roll(-1, -1) / 2

    with torch.no_grad():
        x = conjugate_gradient(gram, b, start, iterations=3)
        followed = conjugate_gradient(
            gram, b, start, iterations=3, callback=lambda _, x: seen.append(x)
        )
    watched = conjugate_gradient(gram, b, start, iterations=3)  # as for gradients
    torch.testing.assert_close(x, watched)
    torch.testing.assert_close(followed, watched)
    assert torch.equal(b, before[0]) and torch.equal(start, before[1])
    assert not torch.equal(seen[0], seen[1])


def on_accelerators(gram, b, start=None, *, weight=0.0, tolerance=0.0, iterations=5):
    """As a GPU solves."""
    return solvers._without_waiting(gram, b, start, weight, iterations, tolerance, 2)


@pytest.mark.parametrize("weight", [0.0, 0.03, torch.tensor([0.01, 0.3, 2.0]).reshape(3, 1, 1)])
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_without_waiting_the_steps_are_the_same(weight, begun, iterations):
    maps, mask = complex_normal(3, 4, 12, 10).to(torch.complex64) / 4, torch.ones(12, 10) > 0
    mask[::2, 1::3] = False
    A = sense(maps, mask)
    b = A.H(complex_normal(3, 4, 12, 10, seed=1).to(torch.complex64))
    b = b * torch.tensor([1.0, 1e-12, 1e12]).reshape(3, 1, 1)
    start = 0.5 * b if begun else None
    with torch.no_grad():
        options = {"weight": weight, "iterations": iterations}
        expected = conjugate_gradient(A.gram, b, start, **options)
        found = on_accelerators(A.gram, b, start, **options)
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).abs().max() / other.abs().max()) < 2e-5


def test_without_waiting_items_of_a_batch_stop_on_their_own():
    diagonal = torch.tensor([[1.0] * 6, [1, 2, 3, 4, 5, 6], [1, 1, 1, 9, 9, 9]]).reshape(3, 2, 3)
    b = complex_normal(3, 2, 3).to(torch.complex64)
    b[2] = 0  # an empty slice
    applied = []

    def gram(x):
        applied.append(x)
        return diagonal * x

    x = on_accelerators(gram, b, tolerance=1e-4, iterations=100)
    torch.testing.assert_close(x, b / diagonal, rtol=1e-3, atol=1e-3)
    assert len(applied) == 2 * solvers.EVERY - 1 - solvers.EVERY  # the first look finds all done
    early = on_accelerators(gram, b, tolerance=1e-4, iterations=1)
    assert torch.equal(early[0], x[0])  # solved in one step, then left alone
    assert not x[2].any()
    never = on_accelerators(gram, b, iterations=100)
    torch.testing.assert_close(never, b / diagonal, rtol=1e-5, atol=1e-5)
    assert not on_accelerators(lambda x: x, torch.zeros(2, 4, 4, dtype=torch.complex64)).any()
