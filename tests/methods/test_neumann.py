"""The Neumann network as a method of scans."""

import pytest
import torch
from scan_cases import array_scan, error, pipeline_of, problems_of, reconstructed, undersampled

import mrirecon as mr
from mrirecon.networks.neumann import Neumann
from mrirecon.weights import card_of, save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    network = Neumann(blocks=2, preconditioned=True, cg_steps=3, features=4, batch_norm=False)
    torch.nn.init.normal_(network.regulariser.last[-1].weight, std=0.3)
    path = tmp_path_factory.mktemp("weights") / "neumann.safetensors"
    save_weights(network, path, card_of(network))
    return str(path)


@pytest.fixture(scope="module")
def scan():
    return undersampled(snr=50.0)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_its_image_is_in_the_units_of_the_scan(scan, weights, factor):
    kspace, mask = scan.kspace(0)[None], scan.mask(0)
    plain, scaled = (
        reconstructed("neumann", array_scan(f * kspace, mask), weights=weights).image / f
        for f in (1.0, factor)
    )
    assert error(scaled, plain) < 1e-4


def test_what_it_says_of_left_out_samples_is_its_image(scan, weights):
    """Weights are adapted to a scan by that: the k-space of the image, with gradients."""
    pipeline = pipeline_of("neumann", scan, weights=weights, whiten=False)
    [problem] = problems_of(pipeline, 1)
    network = pipeline.method.model[0]
    kspace = pipeline.method.predicted(network, problem)
    [solution] = pipeline.method.solve([problem])
    assert error(kspace.detach(), problem.kspace_of(solution.image)) < 1e-5
    kspace.abs().square().sum().backward()
    assert all(bool(p.grad.any()) for p in network.parameters())


def test_other_weights_are_refused(scan):
    with pytest.raises(ValueError, match="weights of varnet: use --method varnet, or other"):
        reconstructed("neumann", scan, weights="varnet_tiny")


@pytest.mark.parametrize(("mask", "fraction"), [("equispaced", 0.15), ("poisson", 0.25)])
def test_the_weights_that_come_along_beat_linear_reconstructions(mask, fraction):
    undersampling = {"mask": mask, "acceleration": 4, "center_fraction": fraction}
    psnr = {
        name: mr.reconstruct(mr.demo_scan("12:13"), method=name, **undersampling).info["metrics"][
            "psnr"
        ]
        for name in ("zero_filled", "cg_sense", "neumann")
    }
    assert psnr["neumann"] > max(psnr["zero_filled"], psnr["cg_sense"]) + 2
