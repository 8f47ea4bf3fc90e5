"""What every linear operator must satisfy; `check_operator` runs the whole list."""

import torch


def complex_normal(*shape, seed=0, dtype=torch.complex128):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=dtype, generator=generator)


def inner(a, b):
    return torch.vdot(a.flatten(), b.flatten())


def check_operator(A, domain, range_, tolerance=1e-10):
    """The list, for A from arrays of shape `domain` to arrays of shape `range_`, in double precision.

    Shapes are checked on their own: an inner product of flattened arrays does not see them.
    """
    x, y = complex_normal(*domain, seed=1), complex_normal(*range_, seed=2)
    for operator, u, v in ((A, x, y), (A.H, y, x), (A.H.H, x, y), (A.H.H.H, y, x)):
        assert operator(u).shape == v.shape
        assert operator.adjoint(v).shape == u.shape
        _adjoint(operator, u, v, tolerance)
        _linear(operator, u, tolerance)
        _gram(operator, u, tolerance)
        _autograd(operator, u, v, tolerance)
    _repeatable(A, x)


def _close(actual, expected, tolerance):
    scale = float(torch.linalg.vector_norm(expected)) or 1.0
    assert float(torch.linalg.vector_norm(actual - expected)) <= tolerance * scale


def _adjoint(A, x, y, tolerance):
    left, right = inner(A(x), y), inner(x, A.adjoint(y))
    size = torch.linalg.vector_norm(x) * torch.linalg.vector_norm(y)
    assert abs(left - right) <= tolerance * float(size)


def _linear(A, x, tolerance):
    z, a, b = complex_normal(*x.shape, seed=3), 0.3 - 1.2j, -2.0 + 0.7j
    _close(A(a * x + b * z), a * A(x) + b * A(z), tolerance)


def _gram(A, x, tolerance):
    _close(A.gram(x), A.adjoint(A(x)), tolerance)


def _autograd(A, x, y, tolerance):
    """The vector-Jacobian product of a complex linear map is, in torch, its adjoint."""
    _, gradient = torch.autograd.functional.vjp(A, x, y)
    _close(gradient, A.adjoint(y), tolerance)
    _, gradient = torch.autograd.functional.vjp(A.gram, x, x)
    _close(gradient, A.gram(x), tolerance)


def _repeatable(A, x):
    """Neither the operator nor its argument is changed by use."""
    before, first = x.clone(), A(x)
    A.gram(x)
    assert torch.equal(x, before)
    assert torch.equal(A(x), first)
