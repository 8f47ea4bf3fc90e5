"""A random small prior, a scan to draw from, and short runs of the samplers on it."""

import torch
from scan_cases import columns, phantom, pipeline_of, problems_of, reconstructed

from mrirecon.networks.denoiser import DenoiserUNet
from mrirecon.weights import card_of, save_weights

SPECTRAL = ("ddrm", "snips", "ddnm_plus")  # need the spectrum of A
SHORT = {"levels": 3, "sigma_min": 0.05}
STEPS = {"langevin": {"steps_per_level": 1}, "snips": {"steps_per_level": 1}}


def random_prior(folder):
    """File of a random small network: what is tested with it must hold for any prior."""
    path = folder / "prior.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(1)
        network = DenoiserUNet(widths=(8, 8))
        for parameter in network.parameters():  # the output layer starts at 0
            torch.nn.init.normal_(parameter, std=0.05)
    save_weights(network, path, card_of(network))
    return str(path)


def three_slices():
    whole = phantom(slices=3, shape=(32, 28)).scan
    return whole.undersample(columns(whole, calibration=12))


def sample(name, prior, scan, **options):
    """A few levels of a sampler; the options are those of the method and of `Pipeline`."""
    return reconstructed(name, scan, weights=prior, **{**SHORT, **STEPS.get(name, {}), **options})


def begun(prior, scan, start):
    """A method's first image of the first slice, and what is known of that slice."""
    pipeline = pipeline_of("dds", scan, weights=prior, start=start)
    (problem,) = problems_of(pipeline, 1)
    draws = pipeline.method.draws_of([problem])
    return draws.batch.start[0] * problem.scale, problem
