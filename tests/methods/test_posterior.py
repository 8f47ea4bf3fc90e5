"""Samplers as methods: nothing may depend on batches, on the scale of the data, or on the reference."""

import functools
import weakref
from dataclasses import replace
from functools import wraps
from itertools import combinations

import pytest
import torch
from sampling_cases import SHORT, SPECTRAL, begun, random_prior, sample, three_slices
from scan_cases import (
    array_scan,
    columns,
    error,
    phantom,
    pipeline_of,
    problems_of,
    reconstructed,
    telling_no_noise,
)

from mrirecon.device import images_that_fit
from mrirecon.diffusion import GaussianDenoiser, vp
from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.methods import METHODS, Posterior, walk
from mrirecon.methods.first import FIRST_IMAGES
from mrirecon.methods.registry import options_of
from mrirecon.methods.trust import null_space
from mrirecon.networks.denoiser import DenoiserUNet
from mrirecon.noise import noise_level, prewhiten
from mrirecon.operators import sense
from mrirecon.recon import EstimatedMaps, reconstruct, run
from mrirecon.weights import card_of, load_weights, save_weights, shipped_weights

NETWORKS = {"varnet", "humus", "unrolled_prior"}
STARTS = [n for n in FIRST_IMAGES if n not in NETWORKS or f"{n}_tiny" in shipped_weights()]


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return random_prior(tmp_path_factory.mktemp("prior"))


@pytest.fixture(scope="module")
def scan():
    return three_slices()


@pytest.fixture(scope="module")
def problems(prior, scan):
    """What each slice is, not prewhitened."""
    return problems_of(pipeline_of("dds", scan, weights=prior, whiten=False), 3)


def figures_by_hand(image, problem):
    """Those of a slice, from their definitions."""
    misfit = (problem.operator(image) - problem.kspace)[:, problem.mask]
    noise, signal = problem.noise_std, image[problem.operator.support()]
    delta = noise**2 / float(signal.abs().square().mean() / 2)
    return {
        "data_residual": float(misfit.norm() / problem.kspace.norm()),
        "residual_over_noise": float((misfit.abs().square().mean() / 2).sqrt()) / noise,
        "null_space_delta": delta,
        "null_space_share": null_space(problem.operator, image, delta)[0],
    }


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_is_a_method(name, prior, scan, problems):
    options = {"samples": 2, "whiten": False, "images_at_once": 2, "trust": "share"}
    volume = sample(name, prior, scan, **options)
    assert volume.image.shape == (1, 3, *scan.matrix)
    assert bool(torch.isfinite(volume.image.abs()).all())
    assert volume.extras["std"].shape == volume.image.shape
    expected = [figures_by_hand(*slice_) for slice_ in zip(volume.image[0], problems, strict=True)]
    for figure in expected[0]:
        mean = sum(figures[figure] for figures in expected) / 3
        assert volume.info[figure] == pytest.approx(mean, rel=1e-3), figure
    assert volume.info["network_evaluations"] >= 3
    assert volume.info["weights"]["network"] == "denoiser"


def test_each_slice_volume_and_draw_has_noise_of_its_own(prior, scan):
    """Slices and volumes with the same data: only the noise tells their draws apart."""
    kspace = scan.kspace(0).expand(2, 2, *scan.shape[1:])
    alike = array_scan(kspace, mask=scan.mask(0))
    extras = sample("dds", prior, alike, samples=2, draws=True).extras
    draws = torch.stack([extras["draw1"], extras["draw2"]]).flatten(0, 2)
    for one, two in combinations(draws, 2):
        assert error(one, two) > 1e-3


@pytest.mark.parametrize("coils", ["joint", "separate", "hybrid"])
def test_images_of_separate_coils_have_the_phase_of_the_data(coils, prior, scan):
    assert sample("score_mri", prior, scan, coils=coils, levels=10).info["data_residual"] < 1


