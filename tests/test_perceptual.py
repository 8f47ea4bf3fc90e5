"""HaarPSI against numbers of the authors' code (github.com/rgcda/haarpsi), and what it must do by its definition."""

import numpy as np
import pytest
import torch

import mrirecon as mr


def images(shape):
    """(reference, distorted), both between 0 and 255 or little more."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    reference = 128 + 90 * np.sin(y / 5) * np.cos(x / 7)
    reference += 30 * ((x - 20) ** 2 + (y - 30) ** 2 < 100)
    reference *= 255 / reference.max()
    return reference, np.abs(reference + 20 * np.sin(x * y / 11) + 5)


@pytest.mark.parametrize(
    ("shape", "official"),
    [
        ((64, 48), 0.8907820908034014),
        ((65, 47), 0.8917431637023258),
        ((33, 50), 0.9011400608184462),
    ],
)
def test_it_is_that_of_the_official_code(shape, official):
    reference, distorted = images(shape)
    assert mr.haarpsi(distorted[None], reference[None]) == pytest.approx(official, rel=1e-9)


def test_units_do_not_matter_and_phase_does_not():
    reference, distorted = (torch.from_numpy(x)[None] for x in images((40, 40)))
    found = mr.haarpsi(distorted, reference)
    turned = torch.polar(1e-6 * distorted, torch.linspace(0, 3, 40).double().expand(1, 40, 40))
    assert mr.haarpsi(turned, 1e-6 * reference) == pytest.approx(found, rel=1e-9)


def test_it_is_1_for_equal_images_and_falls_with_noise_and_blur():
    reference = torch.from_numpy(images((64, 64))[0])[None]
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(0)).double()
    assert mr.haarpsi(reference, reference) == pytest.approx(1)
    found = [mr.haarpsi(reference + std * noise, reference) for std in (5, 20, 80)]
    assert 1 > found[0] > found[1] > found[2] > 0
    blurred = torch.nn.functional.avg_pool2d(reference, 5, 1, 2)
    assert mr.haarpsi(blurred, reference) < 0.99


def test_empty_slices_count_for_nothing():
    reference, distorted = (torch.from_numpy(x)[None] for x in images((40, 40)))
    padded = [torch.cat([x, torch.zeros_like(x)]) for x in (distorted, reference)]
    assert mr.haarpsi(*padded) == pytest.approx(mr.haarpsi(distorted, reference))


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (((1, 20, 20), (1, 20, 18)), "reconstruction is .1, 20, 20., target is .1, 20, 18."),
        (((1, 20, 15), (1, 20, 15)), "slices are .20, 15.: HaarPSI needs 16 x 16 pixels"),
    ],
)
def test_what_cannot_be_compared_is_refused(shapes, said):
    with pytest.raises(ValueError, match=said):
        mr.haarpsi(*map(torch.ones, shapes))
    with pytest.raises(ValueError, match="target is zero"):
        mr.haarpsi(torch.ones(1, 20, 20), torch.zeros(1, 20, 20))
