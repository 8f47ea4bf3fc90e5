"""The guided-diffusion U-Net beside the recorded outputs of the code of DDS and DPS."""

import json
from math import log2

import pytest
import torch
import torch.nn.functional as F
from golden_data import golden_arrays, golden_facts, golden_state, published_map

from mrirecon.networks import PRESETS, PRIORS
from mrirecon.networks.adm import ADMUNet, Upsample

CASES = {
    "dds_unet_a": ["square", "rect"],
    "dds_unet_b": ["square", "rect"],
    "dps_unet_a": ["square"],
}
TINY = {"num_channels": 32, "channel_mult": [1, 1, 2], "attention_levels": [1]}
VARIANTS = {
    "published": {"num_head_channels": 32},
    "plain": {
        "learn_sigma": False,
        "num_head_channels": None,
        "num_heads": 2,
        "num_heads_upsample": 4,
        "resblock_updown": False,
        "use_scale_shift_norm": False,
        "use_new_attention_order": True,
    },
}


def constructor(about):
    """Our arguments for the recorded ones."""
    official, unet = about["constructor"], about["unet"]
    return {
        "channels": unet["in_channels"],
        "num_channels": official["num_channels"],
        "channel_mult": unet["channel_mult"],
        "attention_levels": [int(log2(rate)) for rate in unet["attention_downsample_rates"]],
        "num_head_channels": max(0, official["num_head_channels"]) or None,
        "num_heads_upsample": max(0, official["num_heads_upsample"]) or None,
        **{
            name: official[name]
            for name in (
                "num_res_blocks",
                "learn_sigma",
                "num_heads",
                "resblock_updown",
                "use_scale_shift_norm",
                "use_new_attention_order",
            )
        },
    }


def recorded(name):
    """The network with its recorded weights, the arrays, and what is known of them."""
    arrays, about = golden_arrays(name), golden_facts(name)
    net = ADMUNet(**constructor(about)).eval()
    state = golden_state(arrays)
    assert list(net.state_dict()) == list(state)
    net.load_state_dict(state, strict=True)
    return net, arrays, about


def close(found, expected, tolerance=1e-5):
    return (found - expected).abs().max() <= tolerance * expected.abs().max()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def tiny(variant="published", dtype=torch.float32, **options):
    """A network none of whose layers is zero."""
    torch.manual_seed(0)
    net = ADMUNet(**TINY, **VARIANTS[variant], **options).to(dtype)
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return net


def inputs(*size, batch=2, dtype=torch.float32):
    x = torch.randn(batch, 2, *size, dtype=dtype, generator=seeded())
    return x, torch.linspace(3.5, 990, batch, dtype=dtype)


@pytest.mark.parametrize(("name", "case"), [(name, case) for name in CASES for case in CASES[name]])
@torch.no_grad()
def test_recorded_outputs(name, case):
    net, arrays, about = recorded(name)
    found = net(arrays[f"in/{case}/x"], arrays[f"in/{case}/timesteps"])
    assert close(found, arrays[f"out/{case}/output"])
    assert found.shape[1] == about["unet"]["out_channels"]


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_channels_last_gives_the_recorded_outputs_too(name, monkeypatch):
    monkeypatch.setattr("mrirecon.networks.features._FEW_PIXELS", 0)
    net, arrays, _ = recorded(name)
    found = net(arrays["in/square/x"], arrays["in/square/timesteps"])
    assert close(found, arrays["out/square/output"])


@pytest.mark.parametrize("preset", PRESETS["adm"])
def test_presets_rebuild_from_their_config(preset):
    with torch.device("meta"):
        net = PRIORS["adm"](**PRESETS["adm"][preset])
        again = type(net)(**json.loads(json.dumps(net.config)))
    shapes = {name: list(value.shape) for name, value in net.state_dict().items()}
    assert shapes == {name: list(value.shape) for name, value in again.state_dict().items()}
    if preset == "published":
        assert shapes == published_map("dds_fastmri_knee_320_complex")["state"]


