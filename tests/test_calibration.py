"""Which data a slice is calibrated from: by widths of fully sampled centres that are known."""

import re
from dataclasses import replace

import pytest
import torch

from mrirecon import reconstruct
from mrirecon.calibration import calibration_data, calibration_note, width
from mrirecon.io.arrays import plain_scan
from mrirecon.prepare import compress_coils
from mrirecon.scale import volume_scale

SHAPE = (40, 36)


def complex_normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def series_scan(kspace, *masks):
    """A scan of k-space in memory, (volume, slice, coil, y, x), and the mask of each volume if it is known."""
    known = {"sampling": lambda volume, index: masks[volume]} if masks else {}
    shape = tuple(kspace.shape[1:])
    return plain_scan(
        "memory", "test", shape, lambda v, i: kspace[v, i], volumes=len(kspace), **known
    )


def lines(centre, step=9, offset=0):
    """Every step-th column and `centre` adjacent ones about column N // 2."""
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, offset::step] = True
    start = SHAPE[1] // 2 - centre // 2
    mask[:, start : start + centre] = True
    return mask


def scan_of(own, separate=None, known=True, contrast=1.0):
    """One slice of which `own` are sampled, and separate calibration lines of another contrast."""
    full = complex_normal(1, 3, *SHAPE)
    full[..., SHAPE[0] // 2, SHAPE[1] // 2] *= 50
    scan = series_scan(full[None] * own, *([own] if known else []))
    if separate is None:
        return scan, full
    other = contrast * full[0] * separate
    return replace(scan, calibration=lambda volume, index: other), full


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("own", "separate", "chosen"),
    [
        (1, 24, "separate calibration lines"),
        (1, None, "imaging k-space"),
        (11, 24, "separate calibration lines"),
        (12, 24, "imaging k-space"),  # wide enough: nothing else is better for the same contrast
        (10, 10, "imaging k-space"),
        (10, 6, "imaging k-space"),
        (24, 12, "imaging k-space"),
    ],
)
def test_the_wider_centre_serves_unless_the_imaging_has_enough(own, separate, chosen, known):
    block = None if separate is None else lines(separate, step=100)
    scan, full = scan_of(lines(own), block, known, contrast=2.0)
    found = calibration_data(scan, 0)
    assert found.origin == chosen
    is_separate = chosen == "separate calibration lines"
    mask = block if is_separate else lines(own)
    assert torch.equal(found.mask.any(dim=0), mask.any(dim=0))
    assert torch.equal(found.kspace, (2.0 if is_separate else 1.0) * full[0] * found.mask)


def test_the_size_asked_for_decides():
    scan, _ = scan_of(lines(10), lines(24, step=100))
    assert calibration_data(scan, 0, size=10).origin == "imaging k-space"
    assert calibration_data(scan, 0, size=11).origin == "separate calibration lines"


def test_a_centre_that_is_not_sampled_is_taken_from_the_separate_lines():
    scan, _ = scan_of(lines(0, offset=1), lines(8, step=100))
    assert width(scan.mask(0)) == 0
    assert calibration_data(scan, 0).origin == "separate calibration lines"


def test_volumes_are_averaged_only_where_that_is_wider():
    full = complex_normal(3, *SHAPE)
    masks = [lines(0, step=2, offset=start) for start in (0, 1)]
    series = torch.stack([full * mask for mask in masks]).unsqueeze(1)
    scan = series_scan(series, *masks)
    found = calibration_data(scan, 0, volume=1)
    assert found.origin == "average of all volumes"
    assert bool(found.mask.all())
    torch.testing.assert_close(found.kspace, full)
    same = series_scan(torch.stack([full, 3 * full]).unsqueeze(1) * lines(4), *[lines(4)] * 2)
    assert calibration_data(same, 0, volume=1).origin == "imaging k-space"


ECHO_TIMES = ("contrast 0", "contrast 1", "contrast 2")


def contrasts(which, names=ECHO_TIMES, factors=(1.0, 0.6, 0.35), known=True):
    """Three volumes of every third column, whose images differ by a factor and a phase; one has a wide centre."""
    full, masks = complex_normal(3, *SHAPE), [lines(0, step=3)] * 3
    full[..., 15:25, 13:23] *= 50
    masks[which] = lines(16, step=3)
    series = torch.stack([f * 1j**n * full * masks[n] for n, f in enumerate(factors)])
    scan = series_scan(series.unsqueeze(1), *(masks if known else ()))
    return replace(scan, volume_names=names), series, masks


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_contrast_with_a_wide_centre_calibrates_the_others(which, known):
    scan, series, masks = contrasts(which, known=known)
    for volume in range(3):
        found = calibration_data(scan, 0, volume=volume)
        assert torch.equal(found.kspace, series[which]) and torch.equal(found.mask, masks[which])
        own = volume == which
        assert found.origin == ("imaging k-space" if own else f"volume contrast {which}")
    note = calibration_note(scan)
    assert note is not None and f"calibrated from the volume contrast {which}" in note


