"""Score-MRI beside the recorded steps of the official code, its corrector, and its three ways with coils."""

from types import SimpleNamespace

import pytest
import torch
from golden_data import golden_arrays, golden_facts
from oracle import Problem, Scripted, columns_mask, complex_normal, points_mask

from mrirecon.diffusion import GaussianDenoiser, geometric
from mrirecon.diffusion.samplers import SAMPLERS, score_mri
from mrirecon.diffusion.samplers.score_mri import corrector
from mrirecon.diffusion.samplers.steps import predictor
from mrirecon.operators import sense


def close(actual, expected, tolerance=1e-9):
    error = torch.linalg.vector_norm(actual - expected) / torch.linalg.vector_norm(expected)
    assert float(error) < tolerance


@pytest.fixture(params=["case1", "case2", "case3"])
def recorded(request):
    """One official predictor step and two corrector steps with the toy score of the file, in double precision.

    Case 0 is left out: its norms are means over a batch of two.
    """
    arrays = golden_arrays("score_mri_updates")
    sde = golden_facts("score_mri_updates")["sde"]
    low, high, steps = float(sde["sigma_min"]), float(sde["sigma_max"]), sde["N"]

    def array(name):
        return arrays[name.replace("*", request.param)].to(torch.complex128)

    t = float(arrays[f"in/{request.param}/t"][0])
    table = geometric(steps, low, high).flip(0)  # 0, then the lowest level first
    index = int(t * (steps - 1))
    continuous = low * (high / low) ** t

    def score(x):
        return -(x - 0.3 * torch.cos(3 * x.real)) / (continuous**2 + 0.2)

    return SimpleNamespace(
        array=array, score=score, sigma=float(table[index + 1]), lower=float(table[index])
    )


def test_the_levels_are_the_official_ones(recorded):
    gap = (recorded.sigma**2 - recorded.lower**2) ** 0.5
    assert gap == pytest.approx(float(recorded.array("out/*/G").real), rel=1e-5)


def test_predictor_is_the_official_one(recorded, monkeypatch):
    x, z = recorded.array("in/*/x"), recorded.array("in/*/predictor_noise")
    Scripted(lambda draw, like: z).install(monkeypatch)
    x0 = x + recorded.sigma**2 * recorded.score(x)
    stepped = predictor(x, x0, recorded.sigma, recorded.lower, None)
    # The last level gives the mean, as the official sampler does with denoise=True.
    name = "predictor_x" if recorded.lower else "predictor_x_mean"
    close(stepped, recorded.array(f"out/*/{name}"), 2e-6)


def test_corrector_is_the_official_one(recorded, monkeypatch):
    z = recorded.array("in/*/corrector_noise")
    Scripted(lambda draw, like: z[draw]).install(monkeypatch)
    x = recorded.array("in/*/x")
    for _ in range(2):
        x = corrector(x, recorded.score(x), 0.16, None)
    close(x, recorded.array("out/*/corrector_x"), 2e-6)


