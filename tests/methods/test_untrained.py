"""Untrained networks fitted to a slice: what they rest on, how they stop, and that nothing else is looked at."""

import dataclasses

import pytest
import torch
from scan_cases import columns, error, fitted, phantom, pipeline_of, problems_of, reconstructed

import mrirecon as mr
from mrirecon.methods.untrained import Data, radial_weight
from mrirecon.networks.untrained import ConvDecoder, EncoderDecoder
from mrirecon.phantom import shepp_logan
from mrirecon.tensors import complex_noise_like

NAMES = ("dip", "conv_decoder")
SHORT = {"iterations": 20, "channels": 8}


@pytest.fixture(scope="module")
def simulation():
    return phantom(shape=(48, 40), snr=40.0)


@pytest.fixture(scope="module")
def scan(simulation):
    return simulation.scan.undersample(columns(simulation.scan, step=3))


@pytest.mark.parametrize("kind", [ConvDecoder, EncoderDecoder])
def test_noise_is_fitted_more_slowly_than_a_phantom(kind):
    """The property that all of this rests on: 200 steps explain a phantom, and hardly any noise."""
    losses = {}
    image = shepp_logan((48, 40)).to(torch.complex64)
    noise = complex_noise_like(image, torch.Generator().manual_seed(1))
    for name, target in (("phantom", image), ("noise", noise)):
        target = target / target.abs().square().mean().sqrt()
        network = kind((48, 40), 2, channels=16)
        random = torch.Generator().manual_seed(0)
        network.draw_weights(random)
        u = network.draw_input(random)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.008)
        for _ in range(200):
            x = torch.complex(*network(u)[0])
            loss = (x - target).abs().square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses[name] = loss.item()
    assert losses["noise"] > 5 * losses["phantom"], losses


@pytest.fixture
def data(scan):
    (problem,) = problems_of(pipeline_of("dip", scan), 1)
    return Data(problem, share=0.2)


def like(x):
    return complex_noise_like(x, torch.Generator().manual_seed(3))


