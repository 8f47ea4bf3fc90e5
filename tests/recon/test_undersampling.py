"""Masks over scans that cover a part of their grid: what is asked for, what comes out, what is said."""

import numpy as np
import pytest
import torch
from scan_cases import array_scan

import mrirecon as mr
from mrirecon.masks import make_mask

SHAPE = (48, 64)
ASKED = {"acceleration": 4, "center_fraction": 0.1}


def ellipse():
    y, x = ((np.arange(n) - n // 2) / (n / 2) for n in SHAPE)
    return torch.from_numpy(y[:, None] ** 2 + x**2 <= 1)


def noise(slices=3):
    random = torch.Generator().manual_seed(0)
    return torch.randn(slices, 2, *SHAPE, dtype=torch.complex64, generator=random)


def achieved(volume):
    return volume.info["acceleration"]["achieved"]


def says(volume, *words):
    return any(all(word in note for word in words) for note in volume.info["notes"])


@pytest.mark.parametrize("kind", ["uniform1d", "gaussian1d", "gaussian2d", "poisson"])
def test_r_is_r_where_k_space_is_an_ellipse(kind):
    covered = ellipse()
    volume = mr.reconstruct(array_scan(noise() * covered), method="zero_filled", mask=kind, **ASKED)
    assert achieved(volume) == pytest.approx(4, rel=0.03)
    assert volume.info["mask"]["acceleration"] == 4
    assert says(volume, "covers", f"{int(covered.sum())} of the {covered.numel()} points")
    assert says(volume, "undersampled retrospectively") and not says(volume, "was asked for")
    image = mr.reconstruct(
        array_scan(
            noise()
            * covered
            * make_mask(kind, SHAPE, 4, center_fraction=0.1, seed=0, acquired=covered)
        ),
        method="zero_filled",
    ).image
    assert torch.equal(volume.image, image)


def test_without_a_mask_an_ellipse_is_fully_sampled():
    volume = mr.reconstruct(array_scan(noise() * ellipse()), method="zero_filled")
    assert achieved(volume) == 1
    volume = mr.reconstruct(array_scan(noise()), method="zero_filled")
    assert achieved(volume) == 1 and not says(volume, "covers")


@pytest.mark.parametrize(("kind", "reached"), [("equispaced", 3.05), ("fastmri_equispaced", 3.05)])
def test_an_acceleration_that_is_not_what_was_asked_is_said(kind, reached):
    volume = mr.reconstruct(array_scan(noise()), method="zero_filled", mask=kind, **ASKED)
    assert says(volume, "acceleration 4 was asked for", f"{kind} makes it {achieved(volume):.2f}")
    assert achieved(volume) == pytest.approx(reached, abs=0.15)


def test_published_masks_stay_as_published_and_their_acceleration_is_said():
    covered = torch.zeros(SHAPE, dtype=torch.bool)
    covered[:, 12:52] = True
    volume = mr.reconstruct(
        array_scan(noise() * covered), method="zero_filled", mask="fastmri_random", **ASKED
    )
    mask = make_mask("fastmri_random", SHAPE, 4, center_fraction=0.1, seed=0)
    expected = int(covered.sum()) / int((mask & covered).sum())
    assert achieved(volume) == pytest.approx(expected) and abs(expected / 4 - 1) > 0.03
    assert says(volume, "acceleration 4 was asked for", f"makes it {expected:.2f} here")


def test_a_scan_with_gaps_is_intersected_and_what_comes_out_is_said():
    first = make_mask("uniform1d", SHAPE, 2, center_fraction=0.2, seed=7)
    second = make_mask("uniform1d", SHAPE, 4, center_fraction=0.1, seed=0)
    volume = mr.reconstruct(
        array_scan(noise() * first), method="zero_filled", mask="uniform1d", **ASKED
    )
    both = first.numel() / int((first & second).sum())
    assert achieved(volume) == pytest.approx(both) and not says(volume, "covers")
    assert says(volume, "undersampled already", "intersected with uniform1d")
    assert says(volume, "acceleration 4 was asked for", f"makes it {both:.2f}")


def test_the_choice_of_slices_changes_no_mask():
    """The middle slice of all tells what is covered, not that of the chosen ones."""
    kspace = noise(5) * ellipse()
    kspace[4] *= torch.arange(SHAPE[1]) >= 20
    options = {"method": "zero_filled", "mask": "gaussian2d", **ASKED}
    whole = mr.reconstruct(array_scan(kspace), **options)
    for part in (slice(0, 2), slice(3, 5), slice(4, 5)):
        some = mr.reconstruct(array_scan(kspace), slices=part, **options)
        assert torch.equal(some.image, whole.image[:, part])


def test_a_mask_at_hand_is_what_it_is():
    mask = make_mask("uniform1d", SHAPE, 4, center_fraction=0.1, seed=0)
    scan = array_scan(noise() * ellipse())
    volume = mr.reconstruct(scan, method="zero_filled", mask=mask)
    assert achieved(volume) == pytest.approx(int(ellipse().sum()) / int((mask & ellipse()).sum()))
    assert not says(volume, "was asked for")


def test_the_side_that_partial_fourier_left_out_is_found_in_an_array():
    """Arrays say nothing of it but by their zeros; homodyne reconstruction then knows the side."""
    kspace = noise()
    kspace[..., :20] = 0
    zero, homodyne = (
        mr.reconstruct(array_scan(kspace), method="zero_filled", partial_fourier=how)
        for how in ("zero", "homodyne")
    )
    assert zero.info["partial_fourier"] == "zero" and achieved(zero) == 1
    assert not torch.equal(zero.image, homodyne.image)
