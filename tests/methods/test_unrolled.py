"""Networks as reconstruction methods: scans of any kind in, the official output out."""

from dataclasses import replace

import pytest
import torch
from scan_cases import (
    array_scan,
    columns,
    error,
    phantom,
    pipeline_of,
    reconstructed,
    telling_no_noise,
)

from mrirecon.methods import METHODS
from mrirecon.networks import NETWORKS, calibration_of
from mrirecon.operators import sense
from mrirecon.recon import run
from mrirecon.tensors import ifft2c, rss
from mrirecon.weights import Card, TrainingRange, load_weights, save_weights

SMALL = {
    "unet": {"chans": 4, "num_pool_layers": 2},
    "varnet": {"num_cascades": 2, "chans": 4, "pools": 2, "sens_chans": 3, "sens_pools": 2},
}
HUMUS = {
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


@pytest.fixture
def weights(tmp_path):
    def make(name, config={}, **card):  # noqa: B006
        torch.manual_seed(0)
        path = tmp_path / f"{name}.safetensors"
        network = NETWORKS[name](**{**SMALL, "humus": {**HUMUS, **config}}[name])
        save_weights(network, path, Card(network=name, config=network.config, **card))
        return str(path)

    return make


@pytest.mark.parametrize("name", SMALL)
def test_volumes_slices_and_scale(name, weights):
    scan = phantom(slices=3).scan
    scan = scan.undersample(columns(scan))
    method = METHODS[name](weights=weights(name))
    volume = run(method, scan)
    assert volume.image.shape == (1, 3, *scan.matrix)
    assert bool(torch.isfinite(volume.image.abs()).all())
    louder = array_scan(
        torch.stack([1000 * scan.kspace(index) for index in range(3)]), scan.mask(0)
    )
    torch.testing.assert_close(run(method, louder).image, 1000 * volume.image, rtol=1e-3, atol=1.0)
    assert volume.info["weights"]["network"] == name
    assert len(volume.info["weights"]["sha256"]) == 64


@pytest.mark.parametrize("shape", [(33, 35), (48, 40)])
def test_varnet_equals_fastmri(shape, weights, tmp_path):
    from fastmri.models import VarNet

    scan = phantom(shape=shape).scan
    scan = scan.undersample(columns(scan))
    path = weights("varnet")
    image = reconstructed("varnet", scan, weights=path).image[0, 0]
    official = VarNet(**SMALL["varnet"]).eval()
    official.load_state_dict(load_weights(path)[0].state_dict())
    kspace = torch.view_as_real(scan.kspace(0))[None]
    with torch.no_grad():
        expected = official(kspace, scan.mask(0)[0].view(1, 1, 1, -1, 1))[0]
    assert error(image.real, expected) < 1e-4
    assert not image.imag.any()


def test_residual_is_of_the_measured_samples(weights):
    scan = phantom().scan
    scan = scan.undersample(columns(scan))
    assert 0 < reconstructed("varnet", scan, weights=weights("varnet")).info["data_residual"] < 10


def test_bfloat16_is_close(weights):
    scan = phantom().scan
    scan = scan.undersample(columns(scan))
    path = weights("varnet")
    full = reconstructed("varnet", scan, weights=path).image
    half = reconstructed("varnet", scan, weights=path, precision="bfloat16").image
    assert 0 < error(half, full) < 0.03


def test_scan_outside_training_is_said(weights):
    scan = phantom().scan
    scan = scan.undersample(columns(scan))
    trained = TrainingRange(masks=("poisson",), accelerations=(8.0,), coils=(15, 15))
    notes = reconstructed("varnet", scan, weights=weights("varnet", training=trained)).info["notes"]
    assert sum("trained for" in note for note in notes) == 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("varnet", {"weights": "nothing.safetensors"}, "nothing.safetensors"),
        ("varnet", {"partial_fourier": "pocs"}, "partial"),
    ],
)
def test_errors(name, options, message):
    scan = phantom().scan
    with pytest.raises((ValueError, OSError), match=message):
        reconstructed(name, scan, **options)


def test_weights_of_another_network(weights):
    with pytest.raises(ValueError, match="--method unet"):
        reconstructed("varnet", phantom().scan, weights=weights("unet"))


