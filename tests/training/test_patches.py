"""Patches of images made for the question: orientations, places, pixels that are not square, what streams depend on."""

import cmath
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mrirecon.training.prior.images import FOREGROUND, Prepared, Slices, stacks
from mrirecon.training.prior.patches import TRIES, Augmentation, PatchDataset, PatchRequest

PLAIN = Augmentation((0.5, 4.0), 0.0, (1.0, 1.0), 0.0, (0.0, 0.0))


@pytest.fixture
def slices_of(tmp_path):
    """All slices along an axis of an array (z, y, x), as a volume of the cache."""

    def make(array, voxel_mm=(1.0, 1.0, 1.0), axis=0, foreground=None):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, array.astype(np.float32))
        everything = tuple((1.0,) * n for n in array.shape)
        volume = Prepared(
            path, path, "t1.nii", "patient1", voxel_mm, 0, True, foreground or everything, "ab" * 32
        )
        return Slices(volume, "axial", axis, tuple(range(array.shape[axis])))

    return make


def noise(*shape):
    return np.random.default_rng(0).random(shape) + 0.5


def patches(stack, how=PLAIN, size=16, index=0, epochs=1, seed=0):
    requests = [PatchRequest(epoch, 0, index, size) for epoch in range(epochs)]
    return PatchDataset([stack], how, seed).__getitems__(requests)


def test_a_slice_keeps_its_stream_when_others_are_left_out(slices_of):
    whole = slices_of(noise(5, 16, 16))
    some = replace(whole, numbers=(1, 3))
    a, b = patches(whole, index=3), patches(some, index=1)
    assert torch.equal(a.image, b.image) and torch.equal(a.noise, b.noise)
    assert a.level.tolist() == b.level.tolist() != patches(some, index=0).level.tolist()


def test_slices_of_one_number_in_two_planes_have_streams_of_their_own(slices_of):
    axial = slices_of(noise(16, 16, 16))
    coronal = replace(axial, axis=1, plane="coronal")
    assert patches(axial).level.tolist() != patches(coronal).level.tolist()


def test_all_eight_orientations_are_seen_alike(slices_of):
    array = noise(1, 16, 16)
    whole = torch.from_numpy(array[0].astype(np.float32))
    turns = [torch.rot90(x, n) for x in (whole, whole.flip(0)) for n in range(4)]
    counts = [0] * 8
    for image in patches(slices_of(array), epochs=400).image.abs():
        counts[next(i for i, t in enumerate(turns) if torch.allclose(image, t, atol=1e-5))] += 1
    assert min(counts) > 25  # of 50, standard deviation 6.6


def test_places_that_are_mostly_air_are_left_for_others(slices_of):
    """As often as the best of a few uniform places is not."""
    array = np.zeros((1, 64, 64))
    array[0, :24, :30] = 1
    seen = array[0] > FOREGROUND
    good = np.mean(
        [seen[y : y + 16, x : x + 16][::4, ::4].mean() > 0.25 for y in range(49) for x in range(49)]
    )
    count = 600
    images = patches(slices_of(array), epochs=count).image.abs()
    found = float(((images > FOREGROUND).float().mean(dim=(1, 2)) > 0.2).float().mean())
    assert found == pytest.approx(1 - (1 - good) ** TRIES, abs=0.08)
    assert found > good + 0.15


def test_pixels_that_are_not_square_become_so(slices_of):
    """Rows of 1 mm and columns of 2 mm as pixels of 2 mm: the ramps' steps say what became of them."""
    y, x = np.mgrid[:96, :64]
    for array, step in ((y + 10.0, (2, 0)), (x + 10.0, (0, 1))):
        batch = patches(slices_of(array[None], (3.0, 1.0, 2.0)), size=32, seed=None)
        assert batch.pixel_mm.tolist() == [2.0]
        inner = batch.image[0].abs()[4:-4, 4:-4]
        assert torch.allclose(inner[1:] - inner[:-1], torch.tensor(float(step[0])), atol=1e-3)
        assert torch.allclose(inner[:, 1:] - inner[:, :-1], torch.tensor(float(step[1])), atol=1e-3)


def test_coarse_pixels_are_means_and_not_samples(slices_of):
    """White noise at a quarter of the resolution: the squares of a cubic kernel, four times as wide, sum to 0.042."""
    array = noise(1, 256, 256)
    batch = patches(slices_of(array), replace(PLAIN, pixel_mm=(4.0, 4.0), resampled=1.0), size=64)
    ratio = float(batch.image[0].abs().var()) / array.var()
    assert ratio == pytest.approx(0.042, rel=0.1)


def test_the_phase_of_the_whole_patch_is_any(slices_of):
    images = patches(slices_of(noise(1, 16, 16)), epochs=200).image
    angles = images.mean(dim=(1, 2)).angle().tolist()
    assert abs(sum(cmath.exp(1j * angle) for angle in angles)) / 200 < 0.25
    assert max(angles) > 0.9 * math.pi and min(angles) < -0.9 * math.pi


def test_slices_are_left_out_by_their_share_of_the_fullest(slices_of):
    areas = (0.1, 0.49, 0.51, 1.0, 0.0)
    stack = slices_of(noise(5, 8, 8), foreground=(areas, (1.0,) * 8, (1.0,) * 8))
    assert stacks([stack.volume], ["axial"], 2.0, 0.5)[0].numbers == (2, 3)
    assert stacks([stack.volume], ["axial"], 2.0, 0.0)[0].numbers == (0, 1, 2, 3)