@pytest.mark.parametrize("emphasis", [0.0, 1.0])
def test_the_gradient_is_that_of_the_samples_that_are_learned_from(data, emphasis):
    problem = data.problem
    data = Data(problem, share=0.2, emphasis=emphasis)
    x = like(data.back).requires_grad_()
    kept = problem.mask & ~data.points
    rows, columns_ = (torch.arange(n) - n // 2 for n in kept.shape)
    far = torch.sqrt((rows[:, None] / 48) ** 2 + (columns_ / 40) ** 2) + 0.025
    weight = (far / far.max()) ** emphasis
    misfit = (problem.operator(x) - problem.kspace / problem.scale)[:, kept]
    ((weight[kept] * misfit.abs().square()).sum() / 2 / x.numel()).backward()
    assert error(data.gradient(x.detach()), x.grad) < 1e-5


def test_left_out_samples_are_judged_and_not_learned_from(data):
    problem, x = data.problem, like(data.back)
    points = data.points
    assert bool(points.any()) and bool((problem.mask & points).sum() == points.sum())
    spoilt = problem.kspace + 100 * points
    other = Data(dataclasses.replace(problem, kspace=spoilt), share=0.2)
    assert torch.equal(other.points, points)
    assert torch.equal(other.gradient(x), data.gradient(x))
    assert other.error(x) != data.error(x)
    assert data.error(torch.zeros_like(x)) == pytest.approx(1)


def test_at_the_end_all_samples_count(data):
    A, y, x = data.problem.operator, data.problem.kspace / data.problem.scale, like(data.back)
    z = data.consistent(x, 0.1)
    assert error(A.gram(z) + 0.1 * z, A.H(y) + 0.1 * x) < 1e-3


def test_the_weight_of_the_data_is_the_one_that_predicts_left_out_samples_best(data, simulation):
    """Noisy data count little beside the truth, and exact data much beside something else."""
    problem = dataclasses.replace(data.problem, maps=simulation.maps(0)[None])
    truth = simulation.truth(0)
    exact = dataclasses.replace(problem, kspace=problem.operator(truth))
    assert Data(problem, share=0.2).best_weight(truth / problem.scale) == 0.3
    assert Data(exact, share=0.2).best_weight(0.5 * truth / problem.scale) < 0.03


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_image_and_another_seed_another(name, scan):
    state = torch.get_rng_state()
    images = [reconstructed(name, scan, **SHORT, seed=seed).image for seed in (0, 0, 1)]
    assert torch.equal(images[0], images[1])
    assert error(images[2], images[0]) > 1e-3
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_is_never_looked_at(name, scan):
    def poisoned(*place):
        raise AssertionError("the reference was read")

    blind = dataclasses.replace(scan, reference=None)
    watched = dataclasses.replace(scan, reference=poisoned)
    found = [reconstructed(name, one, **SHORT) for one in (scan, blind, watched)]
    for other in found[1:]:
        assert torch.equal(found[0].image, other.image)
        assert found[0].info["best_step"] == other.info["best_step"]


@pytest.mark.parametrize("shape", [(33, 35), (17, 48), (9, 17)])
@pytest.mark.parametrize("name", NAMES)
def test_any_size_will_do(name, shape):
    full = phantom(shape=shape).scan
    image = reconstructed(name, full.undersample(columns(full, calibration=5)), **SHORT).image
    assert image.shape[-2:] == shape
    assert bool(torch.isfinite(image).all()) and bool(image.any())


@pytest.mark.parametrize("name", NAMES)
def test_it_stops_when_left_out_samples_are_predicted_no_better(name, scan, monkeypatch):
    """Judged every tenth step, best at the thirtieth: that image is taken, twenty steps later."""
    options = {**SHORT, "iterations": 400, "patience": 20, "consistency": 1e5}
    errors, seen = iter([0.9, 0.8, 0.7, 0.8, 0.75, 0.6]), []

    def error_of(data, x):
        seen.append(x)
        return next(errors)

    monkeypatch.setattr(Data, "error", error_of)
    volume = reconstructed(name, scan, **options)
    assert volume.info["best_step"] == 30 and volume.info["network_evaluations"] == 50
    assert volume.info["left_out_error"] == 0.6  # the last time it was asked
    image = volume.image[0, 0]
    found = [error(fitted(x * (image != 0), image), image) < 1e-3 for x in seen]
    assert found == [False, False, True, False, False, True]


def test_the_mean_of_several_fits_is_better_than_one(scan, simulation):
    options = {**SHORT, "iterations": 60, "averaged": 5}
    truth = simulation.truth(0)
    singles = [
        error(reconstructed("conv_decoder", scan, **options, seed=seed).image[0, 0], truth)
        for seed in range(3)
    ]
    both = reconstructed("conv_decoder", scan, **options, fits=3)
    assert both.info["network_evaluations"] == 180
    assert error(both.image[0, 0], truth) < sum(singles) / 3


def test_coil_images_need_no_maps(scan, simulation):
    options = {"iterations": 150, "channels": 16, "averaged": 10}
    volume = reconstructed("dip", scan, **options, coil_images=True)
    assert volume.info["maps"] == {"kind": "none"}
    truth = simulation.truth(0).abs()
    zero = reconstructed("zero_filled", scan).image[0, 0].abs()
    assert error(volume.image[0, 0].abs(), truth) < error(zero, truth)


def test_several_sets_of_maps_have_an_image_each(scan):
    maps = mr.EstimatedMaps(sets=2)
    parts = reconstructed("conv_decoder", scan, **SHORT, maps=maps)
    assert bool(torch.isfinite(parts.image).all())


def test_the_warm_start_fits_the_zero_filled_image_first(data, scan):
    x = like(data.back)
    zero_filled = data.problem.operator.H(data.problem.kspace * ~data.points) / data.problem.scale
    assert error(data.gradient(x, warm=True) * x.numel(), x - zero_filled) < 1e-5
    options = {**SHORT, "iterations": 100, "averaged": 1}
    cold, warm = (
        reconstructed("dip", scan, **options, start=start).image for start in ("random", "adjoint")
    )
    assert error(cold, warm) > 1e-3


def test_a_fit_that_diverges_is_an_error(scan, monkeypatch):
    monkeypatch.setattr(Data, "error", lambda data, x: float("nan"))
    with pytest.raises(ValueError, match=r"slice 0: the fit of dip diverged: lower rate"):
        reconstructed("dip", scan, **SHORT)


@pytest.mark.parametrize("name", NAMES)
def test_with_time_it_beats_zero_filling_and_cg_sense(name, scan, simulation):
    truth = simulation.truth(0).abs()
    errors = {
        other: error(reconstructed(other, scan, **options).image[0, 0].abs(), truth)
        for other, options in {
            name: {"iterations": 300, "channels": 16},
            "adjoint": {},
            "cg_sense": {},
        }.items()
    }
    assert errors[name] < min(errors["adjoint"], errors["cg_sense"]), errors


class Stop(Exception):
    """Somebody stopped the run."""


def test_a_stopped_run_goes_on(tmp_path):
    full = phantom(3).scan
    scan = full.undersample(columns(full))

    def progress(done, total):
        if done == 2:
            raise Stop

    output = tmp_path / "brain.nii.gz"
    whole = reconstructed("dip", scan, **SHORT)
    with pytest.raises(Stop):
        reconstructed("dip", scan, **SHORT, keep=mr.recon.SliceStore(output, {}), progress=progress)
    keep = mr.recon.SliceStore(output, {})
    (first,) = keep.folder.glob("*.safetensors")
    written = first.stat().st_mtime_ns
    assert torch.equal(reconstructed("dip", scan, **SHORT, keep=keep).image, whole.image)
    assert first.stat().st_mtime_ns == written


def test_previews_show_the_fit(scan):
    """The fit itself is the image where the data count for nothing beside it."""
    shown = []
    options = {**SHORT, "consistency": 1e5}
    volume = reconstructed("dip", scan, **options, preview=shown.append)
    assert [(one.level, one.levels) for one in shown] == [(10, 20), (20, 20)]
    best = shown[round(volume.info["best_step"] / 10) - 1]
    assert error(fitted(best.image[0], volume.image[0, 0]), volume.image[0, 0]) < 1e-3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"left_out": 0.7}, r"dip: left_out is 0.7: give at most 0.5"),
        ({"left_out": 0.0}, "left_out"),
        ({"iterations": 0}, "iterations"),
        ({"start": "cg_sense"}, "start is 'cg_sense'"),
    ],
)
def test_impossible_options_are_refused(options, said, scan):
    with pytest.raises(ValueError, match=said):
        mr.reconstruct(scan, method="dip", **options)


def test_a_grid_of_a_few_points_is_refused():
    tiny = phantom(shape=(24, 6)).scan
    with pytest.raises(ValueError, match=r"24 x 6 points are too few for an untrained network"):
        reconstructed("conv_decoder", tiny, **SHORT)


def test_a_scan_without_outer_samples_is_refused(simulation):
    mask = torch.zeros(48, 40, dtype=torch.bool)
    mask[14:34, 12:28] = True
    with pytest.raises(
        ValueError, match=r"hardly anything was sampled outside .*: use cg_sense or tv"
    ):
        reconstructed("dip", simulation.scan.undersample(mask), **SHORT)


def test_any_power_of_the_distance_is_a_weight():
    for power in (0.0, 1.0, 40.0, 1e5):
        weight = radial_weight((12, 10), power)
        assert weight.max() == 1 and weight.min() >= 0, power