@pytest.mark.parametrize("name", ["dds", "dps", "score_mri", "langevin"])
def test_nothing_depends_on_what_is_computed_together(name, prior, scan):
    one, many = (
        sample(name, prior, scan, samples=2, images_at_once=n, draws=True) for n in (1, 100)
    )
    assert error(one.image, many.image) < 1e-4
    for extra in ("std", "draw1", "draw2"):
        assert error(one.extras[extra], many.extras[extra]) < 1e-3
    assert error(one.extras["draw1"], one.extras["draw2"]) > 1e-3
    assert one.info["network_evaluations"] == many.info["network_evaluations"]


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("name", ["dds", "dps", "score_mri", "ddrm"])
def test_the_scale_of_the_data_is_undone(name, factor, prior, scan):
    kspace = torch.stack([scan.kspace(index) for index in range(3)])
    scaled, plain = (array_scan(f * kspace, scan.mask(0)) for f in (factor, 1.0))
    image = sample(name, prior, scaled).image / factor
    assert error(image, sample(name, prior, plain).image) < 1e-4


class Gaussian:
    """The exact prior of images around `level`, which keeps what it is given; with a range as networks have it."""

    def __init__(self, level):
        mean, power = torch.full((32, 28), 0.3 + 0j), torch.full((32, 28), 0.04)
        self.exact = GaussianDenoiser(level * mean, level**2 * power)
        self.sigma_range = (0.005 * level, 5.0 * level)
        self.seen = []

    def __call__(self, x, sigma):
        self.seen.append((x.detach(), sigma))
        return self.exact(x, sigma)


@pytest.mark.parametrize("name", ["dds", "pigdm", "score_mri", "dps"])
def test_a_prior_is_given_images_as_bright_as_those_it_knows(name, prior, scan, monkeypatch):
    """A prior of images half as bright: given half of x and of its level, it leaves the same image behind."""
    volumes, seen = [], []
    network, card = load_weights(prior)
    for level in (1.0, 0.5):
        known = Gaussian(level)
        monkeypatch.setattr("mrirecon.weights.prior.denoiser_of", lambda n, known=known: known)
        stated = replace(card, bright_level=level)
        monkeypatch.setattr("mrirecon.weights.prior.load_weights", lambda p, c=stated: (network, c))
        volumes.append(sample(name, prior, scan))
        seen.append(known.seen)
        assert volumes[-1].info["weights"]["bright_level"] == level
        assert volumes[-1].info["noise_levels"]["first"] == pytest.approx(0.3)
    assert error(volumes[1].image, volumes[0].image) < 1e-4
    for (whole, sigma), (half, lower) in zip(*seen, strict=True):
        assert lower == pytest.approx(sigma / 2)
        assert error(2 * half, whole) < 1e-3


def test_the_levels_of_ddpms_time_are_those_of_the_prior(prior, monkeypatch):
    network, card = load_weights(prior)
    monkeypatch.setattr(
        "mrirecon.weights.prior.load_weights", lambda p: (network, replace(card, bright_level=0.5))
    )
    sigmas = METHODS["dds"](weights=prior, schedule="vp", levels=6, start="noise").sigmas
    torch.testing.assert_close(sigmas, 2 * vp(6, 0.015 / 2, 5.0))


def test_a_prior_of_unknown_intensity_is_said(prior, scan, tmp_path):
    network, card = load_weights(prior)
    path = tmp_path / "unknown.safetensors"
    save_weights(network, path, replace(card, bright_level=None))
    info = sample("dds", str(path), scan).info
    assert sum("how bright the images were" in note for note in info["notes"]) == 1
    assert info["weights"]["bright_level"] is None
    assert not any("how bright" in note for note in sample("dds", prior, scan).info["notes"])


def test_the_reference_is_not_looked_at(prior, scan):
    without = replace(scan, reference=None, attributes={})
    assert torch.equal(sample("dds", prior, scan).image, sample("dds", prior, without).image)


