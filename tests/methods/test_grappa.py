"""GRAPPA where its kernels are exact, and on simulated coils."""

from dataclasses import replace

import pytest
import torch
from scan_cases import array_scan, columns, error, phantom, problem_of, reconstructed

from mrirecon.methods import Neighbours
from mrirecon.methods.grappa import Grappa
from mrirecon.tensors import fft2c, ifft2c, rss


def complex_normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex64, generator=generator)


@pytest.mark.parametrize("spacing", [2, 3, 4])
@pytest.mark.parametrize("width", [60, 61])
def test_harmonic_coils_are_recovered_exactly(spacing, width):
    """Maps exp(2 pi i m x / N) shift k-space by m: a missing column is another coil's measured one (SMASH)."""
    position = torch.arange(width) - width // 2
    harmonics = torch.arange(spacing)[:, None] * position / width
    maps = torch.exp(2j * torch.pi * harmonics)[:, None, :]
    full = fft2c(maps * complex_normal(24, width))
    scan = array_scan(full[None])
    mask = columns(scan, step=spacing, calibration=20)
    filled = Grappa(regularization=1e-9).fill(full * mask, mask)
    measured = mask[0].nonzero().flatten()
    # The last columns draw on measured ones beyond the edge of k-space, which there are not.
    inner = slice(2 * spacing, int(measured[-1]) - 2 * spacing)
    assert error(filled[..., inner], full[..., inner]) < 1e-4
    assert error((full * mask)[..., inner], full[..., inner]) > 0.5
    assert torch.equal(filled[:, mask], full[:, mask])


@pytest.mark.parametrize(("spacing", "margin"), [(2, 4.0), (3, 2.5)])
def test_simulated_coils_come_close_to_the_full_data(spacing, margin):
    scan = phantom(shape=(96, 90), coils=8, snr=100.0).scan
    mask = columns(scan, step=spacing, calibration=20)
    full = rss(ifft2c(scan.kspace(0)))
    under = scan.undersample(mask)
    grappa = reconstructed("grappa", under).image[0, 0].abs()
    zero_filled = reconstructed("zero_filled", under).image[0, 0].abs()
    assert error(grappa, full) < 0.08
    assert error(zero_filled, full) > margin * error(grappa, full)


@pytest.mark.parametrize("taps", [2, 4])
def test_a_missing_column_draws_on_the_nearest_measured_ones_of_either_side(taps):
    """Griswold et al. 2002, figure 2: as many before as after it."""
    width, spacing = 60, 2
    full = complex_normal(3, 16, width)
    mask = columns(array_scan(full[None]), step=spacing, calibration=16)
    grappa, target = Grappa(phase_taps=taps), 9  # outside the calibration region
    filled = grappa.fill(full * mask, mask)[..., target]
    reach = range(target - spacing * taps // 2 + 1, target + spacing * taps // 2, spacing)
    for column in range(0, 20, spacing):
        kspace = full * mask
        kspace[..., column] += 1
        changed = not torch.equal(grappa.fill(kspace, mask)[..., target], filled)
        assert changed == (column in reach), column


def test_pygrappa_does_no_better():
    pygrappa = pytest.importorskip("pygrappa")
    scan = phantom(shape=(96, 90), coils=8, snr=100.0).scan
    mask = columns(scan, step=3, calibration=20)
    kspace = scan.kspace(0)
    full = rss(ifft2c(kspace))
    calibration = kspace[..., 35:55].numpy()
    theirs = pygrappa.grappa((kspace * mask).numpy(), calibration, (5, 5), coil_axis=0)
    theirs = rss(ifft2c(torch.as_tensor(theirs).to(torch.complex64)))
    ours = rss(ifft2c(Grappa().fill(kspace * mask, mask)))
    assert error(ours, full) < 1.1 * error(theirs, full)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_kspace_does_not_matter(scale):
    kspace = phantom().scan.kspace(0)
    mask = columns(phantom().scan)
    once = Grappa().fill(kspace * mask, mask)
    assert error(Grappa().fill(scale * kspace * mask, mask) / scale, once) < 1e-4


def test_columns_beyond_the_measured_ones_stay_empty():
    scan = phantom().scan
    mask = columns(scan, step=2, calibration=16)
    mask[:, :8] = False  # partial Fourier, or zero padding
    filled = Grappa().fill(scan.kspace(0) * mask, mask)
    assert not filled[..., :8].any()
    assert bool((filled[..., 8:38] != 0).all())


def test_full_data_stay_as_they_are():
    kspace = phantom().scan.kspace(0)
    assert torch.equal(Grappa().fill(kspace, torch.ones(48, 40) > 0), kspace)


@pytest.mark.parametrize("contrast", [1.0, 0.3])
def test_kernels_are_fitted_to_separate_calibration_lines(contrast):
    """As to the same lines within the imaging k-space, whose scale does not matter to a kernel."""
    full = phantom(shape=(96, 90), coils=8, snr=None).scan
    lattice, block = columns(full, step=3, calibration=0), columns(full, step=100, calibration=20)
    block[:, 0] = False
    scan = full.undersample(lattice)
    separate = replace(scan, calibration=lambda v, i: contrast * full.read(v, i) * block)
    problem = problem_of(scan.kspace(0), lattice, None, near=Neighbours(separate, 0, 0, "cpu"))
    (solution,) = Grappa().solve([problem])
    found = solution.kspace
    within = Grappa().fill(full.kspace(0) * (lattice | block), lattice | block)
    outside = ~block[0]
    assert error(found[..., outside], within[..., outside]) < 1e-3
    assert torch.equal(found[:, lattice], scan.kspace(0)[:, lattice])
    with pytest.raises(ValueError, match="centre of the imaging k-space has 1 of 96"):
        reconstructed("grappa", scan)
    narrow = replace(scan, calibration=lambda v, i: full.read(v, i) * columns(full, 100, 8))
    with pytest.raises(ValueError, match="centre of the separate calibration lines has 8 of 96"):
        reconstructed("grappa", narrow)


def test_too_few_rows_for_a_kernel_are_refused():
    mask = torch.ones(3, 40, dtype=torch.bool)
    mask[:, 1::2] = False
    mask[:, 10:30] = True
    with pytest.raises(ValueError, match=r"columns of 5 samples.*has 21 of 3"):
        Grappa().fill(complex_normal(4, 3, 40) * mask, mask)


def test_unsuitable_masks_are_refused():
    scan = phantom().scan
    kspace = scan.kspace(0)
    with pytest.raises(
        ValueError, match=r"needs 10 adjacent calibration columns.*spacing 3.*has 4"
    ):
        mask = columns(scan, step=3, calibration=4)
        Grappa().fill(kspace * mask, mask)
    with pytest.raises(ValueError, match="needs equally spaced columns"):
        mask = columns(scan, step=2)
        mask[:, [3, 34]] = True
        mask[:, 36] = False
        Grappa().fill(kspace * mask, mask)
    with pytest.raises(ValueError, match="whole columns"):
        mask = columns(scan)
        mask[5, 0] = False
        Grappa().fill(kspace * mask, mask)
