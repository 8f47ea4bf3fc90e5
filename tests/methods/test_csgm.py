"""csgm: the closed form for a linear generator, sparse deviations, the limits, and what it does with a real one."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scan_cases import (
    error,
    pipeline_of,
    problems_of,
    reconstructed,
    undersampled,
)

from mrirecon.methods import CSGM, METHODS
from mrirecon.methods.classical import wavelet_shrinkage
from mrirecon.networks.vae import ConvVAE
from mrirecon.operators import Wavelet, sense
from mrirecon.weights import card_of, load_prior, save_weights

SHAPE, LATENTS = (16, 20), 6


def random(*shape, seed, kind=torch.complex128):
    return torch.randn(*shape, dtype=kind, generator=torch.Generator().manual_seed(seed))


def encoding(share=1.0):
    """Three coils of unit sum of squares, and a mask of random points."""
    maps = random(3, *SHAPE, seed=1)
    maps = maps / maps.abs().square().sum(0).sqrt()
    mask = torch.rand(SHAPE, generator=torch.Generator().manual_seed(2)) < share
    return sense(maps, mask)


def linear(seed=3):
    """B, and z -> B z as an image."""
    B = random(SHAPE[0] * SHAPE[1], LATENTS, seed=seed)
    return B, lambda z: (B @ z.to(B.dtype)).reshape(SHAPE)


def real_columns(A, B):
    """A B as a real matrix, the imaginary part below the real one."""
    AB = torch.stack([A(column.reshape(SHAPE)).flatten() for column in B.T], dim=1)
    return torch.cat([AB.real, AB.imag])


def test_with_a_linear_generator_it_is_the_ridge_solution():
    A, (B, generate) = encoding(0.4), linear()
    y, weight = A(random(*SHAPE, seed=4)), 20.0
    AB = real_columns(A, B)
    right = AB.T @ torch.cat([y.real.flatten(), y.imag.flatten()])
    ridge = torch.linalg.solve(AB.T @ AB + weight * torch.eye(LATENTS, dtype=AB.dtype), right)
    start = random(LATENTS, seed=5, kind=torch.float64)
    method = CSGM(iterations=600, rate=0.1, gain=False)
    found = method.search(A, A.H(y), generate, start, weight=weight)
    assert torch.linalg.vector_norm(found.z - ridge) < 1e-5 * torch.linalg.vector_norm(ridge)
    assert error(found.image, generate(ridge)) < 1e-5
    assert not found.deviation.any()
    assert torch.linalg.vector_norm(ridge) < 0.9 * torch.linalg.vector_norm(
        torch.linalg.lstsq(AB, torch.cat([y.real.flatten(), y.imag.flatten()])[:, None]).solution
    )  # the weight matters


def deviating():
    """x0 = B z0 + v, v of three wavelets."""
    B, generate = linear()
    W, coefficients = Wavelet(SHAPE), torch.zeros(SHAPE, dtype=torch.complex128)
    for place, value in {(9, 3): 12.0, (2, 13): -14.0j, (12, 17): 10 + 8j}.items():
        coefficients[place] = value
    x0 = generate(random(LATENTS, seed=6, kind=torch.float64)) + W.H(coefficients)
    return B, generate, x0, coefficients


def test_sparse_deviations_are_found_that_no_latent_can_make():
    B, generate, x0, coefficients = deviating()
    A = encoding(0.6)
    start = torch.zeros(LATENTS, dtype=torch.float64)
    method = CSGM(iterations=1500, rate=0.1, gain=False)
    shrink = wavelet_shrinkage(SHAPE, 0.05 / A.squared_norm_bound(), cycle_spinning=False)
    found = method.search(A, A.H(A(x0)), generate, start, weight=0.0, shrink=shrink)
    W = Wavelet(SHAPE)
    assert torch.equal(W(found.deviation).abs() > 0.5, coefficients != 0)
    assert error(found.image, x0) < 0.02
    whole = encoding()
    plain = method.search(whole, whole.H(whole(x0)), generate, start, weight=0.0)
    columns_ = torch.cat([B.real, B.imag])
    v = W.H(coefficients).flatten()
    v = torch.cat([v.real, v.imag])
    floor = torch.linalg.vector_norm(v - columns_ @ torch.linalg.lstsq(columns_, v).solution)
    assert torch.linalg.vector_norm(plain.image - x0) == pytest.approx(float(floor), rel=1e-6)
    assert torch.linalg.vector_norm(found.image - x0) < 0.3 * floor


def test_the_gain_is_fitted_in_every_step():
    """No latent turns the phase by 90 degrees and doubles the image; the gain does."""
    A, (B, _) = encoding(0.5), linear()
    middle = 3 * random(*SHAPE, seed=8)

    def generate(z):
        return middle + (B @ z.to(B.dtype)).reshape(SHAPE)

    z0 = random(LATENTS, seed=9, kind=torch.float64)
    x0 = 2j * generate(z0)
    start = torch.zeros(LATENTS, dtype=torch.float64)
    fitted = CSGM(iterations=600, rate=0.1).search(A, A.H(A(x0)), generate, start, weight=0.0)
    assert fitted.gain == pytest.approx(2j, rel=1e-4)
    assert error(fitted.image, x0) < 1e-4
    assert error(fitted.z, z0) < 1e-3
    plain = CSGM(iterations=600, rate=0.1, gain=False)
    assert error(plain.search(A, A.H(A(x0)), generate, start, weight=0.0).image, x0) > 0.3


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A generator of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ConvVAE(latent=3, widths=[8, 12], blocks=1)
    path = tmp_path_factory.mktemp("weights") / "g.safetensors"
    save_weights(network, path, card_of(network))
    return str(path)


@pytest.fixture(scope="module")
def problem(weights):
    """A slice of odd sides."""
    (problem,) = problems_of(
        pipeline_of("csgm", undersampled(shape=(45, 38)), weights=weights), slices=1
    )
    return problem


QUICK = {"iterations": 12}


def residual(problem, solution):
    return problem.residual(problem.operator(solution.image))


def test_without_a_generator_it_is_compressed_sensing(weights, problem):
    method = CSGM(weights=weights, **QUICK)
    for parameter in method.trained[0].decoder.parameters():
        parameter.data.zero_()
    found = method.solve_slice(problem)
    sparse = METHODS["l1_wavelet"](iterations=12, regularization=method.deviations)
    assert error(found.image, sparse.solve_slice(problem).image) < 1e-5
    assert found.figures["deviation_share"] == pytest.approx(1, abs=1e-5)


def test_deviations_of_great_weight_are_none(weights, problem):
    with_weight = CSGM(weights=weights, deviations=1e6, **QUICK).solve_slice(problem)
    without = CSGM(weights=weights, deviations="none", **QUICK).solve_slice(problem)
    assert torch.equal(with_weight.image, without.image)
    assert without.figures["deviation_share"] == 0
    some = CSGM(weights=weights, **QUICK).solve_slice(problem)
    assert 0 < some.figures["deviation_share"] < 1
    assert residual(problem, some) < residual(problem, without)


def test_of_several_searches_the_one_with_the_smallest_residual_is_kept(weights, problem):
    method = CSGM(weights=weights, deviations="none", start="random", iterations=4, restarts=4)
    back = problem.operator.H(problem.kspace) / problem.scale
    residuals = []
    for number in range(4):
        image = method._searched(problem, back, 0.0, number).image * problem.scale
        residuals.append(problem.residual(problem.operator(image)))
    solution = method.solve_slice(problem)
    assert len(set(residuals)) == 4
    assert solution.figures["search_kept"] == 1 + np.argmin(residuals) != 1


def test_deviations_do_not_decide_which_search_is_kept(weights, problem):
    """They fit the data from a latent that has nothing of the image, too."""
    method = CSGM(weights=weights, iterations=4, restarts=2)
    back = problem.operator.H(problem.kspace) / problem.scale
    found = method._searched(problem, back, 0.0, 0)
    elsewhere = replace(found, deviation=10 * found.image)
    W = Wavelet((45, 38))
    more = W(elsewhere.deviation).abs().sum() - W(found.deviation).abs().sum()
    costs = method._cost(problem, elsewhere) - method._cost(problem, found)
    assert costs == pytest.approx(float(method.deviations * more), rel=1e-3) and costs > 0


def test_the_encoder_begins_nearer(weights, problem):
    """With a trained encoder it would; here its latent is at least the one that is begun with."""
    method = CSGM(weights=weights, deviations="none", iterations=1, restarts=1, rate=1e-9)
    back = problem.operator.H(problem.kspace) / problem.scale
    first = problem.operator.solve(back, 0.02, iterations=10)
    mean, _ = method.trained[0].encode(torch.stack([first.real, first.imag])[None])
    assert error(method._searched(problem, back, 0.0, 0).z, mean) < 1e-6


def test_a_latent_on_the_sphere_stays_there(weights, problem):
    method = CSGM(weights=weights, sphere=True, **QUICK)
    assert method.solve_slice(problem).figures["latent_rms"] == pytest.approx(1, rel=1e-5)
    assert CSGM(weights=weights, **QUICK).solve_slice(problem).figures["latent_rms"] < 0.9


def test_tuned_weights_fit_better_and_are_forgotten(weights, problem):
    method = CSGM(weights=weights, deviations="none", tune=0.01, **QUICK)
    before = [one.clone() for one in method.trained[0].parameters()]
    tuned = residual(problem, method.solve_slice(problem))
    plain = CSGM(weights=weights, deviations="none", **QUICK).solve_slice(problem)
    assert tuned < 0.9 * residual(problem, plain)
    after = method.trained[0].parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert residual(problem, method.solve_slice(problem)) == pytest.approx(tuned, rel=1e-5)


def test_the_latent_weighs_as_much_as_the_noise(weights, problem):
    """`noise` is the variance in units of the bright level, and a large weight keeps the latent small."""
    noisy = replace(problem, noise_std=0.5 * problem.scale)
    by_noise = CSGM(weights=weights, **QUICK).solve_slice(noisy)
    by_number = CSGM(weights=weights, latent_weight=0.25, **QUICK).solve_slice(noisy)
    assert error(by_noise.image, by_number.image) < 1e-6
    heavy = CSGM(weights=weights, latent_weight=1e4, iterations=300).solve_slice(noisy)
    assert heavy.figures["latent_rms"] < 0.1 * by_noise.figures["latent_rms"]


def test_a_scan_goes_through_and_keeps_its_scale(weights):
    scan = undersampled(slices=2)
    volume = reconstructed("csgm", scan, weights=weights, **QUICK)
    assert volume.image.shape[1] == 2
    assert volume.info["weights"]["network"] == "vae"
    seen = []
    pipeline_of("csgm", scan, weights=weights, preview=seen.append, **QUICK).run()
    assert len(seen) > 0 and seen[0].image.shape[0] == 1
    assert CSGM.slow


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": "varnet_tiny"}, "varnet_tiny holds weights of varnet, which is no generator"),
        ({"restarts": 0}, "csgm: restarts is 0: give at least 1"),
        ({"deviations": -1.0}, "csgm: deviations is -1.0, it must be finite"),
        ({"rate": 0.0}, "csgm: rate is 0.0: give more than 0"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(options, said):
    with pytest.raises(ValueError, match=said):
        _ = CSGM(**options).trained


def test_its_weights_are_of_no_other_method(weights):
    with pytest.raises(ValueError, match="holds weights of vae, a generator: use --method csgm"):
        _ = METHODS["varnet"](weights=weights).trained
    with pytest.raises(ValueError, match="holds weights of vae, which is no prior"):
        load_prior(weights)


def test_its_recipe_has_every_option_with_a_word_on_each():
    text = (Path(__file__).parents[2] / "configs" / "generators" / "csgm.yaml").read_text()
    options = yaml.safe_load(text)["method"]
    assert options.pop("name") == "csgm"
    assert options == {one.name: getattr(CSGM(), one.name) for one in fields(CSGM)}
    lines = text.partition("method:\n")[2].splitlines()[1:]
    assert all(len(line.partition("# ")[2]) > 3 for line in lines)