def test_the_seed_decides(prior, scan):
    first, again, other = (sample("dds", prior, scan, seed=s).image for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert error(other, first) > 1e-4


def test_memory_running_out_halves_the_batch(prior, scan, monkeypatch):
    expected = sample("dds", prior, scan, samples=4).image
    real, sizes = SAMPLERS["dds"], []

    @wraps(real)
    def hungry(y, *args, **options):
        images = y[..., 0, 0, 0].numel()
        if images > 1:
            raise RuntimeError("DefaultAllocator: can't allocate memory")
        sizes.append(images)
        return real(y, *args, **options)

    monkeypatch.setattr(METHODS["dds"], "sampler", staticmethod(hungry))
    image = sample("dds", prior, scan, samples=4, images_at_once=8).image
    assert set(sizes) == {1}
    assert error(image, expected) < 1e-4


def test_memory_that_ran_out_is_remembered(prior, monkeypatch):
    scan = phantom(slices=8, shape=(32, 28)).scan
    scan = scan.undersample(columns(scan, calibration=12))
    expected = sample("dds", prior, scan)
    tries, alive, real = [], [], SAMPLERS["dds"]

    @wraps(real)
    def hungry(y, A, denoiser, sigmas, **options):
        tries.append(y[..., 0, 0, 0].numel())
        assert not any(tensor() is not None for tensor in alive)
        if tries[-1] > 2:
            of_this_attempt = denoiser(torch.zeros(y.shape[:2] + y.shape[3:]) + 0j, 0.1)
            alive.append(weakref.ref(of_this_attempt))
            raise torch.OutOfMemoryError("GPU out of memory")
        return real(y, A, denoiser, sigmas, **options)

    monkeypatch.setattr(METHODS["dds"], "sampler", staticmethod(hungry))
    volume = sample("dds", prior, scan, images_at_once=8)
    assert tries == [8, 4, 2, 2, 2, 2]
    assert error(volume.image, expected.image) < 1e-4
    assert volume.info["network_evaluations"] == expected.info["network_evaluations"]
    tries.clear()
    method = METHODS["dds"](weights=prior, **SHORT, samples=5)
    run(method, scan.select(slice(0, 3)))
    assert tries == [4, 2, 2, 1] + 2 * [2, 2, 1]  # draws of a slice; the next slice begins with two


@pytest.mark.parametrize(("free", "expected"), [(0, 1), (10, 10), (1000, 32)])
def test_a_gpu_takes_as_many_images_as_fit(free, expected, monkeypatch):
    image = 2**14 * 32 * 28
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (free * image // 2, 2**40))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: image + free * image // 2)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda index: image)
    assert images_that_fit("cuda:1", 32 * 28) == expected
    assert images_that_fit("cpu", 32 * 28) == 4


def test_an_error_that_is_not_about_memory_is_shown(prior, scan, monkeypatch):
    def broken(y, A, denoiser, sigmas, **options):
        raise RuntimeError("something else")

    monkeypatch.setattr(METHODS["dds"], "sampler", staticmethod(broken))
    with pytest.raises(RuntimeError, match="something else"):
        sample("dds", prior, scan)


@pytest.mark.parametrize("start", ["noise", *STARTS])
def test_first_images(start, prior, scan):
    volume = sample("dds", prior, scan, start=start)
    expected = 5.0 if start == "noise" else walk.WARM
    assert volume.info["noise_levels"]["first"] == pytest.approx(expected)
    assert ("start_weights" in volume.info) == (start in NETWORKS)
    assert bool(torch.isfinite(volume.image.abs()).all())


@pytest.mark.parametrize("whiten", [True, False])
@pytest.mark.parametrize("start", STARTS)
def test_first_images_have_scale_and_phase_of_the_image(start, whiten, prior):
    whole = phantom(slices=3, shape=(64, 56), phase_rad=1.0)
    scan = whole.scan if whiten else replace(whole.scan, noise_covariance=None)
    image, problem = begun(prior, scan.undersample(columns(scan)), start)
    kspace = (prewhiten(scan) if whiten else scan).kspace(0)
    support = problem.operator.support()
    truth = sense(problem.maps[0], torch.ones(64, 56, dtype=torch.bool)).adjoint(kspace)
    assert error(image * support, truth) < 0.4  # a phantom, which no network was trained on


def test_a_network_begins_with_weights_that_are_loaded_once(prior, scan):
    method = METHODS["dds"](weights=prior, start="varnet", **SHORT)
    run(method, scan, device="cpu")
    network = method.first.trained[0]
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}
    run(method, scan, device="cpu")
    assert method.first.trained[0] is network


@pytest.mark.parametrize("name", ["dds", "score_mri"])
@pytest.mark.parametrize(("volumes", "where"), [(1, "slice 1"), (2, "volume 1 slice 1")])
@pytest.mark.parametrize("memory", [True, False])
def test_a_prior_without_numbers_names_slice_and_level(
    name, volumes, where, memory, prior, scan, monkeypatch
):
    """The first slice without them, of those computed together or, for want of memory, one by one."""
    separate = {"coils": "separate", "corrections": 0, "schedule": "karras"}
    more = separate if name == "score_mri" else {}
    method = METHODS[name](weights=prior, images_at_once=100, **SHORT, **more)
    runs, real = [], METHODS[name].sampler
    broken = volumes if memory else 3 * (volumes - 1) + 2  # the run in which the prior fails

    @functools.wraps(real)  # its options are read off its signature
    def sampler(y, *args, **options):
        if not memory and y.shape[:2].numel() > 1:
            raise RuntimeError("out of memory")
        runs.append(y.shape[1])
        return real(y, *args, **options)

    class Broken:
        sigma_range = (0.005, 5.0)

        def __call__(self, x, sigma):
            clean = x.clone()
            if sigma < 0.2 and len(runs) == broken:
                clean[:, int(memory) :, ..., 3, 4] = float("nan")
            return clean

    monkeypatch.setattr(METHODS[name], "sampler", staticmethod(sampler))
    method.__dict__["trained"] = (Broken(), method.trained[1])
    kspace = torch.stack([scan.kspace(index) for index in range(3)])
    sampled = array_scan(torch.stack([kspace] * volumes), scan.mask(0))
    with pytest.raises(ValueError, match=rf"NaN or .* values in {where} at noise level 0\.1"):
        run(method, sampled)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": "cg_sens"}, "start is 'cg_sens': did you mean cg_sense"),
        ({"start": "brain.nii.gz"}, "or give a reconstruction as .npy or .cfl"),
        ({"levels": 0}, "levels is 0"),
        ({"samples": 0}, "samples is 0"),
        ({"images_at_once": 0}, "images_at_once is 0"),
        ({"noise_std": 0.0}, "noise_std is 0.0"),
        ({"noise_std": -1.0}, "noise_std is -1.0"),
        ({"sigma_max": 50.0}, "but the prior knows 5 to 0.005"),
        ({"sigma_min": 0.5, "sigma_max": 0.1}, "sigma_max >= sigma_min"),
        ({"partial_fourier": "pocs"}, "fills in partial Fourier by itself"),
    ],
)
def test_bad_options_are_one_line(options, message, prior, scan):
    with pytest.raises(ValueError, match=message) as raised:
        sample("dds", prior, scan, **options)
    assert "\n" not in str(raised.value)


