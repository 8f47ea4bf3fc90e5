"""NCSN++ beside the recorded outputs of Score-MRI's code."""

import json

import pytest
import torch
import torch.nn.functional as F
from golden_data import golden_arrays, golden_facts, golden_state, published_map

from mrirecon.networks import PRESETS, PRIORS
from mrirecon.networks.ncsnpp import FIR, NCSNpp

CASES = {
    "ncsnpp_a": ["square", "tall", "wide"],
    "ncsnpp_b": ["square", "tall"],
    "ncsnpp_c": ["square"],
}
TINY = {"nf": 8, "ch_mult": [1, 2, 2], "num_res_blocks": 1, "attention_levels": [1]}


def recorded(name):
    """The network with its recorded weights, the arrays, and what is known of them."""
    arrays, about = golden_arrays(name), golden_facts(name)
    data, model = about["full_config"]["data"], about["full_config"]["model"]
    width, multiples = data["image_size"], model["ch_mult"]
    net = NCSNpp(
        channels=data["num_channels"],
        nf=model["nf"],
        ch_mult=multiples,
        num_res_blocks=model["num_res_blocks"],
        attention_levels=[
            level
            for level in range(len(multiples))
            if width // 2**level in model["attn_resolutions"]
        ],
        sigma_min=float(model["sigma_min"]),
        sigma_max=float(model["sigma_max"]),
        num_scales=model["num_scales"],
    )
    return net.eval(), golden_state(arrays), arrays, about


def close(found, expected, tolerance=1e-5):
    return (found - expected).abs().max() <= tolerance * expected.abs().max()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def tiny(dtype=torch.float32, **options):
    """A network none of whose layers is zero."""
    torch.manual_seed(0)
    net = NCSNpp(**TINY, **options).to(dtype)
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return net


def inputs(*size, batch=2, channels=1, dtype=torch.float32):
    x = torch.rand(batch, channels, *size, dtype=dtype, generator=seeded())
    return x, torch.logspace(-1, 2, batch, dtype=dtype)


@pytest.mark.parametrize(("name", "case"), [(name, case) for name in CASES for case in CASES[name]])
@torch.no_grad()
def test_recorded_outputs(name, case):
    net, state, arrays, _ = recorded(name)
    net.load_state_dict(state, strict=True)
    x, sigma = arrays[f"in/{case}/x"], arrays[f"in/{case}/sigma"]
    assert close(net.network(x, sigma), arrays[f"out/{case}/network"])
    assert close(net(x, sigma), arrays[f"out/{case}/score"])


@pytest.mark.parametrize("name", CASES)
def test_names_and_their_order_are_the_official_ones(name):
    net, state, _, about = recorded(name)
    assert list(net.state_dict()) == list(state)
    trained = [name for name, p in net.named_parameters() if p.requires_grad]
    assert trained == about["shadow_params_order"]
    assert close(net.sigmas, state["sigmas"])
    assert net.sigma_range == (about["sde"]["sigma_min"], about["sde"]["sigma_max"])


@pytest.mark.parametrize("preset", PRESETS["ncsnpp"])
def test_presets_rebuild_from_their_config(preset):
    with torch.device("meta"):
        net = PRIORS["ncsnpp"](**PRESETS["ncsnpp"][preset])
        again = type(net)(**json.loads(json.dumps(net.config)))
    shapes = {name: list(value.shape) for name, value in net.state_dict().items()}
    assert shapes == {name: list(value.shape) for name, value in again.state_dict().items()}
    if preset == "published":
        about = published_map("score_mri_fastmri_knee_320_ncsnpp")
        assert shapes == about["state"]
        frozen = [name for name, p in net.named_parameters() if not p.requires_grad]
        assert frozen == about["requires_grad_false"]


@pytest.mark.parametrize("size", [(4, 4), (24, 40), (96, 32)])
@torch.no_grad()
def test_any_size_that_can_be_halved(size):
    net = tiny()
    x, sigma = inputs(*size)
    assert net(x, sigma).shape == x.shape


