"""Error bars that left-out samples calibrate."""

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

import mrirecon as mr
from mrirecon.phantom import shepp_logan
from mrirecon.recon.left_out import judge as judging
from mrirecon.recon.left_out.rehearsal import powers_of, resemble_truth
from mrirecon.recon.left_out.spread import Factors, Misfit, find_factors, radius_of, smooth, student
from mrirecon.recon.slice_store import SliceStore
from mrirecon.report import write_report
from mrirecon.tensors import complex_noise_like, fft2c, ifft2c

SIZE = (32, 32)
NOISE = 0.05


def truth(seed):
    """A draw of a Gaussian prior: k-space with independent samples whose power falls with the radius."""
    white = complex_noise_like(torch.zeros(SIZE, dtype=torch.complex64), _generator(seed))
    return white * deviation()


def deviation():
    y, x = ((torch.arange(size) - size // 2) / size for size in SIZE)
    return 2 * torch.exp(-3 * torch.hypot(y[:, None], x))


def _generator(*seed):
    return torch.Generator().manual_seed(sum(1009**n * one for n, one in enumerate(seed)))


@dataclass(frozen=True, kw_only=True)
class Exact(mr.SliceMethod):
    """Draws of the posterior of that prior from one coil, which is known in closed form; `narrow` of its spread."""

    samples: int = 8
    narrow: float = 1.0

    name: ClassVar[str] = "exact"

    @property
    def needs(self):
        return mr.Needs(scale=True, noise="wanted", noise_std=NOISE)

    def solve_slice(self, problem):
        power, noise = deviation() ** 2, problem.noise_std**2
        known = power / (power + noise) * problem.mask
        mean = known * problem.kspace[0]
        spread = (power * (1 - known)).sqrt()
        draws = [
            mean + spread * complex_noise_like(mean, _generator(7, problem.place[1], n))
            for n in range(self.samples)
        ]
        draws = torch.stack(draws)
        draws = draws.mean(0) + self.narrow * (draws - draws.mean(0))
        return mr.Solution(draws=ifft2c(draws), keep_draws=True)


def toy(slices=3, seed=0, reference=None):
    """A scan of the toy prior with one coil, points of a random mask, and its maps of ones."""
    truths = [truth(11 + seed + index) for index in range(slices)]
    mask = torch.rand(SIZE, generator=_generator(3)) < 0.5
    mask[13:19, 13:19] = True

    def read(volume, index):
        noise = NOISE * complex_noise_like(truths[index], _generator(5, index + seed))
        return ((truths[index] + noise) * mask)[None]

    scan = mr.Scan(
        source="toy",
        format="toy",
        shape=(slices, 1, *SIZE),
        read=read,
        sampling=lambda volume, index: mask,
        acquired=torch.ones(SIZE, dtype=torch.bool),
        crop=(slice(0, SIZE[0]), slice(0, SIZE[1])),
        matrix=SIZE,
        reference=reference,
    )
    return scan, [ifft2c(one) for one in truths]


MAPS = torch.ones(3, 1, *SIZE, dtype=torch.complex64)


def calibrated(scan, method=None, **options):
    method = Exact(narrow=0.5) if method is None else method
    return mr.reconstruct(scan, method=method, maps=MAPS, calibrate=True, device="cpu", **options)


def test_a_spread_that_is_half_too_small_is_doubled():
    scan, images = toy()
    volume = calibrated(scan)
    about = volume.info["left_out"]["calibration"]
    middle = sorted(about["factor"])[len(about["factor"]) // 2]
    assert middle == pytest.approx(2, rel=0.25)
    assert about["coverage_before"] < 0.75
    assert about["coverage_after"] == pytest.approx(0.9, abs=0.04)
    assert about["sets"] == 3 and about["level"] == 0.9
    target = torch.stack(images).abs()
    low, high = (volume.extras[name][0] for name in ("low", "high"))
    assert float(((low <= target) & (target <= high)).float().mean()) == pytest.approx(
        0.9, abs=0.05
    )
    assert any("error bars calibrated" in note for note in volume.info["notes"])


def test_a_spread_that_is_right_stays():
    about = calibrated(toy()[0], Exact()).info["left_out"]["calibration"]
    assert sum(about["factor"]) / len(about["factor"]) == pytest.approx(1, abs=0.15)
    assert about["coverage_before"] == pytest.approx(0.9, abs=0.04)


def test_the_image_stays_and_lies_between_its_bounds():
    scan, _ = toy()
    plain = mr.reconstruct(scan, method=Exact(narrow=0.5), maps=MAPS, device="cpu")
    volume = calibrated(scan)
    assert torch.equal(volume.image, plain.image)
    modulus = volume.image.abs()
    low, high, std = (volume.extras[name] for name in ("low", "high", "std"))
    assert bool((low >= 0).all() & (low <= modulus).all() & (modulus <= high).all())
    assert torch.allclose(high - modulus, student(0.9, 8) * std, atol=1e-4)
    wider = calibrated(scan, level=0.99).extras["high"]
    assert bool((wider >= high).all())
    assert "draw8" in volume.extras
    assert not torch.equal(volume.extras["draw1"], plain.extras["draw1"])


def test_deviations_are_multiplied_band_by_band():
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[:, ::2] = True
    white = complex_noise_like(torch.zeros(2, *SIZE, dtype=torch.complex64), _generator(1))
    found = Factors([0.0, 0.5], [1.0, 3.0], [2.0, 2.0]).stretch(white, mask)
    y, x = ((torch.arange(size) - size // 2) / size for size in SIZE)
    radius = torch.hypot(y[:, None], x).clamp_max(0.5)
    expected = torch.where(mask, torch.tensor(2.0), 1 + 4 * radius)
    assert torch.allclose(found, white * expected, atol=1e-5)


def misfit(points=4000, width=1.0, noise=0.1, seed=0):
    """Left-out samples whose predictions err `width` times as much as eight draws differ."""
    random = _generator(seed)
    radius = torch.rand(points, generator=random) * 0.5
    like = torch.zeros(2, points, dtype=torch.complex64)
    draws = torch.stack([complex_noise_like(like, random) for _ in range(8)])
    error = width * (draws.mean(0) - complex_noise_like(like, random))
    error = error + noise * complex_noise_like(like, random)
    kept = torch.stack([radius, torch.full_like(radius, 2 * noise**2 - 0.01), 0 * radius + 0.0025])
    return Misfit(radius, error, (draws - draws.mean(0)).abs().square().sum(0) / 7, kept, noise, 8)


def test_factors_are_roots_of_misfit_over_variance():
    found = find_factors([misfit(width=3.0)])
    assert found.missing == pytest.approx([3.0] * 6, rel=0.1)
    assert found.measured == pytest.approx([(0.01 / 0.0025 / (1 + 1 / 8)) ** 0.5] * 6, rel=1e-4)


def test_factors_between_two_estimates_are_geometric_means():
    found = Factors([0.1, 0.2], [1.0, 4.0], [2.0, 8.0]).between(9.0)
    assert found.missing == pytest.approx([3.0, 6.0])
    assert found.measured == pytest.approx([18**0.5, 72**0.5])


def test_what_cannot_be_calibrated_is_said():
    with pytest.raises(ValueError, match="too few to calibrate"):
        find_factors([misfit(points=20)])
    with pytest.raises(ValueError, match="better than their noise level"):
        find_factors([replace(misfit(), noise_std=50.0)])
    with pytest.raises(ValueError, match="there is no spread"):
        one = misfit()
        find_factors([replace(one, variance=0 * one.variance)])
    with pytest.raises(ValueError, match="--samples 2 or more"):
        mr.Request(method={"name": "dds", "samples": 1}, calibrate=True)
    with pytest.raises(ValueError, match="level is"):
        mr.reconstruct(toy()[0], method="tv", calibrate=True, level=1.5)


def test_the_reference_is_not_seen():
    poisoned = toy(reference=lambda index: torch.full(SIZE, float("nan")))[0]
    one, other = calibrated(toy()[0]), calibrated(poisoned)
    assert one.info["left_out"] == other.info["left_out"]
    assert all(torch.equal(one.extras[name], other.extras[name]) for name in one.extras)


def test_methods_with_one_image_have_error_bars():
    simulation = mr.simulate_scan(shepp_logan((64, 64))[..., None].numpy(), coils=4, snr=30.0)
    options = {"mask": "poisson", "acceleration": 3, "device": "cpu"}
    volume = mr.reconstruct(simulation.scan, method="cg_sense", calibrate=True, **options)
    about = volume.info["left_out"]["calibration"]
    assert about["draws"] == 6 and about["sets"] == 6 and about["rehearsed"] > 0
    assert about["coverage_before"] < about["coverage_after"] < 0.95
    assert bool((volume.extras["low"] <= volume.image.abs()).all())
    truth = simulation.scan.reference(0)
    low, high = (volume.extras[name][0, 0] for name in ("low", "high"))
    inside = truth > 0.05 * truth.max()
    held = ((low <= truth) & (truth <= high))[inside].float()
    assert float(held.mean()) == pytest.approx(0.9, abs=0.07)
    plain = mr.reconstruct(simulation.scan, method="cg_sense", **options)
    assert torch.equal(volume.image, plain.image)


def test_a_report_shows_the_error_bars_of_one_image(tmp_path):
    simulation = mr.simulate_scan(shepp_logan((64, 64))[..., None].numpy(), coils=4, snr=30.0)
    volume = mr.reconstruct(
        simulation.scan, method="cg_sense", mask="poisson", acceleration=3, calibrate=True
    )
    write_report(tmp_path / "page.html", [(simulation.scan, volume)])
    assert "lower bound" in (tmp_path / "page.html").read_text()


def test_a_method_that_fills_in_nothing_has_none():
    with pytest.raises(ValueError, match="there is no spread"):
        calibrated(toy()[0], "zero_filled")


def test_a_stopped_run_finds_its_factors_again(tmp_path, monkeypatch):
    scan, _ = toy()
    request = mr.Request(method=Exact(narrow=0.5), maps=MAPS, calibrate=True)
    keep = SliceStore(tmp_path / "x.nii.gz", {"a": 1})
    first = request.pipeline(scan, keep=keep).judged
    monkeypatch.setattr(judging, "calibrate", None)
    again = request.pipeline(scan, keep=keep).judged
    assert json.loads(json.dumps(first.info)) == again.info
    assert again.bars.factors == Factors(
        again.info["calibration"]["radius"],
        again.info["calibration"]["factor"],
        again.info["calibration"]["factor_measured"],
    )


def test_smoothing_keeps_a_constant_and_the_sum():
    assert torch.allclose(smooth(torch.full(SIZE, 3.0), 0.5), torch.full(SIZE, 3.0))
    point = torch.zeros(SIZE)
    point[16, 16] = 1
    assert float(smooth(point, 0.5).sum()) == pytest.approx(1)


FALLING = (32, 48)


def anatomy(size=FALLING, seed=0):
    """A real image whose k-space power falls as that of anatomy does, with all of it in view."""
    y, x = ((torch.arange(n) - n // 2) / n for n in size)
    radius = torch.hypot(y[:, None], x)
    white = torch.randn(size, generator=_generator(seed)).to(torch.complex64)
    falling = 4 * (radius**2 + 0.02**2) ** -0.875 * 0.02**1.75 * 40
    return 3 + ifft2c(fft2c(white) * falling).real


@dataclass(frozen=True, kw_only=True)
class Zeros(mr.SliceMethod):
    """What is missing stays 0."""

    name: ClassVar[str] = "zeros"

    def solve_slice(self, problem):
        return mr.Solution(image=ifft2c(problem.kspace[0]))


@dataclass(frozen=True, kw_only=True)
class Oracle(mr.SliceMethod):
    """It knows the truth."""

    name: ClassVar[str] = "oracle"

    def solve_slice(self, problem):
        return mr.Solution(image=anatomy().to(torch.complex64))


def solved(method):
    """A slice of that image by one coil, half of its points, and what a method makes of it."""
    mask = torch.rand(FALLING, generator=_generator(3)) < 0.5
    mask[12:20, 20:28] = True
    kspace = fft2c(anatomy().to(torch.complex64))
    noisy = (kspace + 0.01 * complex_noise_like(kspace, _generator(5))) * mask
    scan = mr.Scan(
        **{"source": "toy", "format": "toy", "shape": (1, 1, *FALLING)},
        read=lambda volume, index: noisy[None],
        sampling=lambda volume, index: mask,
        acquired=torch.ones(FALLING, dtype=torch.bool),
        crop=(slice(0, FALLING[0]), slice(0, FALLING[1])),
        matrix=FALLING,
    )
    maps = torch.ones(1, 1, *FALLING, dtype=torch.complex64)
    (problem,) = next(
        mr.Request(method=method, maps=maps).pipeline(scan).problems.batches([(0, 0)])
    )
    return replace(problem, noise_std=0.01), kspace, method.solve([problem])[0]


def test_the_power_of_the_truth_is_told_by_the_samples_nearby():
    problem, kspace, solution = solved(Zeros())
    expected, there = powers_of(problem, solution, solution.image)
    true = kspace.abs().square()
    for inner, outer in ((0.1, 0.2), (0.2, 0.3), (0.3, 0.6)):
        for where in (problem.mask, ~problem.mask):
            ring = (radius_of(FALLING) >= inner) & (radius_of(FALLING) < outer) & where
            assert float(expected[ring].sum() / true[ring].sum()) == pytest.approx(1, abs=0.35)
    assert float(there[~problem.mask].sum()) < 1e-3 * float(there.sum())
    problem, _, solution = solved(Oracle())
    expected, there = powers_of(problem, solution, solution.image)
    beyond = radius_of(FALLING) > 0.1
    assert float((expected - there).abs()[beyond].sum()) < 0.3 * float(expected[beyond].sum())


def resembling(solution, problem, deviations, count=20):
    image = solution.image
    made = [
        resemble_truth(problem, solution, image, deviations, _generator(n)) for n in range(count)
    ]
    return torch.stack(made)


def test_what_resembles_the_truth_has_its_power():
    problem, kspace, solution = solved(Zeros())
    everywhere = torch.ones(6, *FALLING, dtype=torch.complex64)
    expected, _ = powers_of(problem, solution, solution.image)
    power = fft2c(resembling(solution, problem, everywhere)).abs().square().mean(0)
    outer = (radius_of(FALLING) > 0.1) & ~problem.mask
    assert float(power[outer].sum() / expected[outer].sum()) == pytest.approx(1, abs=0.15)
    noisy = replace(
        solution, image=solution.image + 2 * complex_noise_like(solution.image, _generator(9))
    )
    cleaned = fft2c(resembling(noisy, problem, everywhere, 1)[0]).abs().square()
    surplus = fft2c(noisy.image).abs().square()
    truth = kspace.abs().square()
    corner = (radius_of(FALLING) > 0.4) & problem.mask
    assert float(surplus[corner].sum()) > 5 * float(truth[corner].sum())
    assert float(cleaned[corner].sum()) < 2 * float(truth[corner].sum())


def test_detail_lies_where_an_image_hangs_on_few_samples():
    problem, _, solution = solved(Zeros())
    few = torch.ones(6, *FALLING, dtype=torch.complex64)
    few[:, 8:] = 0.01
    made = resembling(solution, problem, few)
    rows = (made - made.mean(0)).abs().square().mean(0).sum(1)
    assert float(rows[:8].mean()) > 2 * float(rows[8:].mean())


def test_what_resembles_coils_is_one_image_seen_by_them():
    problem, _, solution = solved(Zeros())
    share = torch.tensor([0.6, 0.8j]).reshape(2, 1, 1).to(torch.complex64)
    coils = mr.Solution(kspace=share * fft2c(solution.image))
    both = replace(problem, kspace=share * problem.kspace, maps=None)
    deviations = torch.ones(6, *FALLING, dtype=torch.complex64)
    one = resemble_truth(problem, solution, solution.image, deviations, _generator(1))
    moved = share * fft2c(deviations)[:, None]
    made = resemble_truth(both, coils, coils.kspace, moved, _generator(1))
    assert torch.allclose(
        (share.conj() * made).sum(0), fft2c(one), atol=0.05 * float(one.abs().max())
    )
