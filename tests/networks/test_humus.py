"""HUMUS-Net beside the outputs and the state dicts of the official code."""

import json

import pytest
import torch
from golden_data import golden_arrays, golden_facts, golden_state, published_map

from mrirecon.networks import NETWORKS, PRESETS, calibration_of
from mrirecon.networks.humus import HUMUSNet
from mrirecon.networks.swin import SwinBlock
from mrirecon.operators import sense
from mrirecon.tensors import fft2c

EVERYTHING = (slice(None), slice(None))
CASES = {
    "humus_a": ["full_width", "narrow_odd", "batch2", "no_center"],
    "humus_b_adj3": ["full_width", "narrow_odd"],
    "humus_c_variants": ["full_width", "narrow"],
}
SMALLEST = {
    "num_cascades": 2,
    "sens_chans": 2,
    "sens_pools": 2,
    "img_size": [32, 32],
    "window_size": 4,
    "embed_dim": 8,
    "depths": [2, 2],
    "num_heads": [1, 2],
    "bottleneck_heads": 4,
}


class Fixture:
    def __init__(self, name):
        self.arrays, self.about = golden_arrays(name), golden_facts(name)
        self.network = HUMUSNet(**without_official_only(self.about["constructor"])).eval()
        self.network.load_state_dict(self.state, strict=True)

    @property
    def state(self):
        return golden_state(self.arrays)

    def inputs(self, case):
        kspace = self.arrays[f"in/{case}/masked_kspace"]
        kspace = kspace.unflatten(1, (self.network.adjacent_slices, -1))
        line = self.arrays[f"in/{case}/mask"][:, 0, 0, :, 0]
        mask = line[:, None].expand(-1, *kspace.shape[-2:])
        centred = self.about["cases"][case]["mask_center"]
        return kspace, mask, calibration_of(mask) if centred else torch.ones_like(mask)

    def expected(self, case, name):
        return self.arrays[f"out/{case}/{name}"]


def without_official_only(constructor):
    return {k: v for k, v in constructor.items() if k not in ("mask_center", "use_checkpoint")}


def close(found, expected, tolerance=1e-5):
    return (found - expected).abs().max() <= tolerance * expected.abs().max()