@pytest.mark.parametrize("size", [(30, 32), (32, 33)])
def test_other_sizes_are_refused_in_one_sentence(size):
    with pytest.raises(ValueError, match=rf"{size[0]} x {size[1]}.*multiples of 4"):
        tiny()(*inputs(*size))


@torch.no_grad()
def test_single_precision_is_the_double_one_rounded():
    net = tiny()
    x, sigma = inputs(64, 48)
    found = net(x, sigma)
    expected = net.double()(x.double(), sigma.double())
    assert expected.dtype == torch.float64
    assert close(found.double(), expected, 1e-3)  # float32 rounds the angles of log sigma


@torch.no_grad()
def test_images_of_a_batch_do_not_see_each_other():
    net = tiny(torch.float64)
    x, sigma = inputs(64, 64, batch=3, dtype=torch.float64)
    together = net(x, sigma)
    for n in range(3):
        assert close(together[n], net(x[n : n + 1], sigma[n : n + 1])[0], 1e-12)


@torch.no_grad()
def test_low_precision_changes_the_score_little():
    net = tiny()
    x, sigma = inputs(64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(x, sigma)
    assert found.dtype == torch.float32
    expected = net(x, sigma)
    error = torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected)
    assert 0 < error < 0.05


@pytest.mark.parametrize("size", [(8, 8), (64, 48)])
def test_gradients_are_those_of_differences(size):
    """Of the image and of every trained tensor, along one direction each."""
    net = tiny(torch.float64, channels=2)
    x, sigma = inputs(*size, channels=2, dtype=torch.float64)
    weight = torch.randn(x.shape, dtype=x.dtype, generator=seeded(1))

    def value():
        return (net.network(x, sigma) * weight).sum()

    tensors = {"x": x.requires_grad_()}
    tensors |= {name: p for name, p in net.named_parameters() if p.requires_grad}
    value().backward()
    with torch.no_grad():
        for name, tensor in list(tensors.items())[::7]:
            along = torch.randn(tensor.shape, dtype=x.dtype, generator=seeded(2))
            step = 1e-6 * along
            tensor += step
            above = value()
            tensor -= 2 * step
            expected = (above - value()) / 2e-6
            tensor += step
            found = (tensor.grad * along).sum()
            assert abs(found - expected) <= 1e-5 * abs(expected) + 1e-6, name
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)
    assert net.all_modules[0].W.grad is None


@torch.no_grad()
def test_a_new_network_predicts_nothing_yet():
    net = NCSNpp(**TINY)
    assert not net(*inputs(16, 16)).any()
    assert 0.5 < float(NCSNpp(**TINY, fourier_scale=4.0).all_modules[0].W.std()) < 10


@torch.no_grad()
def test_dropout_only_in_training():
    net = tiny(dropout=0.5)
    x, sigma = inputs(16, 16)
    assert not torch.equal(net.train()(x, sigma), net(x, sigma))
    assert torch.equal(net.eval()(x, sigma), net(x, sigma))


@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_the_filter_is_1_3_3_1_with_zeros_around(size):
    x = torch.randn(2, 3, *size, dtype=torch.float64, generator=seeded())
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8
    kernel = torch.outer(line, line).expand(3, 1, 4, 4)
    between = torch.zeros(2, 3, 2 * size[0], 2 * size[1], dtype=torch.float64)
    between[..., ::2, ::2] = x
    up = F.conv2d(F.pad(between, (2, 1, 2, 1)), 4 * kernel, groups=3)
    down = F.conv2d(F.pad(x, (1, 1, 1, 1)), kernel, groups=3)[..., ::2, ::2]
    assert close(FIR("up")(x), up, 1e-6) and close(FIR("down")(x), down, 1e-6)


def test_noise_levels_must_make_a_range():
    with pytest.raises(ValueError, match=r"sigma_min 2\.0 and sigma_max 1\.0"):
        NCSNpp(**TINY, sigma_min=2.0, sigma_max=1.0)