def test_contrasts_are_not_averaged_and_repetitions_are():
    """Interleaved columns, every second of which two volumes share: these tell whether the contrast is one."""
    full = complex_normal(3, *SHAPE)
    full[..., 15:25, 13:23] *= 50
    masks = [lines(0, step=4) | lines(0, step=2, offset=start) for start in (0, 1)]
    for factor, names, averaged in [
        (1.0, (), True),
        (0.5j, (), False),
        (1.0, ECHO_TIMES[:2], True),
        (0.5j, ECHO_TIMES[:2], False),
        (0.5, ("repetition 0", "repetition 1"), True),  # a contrast agent
        (-1.0, ("repetition 0", "repetition 1"), False),
    ]:
        series = torch.stack([full * masks[0], factor * full * masks[1]]).unsqueeze(1)
        scan = replace(series_scan(series, *masks), volume_names=names)
        found = calibration_data(scan, 0)
        assert (found.origin == "average of all volumes") == averaged
        assert (width(found.mask) >= 12) == averaged


def test_contrasts_that_share_no_sample_are_not_averaged():
    full = complex_normal(3, *SHAPE)
    masks = [lines(0, step=2, offset=start) for start in (0, 1)]
    series = torch.stack([full * mask for mask in masks]).unsqueeze(1)
    scan = replace(series_scan(series, *masks), volume_names=ECHO_TIMES[:2])
    assert calibration_data(scan, 0).origin == "imaging k-space"


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("method", ["cg_sense", "tv", "grappa"])
def test_a_first_volume_without_samples_does_not_stop_the_others(method, known):
    full = torch.zeros(1, 3, *SHAPE, dtype=torch.complex64)
    maps = 1 + 0.5 * complex_normal(3, 3, 3)
    full[0, :, 19:22, 17:20] = 30 * maps
    full = (full + 0.01 * complex_normal(1, 3, *SHAPE)) * lines(16, step=3)
    mask = lines(16, step=3)
    series = torch.stack([0 * full, full])
    both = reconstruct(series_scan(series, *([mask] * 2 if known else ())), method=method)
    alone = reconstruct(series_scan(full[None], *([mask] if known else ())), method=method)
    assert not bool(both.image[0].any())
    torch.testing.assert_close(both.image[1], alone.image[0], rtol=1e-3, atol=1e-4)


def test_a_scale_from_another_contrast_is_in_the_units_of_the_volume():
    scan = contrasts(1)[0]
    known = volume_scale(scan, 1)
    for volume, factor in enumerate((1.0, 0.6, 0.35)):
        assert volume_scale(scan, volume) == pytest.approx(factor / 0.6 * known, rel=1e-4)


def test_separate_lines_stay_when_the_scan_is_undersampled():
    scan, full = scan_of(torch.ones(SHAPE, dtype=torch.bool), lines(24, step=100))
    under = scan.undersample(lines(0, step=3))
    assert torch.equal(calibration_data(under, 0).kspace, full[0] * lines(24, step=100))
    assert torch.equal(under.mask(0), lines(0, step=3))


def test_separate_lines_that_are_no_numbers_are_refused():
    scan, _ = scan_of(lines(1), lines(24, step=100), contrast=float("nan"))
    with pytest.raises(ValueError, match="calibration lines of slice 0 hold NaN"):
        calibration_data(scan, 0)


@pytest.mark.parametrize("contrast", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("own", [1, 24])
def test_the_intensity_scale_is_in_the_units_of_the_imaging_kspace(own, contrast):
    whole, _ = scan_of(lines(24))
    scan, _ = scan_of(lines(own), lines(24, step=100), contrast=contrast)
    assert volume_scale(scan) == pytest.approx(volume_scale(whole), rel=1e-5)


def test_coils_are_compressed_by_the_same_data():
    scan, full = scan_of(lines(1), lines(24, step=100))
    block = (..., slice(SHAPE[1] // 2 - 12, SHAPE[1] // 2 + 12))
    kept = torch.linalg.svdvals(full[0][block].flatten(1))[:2].square().sum()
    found = compress_coils(scan, 2).calibration(0, 0)[block].abs().square().sum()
    assert float(found) == pytest.approx(float(kept), rel=1e-4)


@pytest.mark.parametrize(
    ("own", "separate", "words"),
    [
        (1, 24, "from the separate calibration lines: .* is 1 wide in the imaging k-space, 24 in"),
        (24, 12, "from the imaging k-space: .* is 24 wide in the imaging k-space, 12 in"),
    ],
)
def test_a_reconstruction_says_what_it_was_calibrated_from(own, separate, words):
    scan, _ = scan_of(lines(own), lines(separate, step=100))
    notes = reconstruct(scan, method="cg_sense", device="cpu").info["notes"]
    assert any(re.search(words, note) for note in notes)
    alone = reconstruct(scan_of(lines(24))[0], method="cg_sense", device="cpu").info["notes"]
    assert not any("calibrated" in note for note in alone)
