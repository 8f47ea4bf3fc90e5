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


def test_coils_joined_by_their_maps_reconstruct():
    """Half of k-space and the prior's spectrum bring the error below zero filling's, the more often they are joined."""
    p = Problem((33, 33), 4, columns_mask((33, 33), 2, 7), 0.01)
    prior = GaussianDenoiser(torch.zeros_like(p.mean), p.power)
    y = torch.stack([p.y, 2 * p.y])

    def error(**options):
        image = score_mri(y, p.A, prior, LEVELS, generator=torch.Generator(), **options)
        assert image.shape == (2, 33, 33)
        return float((image[0] - p.truth).norm() / p.truth.norm())

    zero_filled = float((p.A.H(p.y) - p.truth).norm() / p.truth.norm())
    each, fifth = (error(coils="hybrid", join_every=every) for every in (1, 5))
    assert error(coils="joint") < 0.5 * zero_filled
    assert each < 0.8 * zero_filled
    assert each < fifth < error(coils="separate")


@pytest.mark.parametrize("every", [1, 2, 3, 50])
def test_hybrid_joins_the_coils_in_every_mth_level(every, monkeypatch):
    """Coil by coil with matrices; in levels 0, m, 2 m, ... S (x + l A^H (y - A x)), x the combination by the maps.

    l falls from 1 by 0.8 over the levels, as in the authors' script, where 2000 levels end at 0.2.
    """
    p = Problem((9, 7), 3, points_mask((9, 7), 0.4), 0.05)
    maps = p.maps / p.maps.norm(dim=0)
    p.A = sense(maps, p.mask)
    S, pixels, weight = maps.flatten(1), 63, 0.7
    z = [complex_normal(3, 9, 7, seed=n) for n in range(20)]
    Scripted(lambda draw, like: z[draw]).install(monkeypatch)
    levels = geometric(5, 0.1, 2.0)
    options = {"coils": "hybrid", "join_every": every, "weight": weight}
    image = score_mri(p.y, p.A, p.denoiser, levels, corrections=0, **options)

    F = torch.kron(p.Fy, p.Fx)
    M = F.mH @ (p.mask.flatten()[:, None] * F)
    back = (F.mH @ (p.mask.flatten()[:, None] * p.y.flatten(1).mT)).mT
    noise = iter(z)
    x = 2 * next(noise).flatten(1)
    for step, (s, t) in enumerate(zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True)):
        clean = p.denoiser(x.reshape(3, 9, 7), s).flatten(1)
        x = x + (s**2 - t**2) / s**2 * (clean - x)
        if t:
            x = x + (s**2 - t**2) ** 0.5 * next(noise).flatten(1)
        x = x + weight * (back - x @ M.mT)
        if step % every == 0:
            joint = (S.conj() * x).sum(0)
            misfit = back - (S * joint) @ M.mT
            joint = joint + weight * (1 - 0.8 * step / 5) * (S.conj() * misfit).sum(0)
            x = S * joint
    assert x.shape == (3, pixels)
    phase = (S.conj() * x).sum(0)
    expected = x.abs().square().sum(0).sqrt() * phase / phase.abs()
    close(image, expected.reshape(9, 7), 1e-8)


def test_hybrid_joins_after_the_correction(monkeypatch):
    """Of one level with a corrector, seen at the next: it lies in the range of the maps."""
    p = Problem((9, 7), 3, points_mask((9, 7), 0.4), 0.05)
    maps = p.maps / p.maps.norm(dim=0)
    A, seen = sense(maps, p.mask), []
    levels = torch.tensor([2.0, 0.5, 0.0], dtype=torch.float64)
    options = {"coils": "hybrid", "join_every": 2, "generator": torch.Generator().manual_seed(1)}
    score_mri(p.y, A, p.denoiser, levels, callback=lambda *state: seen.append(state[2]), **options)
    after = seen[1]
    close(maps * (maps.conj() * after).sum(0), after, 1e-12)


def test_joining_in_no_level_is_refused():
    p = Problem((9, 7), 3, points_mask((9, 7), 0.4), 0.05)
    with pytest.raises(ValueError, match="join_every is 0: it must be at least 1"):
        score_mri(p.y, p.A, p.denoiser, LEVELS, coils="hybrid", join_every=0)


def test_it_is_in_the_gallery():
    assert SAMPLERS["score_mri"] is score_mri
