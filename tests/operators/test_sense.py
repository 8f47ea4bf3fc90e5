"""The SENSE operator against sigpy and the recorded DDS physics."""

import numpy as np
import pytest
import sigpy.mri
import torch
from golden_data import golden_arrays
from properties import complex_normal

from mrirecon.operators import conjugate_gradient, largest_eigenvalue, sense


def random_mask(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.4


@pytest.mark.parametrize("shape", [(8, 10), (9, 7)])
@pytest.mark.parametrize("coils", [1, 3])
def test_sense_is_sigpys(coils, shape):
    maps, mask = complex_normal(coils, *shape), random_mask(*shape)
    x, y = complex_normal(*shape, seed=1), complex_normal(coils, *shape, seed=2)
    A = sense(maps, mask)
    theirs = sigpy.mri.linop.Sense(maps.numpy(), weights=mask.numpy().astype(float))
    np.testing.assert_allclose(A(x).numpy(), theirs(x.numpy()), atol=1e-12)
    np.testing.assert_allclose(A.H(y).numpy(), theirs.H(y.numpy()), atol=1e-12)
    np.testing.assert_allclose(A.gram(x).numpy(), theirs.N(x.numpy()), atol=1e-12)


@pytest.fixture(scope="module")
def dds():
    return golden_arrays("dds_cg")


def close(actual, expected, tolerance=1e-5):
    error = torch.linalg.vector_norm(actual - expected) / torch.linalg.vector_norm(expected)
    assert float(error) < tolerance


def test_sense_is_the_operator_of_dds(dds):
    A = sense(dds["in/sens"][0], dds["in/mask"][0, 0] > 0)
    x, y = dds["in/x0"][0, 0], dds["in/y"][0]
    close(A(x), dds["out/Ax0"][0])
    close(A.H(y), dds["out/ATy"][0, 0])
    close(A.gram(x), dds["out/ATAx0"][0, 0])


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_conjugate_gradients_are_the_hermitian_ones(dds, steps):
    A = sense(dds["in/sens"][0], dds["in/mask"][0, 0] > 0)
    x, b = dds["in/x0"][0, 0], A.H(dds["in/y"][0])
    normal = conjugate_gradient(A.gram, b, x, iterations=steps)
    close(normal, dds[f"out/hermitian_cg_normal_n{steps}"][0, 0], 1e-4)
    prox = conjugate_gradient(lambda z: z + 5 * A.gram(z), x + 5 * b, x, iterations=steps)
    close(prox, dds[f"out/hermitian_cg_prox_gamma5_n{steps}"][0, 0], 1e-4)


def test_maps_and_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match="mask is 5 x 6, coil maps are 5 x 7: make both"):
        sense(complex_normal(2, 5, 7), random_mask(5, 6))


@pytest.mark.parametrize("sets", [False, True])
def test_norm_bound_is_the_norm_when_everything_is_sampled(sets):
    maps, full = complex_normal(*((2,) if sets else ()), 3, 6, 5), torch.ones(6, 5) > 0
    A = sense(maps, full, sets=sets)
    image = complex_normal(*((2,) if sets else ()), 6, 5, seed=5)
    norm = largest_eigenvalue(A.gram, image, iterations=3000, item_axes=A.image_axes)
    assert A.squared_norm_bound() == pytest.approx(float(norm), rel=1e-3)
    masked = sense(maps, random_mask(6, 5), sets=sets)
    norm = largest_eigenvalue(masked.gram, image, iterations=300, item_axes=A.image_axes)
    assert float(norm) < A.squared_norm_bound()
    assert sense(torch.zeros_like(maps), full, sets=sets).squared_norm_bound() == 1


def test_support_is_where_any_coil_sees():
    maps = complex_normal(3, 4, 4)
    maps[:, 1, 2] = 0
    maps[:2, 3, 3] = 0
    support = sense(maps, torch.ones(4, 4) > 0).support()
    assert not support[1, 2]
    assert int(support.sum()) == 15


@pytest.mark.parametrize("threads", [1, 16])
@pytest.mark.parametrize("sets", [False, True])
def test_solve_is_the_inverse_of_the_damped_gram(sets, threads, monkeypatch):
    """Whatever is folded away inside: shifts, coils at once or one by one, sizes odd or not, batches."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    shape = (2, 2, 3, 9, 8) if sets else (2, 3, 9, 8)
    maps = torch.randn(*shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(2, 9, 8, generator=torch.Generator().manual_seed(1)) < 0.5
    A = sense(maps / 4, mask, sets=sets)
    x = torch.randn(*maps.shape[:-3], 9, 8, dtype=torch.complex128)
    b = A.gram(x) + 0.3 * x
    torch.testing.assert_close(A.adjoint(A(x)), A.gram(x))
    for start in (None, torch.randn_like(x)):
        found = A.solve(b, 0.3, start, iterations=500, tolerance=1e-12)
        torch.testing.assert_close(found, x, rtol=1e-8, atol=1e-8)
    weight = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    found = A.solve(b, weight, iterations=500, tolerance=1e-12)
    torch.testing.assert_close(found, x, rtol=1e-8, atol=1e-8)
    assert found.abs().sum().requires_grad
    each = torch.tensor([0.3, 0.7], dtype=torch.float64).reshape(2, *[1] * (x.ndim - 1))
    found = A.solve(A.gram(x) + each * x, each, iterations=500, tolerance=1e-12)
    torch.testing.assert_close(found, x, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("threads", [1, 16])
@pytest.mark.parametrize("sets", [False, True])
@pytest.mark.parametrize("several", ["masks", "maps", "images"])
def test_one_of_them_goes_with_several_of_the_others(several, sets, threads, monkeypatch):
    """One image and maps with a batch of masks, and so on: as if each were alone."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    batch = {name: (3,) if name == several else () for name in ("masks", "maps", "images")}
    own = (2,) if sets else ()
    maps = complex_normal(*batch["maps"], *own, 4, 9, 8).to(torch.complex128) / 5
    mask = random_mask(*batch["masks"], 9, 8)
    x = complex_normal(*batch["images"], *own, 9, 8, seed=1).to(torch.complex128)
    A = sense(maps, mask, sets=sets)
    each = []
    for i in range(3):
        one = {"maps": maps, "masks": mask, "images": x}
        one[several] = one[several][i]
        each.append((sense(one["maps"], one["masks"], sets=sets), one["images"]))
    torch.testing.assert_close(A(x), torch.stack([B(v) for B, v in each]))
    torch.testing.assert_close(A.gram(x), torch.stack([B.gram(v) for B, v in each]))
    torch.testing.assert_close(A.H(A(x)), A.gram(x))
    alone = torch.stack([B.solve(v, 0.1, iterations=6) for B, v in each])
    torch.testing.assert_close(A.solve(x, 0.1, iterations=6), alone)
    torch.testing.assert_close(A.solve(x, 0.1, x, iterations=0), x.expand_as(alone))
    leaf = x.clone().requires_grad_()
    A.gram(leaf).abs().square().sum().backward()
    expected = x.clone().requires_grad_()
    sum(
        B.H(B(expected if several != "images" else expected[i])).abs().square().sum()
        for i, (B, _) in enumerate(each)
    ).backward()
    torch.testing.assert_close(leaf.grad, expected.grad)