def test_unet_of_a_fully_sampled_scan_sees_its_rss(weights):
    scan = phantom().scan
    image = reconstructed("unet", scan, weights=weights("unet")).image[0, 0]
    zero_filled = rss(ifft2c(scan.kspace(0)))
    # The network is random; its output has the mean and the size of its input.
    assert image.shape == zero_filled.shape
    assert 0.1 < float(image.abs().mean() / zero_filled.mean()) < 10


def varnet_figures(network, scan, index, noise):
    """Those of a slice from their definitions, and its null-space part; A is that of the network's own maps."""
    y, mask = scan.measured(index)
    with torch.inference_mode():
        end = network.eval().unroll(y[None, None], mask[None], calibration_of(mask[None]))
        x, maps, predicted = end.combined()[0], end.maps[0], end.kspace()[0]
    misfit = (predicted - y)[:, mask]
    bright = x.abs() > 0.1 * torch.quantile(x.abs().flatten(), 0.99)
    delta = noise**2 / float(x[bright].abs().square().mean() / 2)
    A, u = sense(maps.to(torch.complex128), mask), x.to(torch.complex128)
    part = delta * A.solve(u, delta, iterations=5000, tolerance=1e-8)
    return {
        "data_residual": float(misfit.norm() / y.norm()),
        "residual_over_noise": float((misfit.abs().square().mean() / 2).sqrt()) / noise,
        "null_space_delta": delta,
        "null_space_share": float((part.norm() / u.norm()) ** 2),
    }, part


@pytest.mark.parametrize("combine", ["rss", "maps"])
def test_trust_figures(combine, tmp_path):
    torch.manual_seed(0)
    network = NETWORKS["varnet"](**SMALL["varnet"], combine=combine)
    path = tmp_path / "varnet.safetensors"
    save_weights(network, path, Card(network="varnet", config=network.config))
    scan = phantom(slices=2).scan
    scan = scan.undersample(columns(scan))
    volume = reconstructed("varnet", scan, weights=str(path), trust=True)
    assert volume.extras["null_space"].shape == volume.image.shape
    (noise,) = pipeline_of("varnet", scan, weights=str(path)).problems.noise
    found = [varnet_figures(network, scan, index, noise) for index in range(2)]
    expected, parts = zip(*found, strict=True)
    figures = tuple(expected[0])
    for figure in figures:
        mean = (expected[0][figure] + expected[1][figure]) / 2
        assert volume.info[figure] == pytest.approx(mean, rel=1e-3), figure
    for written, part in zip(volume.extras["null_space"][0], parts, strict=True):
        assert error(written, scan.to_output(part).abs()) < 1e-3
    kspace = torch.stack([1000 * scan.kspace(index) for index in range(2)])
    told = {"weights": str(path), "trust": "share"}
    louder = reconstructed("varnet", array_scan(kspace, scan.mask(0)), **told)
    assert not louder.extras
    quieter = reconstructed(
        "varnet", array_scan(kspace / 1000, scan.mask(0)), **told
    )  # neither has a noise measurement: both read it from the outer k-space
    for figure in figures:
        assert louder.info[figure] == pytest.approx(quieter.info[figure], rel=1e-2), figure


def test_without_a_noise_level_there_are_no_trust_figures_and_a_map_is_refused(weights):
    kspace = torch.zeros(1, 4, 40, 32, dtype=torch.complex64)
    kspace[..., 16:24, 12:20] = 1
    scan = array_scan(telling_no_noise(kspace), torch.ones(40, 32, dtype=torch.bool))
    path = weights("varnet")
    info = reconstructed("varnet", scan, weights=path, trust="share").info
    assert "data_residual" in info and "null_space_share" not in info
    with pytest.raises(ValueError, match=r"leave out --method\.trust"):
        reconstructed("varnet", scan, weights=path, trust=True)
    with pytest.raises(TypeError, match="trust"):
        METHODS["unet"](trust=True)


# Neighbouring slices


def test_humus_sees_its_neighbours_in_order_and_the_end_slices_twice(weights):
    scan = phantom(slices=4, shape=(32, 32)).scan
    scan = scan.undersample(columns(scan))
    path = weights("humus", {"num_adj_slices": 3})
    found = reconstructed("humus", scan, weights=path).image[0]
    network, _ = load_weights(path)
    mask = scan.mask(0)[None]
    order = [(0, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 3)]
    for index, near in enumerate(order):
        kspace = torch.stack([scan.kspace(i) for i in near])
        with torch.no_grad():
            image = network.eval()(kspace[None], mask, calibration_of(mask), scan.crop)[0]
            other = network(kspace.flip(0)[None], mask, calibration_of(mask), scan.crop)[0]
        assert error(found[index].abs(), image) < 1e-6
        assert error(other, image) > 1e-4