def test_corrector_takes_each_image_by_itself():
    """||a score|| = 2 r^2 ||z||^2 / ||score|| for each image, whatever the others are."""
    x, score = complex_normal(2, 3, 5, 4, seed=1), complex_normal(2, 3, 5, 4, seed=2)
    score = score * torch.rand(2, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    z = complex_normal(2, 3, 5, 4, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        Scripted(lambda draw, like: z if like.ndim == 4 else z[-1:, -1]).install(patch)
        moved = corrector(x, score, 0.3, None)
        last = corrector(x[-1:, -1], score[-1:, -1], 0.3, None)
    torch.testing.assert_close(moved[-1:, -1], last)
    a = 2 * (0.3 * z[1, 0].norm() / score[1, 0].norm()) ** 2
    torch.testing.assert_close(moved[1, 0], x[1, 0] + a * score[1, 0] + (2 * a).sqrt() * z[1, 0])


def test_one_level_with_a_correction(monkeypatch):
    """Predictor, data, corrector at the lower level, data."""
    p = Problem((9, 7), 3, points_mask((9, 7), 0.4), 0.05)
    z = [complex_normal(9, 7, seed=n) for n in range(3)]
    Scripted(lambda draw, like: z[draw]).install(monkeypatch)
    seen = []
    levels = torch.tensor([2.0, 0.5, 0.0], dtype=torch.float64)
    score_mri(p.y, p.A, p.denoiser, levels, weight=0.8, callback=lambda *state: seen.append(state))

    def data(x):
        return x + 0.8 * p.A.H(p.y - p.A(x))

    x = 2 * z[0]
    score = (p.denoiser(x, 2.0) - x) / 4
    x = data(x + (4 - 0.25) * score + (4 - 0.25) ** 0.5 * z[1])
    score = (p.denoiser(x, 0.5) - x) / 0.25
    a = 2 * (0.16 * z[2].norm() / score.norm()) ** 2
    x = data(x + a * score + (2 * a).sqrt() * z[2])
    assert [state[:2] for state in seen] == [(0, 2.0), (1, 0.5)]
    close(seen[1][2], x)


LEVELS = geometric(30, 0.02, 3.0)


def test_separate_with_one_coil_is_joint():
    p = Problem((12, 9), 1, columns_mask((12, 9), 2, 3), 0.02)
    p.A = sense(torch.ones_like(p.maps), p.mask)
    joint, separate = (
        score_mri(p.y, p.A, p.denoiser, LEVELS, coils=coils, generator=torch.Generator())
        for coils in ("joint", "separate")
    )
    close(separate, joint)


def test_separate_coils_do_not_know_each_other():
    """The image of coil 0 stays the same, whatever the others measured."""
    p = Problem((12, 9), 3, columns_mask((12, 9), 2, 3), 0.02)
    last = []
    other = torch.cat([p.y[:1], 3 * p.y[1:].flip(-1)])
    for y in (p.y, other):
        score_mri(
            y,
            p.A,
            p.denoiser,
            LEVELS,
            coils="separate",
            generator=torch.Generator().manual_seed(1),
            callback=lambda step, sigma, x, x0: last.append(x),
        )
    assert last[0].shape == (3, 12, 9)
    first, second = last[len(LEVELS) - 2], last[-1]
    close(second[0], first[0], 1e-12)
    assert float((second[1:] - first[1:]).norm()) > 0.1


def test_separate_is_joint_for_each_coil(monkeypatch):
    """Every coil as a scan of its own with one coil of sensitivity 1, then RSS, with the phase that the maps find."""
    p = Problem((12, 9), 3, columns_mask((12, 9), 2, 3), 0.02)
    z = [complex_normal(3, 12, 9, seed=n) for n in range(60)]
    Scripted(lambda draw, like: z[draw]).install(monkeypatch)
    together = score_mri(p.y, p.A, p.denoiser, LEVELS, coils="separate")
    one = sense(torch.ones(1, 12, 9, dtype=torch.complex128), p.mask)
    alone = []
    for coil in range(3):
        Scripted(lambda draw, like, coil=coil: z[draw][coil]).install(monkeypatch)
        alone.append(score_mri(p.y[coil : coil + 1], one, p.denoiser, LEVELS))
    phase = (p.maps.conj() * torch.stack(alone)).sum(0).angle()
    close(together, torch.polar(torch.stack(alone).abs().square().sum(0).sqrt(), phase))


@pytest.mark.parametrize("coils", ["joint", "hybrid"])
def test_coils_joined_by_their_maps_reconstruct(coils):
    """Half of k-space and the prior's spectrum bring the error far below zero filling's."""
    p = Problem((33, 33), 4, columns_mask((33, 33), 2, 7), 0.01)
    prior = GaussianDenoiser(torch.zeros_like(p.mean), p.power)
    y = torch.stack([p.y, 2 * p.y])
    image = score_mri(
        y, p.A, prior, LEVELS, coils=coils, joint_steps=10, generator=torch.Generator()
    )
    assert image.shape == (2, 33, 33)
    error = float((image[0] - p.truth).norm() / p.truth.norm())
    assert error < 0.5 * float((p.A.H(p.y) - p.truth).norm() / p.truth.norm())


def test_hybrid_ends_with_what_the_maps_explain(monkeypatch):
    """At the last level: coil by coil, then S (x + lambda A^H (y - A x)), x the combination by the maps."""
    p = Problem((12, 9), 3, columns_mask((12, 9), 2, 3), 0.02)
    Scripted().install(monkeypatch)
    levels = torch.tensor([0.5, 0.0], dtype=torch.float64)
    start = complex_normal(12, 9)
    image = score_mri(p.y, p.A, p.denoiser, levels, coils="hybrid", weight=0.7, start=start)
    coils = p.denoiser(p.maps * start, 0.5)
    F = torch.kron(p.Fy, p.Fx)
    sampled = F.mH @ (p.mask.flatten()[:, None] * (p.y - 0).flatten(1).mT)
    inside = F.mH @ (p.mask.flatten()[:, None] * (F @ coils.flatten(1).mT))
    coils = coils + 0.7 * (sampled - inside).mT.reshape(coils.shape)
    joint = (p.maps.conj() * coils).sum(0)
    joint = joint + 0.7 * p.A.H(p.y - p.A(joint))
    close(image, joint, 1e-6)  # the norm of the maps is 1 in float32


def test_it_is_in_the_gallery():
    assert SAMPLERS["score_mri"] is score_mri
