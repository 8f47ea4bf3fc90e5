"""U-Nets beside the recorded outputs of the official code, and beside the fastmri package."""

import json
import shutil
import subprocess
import sys

import fastmri
import pytest
import torch
import torch.nn.functional as F
from fastmri.data import transforms
from fastmri.models import Unet
from fastmri.models.varnet import NormUnet
from golden_data import golden_arrays, golden_facts, golden_state, published_map

from mrirecon.networks import NETWORKS, PRESETS
from mrirecon.networks.unet import NormLeakyReLU, NormUNet, UNet, UNetBaseline
from mrirecon.tensors import complex_noise_like


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, dtype=torch.complex64, seed=0):
    return complex_noise_like(torch.empty(shape, dtype=dtype), seeded(seed))


def close(found, expected, tolerance=1e-5):
    return (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize(
    ("name", "case"),
    [("unet_a", f"case{n}") for n in range(3)] + [("unet_b", f"case{n}") for n in range(2)],
)
@torch.no_grad()
def test_recorded_outputs(name, case):
    arrays = golden_arrays(name)
    net = UNet(**golden_facts(name)["constructor"]).eval()
    net.load_state_dict(golden_state(arrays), strict=True)
    assert close(net(arrays[f"in/{case}/image"]), arrays[f"out/{case}/output"])


@pytest.mark.parametrize("size", [(33, 47), (32, 50)])
def test_gradients_are_those_of_fastmri(size):
    torch.manual_seed(0)
    official = Unet(2, 3, 4, 3).double()
    net = UNet(2, 3, 4, 3).double()
    net.load_state_dict(official.state_dict(), strict=True)
    images = [torch.randn(2, 2, *size, dtype=torch.float64, generator=seeded()) for _ in range(2)]
    for model, image in zip((official, net), images, strict=True):
        model(image.requires_grad_()).square().sum().backward()
    assert close(images[1].grad, images[0].grad, 1e-10)
    for (name, expected), found in zip(official.named_parameters(), net.parameters(), strict=True):
        assert close(found.grad, expected.grad, 1e-10), name


def test_dropout_only_in_training():
    torch.manual_seed(0)
    net, image = UNet(1, 1, 4, 2, drop_prob=0.5), torch.randn(1, 1, 32, 32)
    assert not torch.equal(net(image), net(image))
    net.eval()
    assert torch.equal(net(image), net(image))


def test_gradient_of_normalisation_and_rectifier():
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64, generator=seeded(), requires_grad=True)
    # The copy, because it overwrites its input.
    assert torch.autograd.gradcheck(lambda x: NormLeakyReLU()(x.clone()), x)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.0, 0.02), (-50.0, 1.0)])
def test_normalisation_loses_no_digits(mean, std):
    x = torch.randn(1, 3, 320, 300, generator=seeded()) * std + mean
    exact = F.leaky_relu(F.instance_norm(x.double()), 0.2)
    pytorch = F.leaky_relu(F.instance_norm(x), 0.2)
    error, usual = ((y - exact).abs().max() for y in (NormLeakyReLU()(x.clone()), pytorch))
    assert error <= 2 * usual + 1e-6


@pytest.mark.parametrize("size", [(40, 33), (31, 64), (96, 80)])
@torch.no_grad()
def test_complex_unet_is_that_of_fastmri(size):
    torch.manual_seed(0)
    official, net = NormUnet(4, 3), NormUNet(4, 3)
    net.load_state_dict(official.state_dict(), strict=True)
    image = 1e-5 * noise(2, *size) + (3e-5 - 1e-5j)
    expected = official(torch.view_as_real(image).unsqueeze(1)).squeeze(1)
    assert close(net(image), torch.view_as_complex(expected))


def test_complex_unet_of_nothing_is_nothing():
    torch.manual_seed(0)
    net = NormUNet(4, 2)
    image = noise(2, 32, 32)
    image[0] = 0
    image.requires_grad_()
    output = net(image)
    assert not output[0].any()
    alone = net(image[1:])
    assert close(output[1:], alone)
    output.abs().square().sum().backward()
    assert torch.isfinite(torch.view_as_real(image.grad)).all()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize("coils", [1, 4])