COUNTED = {"cg_steps", "lanczos_steps", "steps_per_level", "jump", "repeats", "join_every"}
COUNTED |= {"levels", "samples", "images_at_once"}


@pytest.mark.parametrize(
    ("name", "option"),
    [(name, option) for name in SAMPLERS for option in options_of(name) if option in COUNTED],
)
def test_counts_below_1_are_refused_before_anything_is_read(name, option):
    for count in (0, -1):
        expected = f"{name}: {option} is {count}: give at least 1"
        with pytest.raises(ValueError, match=rf"^{expected}$"):
            METHODS[name](weights="nowhere", **{option: count})


def test_no_correction_at_all_is_plain_reverse_diffusion(prior, scan):
    assert sample("score_mri", prior, scan, corrections=0).info["network_evaluations"] == 3


def test_weights_of_another_kind_are_refused(prior, scan, tmp_path):
    from mrirecon.networks import NETWORKS

    network = NETWORKS["unet"](chans=2, num_pool_layers=1)
    path = tmp_path / "unet.safetensors"
    save_weights(network, path, card_of(network))
    with pytest.raises(ValueError, match="holds weights of unet, which is no prior"):
        sample("dds", str(path), scan)
    colour = DenoiserUNet(widths=(8, 8), channels=1)
    save_weights(colour, tmp_path / "m.safetensors", card_of(colour))
    assert sample("dds", str(tmp_path / "m.safetensors"), scan).image.isfinite().all()


@pytest.fixture
def sampled_at_points():
    whole = phantom(slices=2, shape=(32, 28)).scan
    mask = torch.rand(32, 28, generator=torch.Generator().manual_seed(0)) < 0.5
    mask[10:22, 8:20] = True
    return whole.undersample(mask)


