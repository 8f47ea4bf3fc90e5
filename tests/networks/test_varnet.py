"""E2E-VarNet beside the recorded outputs of the official code, and beside the fastmri package."""

import json

import fastmri.models
import pytest
import torch
from fastmri.models.varnet import SensitivityModel
from golden_data import golden_arrays, golden_facts, golden_state, published_map

from mrirecon.masks.own import poisson
from mrirecon.networks import NETWORKS, PRESETS, calibration_of
from mrirecon.networks.base import Unrolled
from mrirecon.networks.varnet import VarNet
from mrirecon.tensors import complex_noise_like, fft2c, ifft2c, rss

WHOLE = (slice(None), slice(None))
CASES = {
    "varnet_a": [
        "even",
        "odd",
        "odd_w",
        "no_center",
        "nlf_given_even",
        "nlf_given_odd",
        "nlf_zero",
        "batch2_one_mask",
        "batch2_two_masks",
        "full_mask",
        "asymmetric",
    ],
    "varnet_b": ["even", "odd", "single_coil"],
}
TINY = {"num_cascades": 3, "chans": 3, "pools": 2, "sens_chans": 2, "sens_pools": 2}


class Recorded:
    """One case of a golden file and the network with the weights it was made with."""

    def __init__(self, name, case):
        arrays, about = golden_arrays(name), golden_facts(name)
        self.state = golden_state(arrays)
        self.config = about["constructor"]
        self.network = self.with_cascades(self.config["num_cascades"])
        self.out = {
            k.removeprefix(f"out/{case}/"): v
            for k, v in arrays.items()
            if k.startswith(f"out/{case}/")
        }
        self.kspace = arrays[f"in/{case}/masked_kspace"].unsqueeze(1)
        batch, _, _, rows, columns = self.kspace.shape
        line = arrays[f"in/{case}/mask"][:, 0, 0, :, 0]
        self.mask = line[:, None].expand(batch, rows, columns)
        self.call = about["cases"][case]
        self.calibration = torch.ones_like(self.mask)
        if self.call["mask_center"]:
            self.calibration = calibration_of(self.mask, self.call["num_low_frequencies"])
        self.inputs = (self.kspace, self.mask, self.calibration)

    def with_cascades(self, count):
        """The network that ends after its first cascades."""
        net = VarNet(**{**self.config, "num_cascades": count}).eval()
        later = {f"cascades.{n}." for n in range(count, self.config["num_cascades"])}
        state = {k: v for k, v in self.state.items() if not k.startswith(tuple(later))}
        net.load_state_dict(state, strict=True)
        return net


@pytest.fixture(params=[(name, case) for name in CASES for case in CASES[name]], ids="-".join)
def recorded(request):
    return Recorded(*request.param)


def close(found, expected, tolerance=1e-5):
    return (found - expected).abs().max() <= tolerance * expected.abs().max()


def scan(*shape, dtype=torch.complex64, two_masks=True):
    """Random masked k-space (batch, 1, coil, y, x) and its masks of columns, centre sampled."""
    generator = torch.Generator().manual_seed(0)
    kspace = complex_noise_like(torch.empty(shape, dtype=dtype), generator)
    batch, _, _, rows, columns = shape
    lines = torch.zeros(batch, columns, dtype=torch.bool)
    for index, line in enumerate(lines):
        line[index if two_masks else 0 :: 3] = True
        line[columns // 2 - 4 : columns // 2 + 4] = True
    mask = lines[:, None].expand(batch, rows, columns)
    return kspace * mask[:, None, None], mask


def pair(dtype=torch.float64, **options):
    """A network and fastMRI's with the same weights, data consistency weights and all."""
    torch.manual_seed(0)
    net = VarNet(**TINY, **options).to(dtype)
    for cascade in net.cascades:
        torch.nn.init.uniform_(cascade.dc_weight, 0.3, 1.2)
    official = fastmri.models.VarNet(**TINY).to(dtype)
    official.load_state_dict(net.state_dict(), strict=True)
    return net, official


@torch.no_grad()
def test_recorded_outputs(recorded):
    kspace, _, calibration = recorded.inputs
    assert close(recorded.network.sens_net(kspace[:, 0], calibration), recorded.out["sens_maps"])
    for number in range(recorded.config["num_cascades"]):
        found = recorded.with_cascades(number + 1).refine(*recorded.inputs)
        assert close(found, recorded.out[f"kspace_after_cascade{number}"])
    assert close(recorded.network(*recorded.inputs, WHOLE), recorded.out["output"])


def test_recorded_calibration_columns(recorded):
    if not recorded.call["mask_center"]:
        assert recorded.calibration.all()
        return
    starts, widths = recorded.call["center_start"], recorded.call["center_width"]
    if len(starts) == 1:  # one mask for the batch
        starts, widths = starts * len(recorded.mask), widths * len(recorded.mask)
    for seen, start, width in zip(recorded.calibration, starts, widths, strict=True):
        assert seen.all(dim=0).nonzero().flatten().tolist() == list(range(start, start + width))


@torch.no_grad()
def test_low_precision_changes_the_image_little(recorded):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = recorded.network(*recorded.inputs, WHOLE)
        maps = recorded.network.sens_net(recorded.kspace[:, 0], recorded.calibration)
    assert (found.dtype, maps.dtype) == (torch.float32, torch.complex64)
    expected = recorded.network(*recorded.inputs, WHOLE)
    error = torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected)
    assert 0 < error < 0.02


