"""Change one line of the source at a time and see whether a test notices.

    python measurements/mutants.py                  # all of them: about 20 s each on one core
    python measurements/mutants.py --only dds espirit
    python measurements/mutants.py --check          # only that every text is found exactly once

Runs in a temporary copy of the repository, never in place. A mutant is a file, a text that stands in it exactly once, what replaces it, and the tests that
should fail. Killed means that one did (its name is printed) or that they took longer than `--seconds`. Exit status 1 where one survived, 2
where a text is not found because the source has changed: write the mutant anew then.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
COPIED = ("mrirecon", "tests", "configs", "docs", "examples", "pyproject.toml", "README.md", "LICENSE")  # fmt: skip


class Mutant(NamedTuple):
    file: str
    old: str
    new: str
    tests: str  # files or folders below tests/, separated by spaces
    why: str = ""  # of a mutant that is known to be equivalent


OPERATORS = "operators"
SAMPLERS = "diffusion/test_samplers_oracle.py diffusion/test_samplers.py"
MUTANTS = [
    # --- training
    Mutant("training/module.py", "self._images(self.final, batch)", "self._images(self.network, batch)", "training/test_module.py"),
    Mutant("training/prior_module.py", "found = denoised(self.final,", "found = denoised(self.network,", "training/test_prior_module.py"),
    Mutant("training/patches.py", "bound = min(share, 1.0) * random", "bound = random", "training/test_prior_data.py"),
    # --- methods
    Mutant("methods/unrolled.py", "for offset in range(-reach, reach + 1)", "for offset in range(reach, -reach - 1, -1)", "methods/test_unrolled.py cli/test_leaderboard.py"),
    Mutant("methods/base.py", "min(max(index + offset, 0), scan.shape[0] - 1)", "(index + offset) % scan.shape[0]", "methods/test_unrolled.py"),
    Mutant("methods/posterior.py", "name: scan.to_output((gain * x).to(image.dtype)).real", "name: scan.to_output(x.to(image.dtype)).real", "methods/test_posterior.py"),
    Mutant("methods/posterior.py", "draws.abs().std(0)", "draws.abs().std(0, correction=0)", "methods/test_posterior.py"),
    Mutant("methods/posterior.py", "return draws * support * scale, watched", "return draws * scale, watched", "methods/test_posterior.py"),
    Mutant("methods/posterior.py", 'options["noise_std"] = first.noise_std / scale', 'options["noise_std"] = first.noise_std', "methods/test_posterior.py"),
    Mutant("methods/posterior.py", "[stream_of(self.seed, *problem.place, draw) for", "[stream_of(self.seed, draw) for", "methods/test_posterior.py"),
    Mutant("methods/trust.py", "ITERATIONS = 30", "ITERATIONS = 3", "methods/test_posterior.py"),
    Mutant("methods/trust.py", "samples = 2 * int(problem.mask.sum())", "samples = int(problem.mask.sum())", "methods/test_posterior.py methods/test_unrolled.py"),
    Mutant("methods/trust.py", "max(2 * int(signal.sum()), 1)", "max(int(signal.sum()), 1)", "methods/test_posterior.py methods/test_unrolled.py"),
    Mutant("methods/base.py", "coils = torch.linalg.solve(whitening, maps", "coils = torch.linalg.solve(whitening.mH, maps", "methods/test_slice_method.py methods/test_posterior.py"),
    Mutant("methods/base.py", "return rss(image) * image[0].sgn()", "return image.abs().sum(0) * image[0].sgn()", "methods/test_slice_method.py methods/test_classical.py"),
    Mutant("methods/classical.py", "(-y, -x_), (-2, -1))", "(-x_, -y), (-2, -1))", "methods/test_classical.py"),
    Mutant("methods/grappa.py", "- (self.phase_taps // 2 - 1)\n", "- self.phase_taps // 2\n", "methods/test_grappa.py"),
    Mutant("methods/grappa.py", "targets = calibration[:, rows, first + shift]", "targets = calibration[:, rows, first + spacing - shift]", "methods/test_grappa.py"),
    Mutant("methods/grappa.py", "ridge = self.regularization * normal.diagonal().real.mean()", "ridge = self.regularization", "methods/test_grappa.py"),
    Mutant("methods/partial_fourier.py", "return 1 + (position / (half + 0.5)).clamp(-1, 1)", "return 1 - (position / (half + 0.5)).clamp(-1, 1)", "methods/test_partial_fourier.py"),
    Mutant("methods/partial_fourier.py", "torch.where(kept, kspace, fft2c(constrained))", "torch.where(kept, fft2c(constrained), kspace)", "methods/test_partial_fourier.py"),
    Mutant("methods/partial_fourier.py", "before, after = size // 2 - first, stop - 1 - size // 2", "before, after = size // 2 - first, stop - size // 2", "methods/test_partial_fourier.py"),
    # --- samplers
    Mutant("diffusion/samplers/spectral.py", "known = seen & (spread <= float(sigmas[0]))", "known = seen", SAMPLERS),
    Mutant("diffusion/samplers/spectral.py", "noisy = c0 + kept * (measured - c0) / spread", "noisy = c0 + kept * (measured - c0) / sigma", SAMPLERS),
    Mutant("diffusion/samplers/spectral.py", "c = c + a * slope + (2 * a).sqrt()", "c = c + a * slope + a.sqrt()", SAMPLERS),
    Mutant("diffusion/samplers/spectral.py", "(fresh**2 - (trust * spread) ** 2)", "(fresh**2 - trust * spread**2)", SAMPLERS),
    Mutant("diffusion/samplers/spectral.py", "a = torch.where(better, gap, sigma**2)", "a = torch.where(better, sigma**2, gap)", SAMPLERS),
    Mutant("diffusion/samplers/steps.py", "return x + fall / sigma**2 * (x0 - x)", "return x + fall / lower**2 * (x0 - x)", SAMPLERS),
    Mutant("diffusion/samplers/steps.py", "math.sqrt(lower**2 - fresh**2) * noise", "(lower - fresh) * noise", SAMPLERS),
    Mutant("diffusion/samplers/steps.py", "math.sqrt(1 - (lower / sigma) ** 2)", "math.sqrt(1 - lower / sigma)", SAMPLERS),
    Mutant("diffusion/samplers/consistent.py", "weight = 1 / gamma", "weight = gamma", SAMPLERS),
    Mutant("diffusion/samplers/consistent.py", "weight = prior_weight * (noise_std / sigma) ** 2\n        x0 = closest", "weight = prior_weight * noise_std / sigma\n        x0 = closest", SAMPLERS),
    Mutant("diffusion/samplers/consistent.py", "x0 = x0 - damped_solution(A, A(x0) - y, damping, cg_steps)", "x0 = x0 + damped_solution(A, A(x0) - y, damping, cg_steps)", SAMPLERS),
    Mutant("diffusion/samplers/consistent.py", "fresh = lower * math.sqrt(zeta)", "fresh = lower * zeta", SAMPLERS),
    Mutant("diffusion/samplers/consistent.py", "u = u + x - v", "u = u - x + v", SAMPLERS),
    Mutant("diffusion/samplers/guided.py", "guided = x0 + sigma**2 * vjp(direction)", "guided = x0 + left * vjp(direction)", SAMPLERS),
    Mutant("diffusion/samplers/langevin.py", "math.sqrt(2 * a) * complex_noise_like(x, generator)", "math.sqrt(a) * complex_noise_like(x, generator)", SAMPLERS),
    Mutant("diffusion/samplers/langevin.py", "variance = noise_std**2 + (annealing * sigma) ** 2", "variance = (annealing * sigma) ** 2", SAMPLERS),
    Mutant("diffusion/samplers/langevin.py", "weight * sigma * ((x - x0) / sigma - z)", "weight * ((x - x0) / sigma - z)", SAMPLERS),
    Mutant("diffusion/samplers/replacement.py", "run[0][1] ** 2 - run[-1][2] ** 2", "run[0][1] ** 2 - run[-1][1] ** 2", SAMPLERS),
    Mutant("diffusion/samplers/replacement.py", "noised = y + level * A(complex_noise_like(x, generator)) if level else y", "noised = y", SAMPLERS),
    Mutant("diffusion/samplers/score_mri.py", "a = 2 * (snr * per_item", "a = (snr * per_item", "diffusion/test_score_mri.py"),
    Mutant("diffusion/samplers/score_mri.py", "joint = (A.maps.conj() * x).sum(-3)\n", "joint = (A.maps * x).sum(-3)\n", "diffusion/test_score_mri.py"),
    Mutant("diffusion/schedules.py", "rho: float = 7.0", "rho: float = 5.0", "diffusion/test_schedules.py methods/test_posterior.py"),
    Mutant("diffusion/schedules.py", "return (above - 1 + (wanted - low) / (high - low))", "return (above + (wanted - low) / (high - low))", "diffusion/test_schedules.py diffusion/test_denoisers.py"),
    Mutant("diffusion/denoisers.py", "return x + sigma**2 * self.network(x, level)", "return x + sigma * self.network(x, level)", "diffusion/test_denoisers.py"),
    # --- operators
    Mutant("operators/solvers.py", "(t - 1) / t * (newest - previous)", "(t - 1) / (t + 1) * (newest - previous)", "operators/test_solvers.py methods/test_classical.py"),
    Mutant("operators/solvers.py", "r = b.clone() if start is None else b - gram(x)", "r = b.clone()", OPERATORS),
    Mutant("operators/solvers.py", "z = x + (t - 1) / t_next * move", "z = x + (t - 1) / t * move", "operators/test_solvers.py methods/test_classical.py"),
    Mutant("operators/sense.py", "self._combine(ifft2(ifftshift(y) * self._mask))", "self._combine(ifft2(ifftshift(y)))", OPERATORS),
    Mutant("operators/sense.py", "return (self.maps != 0).any(dim=-3)", "return (self.maps != 0).all(dim=-3)", f"{OPERATORS} methods/test_slice_method.py"),
    Mutant("operators/sense.py", "pixels.abs().square().sum(dim=-1).max()", "pixels.abs().square().sum(dim=-1).mean()", f"{OPERATORS} methods/test_classical.py"),
    Mutant("operators/sense.py", "image.addcmul_(conjugate, coil_image)", "image.addcmul_(coil, coil_image)", OPERATORS),
    Mutant("operators/gradient.py", "return along_y + along_x", "return along_y - along_x", OPERATORS),
    Mutant("operators/gradient.py", ".clamp_max(1)", ".clamp_max(2)", "operators methods/test_classical.py"),
    Mutant("operators/wavelet.py", "torch.tensor([1.0, -1.0] * 4", "torch.tensor([-1.0, 1.0] * 4", OPERATORS),
    Mutant("operators/espirit.py", "return maps * virtual.sgn().conj()", "return maps * virtual.sgn()", OPERATORS),
    Mutant("operators/espirit.py", "weights.gather(-1, largest).sgn().conj()", "weights.gather(-1, largest).sgn()", OPERATORS),
    Mutant("operators/espirit.py", ".flip(-2, -1)\n", ".flip(-2)\n", OPERATORS),
    Mutant("operators/spectrum.py", "lambda c: coil.conj() * ifft2c(c)", "lambda c: coil * ifft2c(c)", OPERATORS),
    Mutant("operators/spectrum.py", "kernel = kspace.mH @ weighted", "kernel = kspace.mT @ weighted", OPERATORS),
    Mutant("operators/spectrum.py", "values < 1e-3, 0, values", "values < 1e-1, 0, values", f"{OPERATORS} {SAMPLERS}"),
    # --- networks
    Mutant("networks/humus.py", "drop_path_rate * block / deepest for block", "drop_path_rate * (block + 1) / deepest for block", "networks/test_humus.py"),
    Mutant("networks/swin.py", "return update * functional.dropout(kept, self.drop_path)", "return update * functional.dropout(kept, self.drop_path) * (1 - self.drop_path)", "networks/test_humus.py"),
    Mutant("networks/unrolled_prior.py", "math.log(prior_weight) - 2 * log_sigma", "math.log(prior_weight) - log_sigma", "networks/test_unrolled_prior.py"),
    # --- tensors, preparation
    Mutant("tensors.py", "y, x0 = (have // 2 - want // 2 for have", "y, x0 = ((have - want) // 2 for have", "test_tensors.py"),
    Mutant("prepare.py", "return 2**0.5 * torch.linalg.solve_triangular", "return torch.linalg.solve_triangular", "test_prepare.py"),
    Mutant("prepare.py", "basis.mT.to(noise.dtype) @ noise @ basis.conj().to(noise.dtype)", "basis.mH.to(noise.dtype) @ noise @ basis.to(noise.dtype)", "test_prepare.py"),
    Mutant("prepare.py", "oversampling=scan.oversampling * kept / rows", "oversampling=scan.oversampling * rows / kept", "test_prepare.py"),
    Mutant("prepare.py", "return total / count.clamp_min(1), count > 0", "return total / scan.volumes, count > 0", "test_prepare.py methods/test_slice_method.py"),
    Mutant("prepare.py", "* (grid[0] * grid[1] / (shape[0] * shape[1])) ** 0.5", "* (grid[0] * grid[1] / (shape[0] * shape[1]))", "test_prepare.py"),
    Mutant("prepare.py", "return samples @ samples.mH / (count - 1)", "return samples.conj() @ samples.mT / (count - 1)", "test_prepare.py"),
    # --- readers and writers
    Mutant("io/grid.py", "2 * (last - center) + 1)", "2 * (last - center))", "io/test_mrd.py"),
    Mutant("io/grid.py", "2 * (kept - center) - 1)", "2 * (kept - center))", "io/test_mrd.py"),
    Mutant("io/grid.py", "np.clip(2 * (kept // 2) - center, 0, kept - 1)", "np.clip(kept - 1 - center, 0, kept - 1)", "io/test_mrd.py"),
    Mutant("io/grid.py", "known * count / size / matrix", "known / matrix", "io/test_mrd.py"),
    Mutant("io/cartesian.py", "noise_covariance / repeats[0]", "noise_covariance * repeats[0]", "io/test_mrd.py"),
    Mutant("io/cartesian.py", "kept[:, ::-1] if line[\"reverse\"] else kept", "kept", "io/test_mrd.py"),
    Mutant("io/placement.py", "steps = (np.arange(kept) - kept // 2)", "steps = (np.arange(kept) - (kept - 1) / 2)", "io/test_mrd.py"),
    Mutant("io/placement.py", "order = np.argsort(lines[\"position\"] @ directions[0, 2]", "order = np.argsort(lines[\"position\"][:, 2]", "io/test_mrd.py"),
    Mutant("scan.py", "centers[0] - affine[:3, :2] @", "centers[0] + affine[:3, :2] @", "io/test_nifti.py"),
    Mutant("io/nifti.py", "np.diag([-1.0, -1.0, 1.0, 1.0])", "np.diag([-1.0, 1.0, 1.0, 1.0])", "io/test_nifti.py"),
    Mutant("io/cfl.py", "yield read(index, volume).transpose(-2, -1)", "yield read(index, volume)", "io/test_cfl.py"),
    Mutant("io/fastmri.py", "left = phase // 2 - limit.center", "left = limit.center - phase // 2", "io/test_fastmri.py"),
    Mutant("io/fastmri.py", "rows, columns = (phase, phase) if phase < size[1] else size", "rows, columns = size", "io/test_fastmri.py"),
    Mutant("io/fastmri.py", "return fov[0] / matrix[0], fov[1] / matrix[1], thickness", "return fov[1] / matrix[1], fov[0] / matrix[0], thickness", "io/test_fastmri.py"),
    Mutant("io/twix.py", "np.frombuffer(block, layout)[\"data\"].conj()", "np.frombuffer(block, layout)[\"data\"]", "io/test_twix.py"),
    Mutant("io/twix.py", "phase_fov * extra,", "phase_fov,", "io/test_twix.py"),
    Mutant("io/twix.py", "dwell / imaging_dwell if known", "imaging_dwell / dwell if known", "io/test_twix.py"),
    Mutant("io/mrd.py", "ratio = dwell / imaging_dwell", "ratio = imaging_dwell / dwell", "io/test_mrd.py"),
    Mutant("io/mrd_writer.py", "record[\"head\"][\"center_sample\"] = size // 2 - start", "record[\"head\"][\"center_sample\"] = size // 2", "io/test_mrd.py"),
    Mutant("io/numpy.py", "return kspace if mask is None else kspace * mask", "return kspace", "io/test_numpy.py"),
    Mutant("coverage.py", "count -= (total[row_stop] - total[row_start])[:, column_start]", "count -= (total[row_stop] - total[row_start])[:, column_stop]", "test_masks.py"),
]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[""], help="mutants whose file or text holds one of these")
    parser.add_argument("--skip", type=int, default=0, help="leave out the first so many of them")
    parser.add_argument("--check", action="store_true", help="only look for the texts")
    parser.add_argument("--seconds", type=float, default=300, help="time for the tests of one mutant")
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if any(part in f"{m.file} {m.old}" for part in options.only)]
    chosen = chosen[options.skip :]
    lost = [m for m in chosen if source(ROOT, m).read_text().count(m.old) != 1]
    for mutant in lost:
        print(f"{mutant.file} does not hold exactly once: {mutant.old!r}")
    if lost or options.check:
        return 2 if lost else 0
    survived = 0
    print("| file | instead of | there is | tests | answer |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "mrirecon"
        copy.mkdir()
        for name in COPIED:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, copy / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, copy / name)
        for mutant in chosen:
            answer = tried(copy, mutant, options.seconds)
            survived += answer == "SURVIVED"
            cells = (mutant.file, mutant.old, mutant.new, mutant.tests, f"{answer} {mutant.why}")
            print("| " + " | ".join(cell.strip().replace("\n", " ") for cell in cells) + " |", flush=True)
    print(f"\n{len(chosen) - survived} of {len(chosen)} killed")
    return 1 if survived else 0


def source(root: Path, mutant: Mutant) -> Path:
    return root / "mrirecon" / mutant.file


def tried(copy: Path, mutant: Mutant, seconds: float) -> str:
    path = source(copy, mutant)
    whole = path.read_text()
    path.write_text(whole.replace(mutant.old, mutant.new))
    began = time.monotonic()
    tests = [f"tests/{name}" for name in mutant.tests.split()]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}  # fmt: skip
    try:
        run = subprocess.run(command, cwd=copy, env=environment, timeout=seconds, capture_output=True, text=True)  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"killed: longer than {seconds:g} s"
    finally:
        path.write_text(whole)
    took = f"({time.monotonic() - began:.0f} s)"
    if run.returncode == 0:
        return "SURVIVED"
    if run.returncode != 1:
        raise SystemExit(f"pytest did not run the tests of {mutant}:\n{run.stdout}{run.stderr}")
    failed = re.search(r"^(?:FAILED|ERROR) \S*?::(\S+)", run.stdout, re.MULTILINE)
    return f"killed by {failed[1] if failed else '?'} {took}"


if __name__ == "__main__":
    sys.exit(main())