@pytest.mark.parametrize("name", SPECTRAL)
def test_a_mask_without_a_spectrum(name, prior, sampled_at_points):
    """By itself a note says what was done; what cannot be had is refused, and coil by coil costs as many images."""
    found = sample(name, prior, sampled_at_points).info
    notes = [note for note in found["notes"] if "varies along both axes" in note]
    assert len(notes) == 1 and f"{name} took 5 steps of Lanczos's method" in notes[0]
    each = sample(name, prior, sampled_at_points, coils="each").info
    coils = sampled_at_points.shape[1]
    assert each["network_evaluations"] == coils * found["network_evaluations"]
    assert not any("varies along both axes" in note for note in each["notes"])
    with pytest.raises(ValueError, match="give coils: lanczos or each"):
        sample(name, prior, sampled_at_points, coils="joint")


def test_the_spectrum_of_whole_lines_needs_no_note(prior, scan):
    assert not any("Lanczos" in note for note in sample("ddrm", prior, scan).info["notes"])


@pytest.mark.parametrize(
    ("name", "coils"), [("ddrm", "each"), ("score_mri", "separate"), ("score_mri", "hybrid")]
)
def test_coil_images_of_few_draws_are_in_one_call(name, coils, prior, sampled_at_points):
    """Two draws of two slices: `images_at_once` counts coil images, of which those of one draw stay together."""
    count, one, seen = sampled_at_points.shape[1], [], []
    for at_once, sizes in ((1, one), (4 * count, seen)):
        method = METHODS[name](
            weights=prior, images_at_once=at_once, coils=coils, samples=2, **SHORT
        )
        denoiser = method.trained[0]

        class Counted:
            sigma_range = denoiser.sigma_range

            def __call__(self, x, sigma, denoiser=denoiser, sizes=sizes):
                sizes.append(x.shape[:-2].numel())
                return denoiser(x, sigma)

        method.__dict__["trained"] = (Counted(), method.trained[1])
        run(method, sampled_at_points, device="cpu")
    assert set(one) == {count} and set(seen) == {4 * count}


def test_two_sets_of_maps_are_refused(prior, scan):
    with pytest.raises(ValueError, match="one set of coil maps"):
        reconstructed("dds", scan, weights=prior, maps=EstimatedMaps(sets=2), **SHORT)


def test_the_posterior_is_abstract():
    assert all(issubclass(METHODS[name], Posterior) for name in SAMPLERS)
    with pytest.raises(TypeError):
        METHODS["dds"](start_from="nowhere")


@pytest.mark.parametrize("snr", [20.0, 100.0])
def test_the_noise_level_is_read_from_the_outer_kspace(snr):
    whole = phantom(slices=3, shape=(256, 224), snr=snr)
    scan = replace(whole.scan, noise_covariance=None)
    scan = scan.undersample(columns(scan, 4))
    truth = float((whole.scan.noise_covariance.diagonal().real.mean() / 2).sqrt())
    assert 0.95 * truth < noise_level(scan) < 1.15 * truth


def test_prewhitened_noise_is_one(scan):
    noisy = replace(scan, noise_covariance=torch.eye(6, dtype=torch.complex128) * 8.0)
    assert noise_level(noisy) == pytest.approx(2.0)
    assert noise_level(prewhiten(noisy)) == pytest.approx(1.0)


@pytest.mark.parametrize("whiten", [True, False])
def test_the_noise_is_given_in_units_of_the_kspace(whiten, prior, scan):
    noisy = replace(scan, noise_covariance=scan.noise_covariance * 1.5**2)
    level = noise_level(noisy)
    left_out, given, twice = (
        sample("dds", prior, noisy, whiten=whiten, noise_std=std).info
        for std in ("auto", level, 2 * level)
    )
    for figure in ("noise_std", "residual_over_noise"):
        assert given[figure] == pytest.approx(left_out[figure], rel=1e-3)
    assert left_out["noise_std"] == pytest.approx([1.0 if whiten else level])
    assert twice["noise_std"] == pytest.approx([2 * left_out["noise_std"][0]])