@torch.no_grad()
def test_baseline_is_the_fastmri_pipeline(coils):
    torch.manual_seed(0)
    net = UNetBaseline(chans=4, num_pool_layers=2).eval()
    official = Unet(1, 1, 4, 2).eval()
    official.load_state_dict(net.unet.state_dict(), strict=True)
    kspace = 1e-4 * noise(2, 1, coils, 47, 41)
    mask = torch.ones(2, 47, 41, dtype=torch.bool)
    found = net(kspace, mask, mask, (slice(7, 39), slice(4, 36)))
    images = fastmri.complex_abs(fastmri.ifft2c(torch.view_as_real(kspace[:, 0])))
    images = fastmri.rss(images, dim=1)[:, 7:39, 4:36]
    for image, ours in zip(images, found, strict=True):
        normalized, mean, std = transforms.normalize_instance(image, eps=1e-11)
        expected = official(normalized.clamp(-6, 6)[None, None])[0, 0] * std + mean
        assert close(ours, expected)


@pytest.mark.parametrize("scale", [1e-7, 1e-12, 1e-15])
@torch.no_grad()
def test_baseline_is_the_same_in_any_units(scale):
    """A batch of one tiny and one usual slice, each as alone; 1e-11 is fastMRI's constant beside the deviation."""
    torch.manual_seed(0)
    net = UNetBaseline(chans=4, num_pool_layers=2).eval()
    kspace = noise(2, 1, 3, 48, 40)
    kspace[:, :, :, 24, 20] *= 100
    mask, crop = torch.ones(2, 48, 40, dtype=torch.bool), (slice(48), slice(40))
    expected = net(kspace, mask, mask, crop)
    units = torch.tensor([scale, 1.0]) / torch.tensor([float(kspace.abs().max()), 1.0])
    found = net(kspace * units[:, None, None, None, None], mask, mask, crop)
    assert close((found[0].double() / float(units[0])).float(), expected[0])
    assert close(found[1], expected[1])


@torch.no_grad()
def test_baseline_of_nothing_is_nothing():
    net = UNetBaseline(chans=4, num_pool_layers=2)
    mask = torch.zeros(1, 32, 32, dtype=torch.bool)
    kspace = torch.zeros(1, 1, 3, 32, 32, dtype=torch.complex64)
    assert not net(kspace, mask, mask, (slice(32), slice(32))).any()


@pytest.mark.parametrize("preset", PRESETS["unet"])
def test_presets_rebuild_from_their_config(preset):
    with torch.device("meta"):
        net = NETWORKS["unet"](**PRESETS["unet"][preset])
        again = type(net)(**json.loads(json.dumps(net.config)))
    assert again.state_dict().keys() == net.state_dict().keys()
    if preset == "published":
        shapes = {name: list(value.shape) for name, value in net.unet.state_dict().items()}
        assert shapes == published_map("fastmri_unet_leaderboard")["state"]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.03)])
def test_what_is_compiled_is_what_runs_without(dtype, tolerance, monkeypatch):
    """torch.compile gets the normalisation written out; here it runs as it is written."""
    network = UNet(2, 2, chans=4, num_pool_layers=2)
    image = torch.randn(2, 2, 24, 16, generator=torch.Generator().manual_seed(0))
    results = []
    for compiling in (False, True):
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda c=compiling: c)
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            output = network(image)
        output.float().square().sum().backward()
        gradients = [p.grad for p in network.parameters()] if dtype == torch.float32 else []
        results.append([output.detach().float(), *gradients])
    for a, b in zip(*results, strict=True):
        error = torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b)
        assert float(error) < tolerance


COMPILED = """
import torch
from mrirecon.networks import NETWORKS, calibration_of
torch.manual_seed(0)
varnet = NETWORKS["varnet"](num_cascades=1, chans=2, pools=1, sens_chans=2, sens_pools=1)
mask = torch.zeros(1, 16, 16, dtype=torch.bool)
mask[:, :, ::2] = mask[:, :, 5:11] = True
kspace = torch.randn(1, 1, 3, 16, 16, dtype=torch.complex64) * mask[:, None, None]
arguments = kspace, mask, calibration_of(mask), (slice(0, 16), slice(0, 16))
names, expected = list(varnet.state_dict()), varnet(*arguments)
varnet.compile_parts()
found = varnet(*arguments)
found.sum().backward()
torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
assert list(varnet.state_dict()) == names
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_training_step():
    """In a process of its own: the type checks of the tests cannot be compiled."""
    subprocess.run([sys.executable, "-c", COMPILED], check=True, capture_output=True)
