"""DiracDiffusion as a method of scans."""

from pathlib import Path

import pytest
import torch
import yaml
from scan_cases import array_scan, error, pipeline_of, problems_of, reconstructed, undersampled

import mrirecon as mr
from mrirecon.methods import METHODS
from mrirecon.methods.dirac import DiracMethod
from mrirecon.networks.dirac import Dirac
from mrirecon.operators import sense
from mrirecon.weights import card_of, save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    network = Dirac(cg_steps=4, denoiser={"widths": [4, 6]})
    stream = torch.Generator().manual_seed(0)
    for parameter in network.denoiser.parameters():  # the output starts at 0
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=stream)
    path = tmp_path_factory.mktemp("weights") / "dirac.safetensors"
    save_weights(network, path, card_of(network))
    return str(path)


@pytest.fixture(scope="module")
def scan():
    return undersampled(snr=50.0)


@pytest.fixture(scope="module")
def problem(scan, weights):
    [problem] = problems_of(pipeline_of("dirac", scan, weights=weights, whiten=False), 1)
    return problem


def solved(problem, weights, **options):
    [solution] = DiracMethod(weights=weights, **{"steps": 4, **options}).solve([problem])
    return solution


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("t_stop", [0.0, 0.5])
def test_its_image_is_in_the_units_of_the_scan(scan, weights, factor, t_stop):
    kspace, mask = scan.kspace(0)[None], scan.mask(0)
    options = {"weights": weights, "steps": 4, "t_stop": t_stop}
    plain, scaled = (
        reconstructed("dirac", array_scan(f * kspace, mask), **options).image / f
        for f in (1.0, factor)
    )
    assert error(scaled, plain) < 1e-4


def test_cold_diffusion_leaves_the_samples_as_they_were(problem, weights):
    solution = solved(problem, weights, cold=True, t_stop=0.0)
    assert solution.figures["largest_departure"] == 0
    # All of k-space combined: filled where nothing was measured, as measured elsewhere.
    A = problem.operator
    everything = sense(A.maps, torch.ones_like(problem.mask))
    filled = solution.image - everything.H(problem.kspace) * A.support()
    assert float(filled.norm()) > 0.05 * float(solution.image.norm())
    assert torch.equal(
        solution.image, solved(problem, weights, cold=True, t_stop=0.0, seed=1).image
    )


def test_every_step_agrees_with_the_data_to_within_their_noise(problem, weights):
    """Measured samples move towards the prediction, which explains them, by about their noise."""
    solution = solved(problem, weights, steps=20)
    expected = problem.noise_std * (2 * problem.mask.sum() * len(problem.kspace)).sqrt()
    noise = float(expected / problem.kspace.norm())
    assert 0.2 * noise < solution.figures["largest_departure"] < 3 * noise


def test_stopped_at_once_it_is_the_prediction_from_the_data(problem, weights):
    method = DiracMethod(weights=weights, steps=4, t_stop=1.0)
    [solution] = method.solve([problem])
    assert solution.figures["network_evaluations"] == 1
    network = method.trained[0]
    kspace = method.predicted(network, problem)
    assert error(kspace.detach(), problem.kspace_of(solution.image)) < 1e-5
    kspace.abs().square().sum().backward()
    assert all(bool(p.grad.any()) for p in network.parameters())


@pytest.mark.parametrize(("t_stop", "evaluations"), [(0.0, 4), (0.25, 4), (0.3, 3), (1.0, 1)])
def test_it_stops_at_the_step_of_the_grid_before_t_stop(problem, weights, t_stop, evaluations):
    seen = solved(problem, weights, t_stop=t_stop).figures["network_evaluations"]
    assert seen == evaluations


def test_seeds_and_not_the_company_decide_the_noise(weights):
    scan = undersampled(3, snr=30.0)
    options = {"weights": weights, "steps": 3}
    three = reconstructed("dirac", scan, **options).image
    assert torch.equal(three, reconstructed("dirac", scan, **options).image)
    assert error(reconstructed("dirac", scan, seed=1, **options).image, three) > 1e-4
    alone = reconstructed("dirac", scan, slices=slice(1, 2), **options).image
    assert error(alone[0, 0], three[0, 1]) < 1e-5


def test_guidance_lowers_the_misfit(problem, weights):
    residuals = [
        solved(problem, weights, guidance=weight, steps=3).figures["data_residual"]
        for weight in (0.0, 20.0)
    ]
    assert residuals[1] < residuals[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"t_stop": 1.5}, r"dirac: t_stop is 1\.5: give a time from 0 to 1"),
        ({"guidance": -1.0}, r"dirac: guidance is -1"),
        ({"steps": 0}, r"steps is 0: give at least 1"),
    ],
)
def test_impossible_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        METHODS["dirac"](**options)


def test_other_weights_are_refused(scan):
    with pytest.raises(ValueError, match="weights of varnet: use --method varnet, or other"):
        reconstructed("dirac", scan, weights="varnet_tiny")


@pytest.mark.parametrize(("mask", "fraction"), [("equispaced", 0.15), ("poisson", 0.25)])
@pytest.mark.parametrize("t_stop", [0.0, 0.05, 1.0])
def test_the_weights_that_come_along_beat_linear_reconstructions(mask, fraction, t_stop):
    undersampling = {"mask": mask, "acceleration": 4, "center_fraction": fraction}
    psnr = {
        name: mr.reconstruct(mr.demo_scan("12:13"), method=name, **undersampling, **options).info[
            "metrics"
        ]["psnr"]
        for name, options in (
            ("zero_filled", {}),
            ("cg_sense", {}),
            ("dirac", {"t_stop": t_stop}),
        )
    }
    assert psnr["dirac"] > max(psnr["zero_filled"], psnr["cg_sense"]) + 1


def test_its_yaml_says_what_the_bare_name_does():
    text = (Path(__file__).parents[2] / "configs" / "networks" / "dirac.yaml").read_text("utf-8")
    options = yaml.safe_load(text)["method"]
    assert options.pop("name") == "dirac"
    assert METHODS["dirac"]().parameters() == options
    for line in text.split("method:\n")[1].splitlines()[1:]:
        assert len(line.partition("# ")[2]) > 3, line


def test_finished_slices_are_kept_when_a_run_is_stopped():
    assert METHODS["dirac"].slow