def test_no_noise_at_all_asks_for_it(scan):
    silent = array_scan(torch.zeros(1, 2, 16, 16, dtype=torch.complex64), scan.mask(0)[:16, :16])
    with pytest.raises(ValueError, match="does not tell the noise level"):
        noise_level(silent)


@pytest.mark.parametrize("name", ["dds", "repaint", "langevin"])
def test_parts_of_a_slice_are_progress(name, prior, scan):
    seen = []
    options = {"samples": 2, "images_at_once": 3, "levels": 4}  # slice by slice, both draws
    sample(name, prior, scan, **options, progress=lambda *done: seen.append(done))
    assert {total for _, total in seen} == {3}
    done = [slices for slices, _ in seen]
    assert done == sorted(done) and sorted(set(done)) == [n / 4 for n in range(13)]
    seen.clear()
    options["images_at_once"] = 1  # draw by draw
    one = scan.select(slice(0, 1))
    sample(name, prior, one, **options, progress=lambda *done: seen.append(done))
    done = [slices for slices, _ in seen]
    assert done == sorted(done) and sorted(set(done)) == [n / 8 for n in range(9)]


def test_progress_goes_on_where_memory_runs_out(prior, scan, monkeypatch):
    seen, real = [], SAMPLERS["dds"]

    @wraps(real)
    def hungry(y, A, denoiser, sigmas, *, callback, **options):
        if y[..., 0, 0, 0].numel() > 1:
            callback(1, 1.0, y[:, :, 0], y[:, :, 0])
            raise torch.OutOfMemoryError("GPU out of memory")
        return real(y, A, denoiser, sigmas, callback=callback, **options)

    monkeypatch.setattr(METHODS["dds"], "sampler", staticmethod(hungry))
    shown = []
    options = {"levels": 4, "preview": shown.append, "progress": lambda *done: seen.append(done)}
    sample("dds", prior, scan, **options)
    done = [slices for slices, _ in seen]
    assert done == sorted(done) and done[-1] == 3 and set(done) >= {1.5, 2.25, 2.75}
    assert not shown  # one slice is no preview of three


def test_reconstruct_shows_previews(prior, scan):
    seen = []
    options = {"weights": prior, "device": "cpu", **SHORT}
    reconstruct(scan, method="dds", preview=seen.append, **options)
    assert [preview.places for preview in seen] == [[(0, 0), (0, 1), (0, 2)]]
    with pytest.raises(ValueError, match="cg_sense shows nothing before it is done, dds would"):
        reconstruct(scan, method="cg_sense", preview=seen.append)


@pytest.mark.parametrize(("name", "bound"), [("dds", 0.2), ("score_mri", 0.6)])
def test_previews_end_at_the_image(name, bound, prior, scan):
    seen = []
    options = {"samples": 3, "images_at_once": 100, "levels": 9}
    if name == "score_mri":  # coil by coil: their root sum of squares adds up noise
        options |= {"coils": "separate", "corrections": 0}
    method = METHODS[name](weights=prior, sigma_min=0.01, **options)

    class Nothing:  # leaves everything to the data, and the noise of the level in the image
        sigma_range = (0.01, 5.0)

        def __call__(self, x, sigma):
            return x

    method.__dict__["trained"] = (Nothing(), method.trained[1])
    scan = replace(
        scan, noise_covariance=None
    )  # previews are in the units of the prewhitened k-space
    image = run(method, scan, preview=seen.append).image[0]
    assert [p.places for p in seen] == 3 * [[(0, n) for n in range(3)]]
    assert [(p.finished, p.level, p.levels) for p in seen] == [(0, n, 9) for n in (1, 5, 9)]
    assert all(p.image.shape == (3, *scan.matrix) for p in seen)
    assert error(seen[-1].image.abs(), image.abs()) < bound


def test_previews_of_several_batches_average_their_draws(prior, scan):
    seen = []
    options = {
        "samples": 2,
        "images_at_once": 3,
        "preview": seen.append,
    }  # 3 slices at once, draw by draw
    volume = sample("dds", prior, scan, **options, draws=True, z_smoothness=0.1)
    assert [p.finished for p in seen] == [0, 1]
    mean = (volume.extras["draw1"] + volume.extras["draw2"]) / 2
    assert mean.shape[1:] == seen[1].image.shape


