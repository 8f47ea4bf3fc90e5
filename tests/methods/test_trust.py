"""What the measurement would not show of an image, beside dense algebra: a wrong share is worse than none."""

import math
from dataclasses import replace

import pytest
import torch
from scan_cases import (
    array_scan,
    columns,
    image_of,
    phantom,
    pipeline_of,
    problem_of,
    problems_of,
    reconstructed,
)

from mrirecon.birdcage import birdcage_maps
from mrirecon.methods import trust
from mrirecon.methods.trust import image_figures, null_space, null_space_figures
from mrirecon.networks import NETWORKS
from mrirecon.operators import sense
from mrirecon.tensors import fft2c, ifft2c
from mrirecon.weights import card_of, save_weights

DELTAS = [1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
SHAPE = (14, 12)


def dft(size):
    """The centred orthonormal Fourier transform as a matrix."""
    index = torch.arange(size, dtype=torch.float64) - size // 2
    return torch.exp(-2j * math.pi / size * index[:, None] * index) / math.sqrt(size)


def dense_gram(maps, mask):
    """A^H A as a matrix, from the definition."""
    height, width = mask.shape
    F = torch.kron(dft(height), dft(width))[mask.flatten()]
    return sum((F * coil.flatten()).mH @ (F * coil.flatten()) for coil in maps.to(torch.complex128))


def dense_part(maps, mask, x, delta):
    """x - (A^H A + delta)^-1 A^H A x."""
    G = dense_gram(maps, mask)
    seen = torch.linalg.solve(G + delta * torch.eye(len(G)), G @ x.flatten().to(G))
    return x - seen.reshape(x.shape)


def smooth_image(shape, seed=0):
    """Most of its energy at low frequencies, as images have it."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(shape, dtype=torch.complex128, generator=generator)
    y, x = (torch.arange(n, dtype=torch.float64) - n // 2 for n in shape)
    return ifft2c(white / (1 + (y[:, None] ** 2 + x**2) ** 0.75)).to(torch.complex64)


def points(shape, seed=0):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.3
    mask[shape[0] // 2 - 1 : shape[0] // 2 + 2, shape[1] // 2 - 1 : shape[1] // 2 + 2] = True
    return mask


def lines(shape):
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[:, ::4] = True
    mask[:, shape[1] // 2 - 1 : shape[1] // 2 + 2] = True
    return mask


MASKS = {
    "columns": lines(SHAPE),
    "rows": lines(SHAPE[::-1]).mT,
    "points": points(SHAPE),
    "everything": torch.ones(SHAPE, dtype=torch.bool),
}


def error(a, b):
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("coils", [2, 5])
def test_the_share_of_several_coils(kind, delta, whole, coils):
    maps = birdcage_maps(SHAPE, coils)[0]
    maps = maps * (torch.arange(SHAPE[1]) > 1)  # two columns that no coil sees
    x = smooth_image(SHAPE) * (maps != 0).any(0)
    expected = dense_part(maps, MASKS[kind], x, delta)
    share, part = null_space(sense(maps, MASKS[kind]), x, delta, whole=whole)
    true = float((expected.norm() / x.norm()) ** 2)
    assert share == pytest.approx(true, rel=0.03 if kind == "points" else 1e-3)
    if whole:
        assert part.dtype == x.dtype
        assert error(part, expected) < (0.03 if kind == "points" else 1e-3)


@pytest.mark.parametrize("delta", [1e-2, 1e-4, 1e-5])
def test_the_share_of_a_larger_image(delta):
    """Where iterations are many: against the solution in double precision, run until nothing changes any more."""
    shape = (48, 40)
    maps, mask, x = birdcage_maps(shape, 4)[0], points(shape, 1), smooth_image(shape, 1)
    double = sense(maps.to(torch.complex128), mask)
    exact = delta * double.solve(x.to(torch.complex128), delta, iterations=20000, tolerance=1e-9)
    true = pytest.approx(float((exact.norm() / x.norm()) ** 2), rel=0.03)
    share, _ = null_space(sense(maps, mask), x, delta)
    assert share == true or (delta < 1e-4 and share is None)
    share, part = null_space(sense(maps, mask), x, delta, whole=True)
    assert error(part, exact) < 0.03 and share == true


@pytest.mark.parametrize("delta", [1e-13, 0.0])
@pytest.mark.parametrize("kind", MASKS)
def test_a_delta_of_rounding_errors_gives_no_share(kind, delta):
    A = sense(birdcage_maps(SHAPE, 3)[0], MASKS[kind])
    assert null_space(A, smooth_image(SHAPE), delta) == (None, None)
    assert null_space(A, smooth_image(SHAPE), delta, whole=True) == (None, None)


@pytest.mark.parametrize("steps", [1, 3, 10, 30])
@pytest.mark.parametrize("whole", [False, True])
def test_a_share_that_has_not_converged_is_none(steps, whole, monkeypatch):
    """Never one that is too small: the prior would seem to have supplied nothing."""
    shape = (48, 40)
    maps, mask, x = birdcage_maps(shape, 4)[0], points(shape, 1), smooth_image(shape, 1)
    monkeypatch.setattr(trust, "STEPS", steps)
    monkeypatch.setattr(trust, "MAP_STEPS", steps)
    assert null_space(sense(maps, mask), x, 1e-5, whole=whole) == (None, None)


def test_a_map_needs_more_steps_than_its_share(monkeypatch):
    """Where the bounds have met and the solution is on its way: no map, and no share of it."""
    shape = (48, 40)
    maps, mask, x = birdcage_maps(shape, 4)[0], points(shape, 1), smooth_image(shape, 1)
    A = sense(maps, mask)
    monkeypatch.setattr(trust, "STEPS", 60)
    monkeypatch.setattr(trust, "MAP_STEPS", 60)
    assert null_space(A, x, 1e-3)[0] is not None
    assert null_space(A, x, 1e-3, whole=True) == (None, None)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("kind", MASKS)
def test_an_empty_image_has_no_null_space_part(kind, whole):
    A = sense(birdcage_maps(SHAPE, 3)[0], MASKS[kind])
    share, part = null_space(A, torch.zeros(SHAPE, dtype=torch.complex64), 0.1, whole=whole)
    assert share == 0
    assert part is None or not part.any()


@pytest.mark.parametrize("delta", [0.3, 1e-3])
def test_the_null_space_part_of_one_coil_is_known(delta):
    x, mask = smooth_image((15, 12)), points((15, 12))
    A = sense(torch.ones(1, 15, 12, dtype=torch.complex64), mask)
    expected = ifft2c(fft2c(x) * torch.where(mask, delta / (1 + delta), 1.0))
    share, part = null_space(A, x, delta, whole=True)
    assert error(part, expected) < 0.03
    assert share == pytest.approx(float((expected.norm() / x.norm()) ** 2), rel=0.03)


def test_figures_of_the_truth():
    """The true image of a fully sampled scan leaves the noise, and what is unseen is delta of it."""
    rng = torch.Generator().manual_seed(0)
    maps = torch.ones(1, 40, 36, dtype=torch.complex64)
    x = torch.randn(40, 36, dtype=torch.complex64, generator=rng)
    mask = torch.ones(40, 36, dtype=torch.bool)
    noise = 0.1 * math.sqrt(2) * torch.randn(1, 40, 36, dtype=torch.complex64, generator=rng)
    y = sense(maps, mask)(x) + noise
    problem = problem_of(y, mask, maps[None], noise_std=0.1)
    figures = image_figures(problem, x) | null_space_figures(problem, x, trust="share")[0]
    assert figures["residual_over_noise"] == pytest.approx(1, abs=0.1)
    assert figures["data_residual"] == pytest.approx(float(noise.norm() / y.norm()), rel=1e-4)
    delta = 0.1**2 / float(x.abs().square().mean() / 2)
    assert figures["null_space_delta"] == pytest.approx(delta, rel=1e-4)
    assert figures["null_space_share"] == pytest.approx((delta / (1 + delta)) ** 2, rel=1e-4)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    network = NETWORKS["unrolled_prior"](steps=2, cg_steps=3, denoiser={"widths": [8, 8]})
    save_weights(network, tmp_path / "unrolled.safetensors", card_of(network))
    return str(tmp_path / "unrolled.safetensors")


def quiet_scan(mask, slices=2):
    """A scan whose noise is a thousandth of its signal."""
    whole = phantom(slices=slices, shape=(32, 28), snr=1000.0).scan
    return whole.undersample(mask)


def test_a_method_writes_the_converged_share(weights):
    scan = quiet_scan(columns(phantom(shape=(32, 28)).scan, 4, calibration=12), slices=1)
    pipeline = pipeline_of("unrolled_prior", scan, weights=weights, whiten=False, trust="share")
    volume = pipeline.run()
    (problem,) = problems_of(pipeline, 1)
    maps = problem.maps[0]
    x, delta = volume.image[0, 0], volume.info["null_space_delta"]
    assert delta < 1e-4
    expected = (dense_part(maps, scan.mask(0), x, delta).norm() / x.norm()) ** 2
    assert volume.info["null_space_share"] == pytest.approx(float(expected), rel=1e-3)


def test_what_did_not_converge_is_left_out_and_said(weights, monkeypatch):
    monkeypatch.setattr(trust, "STEPS", 5)
    monkeypatch.setattr(trust, "MAP_STEPS", 5)
    mask = points((32, 28))
    mask[10:22, 8:20] = True
    volume = reconstructed("unrolled_prior", quiet_scan(mask), weights=weights, trust=True)
    assert "null_space_share" not in volume.info and volume.info["null_space_delta"] > 0
    notes = [note for note in volume.info["notes"] if "null_space_share is left out" in note]
    assert len(notes) == 1 and "in 2 of 2 slices" in notes[0]
    assert bool(volume.extras["null_space"].isnan().all())
    assert bool(volume.image.abs().isfinite().all())
    monkeypatch.undo()
    again = reconstructed("unrolled_prior", quiet_scan(mask), weights=weights, trust="share")
    assert again.info["null_space_share"] > 0 and not again.extras


def test_one_slice_that_did_not_converge_leaves_the_mean_out(weights, monkeypatch):
    real, calls = trust.null_space, []

    def second_fails(*args, **options):
        calls.append(args)
        return real(*args, **options) if len(calls) != 2 else (None, None)

    monkeypatch.setattr(trust, "null_space", second_fails)
    scan = quiet_scan(columns(phantom(shape=(32, 28)).scan, 2, calibration=12))
    info = reconstructed("unrolled_prior", scan, weights=weights, trust="share").info
    assert "null_space_share" not in info
    assert any("in 1 of 2 slices" in note for note in info["notes"])


def test_the_map_is_the_part_in_the_units_of_the_coils(weights):
    """With a noise scan in which coils differ, and in that of the image it belongs to."""
    scan = quiet_scan(columns(phantom(shape=(32, 28)).scan, 2, calibration=12), slices=1)
    covariance = torch.diag(torch.linspace(1, 4, 6, dtype=torch.float64)).to(torch.complex128)
    scan = replace(scan, noise_covariance=9e-4 * covariance)
    pipeline = pipeline_of("unrolled_prior", scan, weights=weights, trust=True)
    volume = pipeline.run()
    (problem,) = problems_of(pipeline, 1)
    x = image_of(pipeline.method, problem)
    delta = volume.info["null_space_delta"]
    part = dense_part(problem.maps[0], problem.mask, x, delta)
    coils = torch.linalg.solve(
        pipeline.problems.whitening.to(torch.complex128), (problem.maps[0] * part).flatten(1)
    )
    expected = coils.reshape(6, 32, 28).abs().square().sum(0).sqrt()
    assert error(volume.extras["null_space"][0, 0], expected) < 1e-3


def test_arrays_without_a_noise_scan_have_the_same_figures(weights):
    """A noise level that is told is that of a noise scan."""
    scan = quiet_scan(columns(phantom(shape=(32, 28)).scan, 2, calibration=12), slices=1)
    told = array_scan(scan.kspace(0)[None], scan.mask(0))
    level = float((scan.noise_covariance.diagonal().real.mean() / 2).sqrt())
    first = reconstructed("unrolled_prior", scan, weights=weights, whiten=False, trust="share").info
    other = reconstructed(
        "unrolled_prior", told, weights=weights, noise_std=level, trust="share"
    ).info
    for figure in ("residual_over_noise", "null_space_share", "null_space_delta"):
        assert other[figure] == pytest.approx(first[figure], rel=1e-3), figure


@pytest.mark.parametrize("name", ["unrolled_prior", "dds"])
def test_what_takes_long_is_left_out_unless_asked_for(name, weights, monkeypatch):
    """The JSON says so, and how to get it."""

    def looked(*args, **options):
        raise AssertionError("the null space was looked at")

    monkeypatch.setattr(trust, "null_space", looked)
    scan = quiet_scan(columns(phantom(shape=(32, 28)).scan, 2, calibration=12), slices=1)
    options = {"weights": weights} if name == "unrolled_prior" else {"levels": 2}
    info = reconstructed(name, scan, **options).info
    assert info["not_computed"] == {"null_space_share": "--method.trust share"}
    assert not {"null_space_share", "null_space_delta"} & info.keys()
    assert info["residual_over_noise"] > 0
    with pytest.raises(AssertionError, match="looked at"):
        reconstructed(name, scan, **options, trust="share")
    monkeypatch.undo()
    asked = reconstructed(name, scan, **options, trust="share").info
    assert "not_computed" not in asked and 0 < asked["null_space_share"] < 1
    assert asked["residual_over_noise"] == info["residual_over_noise"]
