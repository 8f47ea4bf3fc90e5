"""The shared test list over every operator of the package."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import check_operator, complex_normal

from mrirecon.operators import Coils, Fourier, Gradient, Mask, Wavelet, sense
from mrirecon.operators.base import LinearOperator


def random_mask(*shape, seed=0, share=0.5):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < share


def columns(height, width, seed=0):
    return random_mask(width, seed=seed).expand(height, width).clone()


def maps(*shape, seed=4):
    return complex_normal(*shape, seed=seed)


OPERATORS = {
    "sense": (sense(maps(3, 6, 8), random_mask(6, 8)), (6, 8), (3, 6, 8)),
    "sense_odd": (sense(maps(2, 7, 5), random_mask(7, 5)), (7, 5), (2, 7, 5)),
    "sense_columns": (sense(maps(3, 7, 9), columns(7, 9)), (7, 9), (3, 7, 9)),
    "sense_rows": (sense(maps(3, 9, 6), columns(6, 9).mT), (9, 6), (3, 9, 6)),
    "sense_full": (sense(maps(3, 5, 4), torch.ones(5, 4) > 0), (5, 4), (3, 5, 4)),
    "sense_nothing": (sense(maps(3, 5, 4), torch.zeros(5, 4) > 0), (5, 4), (3, 5, 4)),
    "sense_one_coil": (
        sense(torch.ones(1, 6, 7, dtype=torch.complex128), random_mask(6, 7)),
        (6, 7),
        (1, 6, 7),
    ),
    "sense_one_pixel": (sense(maps(2, 1, 1), torch.ones(1, 1) > 0), (1, 1), (2, 1, 1)),
    "sense_batch": (sense(maps(4, 3, 6, 5), random_mask(4, 6, 5)), (4, 6, 5), (4, 3, 6, 5)),
    "sense_batch_columns": (
        sense(maps(2, 3, 6, 5), torch.stack([columns(6, 5, 1), columns(6, 5, 2)])),
        (2, 6, 5),
        (2, 3, 6, 5),
    ),
    "sense_batch_one_mask": (
        sense(maps(2, 2, 3, 6, 5), random_mask(6, 5)),
        (2, 2, 6, 5),
        (2, 2, 3, 6, 5),
    ),
    "sense_sets": (sense(maps(2, 3, 6, 5), random_mask(6, 5), sets=True), (2, 6, 5), (3, 6, 5)),
    "sense_sets_columns": (
        sense(maps(2, 3, 6, 5), columns(6, 5), sets=True),
        (2, 6, 5),
        (3, 6, 5),
    ),
    "sense_sets_batch": (
        sense(maps(4, 2, 3, 5, 6), random_mask(4, 5, 6), sets=True),
        (4, 2, 5, 6),
        (4, 3, 5, 6),
    ),
    "sense_batch_of_images": (sense(maps(3, 6, 8), random_mask(6, 8)), (2, 6, 8), (2, 3, 6, 8)),
    "parts": (
        Mask(random_mask(6, 8)) @ Fourier() @ Coils(maps(3, 6, 8)),
        (6, 8),
        (3, 6, 8),
    ),
    "sum": (Wavelet((16, 24)) + 2j * Fourier(), (16, 24), (16, 24)),
    "scaled": (-3 * Gradient(), (6, 7), (2, 6, 7)),
    "wavelet": (Wavelet((16, 24)), (16, 24), (16, 24)),
    "wavelet_odd": (Wavelet((31, 45), 2), (2, 31, 45), (2, 31, 45)),
    "wavelet_odd_half": (Wavelet((38, 22), 2), (38, 22), (38, 22)),
    "wavelet_small": (Wavelet((6, 7), 1), (6, 7), (6, 7)),
    "wavelet_none": (Wavelet((5, 3)), (5, 3), (5, 3)),
    "gradient": (Gradient(), (6, 7), (2, 6, 7)),
    "gradient_batch": (Gradient(), (3, 2, 5, 4), (3, 2, 2, 5, 4)),
    "gradient_line": (Gradient(), (1, 4), (2, 1, 4)),
    "composed": (
        sense(maps(3, 17, 20), random_mask(17, 20)) @ Wavelet((17, 20)).H,
        (17, 20),
        (3, 17, 20),
    ),
    "composed_twice": (
        Gradient()
        @ sense(maps(2, 9, 6), random_mask(9, 6)).H
        @ sense(maps(2, 9, 6), columns(9, 6)),
        (9, 6),
        (2, 9, 6),
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operator(name):
    check_operator(*OPERATORS[name])


@given(
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(0, 999),
)
@settings(deadline=None, max_examples=20)
def test_sense_of_any_size(coils, height, width, share, seed):
    A = sense(maps(coils, height, width, seed=seed), random_mask(height, width, share=share))
    check_operator(A, (height, width), (coils, height, width))


@given(st.integers(6, 40), st.integers(6, 40), st.integers(0, 3))
@settings(deadline=None, max_examples=20)
def test_wavelet_of_any_size(height, width, levels):
    if min(height, width) >> max(levels - 1, 0) < 6:
        with pytest.raises(ValueError, match=f"{levels} wavelet levels are too many"):
            Wavelet((height, width), levels)
    else:
        check_operator(Wavelet((height, width), levels), (height, width), (height, width))


@pytest.mark.parametrize("sets", [False, True])
def test_a_batch_of_slices_is_solved_as_each_alone(sets):
    shape = (4, 2, 3, 6, 7) if sets else (4, 3, 6, 7)
    some, mask = (
        maps(*shape),
        torch.stack([random_mask(6, 7), columns(6, 7), *random_mask(2, 6, 7)]),
    )
    A = sense(some, mask, sets=sets)
    x, y = complex_normal(4, *((2,) if sets else ()), 6, 7), complex_normal(4, 3, 6, 7)
    alone = [sense(some[i], mask[i], sets=sets) for i in range(4)]
    for method, argument in (("forward", x), ("adjoint", y), ("gram", x)):
        together = getattr(A, method)(argument)
        each = torch.stack([getattr(a, method)(z) for a, z in zip(alone, argument, strict=True)])
        torch.testing.assert_close(together, each)


@pytest.mark.parametrize("operator", [Wavelet((17, 22)), Gradient()])
def test_leading_axes_are_a_batch(operator):
    x = complex_normal(2, 3, 17, 22)
    each = torch.stack([torch.stack([operator(z) for z in row]) for row in x])
    torch.testing.assert_close(operator(x), each)


def test_composition_of_grams_and_adjoints():
    A, W = sense(maps(3, 16, 18), random_mask(16, 18)), Wavelet((16, 18))
    x, y = complex_normal(16, 18), complex_normal(3, 16, 18)
    torch.testing.assert_close((A @ W)(x), A(W(x)))
    torch.testing.assert_close((A @ W).H(y), W.H(A.H(y)))
    torch.testing.assert_close((A @ W).gram(x), W.H(A.H(A(W(x)))))
    assert A.H.H is A
    assert isinstance((A @ W).H.H, LinearOperator)


def test_single_precision_keeps_its_type():
    A = sense(maps(3, 16, 18).to(torch.complex64), random_mask(16, 18))
    x = complex_normal(16, 18, dtype=torch.complex64)
    for result in (A(x), A.H(A(x)), A.gram(x), Wavelet((16, 18))(x), Gradient()(x)):
        assert result.dtype == torch.complex64


def test_operators_add_scale_and_say_their_shapes():
    m, k = maps(3, 6, 8), random_mask(6, 8)
    A, B = sense(m, k), Mask(k) @ Fourier() @ Coils(m)
    x = complex_normal(6, 8, seed=1)
    torch.testing.assert_close(B(x), A(x))
    torch.testing.assert_close((2 * A - B)(x), A(x))
    torch.testing.assert_close((A * 2j).H(A(x)), -2j * A.gram(x))
    assert repr(A) == "Sense: 6 x 8 -> 3 x 6 x 8"
    assert repr(B) == "Mask @ Fourier @ Coils: 6 x 8 -> 3 x 6 x 8"
    assert repr(B.H) == "(Mask @ Fourier @ Coils).H: 3 x 6 x 8 -> 6 x 8"


def test_shapes_that_do_not_fit_are_one_sentence():
    A = sense(maps(3, 6, 8), random_mask(6, 8))
    with pytest.raises(ValueError, match=r"^Sense: 6 x 8 -> 3 x 6 x 8 is given 5 x 8$"):
        A(complex_normal(5, 8, seed=0))
    with pytest.raises(ValueError, match=r"cannot follow Sense: .*: it takes 16 x 24"):
        Wavelet((16, 24)) @ A
    with pytest.raises(ValueError, match="differ in shape: they cannot be added"):
        A + Wavelet((6, 8), 0)
