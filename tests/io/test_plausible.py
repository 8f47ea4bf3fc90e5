"""Doubts about arrays: what is wrong with one is named with the option that mends it, good scans are not blamed."""

import numpy as np
import pytest
import torch

from mrirecon.io import read_scan, write_scan
from mrirecon.io.layout import USUAL
from mrirecon.io.plausible import doubts
from mrirecon.masks import MASKS, make_mask
from mrirecon.simulate import simulate_scan

PLANE = (-2, -1)
AXES = ("coil", "readout", "phase")


def head(rows, columns):
    """An ellipse with bright rim and some spots, off the centre, with air around."""
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    inside = (x / 0.65) ** 2 + ((y - 0.05) / 0.8) ** 2
    image = 1.0 * (inside < 1) - 0.4 * (inside < 0.8)
    rng = np.random.default_rng(0)
    for cx, cy, r in rng.uniform((-0.3, -0.4, 0.05), (0.3, 0.4, 0.2), (6, 3)):
        image += 0.3 * ((x - cx) ** 2 + (y - cy) ** 2 < r**2)
    return image.astype(np.float32)


def measured(coils=4, shape=(96, 80), snr=40.0, **options):
    scan = simulate_scan(head(*shape), coils=coils, snr=snr, seed=1, **options).scan
    return scan.kspace(0).numpy()


def image_of(k):
    shifted = np.fft.ifftshift(k, axes=PLANE)
    return np.fft.fftshift(np.fft.ifft2(shifted, norm="ortho"), axes=PLANE)


def hybrid(k, axis):
    """Transformed along one axis only."""
    shifted = np.fft.ifftshift(k, axes=axis)
    return np.fft.fftshift(np.fft.ifft(shifted, axis=axis, norm="ortho"), axes=axis)


def said(kspace, axes=AXES, slices=1):
    block = torch.from_numpy(np.ascontiguousarray(kspace, np.complex64))
    return doubts(block, axes, slices, USUAL)


WRONG = {
    "--kspace_centre corner": lambda k: np.fft.ifftshift(k, axes=PLANE),
    "--kspace_centre corner,middle": lambda k: np.fft.ifftshift(k, axes=-2),
    "--kspace_centre middle,corner": lambda k: np.fft.ifftshift(k, axes=-1),
    "--image_centre corner": lambda k: np.fft.fftshift(np.fft.fft2(image_of(k)), axes=PLANE),
    "--axes coil,x,y": image_of,
    "--axes coil,x,phase": lambda k: hybrid(k, -2),
    "--axes coil,readout,y": lambda k: hybrid(k, -1),
    "--axes readout,phase,coil": lambda k: np.moveaxis(k, 0, -1),
    "--axes readout,coil,phase": lambda k: np.moveaxis(k, 0, 1),
}


@pytest.mark.parametrize("remedy", WRONG)
@pytest.mark.parametrize("coils", [1, 2, 8, 32])
@pytest.mark.parametrize("shape", [(96, 80), (63, 65)])
def test_the_option_that_mends_it_is_named(remedy, coils, shape):
    (note,) = said(WRONG[remedy](measured(coils, shape)))
    assert note.endswith(f"give {remedy}") or f"give {remedy} " in note


@pytest.mark.parametrize("scale", [1e-25, 1e-6, 1e8, 1e25])
def test_the_scale_of_the_data_does_not_matter(scale):
    assert said(scale * measured()) == ()
    (note,) = said(scale * np.fft.ifftshift(measured(), axes=PLANE))
    assert note.endswith("--kspace_centre corner")


def test_both_centres_wrong_are_both_said():
    """np.fft.fft2 of an image, without any shift."""
    corner, half = said(np.fft.fft2(image_of(measured())))
    assert corner.endswith("--kspace_centre corner") and half.endswith("--image_centre corner")


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("acceleration", [2, 4, 8])
def test_undersampling_changes_neither_answer(kind, acceleration):
    kspace = measured(shape=(96, 96))
    mask = make_mask(kind, (96, 96), acceleration, center_fraction=0.08, seed=3).numpy()
    assert said(kspace * mask) == ()
    notes = said(np.fft.ifftshift(kspace * mask, axes=PLANE))
    assert any(note.endswith("--kspace_centre corner") for note in notes)


GOOD = {
    "one coil": lambda: measured(1),
    "64 coils": lambda: measured(64, (64, 48)),
    "noisy": lambda: measured(snr=3.0),
    "readout oversampling": lambda: measured(readout_oversampling=2.0),
    "partial Fourier": lambda: measured(partial_fourier=0.6),
    "SENSE without calibration": lambda: measured() * (np.arange(80) % 2 == 0),
    "centre not sampled": lambda: measured() * (abs(np.arange(80) - 40) > 6),
    "echo off the centre": lambda: np.roll(measured(), 11, axis=1),
    "tiny": lambda: measured(shape=(8, 8)),
    "few phases": lambda: measured(8, (128, 96))[..., 44:52],
    "one line": lambda: measured()[..., 40:41],
    "small object": lambda: measured(shape=(96, 80))[:, 24:72, 20:60],
    "noise": lambda: (
        np.random.default_rng(0).normal(size=(4, 64, 64, 2)).astype(np.float32).view(np.complex64)
    )[..., 0],
    "one strong coil of 32": lambda: (
        measured(32, (64, 48)) * (1 + 40 * (np.arange(32) == 16))[:, None, None]
    ),
    "most coils dead": lambda: measured(32, (64, 48)) * (np.arange(32) > 28)[:, None, None],
    "one sample": lambda: np.eye(1, 64 * 64, 2080).reshape(1, 64, 64) + 0j,
    "point": lambda: np.ones((2, 64, 64)) + 0j,
}