def random_scan(network, rows, columns, coils=3, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, network.adjacent_slices, coils, rows, columns)
    line = torch.arange(columns) % 3 == 0
    line[columns // 2 - 3 : columns // 2 + 3] = True
    mask = line.expand(batch, rows, columns)
    kspace = torch.randn(*shape, dtype=torch.complex64, generator=generator)
    return kspace * mask[:, None, None], mask, calibration_of(mask)


def built(seed=0, **changes):
    """A small network whose every part matters: linear layers start near 0, biases and dc_weight constant."""
    torch.manual_seed(seed)
    network = HUMUSNet(**SMALLEST | changes)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
        elif parameter.ndim == 2:
            parameter.data *= 10
    return network


@pytest.mark.parametrize(("name", "case"), [(n, c) for n, cases in CASES.items() for c in cases])
@torch.no_grad()
def test_official_outputs(name, case):
    fixture = Fixture(name)
    network, (kspace, mask, calibration) = fixture.network, fixture.inputs(case)
    adjacent, middle = network.adjacent_slices, network.adjacent_slices // 2
    seen = {}
    network.sens_net.register_forward_hook(lambda _, __, out: seen.update(maps=out))
    for number, cascade in enumerate(network.cascades):
        cascade.register_forward_hook(lambda _, __, out, n=number: seen.update({n: out}))

    image = network(kspace, mask, calibration, EVERYTHING)
    assert image.dtype == torch.float32
    assert close(image, fixture.expected(case, "output"))
    maps = seen["maps"].unflatten(1, (adjacent, -1))
    assert close(maps.flatten(1, 2), fixture.expected(case, "sens_maps"))
    # Before the first cascade the k-space is the measured one; its update is then all that p and q are.
    A = sense(maps, mask[:, None])
    assert close(A.H(kspace), fixture.expected(case, "cascade0_sens_reduce"))
    assert close(seen[0][0], fixture.expected(case, "cascade0_model_image"))
    for number in range(len(network.cascades)):
        p, q = seen[number]
        off = fft2c(maps * q.unsqueeze(2)) * ~mask[:, None, None]
        current = kspace - A(p) - off
        found = network.refine(kspace, mask, calibration)
        if f"out/{case}/kspace_after_cascade{number}" in fixture.arrays:
            expected = fixture.expected(case, f"kspace_after_cascade{number}")
            assert close(current.flatten(1, 2), expected)
    assert close(found, current[:, middle])


@pytest.mark.parametrize("name", CASES)
def test_state_is_the_official_one(name):
    fixture = Fixture(name)
    ours = type(fixture.network)(**json.loads(json.dumps(fixture.network.config))).state_dict()
    assert ours.keys() == fixture.state.keys()
    for key, value in fixture.state.items():
        assert (ours[key].shape, ours[key].dtype) == (value.shape, value.dtype), key
        if key.endswith(("attn_mask", "relative_position_index")):
            assert torch.equal(ours[key], value), key


@pytest.mark.parametrize(
    "name", ["humus_fastmri_leaderboard", "humus_stanford_baseline_differences"]
)
def test_published_state_maps(name):
    about = published_map(name)
    shapes = published_map("humus_fastmri_leaderboard")["state"] | about["state"]
    constructor = without_official_only(about["constructor"])
    with torch.device("meta"):
        network = HUMUSNet(**constructor)
    assert {k: list(v.shape) for k, v in network.state_dict().items()} == shapes
    if name == "humus_fastmri_leaderboard":
        assert sum(v.numel() for v in network.state_dict().values()) == 159_567_930
        with torch.device("meta"):
            preset = HUMUSNet(**PRESETS["humus"]["published"])
        published = preset.config | {"drop_path_rate": network.config["drop_path_rate"]}
        assert published == network.config
    state = {k: torch.empty(shape, device="meta") for k, shape in shapes.items()}
    network.load_state_dict(state, strict=True)


def test_presets_are_built():
    for options in (PRESETS["humus"]["tiny"], PRESETS["humus"]["small"]):
        network = NETWORKS["humus"](**options)
        again = HUMUSNet(**json.loads(json.dumps(network.config)))
        assert again.config == network.config
    tiny = [NETWORKS[name](**PRESETS[name]["tiny"]) for name in ("unet", "varnet", "humus")]
    assert (
        sum(4 * p.numel() for net in tiny for p in net.parameters()) < 15e6
    )  # bytes, to come along


@torch.no_grad()
def test_a_larger_size_is_what_a_network_built_for_it_gives():
    """A size the windows divide needs no padding: the official network of that size has the same parameters."""
    fixture = Fixture("humus_a")  # built for 32 x 64
    for size in ([64, 64], [96, 128]):
        larger = HUMUSNet(**fixture.network.config | {"img_size": size}).eval()
        own = {k: v for k, v in larger.state_dict().items() if k.endswith("attn_mask")}
        larger.load_state_dict(fixture.state | own, strict=False)
        # The coarsest scale of humus_a is one window high and has no shifted grid; it has none in the larger one then.
        for cascade in larger.cascades:
            for block in cascade.model.layer_bottleneck.residual_group["blocks"]:
                block.shift = 0
        scan = random_scan(fixture.network, *size)
        assert close(fixture.network(*scan, EVERYTHING), larger(*scan, EVERYTHING))


@pytest.mark.parametrize("size", [(20, 25), (32, 33), (40, 70), (65, 31), (9, 97)])
@pytest.mark.parametrize("adjacent", [1, 3, 5])
@torch.no_grad()
def test_any_size_and_any_number_of_slices(size, adjacent):
    network = built(num_adj_slices=adjacent, num_cascades=1).eval()
    scan = random_scan(network, *size, coils=2, batch=2)
    image = network(*scan, EVERYTHING)
    assert image.shape == (2, *size) and bool(image.isfinite().all())
    rows, columns = network.cascades[0].model.padding(size)
    padded = (size[0] + sum(rows), size[1] + sum(columns))
    assert all(n % network.cascades[0].model.unit == 0 and n >= 32 for n in padded)
    # The crop is a view of the whole, and the slices of a batch do not see each other.
    crop = (slice(2, size[0] - 1), slice(1, size[1] - 3))
    assert torch.equal(network(*scan, crop), image[(..., *crop)])
    alone = network(*(x[1:] for x in scan), EVERYTHING)
    assert close(alone, image[1:])


@torch.no_grad()
def test_neighbours_matter_and_the_middle_slice_is_reconstructed():
    network = built(num_adj_slices=3).eval()
    kspace, mask, calibration = random_scan(network, 32, 32)
    image = network(kspace, mask, calibration, EVERYTHING)
    changed = kspace.clone()
    changed[:, 2] = changed[:, 2].flip(2)
    assert not close(network(changed, mask, calibration, EVERYTHING), image, 1e-3)
    # Where all is measured and the regulariser adds nothing, the result is the measured middle slice.
    for cascade in network.cascades:
        cascade.model.conv_last.weight.zero_()
        cascade.model.conv_last.bias.zero_()
        cascade.model.residual = False
        cascade.register_forward_hook(lambda _, inputs, __: inputs[-2:])
    full = torch.ones_like(mask)
    assert close(network.refine(kspace, full, full), kspace[:, 1])


@torch.no_grad()
def test_scale_equivariance_and_zero_input():
    network = built(num_adj_slices=3).eval()
    kspace, mask, calibration = random_scan(network, 40, 36)
    image = network(kspace, mask, calibration, EVERYTHING)
    assert close(network(1e-6 * kspace, mask, calibration, EVERYTHING), 1e-6 * image, 1e-4)
    assert not network(torch.zeros_like(kspace), mask, calibration, EVERYTHING).any()


def test_zero_slices_have_finite_gradients():
    network = built(num_adj_slices=3, drop_path_rate=0.0)
    kspace, mask, calibration = random_scan(network, 32, 32, batch=2)
    kspace[1] = 0  # a slice without signal beside one with
    kspace[0, 0] = 0  # and a neighbour without
    network(kspace, mask, calibration, EVERYTHING).square().mean().backward()
    gradients = {n: p.grad for n, p in network.named_parameters()}
    assert all(bool(g.isfinite().all()) for g in gradients.values())
    assert [n for n, g in gradients.items() if not g.any()] == ["cascades.0.dc_weight"]


def test_checkpointing_changes_no_gradient():
    scan = random_scan(built(), 32, 32)
    gradients, passes = [], []
    for checkpoint_cascades in (False, True):
        network = built(checkpoint_cascades=checkpoint_cascades)
        torch.manual_seed(1)  # of the stochastic depth
        for part in (network.sens_net.norm_unet, network.cascades[0]):
            part.register_forward_pre_hook(lambda part, _: passes.append(part))
        network(*scan, EVERYTHING).square().mean().backward()
        gradients.append([p.grad for p in network.parameters()])
    assert len(passes) == 2 * (1 + 2)  # both parts are computed again in the backward pass
    for plain, checkpointed in zip(*gradients, strict=True):
        assert torch.allclose(plain, checkpointed, rtol=1e-5, atol=1e-9)


def test_gradients_are_those_of_finite_differences():
    network = built(drop_path_rate=0.0, num_cascades=1, num_adj_slices=3).double()
    scan = random_scan(network, 32, 25, coils=2)
    scan = scan[0].to(torch.complex128), *scan[1:]
    network(*scan, EVERYTHING).square().mean().backward()
    step = 1e-6
    for name in (
        "cascades.0.model.layers_down.0.residual_group.blocks.1.attn.relative_position_bias_table",
        "cascades.0.model.layers_up.0.reshape.expand.weight",
        "sens_net.norm_unet.unet.up_conv.1.1.weight",
    ):
        parameter = network.get_parameter(name)
        direction = parameter.grad / parameter.grad.norm()
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * step * direction
                ends.append(float(network(*scan, EVERYTHING).square().mean()))
                parameter -= sign * step * direction
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(
            float(parameter.grad.norm()), rel=1e-4
        )


def test_stochastic_depth_deepens_linearly():
    """As published: 0 at the first block, the full rate at the last, the way up as the way down, none in between."""
    network = built(drop_path_rate=0.3, depths=[2, 2])

    def rates(stages):
        return [[block.drop_path for block in stage.residual_group["blocks"]] for stage in stages]

    for cascade in network.cascades:
        down, up = rates(cascade.model.layers_down), rates(cascade.model.layers_up)
        assert down[0] == pytest.approx([0, 0.1]) and down[1] == pytest.approx([0.2, 0.3])
        assert up == down[::-1]
        assert not any(rates([cascade.model.layer_bottleneck])[0])


def test_stochastic_depth_keeps_the_expectation():
    """Each image of a batch loses an update with probability p, or gets 1 / (1 - p) times it (Huang et al. 2016)."""
    p, count = 0.25, 4000
    block = SwinBlock(8, (8, 8), heads=2, window=4, shift=0, mlp_ratio=2.0, drop_path=p)
    update = torch.rand(count, 1, 2, 3, generator=torch.Generator().manual_seed(0)) + 0.5
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = block.train()._skip(update)
    factors = found / update
    assert torch.allclose(factors, factors[:, :1, :1, :1]), "one draw for an image"
    kept = factors[:, 0, 0, 0] != 0
    assert torch.allclose(factors[kept], torch.tensor(1 / (1 - p)))
    assert abs(float(kept.float().mean()) - (1 - p)) < 5 * (p * (1 - p) / count) ** 0.5
    assert torch.equal(block.eval()._skip(update), update)


def test_stochastic_depth_acts_in_training_only():
    network = built(drop_path_rate=0.9, depths=[2, 2])
    scan = random_scan(network, 32, 32)
    with torch.no_grad():
        trained = [network(*scan, EVERYTHING) for _ in range(2)]
        assert not torch.equal(*trained)
        network.eval()
        assert torch.equal(*(network(*scan, EVERYTHING) for _ in range(2)))


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_bfloat16_changes_little(name):
    fixture = Fixture(name)
    scan = fixture.inputs("full_width")
    image = fixture.network(*scan, EVERYTHING)
    products = []
    for cascade in fixture.network.cascades:
        cascade.register_forward_hook(lambda _, __, out: products.extend(x.dtype for x in out))
    with torch.autocast("cpu", torch.bfloat16):
        low = fixture.network(*scan, EVERYTHING)
    assert set(products) == {torch.complex64} and low.dtype == torch.float32
    assert not torch.equal(low, image)
    assert (low - image).norm() < 0.02 * image.norm()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_adj_slices": 2}, "num_adj_slices is 2"),
        ({"img_size": [40, 32]}, "multiples of 32"),
        ({"img_size": [4, 4]}, r"\(4, 4\) does not fit windows of 4 at 3 scales"),
        ({"num_heads": [3, 2]}, "3 attention heads do not divide 8 channels"),
        ({"num_heads": [1, 2, 4]}, "one number of heads per scale"),
        ({"resi_connection": "2conv"}, "'1conv' or '3conv'"),
    ],
)
def test_impossible_networks_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        HUMUSNet(**SMALLEST | change)


def test_impossible_input_is_refused():
    network = built(num_adj_slices=3)
    scan = random_scan(built(), 32, 32)
    with pytest.raises(ValueError, match="1 adjacent slices for a network that looks at 3"):
        network(*scan, EVERYTHING)
    patches = built(patch_size=2, conv_downsample_first=False)
    with pytest.raises(ValueError, match="33 columns wide"):
        patches(*random_scan(patches, 32, 33), EVERYTHING)
