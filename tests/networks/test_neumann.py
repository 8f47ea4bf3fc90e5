"""The Neumann network against official outputs, and its series against dense matrices."""

import pytest
import torch
import torch.nn.functional as F
from golden_data import golden_arrays, golden_facts, golden_state
from sense_cases import batch, dense, noise
from torch import nn

from mrirecon.networks import NETWORKS
from mrirecon.networks.neumann import Neumann
from mrirecon.operators import LinearOperator, sense

SHAPE = (8, 6)


class Blur(LinearOperator):
    """Convolution of each channel of (batch, channel, y, x) with a symmetric kernel."""

    image_axes = 3

    def __init__(self, kernel):
        self.kernel = kernel

    def forward(self, x):
        kernel = self.kernel.to(x.dtype).expand(x.shape[1], 1, *self.kernel.shape)
        return F.conv2d(x, kernel, padding=len(self.kernel) // 2, groups=x.shape[1])

    def adjoint(self, y):
        return self.forward(y)

    def solve(self, b, weight, start=None, **options):
        return super().solve(b.to(torch.complex64), weight, start, **options).real


def imported(state, blocks):
    """The official parameters by our names; kernels there are (y, x, in, out)."""

    def conv(ours, kernel, bias):
        weight = state.pop(f"learned_component/{kernel}").permute(3, 2, 0, 1)
        return {
            f"regulariser.{ours}.weight": weight,
            f"regulariser.{ours}.bias": state.pop(f"learned_component/{bias}"),
        }

    found = {"log_eta": state.pop("eta").log()}
    if "lambda" in state:
        found["weight"] = state.pop("lambda")
    found |= conv("first", "dimension_fit", "bias_initial")
    for number in range(3):
        found |= conv(f"last.{number}", f"kernel_{number}", f"bias_{number}")
    for block, layer in ((0, 0), (0, 1), (1, 0), (1, 1)):
        there = f"residual_block_{block}"
        kernel, bias = f"{there}/kernel_{layer + 1}", f"{there}/bias_{layer + 1}"
        found |= conv(f"residual.{block}.layers.{layer}", kernel, bias)
        for step in range(blocks):
            component = f"learned_component_{step}" if step else "learned_component"
            norm = f"{component}/{there}/BatchNorm{layer + 1}"
            ours = f"regulariser.residual.{block}.norms.{layer}.{step}"
            found[f"{ours}.weight"] = state.pop(f"{norm}/gamma")
            found[f"{ours}.bias"] = state.pop(f"{norm}/beta")
    assert not state
    return found


@torch.no_grad()
@pytest.mark.parametrize("name", ["neumann_a", "neumann_preconditioned"])
def test_outputs_of_the_official_code(name):
    arrays = golden_arrays(name)
    blocks = golden_facts(name)["constructor"]["iterations"]
    net = Neumann(blocks, preconditioned=name == "neumann_preconditioned", channels=3)
    net.load_state_dict(imported(golden_state(arrays), blocks))
    A = Blur(arrays["in/forward/blur_kernel"])
    y = A(arrays["in/forward/image"].permute(0, 3, 1, 2))
    found = {"adjoint_of_measurement": A.H(y), "output": net.eval().reconstruct(y, A)}
    for key, ours in found.items():
        theirs = arrays[f"out/forward/{key}"].permute(0, 3, 1, 2)
        assert float((ours - theirs).abs().max()) < 3e-5 * float(theirs.abs().max()), key


class Weights(nn.Module):
    """R x = weights * x."""

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def forward(self, x, block):
        return self.weights * x


def problem():
    """A, y, A^H A and A^H y."""
    maps = noise(3, *SHAPE)
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    mask = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)) < 0.3
    A, y = sense(maps, mask), noise(1, 3, *SHAPE, seed=2) * mask
    M = dense(A, SHAPE)
    return A, y, M.mH @ M, M.mH @ y.flatten()


def network(weights, **options):
    """A Neumann network with a linear R, and as many conjugate gradients as make them exact."""
    net = Neumann(cg_steps=60, **options)
    net.regulariser = Weights(torch.as_tensor(weights))
    return net.double().eval()


def error(found, expected):
    difference = found.flatten() - expected
    return float(torch.linalg.vector_norm(difference) / torch.linalg.vector_norm(expected))


@torch.no_grad()
@pytest.mark.parametrize("blocks", [1, 2, 5])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_a_multiple_of_the_identity_gives_the_truncated_series(blocks, preconditioned):
    A, y, gram, b = problem()
    c, eta, weight = 0.3, 0.7, 0.4
    a, vectors = torch.linalg.eigh(gram)
    if preconditioned:
        first, ratio = 1 / (a + eta), eta / (a + eta) - weight * c
    else:
        first, ratio = eta * torch.ones_like(a), 1 - eta * a - c
    share = first * sum(ratio**k for k in range(blocks + 1))
    expected = vectors @ (share * (vectors.mH @ b))
    net = network(c, blocks=blocks, preconditioned=preconditioned, eta=eta, weight=weight)
    assert error(net.reconstruct(y, A), expected) < 1e-6  # eta and lambda were float32