@pytest.mark.parametrize("name", GOOD)
def test_good_scans_are_not_blamed(name):
    assert said(GOOD[name]()) == ()


def test_two_objects_with_air_between_them_are_no_split_image():
    image = np.zeros((96, 96))
    image[20:70, 8:38] = image[20:70, 58:88] = 1
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image)))
    assert said(kspace[None]) == ()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(64, 64), (97, 61), (128, 96)])
@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize(("first", "last"), [(0.5, 0.95), (0.55, 0.9), (0.3, 0.97)])
def test_two_legs_beside_the_edges_are_no_split_image(axis, shape, coils, first, last):
    """Their signal is at the ends and the middle is air, but so are the very ends."""
    places = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    along, across = places[axis], places[1 - axis]
    legs = ((abs(along) > first) & (abs(along) < last) & (abs(across) < 0.7)).astype(np.float32)
    scan = simulate_scan(legs, coils=coils, snr=40.0, seed=1).scan
    assert said(scan.kspace(0).numpy()) == ()


def test_a_header_is_told_of_a_transformed_axis_in_other_words():
    (note,) = said(hybrid(measured(), -2), axes=())
    assert note.endswith(
        "along readout, Fourier-transformed there already: store k-space when converting"
    )


@pytest.mark.parametrize("kind", MASKS)
def test_a_transformed_readout_is_seen_through_a_mask_of_lines(kind):
    if kind not in ("random", "equispaced", "uniform1d", "gaussian1d"):
        return
    mask = make_mask(kind, (96, 96), 4, center_fraction=0.08, seed=3).numpy()
    (note,) = said(hybrid(measured(shape=(96, 96)) * mask, -2))
    assert note.endswith("--axes coil,x,phase")


def test_slices_of_one_coil_read_as_coils_and_axes_of_four():
    stored = np.stack([measured(6, seed_shape) for seed_shape in [(64, 48)] * 20])
    as_slices = ("slice", "coil", "readout", "phase")
    assert said(stored[10], as_slices, slices=20) == ()
    (note,) = said(np.moveaxis(stored, 1, -1)[10], as_slices, slices=20)
    assert note.endswith("--axes slice,readout,phase,coil")
    matlab = stored.transpose(
        2, 3, 1, 0
    )  # readout, phase, coil, slice: at the centre of the readout
    (note,) = said(matlab[32], as_slices, slices=64)
    assert note.endswith("--axes readout,phase,coil,slice")


def test_what_is_read_with_the_option_is_not_doubted_again(tmp_path):
    np.save(tmp_path / "k.npy", np.fft.ifftshift(measured(), axes=PLANE))
    doubted = read_scan(tmp_path / "k.npy")
    assert [note for note in doubted.notes if "--kspace_centre corner" in note]
    mended = read_scan(tmp_path / "k.npy", kspace_centre="corner")
    assert not [note for note in mended.notes if "--" in note]
    np.save(tmp_path / "k.npy", measured())
    worse = read_scan(tmp_path / "k.npy", kspace_centre="corner")
    assert [note for note in worse.notes if note.endswith("--kspace_centre middle")]


@pytest.mark.parametrize("suffix", [".h5", ".mrd", ".cfl", ".npy", ".npz"])
def test_scans_of_every_format_are_looked_at_and_not_blamed(tmp_path, suffix):
    scan = simulate_scan(np.stack([head(48, 40)] * 3, axis=-1), coils=3, snr=20.0, seed=0).scan
    write_scan(scan, tmp_path / f"k{suffix}")
    assert not [note for note in read_scan(tmp_path / f"k{suffix}").notes if "give --" in note]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32, np.complex64])
def test_a_mask_is_no_kspace(tmp_path, dtype):
    mask = np.random.default_rng(0).integers(0, 2, (1, 40, 30)).astype(dtype)
    np.save(tmp_path / "mask.npy", mask)
    with pytest.raises(ValueError, match=r"mask.npy is a sampling mask of 0 and 1 .* --mask"):
        read_scan(tmp_path / "mask.npy")


@pytest.mark.parametrize("shape", [(96, 6, 3), (2, 96, 6, 3), (40, 15, 18)])
def test_many_coils_of_a_tiny_plane_are_doubted_once_unless_axes_are_named(tmp_path, shape):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "k.npy", rng.normal(size=shape) + 1j * rng.normal(size=shape))
    names = AXES if len(shape) == 3 else ("slice", *AXES)
    order = "readout,phase,coil" if len(shape) == 3 else "slice,readout,phase,coil"
    (note,) = (note for note in read_scan(tmp_path / "k.npy").notes if "--axes" in note)
    assert f"{shape[-3]} coils of {shape[-2]} x {shape[-1]} samples" in note
    assert note.endswith(f"such as --axes {order}")
    named = read_scan(tmp_path / "k.npy", axes=",".join(names))
    assert not any("--axes" in note for note in named.notes)


@pytest.mark.parametrize(
    "shape", [(2, 6, 3), (16, 6, 3), (32, 16, 16), (64, 64, 12), (128, 96, 80)]
)
def test_planes_that_their_coils_may_have_are_not(tmp_path, shape):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "k.npy", rng.normal(size=shape) + 1j * rng.normal(size=shape))
    assert not any("samples: if its axes" in note for note in read_scan(tmp_path / "k.npy").notes)