def test_the_unrolled_prior_is_a_method(scan, tmp_path):
    from mrirecon.networks import NETWORKS

    network = NETWORKS["unrolled_prior"](steps=2, cg_steps=3, denoiser={"widths": [8, 8]})
    path = tmp_path / "unrolled.safetensors"
    save_weights(network, path, card_of(network))
    volume = reconstructed("unrolled_prior", scan, weights=str(path), trust=True)
    assert volume.image.shape == (1, 3, *scan.matrix)
    assert volume.extras["null_space"].shape == volume.image.shape
    assert volume.info["residual_over_noise"] > 0
    with pytest.raises(ValueError, match="fills in partial Fourier by itself"):
        pipeline_of("unrolled_prior", scan, weights=str(path), partial_fourier="pocs")
    kspace = torch.stack([scan.kspace(index) for index in range(3)])
    scaled, plain = (
        reconstructed(
            "unrolled_prior", array_scan(f * kspace, scan.mask(0)), weights=str(path)
        ).image
        / f
        for f in (1e6, 1.0)
    )
    assert error(scaled, plain) < 1e-4


def test_the_unrolled_prior_can_be_told_the_noise(scan, tmp_path):
    """The remedy of the error where the outer k-space is empty; what the scan tells by itself gives the same image."""
    from mrirecon.networks import NETWORKS

    network = NETWORKS["unrolled_prior"](steps=2, cg_steps=3, denoiser={"widths": [8, 8]})
    path = tmp_path / "unrolled.safetensors"
    save_weights(network, path, card_of(network))

    def solved(kspace, **options):
        return reconstructed("unrolled_prior", array_scan(kspace), weights=str(path), **options)

    kspace = torch.stack([scan.kspace(index) for index in range(3)])
    told = solved(kspace)
    again = solved(kspace, noise_std=told.info["noise_std"][0])
    assert torch.equal(again.image, told.image)
    silent = torch.zeros_like(kspace)
    silent[..., 10:22, 8:20] = kspace[..., 10:22, 8:20]
    silent = telling_no_noise(silent)
    mask = torch.ones(kspace.shape[-2:], dtype=torch.bool)
    empty = array_scan(silent, mask)
    with pytest.raises(ValueError, match=r"give --method\.noise_std"):
        reconstructed("unrolled_prior", empty, weights=str(path))
    volume = reconstructed("unrolled_prior", empty, weights=str(path), noise_std=1e-3)
    assert volume.info["noise_std"] == [1e-3] and bool(volume.image.isfinite().all())
    with pytest.raises(ValueError, match=r"unrolled_prior: noise_std is 0\.0: give more than 0"):
        METHODS["unrolled_prior"](noise_std=0.0)


def test_smoothness_along_z_takes_the_volume_together(prior, scan):
    plain = sample("dds", prior, scan)
    smooth = sample("dds", prior, scan, z_smoothness=0.5, samples=2, images_at_once=1)
    assert smooth.extras["std"].any()

    def jumps(volume):
        return float((volume.image[0, 1:] - volume.image[0, :-1]).abs().sum())

    assert jumps(smooth) < jumps(plain)
    with pytest.raises(ValueError, match="run it in one process"):
        pipeline_of("dds", scan, weights=prior, z_smoothness=0.5).solve_share(0, 2)
    with pytest.raises(ValueError, match="two at least"):
        sample("dds", prior, scan.select(slice(0, 1)), z_smoothness=0.5)


def test_smoothness_along_z_does_not_reach_over_a_gap(prior, monkeypatch):
    whole = phantom(slices=5, shape=(32, 28)).scan
    whole = whole.undersample(columns(whole, calibration=12))
    gap = replace(whole, read=lambda volume, index: whole.read(volume, index) * (index != 1))
    runs, real = [], SAMPLERS["dds"]

    @wraps(real)
    def watched(y, *args, **options):
        runs.append((y.shape[1], options["z_smoothness"]))
        return real(y, *args, **options)

    monkeypatch.setattr(METHODS["dds"], "sampler", staticmethod(watched))
    image = sample("dds", prior, gap, z_smoothness=0.5).image[0]
    assert runs == [(1, 0.0), (3, 0.5)]
    assert [bool(x.any()) for x in image] == [True, False, True, True, True]
