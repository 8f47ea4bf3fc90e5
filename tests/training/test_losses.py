"""Losses against fastMRI's own, recorded and live."""

import warnings

import numpy as np
import pytest
import torch
from golden_data import golden_arrays, golden_facts

from mrirecon.training.end_to_end.loss import Loss, complex_loss, l1_loss, ssim_loss


@pytest.fixture
def recorded():
    return golden_arrays("fastmri_metrics"), golden_facts("fastmri_metrics")["values"]


def random_images(scale=1.0, seed=0):
    stream = torch.Generator().manual_seed(seed)
    target = torch.rand(3, 30, 26, generator=stream) * scale
    image = target + 0.1 * scale * torch.randn(3, 30, 26, generator=stream)
    return image, target, target.amax(dim=(1, 2)) * torch.tensor([1.0, 1.5, 3.0])


def official(image, target, maximum):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastmri.losses import SSIMLoss
    return SSIMLoss().to(target.dtype)(image[:, None], target[:, None], maximum)


def test_golden_value_and_gradient(recorded):
    arrays, values = recorded
    image = arrays["in/reconstruction"].clone().requires_grad_()
    loss = ssim_loss(image, arrays["in/target"], arrays["in/data_range"])
    loss.backward()
    assert loss.item() == pytest.approx(values["ssim_loss"]["float64"], abs=3e-7)
    golden = arrays["out/ssim_loss_gradient"][:, 0]
    exact = arrays["in/reconstruction"].double().requires_grad_()
    official(exact, arrays["in/target"].double(), arrays["in/data_range"].double()).backward()
    noise = (exact.grad - golden).abs().max()  # of the recording, which is float32
    assert noise < 5e-5 * golden.abs().max()
    assert (image.grad - golden).abs().max() < 1.5 * noise
    assert (image.grad - exact.grad).abs().max() < noise / 2


def test_ssim_equals_the_official_loss():
    image, target, maximum = random_images()
    assert float(ssim_loss(image, target, maximum)) == pytest.approx(
        float(official(image, target, maximum)), abs=1e-6
    )


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6])
def test_losses_do_not_depend_on_the_units(scale):
    small, large = random_images(scale), random_images()
    assert float(ssim_loss(*small)) == pytest.approx(float(ssim_loss(*large)), abs=1e-5)
    assert float(l1_loss(*small)) == pytest.approx(float(l1_loss(*large)), rel=1e-4)


def test_l1_is_relative_to_the_maximum():
    target = torch.zeros(2, 8, 8)
    image = torch.ones(2, 8, 8) * torch.tensor([1.0, 3.0])[:, None, None]
    assert float(l1_loss(image, target, torch.tensor([2.0, 4.0]))) == pytest.approx(0.625)


@pytest.mark.parametrize("loss", [ssim_loss, l1_loss])
def test_a_black_volume_costs_nothing_and_moves_nothing(loss):
    image, target, maximum = random_images()
    target[1], maximum[1] = 0, 0
    image = image.requires_grad_()
    value = loss(image, target, maximum)
    value.backward()
    assert value.isfinite() and image.grad.isfinite().all()
    assert not image.grad[1].any() and image.grad[0].any()


@pytest.mark.parametrize("missing", [0.0, float("nan")])
def test_a_missing_maximum_is_that_of_the_target(missing):
    image, target, maximum = random_images()
    maximum[2] = target[2].max()
    expected = ssim_loss(image, target, maximum)
    maximum[2] = missing
    assert float(ssim_loss(image, target, maximum)) == float(expected)


def test_weighted_sum():
    images = random_images()
    total = Loss(ssim=2.0, l1=0.5)(*images)
    assert float(total) == pytest.approx(
        2 * float(ssim_loss(*images)) + 0.5 * float(l1_loss(*images))
    )
    assert float(Loss(ssim=0.0, l1=1.0)(*images)) == float(l1_loss(*images))


@pytest.mark.parametrize("weights", [{"ssim": -1.0}, {"l1": float("nan")}, {"ssim": 0.0}])
def test_bad_weights(weights):
    with pytest.raises(ValueError, match=r"loss\.ssim|loss\.l1"):
        Loss(**weights)


def test_low_precision_images_are_judged_in_float32():
    image, target, maximum = random_images()
    low = ssim_loss(image.bfloat16(), target, maximum)
    assert low.dtype == torch.float32
    assert float(low) == float(ssim_loss(image.bfloat16().float(), target, maximum))


def test_the_complex_loss_sees_the_phase():
    truth = torch.randn(
        2, 3, 8, 6, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)
    )
    turned = truth * torch.polar(torch.ones(()), torch.tensor(0.1))
    expected = (2 * np.sin(0.05)) * torch.linalg.vector_norm(truth, dim=1) / 4
    found = complex_loss(turned, truth, torch.tensor([0.25, 0.25]))
    assert float(found) == pytest.approx(float(expected.mean()), rel=1e-4)
    image, target, maximum = (x[:2] for x in random_images())
    with_coils = Loss(ssim=0.0, complex=2.0)(image, target, maximum, (turned, truth))
    gains = complex_loss(turned, truth, 1 / maximum)
    assert float(with_coils) == pytest.approx(2 * float(gains))