# Calibration data


def separate_lines(slices=1, shape=(48, 40)):
    """A lattice with one central column, and 16 calibration lines of another contrast beside it."""
    full = phantom(slices=slices, shape=shape).scan
    block = columns(full, step=100)
    block[:, 0] = False
    lattice = columns(full, step=4, calibration=0)
    scan = full.undersample(lattice)
    return replace(scan, calibration=lambda v, i: 3 * full.read(v, i) * block), full, block


@torch.no_grad()
def test_varnet_estimates_its_maps_from_separate_lines_as_fastmri_would(weights):
    import fastmri
    from fastmri.models import VarNet

    scan, full, block = separate_lines()
    path = weights("varnet")
    image = reconstructed("varnet", scan, weights=path).image[0, 0]
    official = VarNet(**SMALL["varnet"]).eval()
    official.load_state_dict(load_weights(path)[0].state_dict())

    def theirs(mask):
        return (
            torch.view_as_real(full.kspace(0) * mask)[None].contiguous(),
            mask[0].view(1, 1, 1, -1, 1),
        )

    maps = official.sens_net(*theirs(block))
    measured, mask = theirs(scan.mask(0))
    kspace = measured.clone()
    for cascade in official.cascades:
        kspace = cascade(kspace, measured, mask, maps)
    expected = fastmri.rss(fastmri.complex_abs(fastmri.ifft2c(kspace)), dim=1)[0]
    assert error(image.real, expected) < 1e-4
    without = reconstructed("varnet", replace(scan, calibration=None), weights=path).image[0, 0]
    assert error(without.real, expected) > 1e-2


@torch.no_grad()
def test_humus_takes_the_separate_lines_of_each_neighbour(weights):
    scan, full, block = separate_lines(3, (32, 32))
    path = weights("humus", {"num_adj_slices": 3})
    found = reconstructed("humus", scan, weights=path).image[0]
    network = load_weights(path)[0].eval()
    for index, near in enumerate([(0, 0, 1), (0, 1, 2), (1, 2, 2)]):
        kspace = torch.stack([full.kspace(i) for i in near])[None]
        mask, centre = scan.mask(0)[None], calibration_of(block[None])
        end = network.unroll(kspace * mask, mask, centre, kspace * block)
        assert error(found[index].abs(), network.image(end, scan.crop)[0]) < 1e-5


@pytest.mark.parametrize("name", ["varnet", "humus"])
def test_a_mask_without_the_origin_needs_calibration_from_elsewhere(name, weights):
    scan, full, _ = separate_lines(shape=(32, 32))
    mask = columns(full, step=4, calibration=0, offset=1)
    scan = replace(full.undersample(mask), calibration=scan.calibration)
    method = METHODS[name](weights=weights(name))
    assert bool(run(method, scan).image.any())
    with pytest.raises(ValueError, match="does not sample the origin"):
        run(method, replace(scan, calibration=None))
    assert bool(reconstructed("unet", scan, weights=weights("unet")).image.any())
    lattice = columns(full, step=4, calibration=0)
    kspace = full.kspace(0)[None] * lattice
    kspace[..., 16] = 0  # which says that it was not measured, whatever the mask says
    with pytest.raises(ValueError, match="does not sample the origin"):
        run(method, array_scan(kspace, lattice))


@pytest.mark.parametrize("name", ["varnet", "humus"])
@pytest.mark.parametrize("kept", ["column", "row", "point"])
def test_very_little_of_the_centre_gives_an_image(name, kept, weights):
    full = phantom(shape=(32, 32)).scan
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[16 if kept != "column" else slice(None), 16 if kept != "row" else slice(None)] = True
    image = reconstructed(name, full.undersample(mask), weights=weights(name)).image
    assert bool(torch.isfinite(image.abs()).all())
    assert bool(image.any())


def test_a_narrow_centre_is_said(weights):
    scan, _, _ = separate_lines()
    trained = TrainingRange(masks=("equispaced",))
    notes = reconstructed("varnet", scan, weights=weights("varnet", training=trained)).info["notes"]
    assert any("fully sampled centre of its mask is 1 sample(s) wide" in note for note in notes)
