"""The variational posterior: its flow reaches the closed form of a Gaussian prior; and the method on scans."""

import json
import math
from dataclasses import replace

import pytest
import torch
from sampling_cases import random_prior, three_slices
from scan_cases import array_scan, error, phantom, pipeline_of, problems_of, reconstructed

import mrirecon as mr
from mrirecon.birdcage import birdcage_maps
from mrirecon.diffusion import GaussianDenoiser
from mrirecon.methods.variational import Bound, Exact, fit
from mrirecon.networks.flow import Flow
from mrirecon.operators import sense
from mrirecon.tensors import complex_noise_like

SHORT = {"iterations": 10, "width": 8, "scales": 2, "steps": 2, "samples": 3}
NOISE = 0.2


class Gaussian:
    """y = A x + n with a Gaussian prior of x, two coils and a third of the points; all of it as matrices."""

    def __init__(self, size):
        self.size, n = size, math.prod(size)
        random = torch.Generator().manual_seed(0)
        like = torch.empty(n, dtype=torch.complex128)
        far = [torch.fft.fftfreq(side, dtype=torch.float64) for side in size]
        power = 3 / (1 + 40 * (far[0][:, None] ** 2 + far[1] ** 2)) ** 1.5 + 0.02
        unit = torch.eye(n, dtype=torch.complex128)
        F = torch.fft.fft2(unit.reshape(n, *size), norm="ortho").reshape(n, n).T
        self.covariance = F.mH @ (power.flatten()[:, None] * F)
        self.mean = 0.3 * complex_noise_like(like, random)
        draw = F.mH @ (power.flatten().sqrt() * complex_noise_like(like, random))
        mask = torch.rand(size, generator=random) < 0.3
        mask[size[0] // 2, size[1] // 2] = True
        self.A = sense(birdcage_maps(size, 2)[0].to(torch.complex128), mask)
        clean = self.A((self.mean + draw).reshape(size))
        self.y = clean + NOISE * mask * complex_noise_like(clean, random)
        self.M = self.A(unit.reshape(n, *size))[..., mask].flatten(1).T
        self.denoiser = GaussianDenoiser(self.mean.reshape(size), power)
        # Per real component, as everywhere.
        self.precision = self.M.mH @ self.M / NOISE**2 + torch.linalg.inv(self.covariance)
        data = self.M.mH @ self.y[:, mask].flatten() / NOISE**2
        prior = torch.linalg.solve(self.covariance, self.mean)
        self.posterior_mean = torch.linalg.solve(self.precision, data + prior)
        self.residual = self.y[:, mask].flatten() - self.M @ self.mean

    def log_posterior(self, x):
        return log_gaussian(x.flatten(1) - self.posterior_mean, self.precision)

    def evidence(self):
        covariance = self.M @ self.covariance @ self.M.mH
        covariance = covariance + NOISE**2 * torch.eye(len(covariance))
        return log_gaussian(self.residual[None], torch.linalg.inv(covariance)).item()


def log_gaussian(d, precision):
    """Log density of complex vectors whose real and imaginary parts have this precision."""
    squares = (d.conj() * (d @ precision.mT)).sum(1).real
    return (
        torch.linalg.slogdet(precision).logabsdet - squares / 2 - d.shape[1] * math.log(2 * math.pi)
    )


def fitted(problem, kind, log_prior, iterations=600, rate=0.03, pairs=4):
    random = torch.Generator().manual_seed(1)
    flow = Flow(
        problem.size, couplings=kind, steps=6, width=32, spread=0.3, generator=random
    ).double()
    evidence = fit(
        flow,
        problem.y,
        problem.A,
        log_prior,
        noise_std=NOISE,
        iterations=iterations,
        rate=rate,
        pairs=pairs,
        generator=random,
    )
    return flow, evidence


@torch.no_grad()
def kl(flow, problem, draws=4000):
    """KL(q || posterior) in nats, with the density of q by the inverse of the flow; and the draws."""
    x, _ = flow(flow.draw(draws, torch.Generator().manual_seed(2)))
    return (flow.log_density(x) - problem.log_posterior(x)).mean().item(), x.flatten(1)


@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_with_a_gaussian_prior_the_flow_reaches_the_posterior(kind):
    """From a KL of more than 20 nats, in 32 real dimensions, to less than one; mean, covariance and evidence agree."""
    problem = Gaussian((4, 4))
    before, _ = fitted(problem, kind, Bound(problem.denoiser, 0.01, 100.0), iterations=1)
    flow, evidence = fitted(problem, kind, Bound(problem.denoiser, 0.01, 100.0))
    reached, x = kl(flow, problem)
    assert kl(before, problem)[0] > 20
    assert 0 < reached < 1
    known = torch.linalg.inv(problem.precision)
    spread = known.diagonal().real.sqrt()
    assert ((x.mean(0) - problem.posterior_mean).abs() < 0.25 * spread).all()
    centred = x - x.mean(0)
    covariance = centred.mT @ centred.conj() / len(x) / 2
    assert (covariance - known).abs().max() < 0.25 * known.abs().max()
    assert problem.evidence() - evidence == pytest.approx(reached, abs=8)  # one draw has 80


def test_so_it_does_with_the_exact_log_density():
    problem = Gaussian((2, 2))
    exact = Exact(problem.denoiser, 0.05, 30.0, probes=2, ode_steps=6)
    flow, _ = fitted(problem, "dense", exact, iterations=40, rate=0.15, pairs=1)
    before, _ = fitted(problem, "dense", exact, iterations=1, pairs=1)
    reached, _ = kl(flow, problem)
    assert reached < 0.2 * kl(before, problem)[0]


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return random_prior(tmp_path_factory.mktemp("prior"))


@pytest.fixture(scope="module")
def scan():
    return three_slices()


def solved(prior, scan, **options):
    return reconstructed("variational", scan, weights=prior, **{**SHORT, **options})


def test_the_image_is_the_mean_of_its_draws_and_their_spread_is_written(prior, scan):
    volume = solved(prior, scan, draws=True)
    assert {*volume.extras} == {"std", "draw1", "draw2", "draw3"}
    draws = torch.stack([volume.extras[f"draw{n}"] for n in (1, 2, 3)])
    assert torch.allclose(volume.extras["std"], draws.std(0), atol=1e-5 * float(draws.max()))
    assert bool(torch.isfinite(volume.image.abs()).all()) and bool(volume.extras["std"].any())
    assert volume.info["network_evaluations"] == 20
    assert math.isfinite(volume.info["evidence_bound_per_pixel"])
    json.dumps(volume.info["noise_levels"])


def test_a_draw_depends_on_its_seed_and_slice_alone(prior, scan):
    state = torch.get_rng_state()
    whole, again, other = (
        solved(prior, scan, draws=True, **more)
        for more in ({}, {"samples": 1}, {"samples": 1, "seed": 1})
    )
    assert torch.equal(whole.extras["draw1"], again.extras["draw1"])
    assert not torch.equal(other.extras["draw1"], again.extras["draw1"])
    assert torch.equal(torch.get_rng_state(), state)


def test_brighter_data_give_a_brighter_image(prior, scan):
    kspace = torch.stack([scan.kspace(index) for index in range(2)])
    noise = 0.01 * float(kspace.abs().max())
    first, second = (
        solved(prior, array_scan(factor * kspace, scan.mask(0)), noise_std=factor * noise)
        for factor in (1.0, 64.0)
    )
    assert error(second.image, 64 * first.image) < 1e-3


def test_the_shipped_prior_beats_zero_filling_and_its_first_image():
    simulation = phantom(shape=(48, 40), snr=30.0)
    mask = mr.make_mask("poisson", (48, 40), 3, center_fraction=0.2, seed=0)
    scan = simulation.scan.undersample(mask)
    errors = {
        name: error(
            reconstructed(name, scan, **options).image[0, 0].abs(), simulation.truth(0).abs()
        )
        for name, options in {
            "variational": {"iterations": 100},
            "adjoint": {},
            "cg_sense": {},
        }.items()
    }
    assert errors["variational"] < 0.8 * min(errors["adjoint"], errors["cg_sense"]), errors


class Stop(Exception):
    """Somebody stopped the run."""


def test_a_stopped_run_goes_on(prior, scan, tmp_path):
    def progress(done, total):
        if done == 2:
            raise Stop

    output = tmp_path / "brain.nii.gz"
    whole = solved(prior, scan)
    with pytest.raises(Stop):
        solved(prior, scan, keep=mr.recon.SliceStore(output, {}), progress=progress)
    keep = mr.recon.SliceStore(output, {})
    written = {path: path.stat().st_mtime_ns for path in keep.folder.glob("*.safetensors")}
    assert written
    assert torch.equal(solved(prior, scan, keep=keep).image, whole.image)
    assert all(path.stat().st_mtime_ns == then for path, then in written.items())


def test_previews_show_the_fit(prior, scan):
    shown = []
    solved(prior, scan, iterations=20, preview=shown.append)
    assert [one.level for one in shown[:2]] == [10, 20] and shown[0].levels == 20
    assert shown[0].image.shape == (1, *scan.shape[2:])


def test_couplings_follow_the_size(prior, scan):
    pipeline = pipeline_of("variational", scan, weights=prior, **SHORT)
    (problem,) = problems_of(pipeline, 1)
    kinds = {
        choice: type(replace(pipeline.method, couplings=choice).fitted(problem)[0].body).__name__
        for choice in ("auto", "dense", "convolutional")
    }
    assert kinds == {"auto": "_Dense", "dense": "_Dense", "convolutional": "_Scale"}


def test_the_exact_density_runs_on_small_images(prior):
    small = phantom(shape=(12, 10)).scan
    volume = solved(prior, small, density="exact", probes=1, iterations=2, whiten=False)
    assert bool(torch.isfinite(volume.image.abs()).all())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sigma_min": 1e-6}, r"variational: sigma_min is 1e-06, but the prior knows"),
        ({"sigma_min": 1e6}, r"variational: sigma_min is 1e\+06, but the prior knows"),
        ({"rate": 1e6, "iterations": 30}, r"slice 0: the fit diverged: lower rate"),
        ({"iterations": 0}, "iterations is 0"),
        ({"start": "varnett"}, "start is 'varnett'"),
    ],
)
def test_impossible_options_are_refused(options, said, prior, scan):
    with pytest.raises(ValueError, match=said):
        solved(prior, scan, **options)


def test_the_exact_density_of_a_large_slice_is_refused(prior):
    with pytest.raises(ValueError, match=r"48 x 40 pixels takes too long: use density bound"):
        solved(prior, phantom().scan, density="exact")
