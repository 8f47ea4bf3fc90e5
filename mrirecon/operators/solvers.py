"""Iterative solvers for complex, batched problems.

Every item of a batch is solved independently: inner products, step sizes and stopping are per item. An item consists of
the last `item_axes` axes (2 for images).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.tensors import as_parts, norm, one_by_one

EVERY = 10  # iterations from one look at convergence to the next, on devices whose work a look waits for
LEAST = 1e-26  # squared norm of a residual that is taken for 0, beside a right-hand side of 1
Map = Callable[[Tensor], Tensor]
Callback = Callable[[int, Tensor], object]


def conjugate_gradient(
    gram: Map,
    b: Complex[Tensor, "*shape"],
    start: Complex[Tensor, "*shape"] | None = None,
    *,
    weight: float | Tensor = 0.0,
    iterations: int,
    tolerance: float = 0.0,
    item_axes: int = 2,
    callback: Callback | None = None,
) -> Complex[Tensor, "*shape"]:
    """Solve (G + weight) x = b for a Hermitian positive semi-definite G (Hestenes & Stiefel 1952).

    Inner products are r^H r, with the conjugate. An item is final once ||r|| <= tolerance ||b||; the loop ends when all
    are, on a GPU at the next of every `EVERY` iterations. For an indefinite or non-Hermitian G, or b outside its range,
    the result is silently wrong.

    Args:
        gram: applies G.
        b: right-hand side.
        start: first guess; zero when None.
        weight: added to G; a tensor broadcasts against b.
        iterations: most iterations.
        tolerance: relative residual at which an item is done; 0 runs all iterations.
        item_axes: number of trailing axes that make one item.
        callback: called with (iteration, x) after each iteration.

    Example:
        x = mr.conjugate_gradient(A.gram, A.H(y), weight=0.01, iterations=20)
    """
    # Without callback and autograd, vectors are overwritten: this saves a tenth of the time with cheap operators.
    in_place = callback is None and not torch.is_grad_enabled()
    if in_place and not one_by_one(b):
        return _without_waiting(gram, b, start, weight, iterations, tolerance, item_axes)

    if in_place and isinstance(weight, Tensor) and weight.numel() == 1:
        weight = float(weight)
    gp = torch.empty_like(b)
    if torch.is_grad_enabled():  # the ratios of residuals below rounding have no finite gradient
        tolerance = max(tolerance, torch.finfo(b.dtype).eps)

    def damped(v: Tensor) -> Tensor:
        return _damped(gram, v, weight, gp) if in_place else gram(v) + weight * v

    x = torch.zeros_like(b) if start is None else start.clone() if in_place else start
    r = b.clone() if start is None else b - damped(x)
    p = r.clone() if in_place else r
    rr = _dot(r, r, item_axes)
    goal = tolerance**2 * _dot(b, b, item_axes)
    for iteration in range(iterations):
        active = rr > goal
        if not bool(active.any()):
            break
        gp = damped(p)
        pgp = _dot(p, gp, item_axes)
        going = active & (pgp > 0)
        alpha = torch.where(going, rr / torch.where(going, pgp, 1), 0)
        x, r = _plus(x, alpha, p, in_place), _plus(r, -alpha, gp, in_place)
        previous, rr = rr, torch.where(active, _dot(r, r, item_axes), rr)
        beta = rr / torch.where(previous > 0, previous, 1)
        p = p.mul_(beta).add_(r) if in_place else r + beta * p
        if callback is not None:
            callback(iteration, x)
    return x


def _without_waiting(
    gram: Map,
    b: Tensor,
    start: Tensor | None,
    weight: float | Tensor,
    iterations: int,
    tolerance: float,
    item_axes: int,
) -> Tensor:
    """`conjugate_gradient` in few operators, none of which a GPU's host waits for: nine a step besides G.

    With q = p / ||r||^2 the step of x is q / <q, G q>, and the next q is q + r / ||r||^2: no ratio is needed. Where an
    item is final, the step is divided by infinity. Items are scaled to ||b|| = 1, so that LEAST is small.
    """
    axes = tuple(range(-item_axes - 1, 0))
    size = norm(b, item_axes)[(..., *[None] * item_axes)].clamp_min(torch.finfo(b.dtype).tiny)
    minus = -size
    # -x and r, which change alike: by q and G q, both over <q, G q>.
    ends, ways = (b.new_empty(2, *b.shape) for _ in range(2))
    (x, r), (q, gq) = ends, ways
    torch.div(b, size, out=r)
    if start is None:
        x.zero_()
    else:
        torch.div(start, minus, out=x)
        r += _damped(gram, x, weight, gq)
    never = size.new_full((), math.inf)
    least = size.new_full((), 1e-6 * LEAST / b[(0,) * (b.ndim - item_axes)].numel())

    def energy(r: Tensor) -> Tensor:  # never 0, but far below LEAST where r is
        return torch.addcmul(least, as_parts(r), as_parts(r)).sum(axes, keepdim=True)

    rr = energy(r)
    torch.div(as_parts(r), rr, out=as_parts(q))
    for iteration in range(iterations):
        active = rr > max(tolerance**2, LEAST)
        look = tolerance and iteration % EVERY == EVERY - 1 and not torch.compiler.is_compiling()
        if look and not bool(active.any()):
            break
        _damped(gram, q, weight, gq)
        curvature = (as_parts(q) * as_parts(gq)).sum(axes, keepdim=True)
        step = torch.where(active, curvature, never)
        as_parts(ends).addcdiv_(as_parts(ways), step, value=-1)
        rr = energy(r)
        as_parts(q).addcdiv_(as_parts(r), rr)
    return x * minus


def _damped(gram: Map, v: Tensor, weight: float | Tensor, out: Tensor) -> Tensor:
    """G v + weight v, written to `out`."""
    if isinstance(weight, Tensor):
        return torch.addcmul(gram(v), v, weight.to(v.dtype), out=out)
    return torch.add(gram(v), v, alpha=weight, out=out)


def fista(
    gradient: Map,
    prox: Map,
    start: Complex[Tensor, "*shape"],
    *,
    step: float,
    iterations: int,
    item_axes: int = 2,
    callback: Callback | None = None,
) -> Complex[Tensor, "*shape"]:
    """Minimise f(x) + g(x) by accelerated proximal gradient steps (Beck & Teboulle 2009).

    The momentum restarts, per item, when it points uphill (O'Donoghue & Candes 2015), which keeps convergence fast on
    strongly convex parts.

    Args:
        gradient: gradient of the smooth f, with Lipschitz constant at most 1 / step.
        prox: proximal map of step * g.
        start: first guess.
        step: gradient step.
        iterations: number of gradient evaluations.
        item_axes: number of trailing axes that make one item.
        callback: called with (iteration, x) after each iteration.

    Example:
        W = mr.Wavelet(image.shape)

        def shrink(x):
            c = W(x)
            return W.H(c * (1 - 1e-3 / c.abs().clamp(min=1e-3)))

        x = mr.fista(lambda x: A.H(A(x) - y), shrink, A.H(y), step=1.0, iterations=20)
    """
    x = z = start
    t = torch.ones_like(_dot(x, x, item_axes))
    for iteration in range(iterations):
        previous, x = x, prox(z - step * gradient(z))
        move = x - previous
        t = torch.where(_dot(z - x, move, item_axes) > 0, 1, t)
        t_next = (1 + torch.sqrt(1 + 4 * t**2)) / 2
        z = x + (t - 1) / t_next * move
        t = t_next
        if callback is not None:
            callback(iteration, x)
    return x


def pdhg(
    gradient: Map,
    operator: Map,
    adjoint: Map,
    dual_prox: Callable[[Tensor, float], Tensor],
    start: Complex[Tensor, "*shape"],
    *,
    lipschitz: float,
    norm: float,
    balance: float,
    iterations: int,
    callback: Callback | None = None,
) -> Complex[Tensor, "*shape"]:
    """Minimise f(x) + g(K x) by accelerated primal-dual steps (Chen, Lan & Ouyang 2014, algorithm 2).

    Chambolle & Pock's primal-dual hybrid gradient with Nesterov's acceleration of the smooth f: the error falls as
    lipschitz / iterations^2 + norm / iterations, with one gradient, one K and one K^H per iteration.

    Args:
        gradient: gradient of f.
        operator: applies K.
        adjoint: applies K^H.
        dual_prox: (u, step) -> proximal map of step * g^*, the convex conjugate (a projection for norms).
        start: first guess.
        lipschitz: constant of the gradient of f.
        norm: upper bound of ||K||.
        balance: expected size of x over that of the dual variable; affects the speed only.
        iterations: number of gradient evaluations.
        callback: called with (iteration, x) after each iteration.

    Example:
        D, weight = mr.Gradient(), 1e-3

        def project(u, step):
            return u / (u.norm(dim=-3, keepdim=True) / weight).clamp(min=1)

        x = mr.pdhg(
            lambda x: A.H(A(x) - y),
            D.forward,
            D.adjoint,
            project,
            A.H(y),
            lipschitz=1.0,
            norm=8**0.5,
            balance=1.0,
            iterations=20,
        )
    """
    x = newest = previous = start
    u = torch.zeros_like(operator(start))
    dual_step = 1 / (norm * balance)
    for iteration in range(iterations):
        t = iteration + 1
        step = t / (2 * lipschitz + t * norm / balance)
        between = torch.lerp(x, newest, 2 / (t + 1))
        ahead = newest + (t - 1) / t * (newest - previous)
        u = dual_prox(u + dual_step * operator(ahead), dual_step)
        previous, newest = newest, newest - step * (gradient(between) + adjoint(u))
        x = torch.lerp(x, newest, 2 / (t + 1))
        if callback is not None:
            callback(iteration, x)
    return x


def largest_eigenvalue(
    gram: Map, start: Complex[Tensor, "*shape"], *, iterations: int = 30, item_axes: int = 2
) -> Float[Tensor, "*item"]:
    """Largest eigenvalue of a Hermitian positive semi-definite G by the power method, per item.

    The result is a lower bound that becomes tighter with iterations; for G = A^H A it is the squared norm of A.

    Args:
        gram: applies G.
        start: first vector; must not be orthogonal to the leading eigenvector, such as noise.
        iterations: number of applications of G.
        item_axes: number of trailing axes that make one item.
    """
    x = start / torch.sqrt(_dot(start, start, item_axes))
    value = _dot(x, x, item_axes)
    for _ in range(iterations):
        y = gram(x)
        value = torch.sqrt(_dot(y, y, item_axes))
        x = y / value.clamp_min(torch.finfo(value.dtype).tiny)
    return value


def _plus(a: Tensor, factor: Tensor, b: Tensor, in_place: bool) -> Tensor:
    return a.addcmul_(b, factor.to(b.dtype)) if in_place else a + factor * b


def _dot(a: Tensor, b: Tensor, item_axes: int) -> Tensor:
    """Re <a, b> per item, kept broadcastable against the items."""
    shape = a.shape[: a.ndim - item_axes]
    dot = torch.linalg.vecdot(a.reshape(*shape, -1), b.reshape(*shape, -1)).real
    return dot.reshape(*shape, *[1] * item_axes)