def test_the_noise_levels_are_those_of_the_linear_schedule():
    with torch.device("meta"):
        lowest, highest = ADMUNet(**TINY, num_head_channels=32).sigma_range
    kept = torch.cumprod(1 - torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64), dim=0)
    sigma = ((1 - kept) / kept).sqrt()
    assert lowest == pytest.approx(float(sigma[0]))
    assert highest == pytest.approx(float(sigma[-1])) == pytest.approx(157.4, abs=0.1)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [(4, 4), (24, 40), (96, 32)])
@torch.no_grad()
def test_any_size_that_can_be_halved(size, variant):
    net = tiny(variant)
    x, timesteps = inputs(*size)
    channels = 4 if net.config["learn_sigma"] else 2
    assert net(x, timesteps).shape == (2, channels, *size)


@pytest.mark.parametrize("size", [(30, 32), (32, 33)])
def test_other_sizes_are_refused_in_one_sentence(size):
    with pytest.raises(ValueError, match=rf"{size[0]} x {size[1]}.*multiples of 4"):
        tiny()(*inputs(*size))


@torch.no_grad()
def test_whole_and_fractional_steps():
    net = tiny()
    x, _ = inputs(16, 16)
    steps = torch.tensor([3, 500])
    assert torch.equal(net(x, steps), net(x, steps.float()))
    assert not close(net(x, steps + 0.5), net(x, steps))


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_single_precision_is_the_double_one_rounded(variant):
    net = tiny(variant)
    x, timesteps = inputs(64, 48)
    found = net(x, timesteps)
    expected = net.double()(x.double(), timesteps.double())
    assert expected.dtype == torch.float64
    assert close(found.double(), expected, 1e-4)


@torch.no_grad()
def test_images_of_a_batch_do_not_see_each_other():
    net = tiny(dtype=torch.float64)
    x, timesteps = inputs(64, 64, batch=3, dtype=torch.float64)
    together = net(x, timesteps)
    for n in range(3):
        assert close(together[n], net(x[n : n + 1], timesteps[n : n + 1])[0], 1e-12)


@torch.no_grad()
def test_low_precision_changes_the_noise_little():
    net = tiny()
    x, timesteps = inputs(64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(x, timesteps)
    assert found.dtype == torch.float32
    expected = net(x, timesteps)
    error = torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected)
    assert 0 < error < 0.05


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [(8, 8), (64, 48)])
def test_gradients_are_those_of_differences(size, variant):
    """Of the image and of tensors all over the network, along one direction each."""
    net = tiny(variant, torch.float64)
    x, timesteps = inputs(*size, dtype=torch.float64)
    channels = 4 if net.config["learn_sigma"] else 2
    weight = torch.randn(2, channels, *size, dtype=x.dtype, generator=seeded(1))

    def value():
        return (net(x, timesteps) * weight).sum()

    tensors = {"x": x.requires_grad_(), **dict(net.named_parameters())}
    value().backward()
    assert all(tensor.grad is not None for tensor in tensors.values())
    with torch.no_grad():
        for name, tensor in list(tensors.items())[::11]:
            along = torch.randn(tensor.shape, dtype=x.dtype, generator=seeded(2))
            step = 1e-6 * along
            tensor += step
            above = value()
            tensor -= 2 * step
            expected = (above - value()) / 2e-6
            tensor += step
            found = (tensor.grad * along).sum()
            assert abs(found - expected) <= 1e-5 * abs(expected) + 1e-5, name


@pytest.mark.parametrize("size", [(5, 3), (50, 44)])  # few pixels and many
@torch.no_grad()
def test_repeating_pixels_before_a_convolution(size):
    layer = Upsample(6).double()
    x = torch.randn(2, 6, *size, dtype=torch.float64, generator=seeded())
    repeated = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = F.conv2d(repeated, layer.conv.weight, layer.conv.bias, padding=1)
    assert close(layer(x), expected, 1e-12)


@torch.no_grad()
def test_a_new_network_predicts_nothing_yet():
    assert not ADMUNet(**TINY, num_head_channels=32)(*inputs(16, 16)).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_head_channels": 48}, "32 features make no heads of 48"),
        ({"num_head_channels": None, "num_heads": 3}, "32 features.* 3 attention heads"),
    ],
)
def test_heads_must_share_out_the_features(options, words):
    with pytest.raises(ValueError, match=words):
        ADMUNet(**TINY, **options)