@torch.no_grad()
@pytest.mark.parametrize("preconditioned", [False, True])
def test_a_linear_regulariser_gives_its_inverse(preconditioned):
    """R differs from pixel to pixel, so that it does not commute with A^H A."""
    A, y, gram, b = problem()
    eta, weight = 0.5, 0.8
    weights = 0.2 + 0.4 * torch.rand(SHAPE, generator=torch.Generator().manual_seed(3)).double()
    R, one = torch.diag(weights.flatten()).to(b), torch.eye(len(b), dtype=b.dtype)
    other = weight * (gram + eta * one) @ R if preconditioned else R / eta
    expected = torch.linalg.solve(gram + other, b)
    options = {"preconditioned": preconditioned, "eta": eta, "weight": weight}
    few, many = (network(weights, blocks=n, **options).reconstruct(y, A) for n in (5, 100))
    assert error(many, expected) < 1e-6 < error(few, expected)


@torch.no_grad()
@pytest.mark.parametrize(
    ("preconditioned", "eta", "blocks"), [(False, 1.3, 2000), (True, 0.05, 120)]
)
def test_training_begins_at_the_minimum_norm_solution(preconditioned, eta, blocks):
    A, y, _, _ = problem()
    expected = torch.linalg.pinv(dense(A, SHAPE)) @ y.flatten()
    options = {"cg_steps": 40, "features": 2, "batch_norm": False}
    few, more, many = (
        error(Neumann(n, preconditioned, eta, **options).double().reconstruct(y, A), expected)
        for n in (blocks // 100, blocks // 10, blocks)
    )
    assert few > more > many and many < 1e-5


def trained(**options):
    """A small network that has left R = 0."""
    torch.manual_seed(0)
    net = Neumann(**{"blocks": 2, "cg_steps": 3, "features": 4, **options})
    nn.init.normal_(net.regulariser.last[-1].weight, std=0.3)
    return net


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_training_reaches_every_parameter_and_checkpointing_changes_nothing(
    preconditioned, batch_norm
):
    gradients = []
    for checkpoint_blocks in (False, True):
        options = {"preconditioned": preconditioned, "batch_norm": batch_norm}
        net = trained(**options, checkpoint_blocks=checkpoint_blocks).train()
        image = net(*batch())
        assert image.shape == (1, 32, 24)
        image.square().sum().backward()
        gradients.append({name: p.grad for name, p in net.named_parameters()})
    for name, plain in gradients[0].items():
        # What is added to a whole channel is taken away again by its normalisation.
        lost = batch_norm and name.endswith("bias") and "residual" in name and "layers" in name
        assert lost or bool(plain.any()), name
        torch.testing.assert_close(plain, gradients[1][name], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_an_image_depends_on_its_own_data_only_unless_the_batch_is_normalised():
    maps = noise(1, 3, *SHAPE).to(torch.complex64)
    A = sense(maps, torch.ones(1, *SHAPE, dtype=torch.bool))
    y = noise(2, 3, *SHAPE, seed=2).to(torch.complex64)
    other = y.clone()
    other[1] *= 3
    for batch_norm in (False, True):
        net = trained(batch_norm=batch_norm).eval()
        first, same = (net.reconstruct(kspace, A)[0] for kspace in (y, other))
        assert torch.allclose(first, same, rtol=1e-4, atol=1e-5) is not batch_norm


@torch.no_grad()
@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_scale_of_the_data_is_undone(factor):
    kspace, mask, calibration, crop = batch()
    net = trained(batch_norm=False)
    expected = net(kspace, mask, calibration, crop)
    found = net(factor * kspace, mask, calibration, crop) / factor
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


@torch.no_grad()
def test_a_black_slice_gives_finite_numbers():
    kspace, mask, calibration, crop = batch()
    assert bool(torch.isfinite(trained()(0 * kspace, mask, calibration, crop)).all())


def test_configuration_travels():
    net = trained(preconditioned=True, eta=0.3, batch_norm=False)
    again = NETWORKS["neumann"](**net.config)
    again.load_state_dict(net.state_dict())
    assert again.config == net.config
    for wrong in ({"blocks": 0}, {"cg_steps": 0}, {"features": 0}, {"eta": 0.0}, {"eta": -1.0}):
        name, value = next(iter(wrong.items()))
        with pytest.raises(ValueError, match=f"{name} is {value}"):
            Neumann(**wrong)