@pytest.mark.parametrize("checkpoint_cascades", [False, True])
def test_gradients_are_those_of_fastmri(checkpoint_cascades):
    net, official = pair(checkpoint_cascades=checkpoint_cascades)
    kspace, mask = scan(2, 1, 3, 33, 38, dtype=torch.complex128)
    ours, theirs = (kspace.clone().requires_grad_() for _ in range(2))
    weight = torch.rand(2, 33, 38, dtype=torch.float64)
    found = net(ours, mask, calibration_of(mask), WHOLE)
    (found * weight).sum().backward()
    expected = official(torch.view_as_real(theirs[:, 0]), mask[:, None, :1, :, None])
    (expected * weight).sum().backward()
    assert close(found, expected, 1e-10)
    # What fastMRI does with samples outside the mask, which are zero, is another thing.
    assert close(ours.grad * mask[:, None, None], theirs.grad * mask[:, None, None], 1e-8)
    for (name, parameter), other in zip(official.named_parameters(), net.parameters(), strict=True):
        assert close(other.grad, parameter.grad, 1e-8), name


@torch.no_grad()
def test_mask_in_two_dimensions_is_as_in_fastmri():
    net, official = pair()
    official.sens_net.mask_center = False
    kspace, _ = scan(1, 1, 3, 40, 37, dtype=torch.complex128)
    mask = poisson((40, 37), 3, center_fraction=0.2, seed=0)[None]
    found = net(kspace * mask, mask, torch.ones_like(mask), WHOLE)
    given = torch.view_as_real((kspace * mask)[:, 0])
    assert close(found, official(given, mask[:, None, ..., None]), 1e-10)


@torch.no_grad()
def test_crop_is_a_window_of_the_root_sum_of_squares():
    net, _ = pair(torch.float32)
    kspace, mask = scan(2, 1, 3, 40, 33)
    before = kspace.clone()
    inputs = (kspace, mask, calibration_of(mask))
    image = rss(ifft2c(net.refine(*inputs)))[:, 3:31, 5:30]
    assert close(net(*inputs, (slice(3, 31), slice(5, 30))), image)
    assert torch.equal(kspace, before)


def test_results_do_not_depend_on_gradients_or_the_batch():
    net, _ = pair(torch.float32)
    kspace, mask = scan(2, 1, 5, 40, 33)
    calibration = calibration_of(mask)
    with_gradients = net(kspace, mask, calibration, WHOLE).detach()
    with torch.no_grad():
        net.sens_net.pixels_at_once = 1
        assert close(net(kspace, mask, calibration, WHOLE), with_gradients)
        for one in (slice(0, 1), slice(1, 2)):
            alone = net(kspace[one], mask[one], calibration[one], WHOLE)
            assert close(alone, with_gradients[one])


@pytest.mark.parametrize("scale", [1e-8, 1e6])
@torch.no_grad()
def test_output_follows_the_units_of_the_kspace(scale):
    net, _ = pair(torch.float32)
    kspace, mask = scan(1, 1, 3, 40, 33)
    calibration = calibration_of(mask)
    unit = net(kspace, mask, calibration, WHOLE)
    assert close(net(scale * kspace, mask, calibration, WHOLE), scale * unit)


def test_nothing_measured_gives_zeros():
    net, _ = pair(torch.float32)
    kspace, mask = scan(2, 1, 3, 32, 40)
    kspace[0] = 0
    output = net(kspace, mask, calibration_of(mask), WHOLE)
    assert not output[0].any() and output[1].any()
    output.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


@torch.no_grad()
def test_coil_without_signal_is_as_if_it_were_not_there():
    net, _ = pair(torch.float32)
    kspace, mask = scan(1, 1, 4, 32, 40)
    kspace[:, :, 2] = 0
    inputs = (mask, calibration_of(mask))
    expected = net(kspace[:, :, [0, 1, 3]], *inputs, WHOLE)
    assert close(net(kspace, *inputs, WHOLE), expected)
    assert not net.refine(kspace, *inputs)[:, 2].any()


@pytest.mark.parametrize("preset", PRESETS["varnet"])
def test_presets_rebuild_from_their_config(preset):
    with torch.device("meta"):
        net = NETWORKS["varnet"](**PRESETS["varnet"][preset])
        again = type(net)(**json.loads(json.dumps(net.config)))
    shapes = {name: list(value.shape) for name, value in net.state_dict().items()}
    assert shapes == {name: list(value.shape) for name, value in again.state_dict().items()}
    if preset == "published":
        assert shapes == published_map("fastmri_varnet_leaderboard")["state"]


@pytest.mark.parametrize("columns", [None, 0, 5, 8])
def test_calibration_is_that_of_fastmri(columns):
    lines = torch.rand(50, 41, generator=torch.Generator().manual_seed(0)) < 0.3
    for count, line in enumerate(lines):
        line[20 - count % 6 : 21 + count % 5] = True
    starts, widths = SensitivityModel(2, 2).get_pad_and_num_low_freqs(
        lines[:, None, None, :, None].to(torch.int64), columns
    )
    calibration = calibration_of(lines[:, None].expand(50, 3, 41), columns)
    for seen, start, width in zip(calibration, starts.tolist(), widths.tolist(), strict=True):
        assert (seen == seen[0]).all()
        assert seen[0].nonzero().flatten().tolist() == list(range(start, start + width))


def test_calibration_of_a_mask_in_two_dimensions_is_a_rectangle():
    mask = torch.zeros(1, 20, 30, dtype=torch.bool)
    mask[:, 7:14, 12:19] = True
    mask[:, 0, 0] = True
    expected = torch.zeros_like(mask)
    expected[:, 7:14, 12:19] = True
    assert torch.equal(calibration_of(mask), expected)


def test_calibration_needs_the_origin():
    mask = torch.zeros(1, 20, 30, dtype=torch.bool)
    mask[:, 0, 0] = True
    columns = torch.zeros_like(mask)
    columns[:, :, :15] = True  # up to the origin; fastMRI's rule would give the unsampled column 15
    for without in (mask, columns, columns.flip(-1).roll(1, -1), torch.zeros_like(mask)):
        with pytest.raises(ValueError, match="does not sample the origin"):
            calibration_of(without)
    with pytest.raises(ValueError, match="31 calibration columns of 30"):
        calibration_of(mask, 31)


@torch.no_grad()
@pytest.mark.parametrize("name", ["varnet", "humus"])
def test_combining_by_maps_drops_what_no_object_explains(name):
    """Coil images S x give |x| ||S|| both ways; noise at right angles to S is seen by the RSS alone."""
    generator = torch.Generator().manual_seed(0)

    def complex_randn(*shape):
        return torch.randn(shape, dtype=torch.complex64, generator=generator)

    maps, image = complex_randn(2, 4, 12, 10), complex_randn(2, 12, 10)
    power = maps.abs().square().sum(dim=1)
    noise = complex_randn(2, 4, 12, 10)
    noise = noise - maps * ((maps.conj() * noise).sum(dim=1) / power).unsqueeze(1)
    mask = torch.ones(2, 12, 10, dtype=torch.bool)
    zero = torch.zeros_like(image)
    crop = (slice(1, 11), slice(2, 9))
    expected = (image.abs() * power.sqrt())[(..., *crop)]
    for coil_images, equal in (
        (maps * image.unsqueeze(1), True),
        (maps * image.unsqueeze(1) + noise, False),
    ):
        end = Unrolled(fft2c(coil_images), mask, maps, zero, zero)
        assert close(end.matched(crop), expected)
        assert close(end.rss(crop), expected) == equal
    network = NETWORKS[name](**PRESETS[name]["tiny"])
    assert network.combine == "maps" and network.config["combine"] == "maps"


def test_shared_cascades_are_equal_ones():
    """One cascade used three times is a network of three with equal weights."""
    config = {"chans": 3, "pools": 1, "sens_chans": 2, "sens_pools": 1}
    shared = VarNet(num_cascades=3, shared=True, **config)
    plain = VarNet(num_cascades=3, **config)
    state = shared.state_dict()
    for number in (1, 2):
        first = {name: x for name, x in state.items() if name.startswith("cascades.0.")}
        state |= {name.replace(".0.", f".{number}.", 1): x for name, x in first.items()}
    plain.load_state_dict(state)
    mask = torch.zeros(1, 20, 18, dtype=torch.bool)
    mask[:, :, ::2] = mask[:, :, 6:12] = True
    kspace = torch.randn(1, 1, 3, 20, 18, dtype=torch.complex64) * mask[:, None, None]
    arguments = kspace, mask, calibration_of(mask), (slice(0, 20), slice(0, 18))
    torch.testing.assert_close(shared(*arguments), plain(*arguments))
    assert VarNet(**shared.config).config == shared.config


@pytest.mark.parametrize("shape", [(12, 10), (13, 9)])
def test_the_misfit_is_that_of_the_kspace_at_its_samples(shape):
    generator = torch.Generator().manual_seed(0)

    def complex_randn(*shape):
        return torch.randn(shape, dtype=torch.complex64, generator=generator)

    mask = torch.rand(2, *shape, generator=generator) < 0.4
    y = complex_randn(2, 3, *shape) * mask.unsqueeze(1)
    images = complex_randn(2, *shape), complex_randn(2, *shape)
    end = Unrolled(y, mask, complex_randn(2, 3, *shape), *images)
    expected = ((end.kspace() - y) * mask.unsqueeze(1)).flatten(1).abs().square().sum(1).sqrt()
    assert end.misfit().tolist() == pytest.approx(expected.tolist(), rel=1e-5)
