"""Metrics against fastMRI's official numbers, the fastmri package and scikit-image."""

import math

import fastmri.evaluate
import fastmri.losses
import numpy as np
import pytest
import torch
from golden_data import golden_arrays, golden_facts
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mrirecon.metrics import PROTOCOLS, common_gain, evaluate, nrmse, ssim_map


@pytest.fixture(scope="module")
def golden():
    return golden_arrays("fastmri_metrics"), golden_facts("fastmri_metrics")["values"]


def volumes(shape=(3, 21, 18), seed=0, error=0.05):
    random = np.random.default_rng(seed)
    target = random.uniform(0, 1, shape) ** 2
    return (
        torch.from_numpy(np.abs(target + error * random.standard_normal(shape))),
        torch.from_numpy(target),
    )


@pytest.mark.parametrize("case", ["default", "maxval"])
def test_fastmri_protocol_equals_the_official_numbers(golden, case):
    arrays, values = golden
    max_value = None if case == "default" else values[case]["maxval"]
    found = evaluate(arrays["in/reconstruction"], arrays["in/target"], max_value=max_value)
    assert found.protocol == "fastmri"
    for name in ("nmse", "psnr", "ssim"):  # the official numbers are float32 sums
        assert getattr(found, name) == pytest.approx(values[case][name], rel=2e-7)
    if case == "default":
        for name in ("nmse", "psnr", "ssim"):
            exact = values["default_float64_inputs"][name]
            assert getattr(found, name) == pytest.approx(exact, rel=1e-12)


def test_ssim_per_slice_loss_map_and_gradient_equal_the_official_ones(golden):
    arrays, values = golden
    x, target = arrays["in/reconstruction"], arrays["in/target"]
    per_slice = ssim_map(x.double(), target.double(), float(target.max())).mean(dim=(1, 2))
    expected = values["ssim_per_slice_with_volume_max"]
    np.testing.assert_allclose(per_slice, expected, rtol=2e-6)

    x, target = x[:, None].requires_grad_(), target[:, None]
    similarity = ssim_map(x, target, arrays["in/data_range"][:, None])
    (gradient,) = torch.autograd.grad(1 - similarity.mean(), x)
    assert 1 - similarity.mean().item() == pytest.approx(values["ssim_loss"]["reduced"], abs=5e-7)
    # The official float32 map is itself 6e-5 away from the one in double precision.
    torch.testing.assert_close(1 - similarity, arrays["out/ssim_loss_map"], rtol=0, atol=1.5e-4)
    assert nrmse(gradient, arrays["out/ssim_loss_gradient"]) < 1e-4
    options = {"window": 5, "k1": 0.02, "k2": 0.05}
    wide = ssim_map(x.detach(), target, arrays["in/data_range"][:, None], **options)
    assert 1 - wide.mean().item() == pytest.approx(
        values["ssim_loss_win5_k1_0.02_k2_0.05"], abs=5e-7
    )


def test_ssim_loss_and_gradient_equal_the_installed_package_in_double_precision():
    x, target = (v[:, None] for v in volumes())
    peak = target.amax(dim=(1, 2, 3))
    official = fastmri.losses.SSIMLoss().double()  # its window is 1 / 49 rounded to float32
    theirs, ours = x.clone().requires_grad_(), x.clone().requires_grad_()
    loss = official(theirs, target, peak)
    mine = 1 - ssim_map(ours, target, peak[:, None]).mean()
    assert mine.item() == pytest.approx(loss.item(), rel=1e-6)
    gradients = torch.autograd.grad(mine, ours) + torch.autograd.grad(loss, theirs)
    assert nrmse(*gradients) < 1e-5


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(7, 24), st.integers(7, 24)),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([1e-6, 1.0, 1e4]),
)
def test_fastmri_protocol_equals_the_installed_package(shape, seed, scale):
    x, target = volumes(shape, seed)
    x, target = scale * x, scale * target
    found = evaluate(x, target)
    gt, pred = target.numpy(), x.numpy()
    assert found.nmse == pytest.approx(float(fastmri.evaluate.nmse(gt, pred)), rel=1e-10)
    assert found.nrmse == pytest.approx(math.sqrt(found.nmse))
    assert found.psnr == pytest.approx(float(fastmri.evaluate.psnr(gt, pred)), rel=1e-10)
    assert found.ssim == pytest.approx(float(fastmri.evaluate.ssim(gt, pred)[0]), abs=1e-9)


def test_slice_protocol_averages_slices_with_their_own_maximum():
    x, target = volumes()
    weights = torch.tensor([1.0, 0.1, 0.01], dtype=torch.float64)[:, None, None]
    x, target = weights * x, weights * target
    found = evaluate(x, target, "slice")
    pairs = list(zip(target.numpy(), x.numpy(), strict=True))
    psnr = [peak_signal_noise_ratio(t, p, data_range=t.max()) for t, p in pairs]
    ssim = [structural_similarity(t, p, data_range=t.max()) for t, p in pairs]
    nmse = [((t - p) ** 2).sum() / (t**2).sum() for t, p in pairs]
    assert found.psnr == pytest.approx(np.mean(psnr))
    assert found.ssim == pytest.approx(np.mean(ssim))
    assert found.nmse == pytest.approx(np.mean(nmse))
    assert found.nrmse == pytest.approx(np.mean(np.sqrt(nmse)))
    assert found.protocol == "slice"
    assert evaluate(x, target).psnr > found.psnr + 3  # dark slices: the volume maximum flatters


def test_dds_minmax_normalises_every_slice_by_its_own_range():
    x, target = volumes()
    found = evaluate(x, target, "dds-minmax")

    def unit(a):
        return (a - a.min()) / (a.max() - a.min())

    pairs = [(unit(t), unit(p)) for t, p in zip(target.numpy(), x.numpy(), strict=True)]
    psnr = [peak_signal_noise_ratio(t, p, data_range=1) for t, p in pairs]
    ssim = [structural_similarity(t, p, data_range=1) for t, p in pairs]
    assert found.psnr == pytest.approx(np.mean(psnr))
    assert found.ssim == pytest.approx(np.mean(ssim))
    wrong_gain = evaluate(1.41 * x + 0.2, target, "dds-minmax")  # forgiven, hence its warning
    assert wrong_gain.psnr == pytest.approx(found.psnr)
    assert evaluate(1.41 * x + 0.2, target).psnr < evaluate(x, target).psnr - 5


def test_support_limits_the_judgement():
    x, target = volumes((3, 24, 20))
    support = torch.zeros_like(x, dtype=torch.bool)
    support[:2, 5:19, 2:15] = True  # the last slice has none
    found = evaluate(x, target, support=support)
    assert found.inside_support
    spoiled = torch.where(support, x, 10 * x)
    again = evaluate(spoiled, target, support=support)
    assert (again.nmse, again.psnr) == (found.nmse, found.psnr)

    t, p = target.numpy(), x.numpy()
    inside = support.numpy()
    peak = t[inside].max()
    assert found.psnr == pytest.approx(10 * np.log10(peak**2 / ((t - p)[inside] ** 2).mean()))
    ssim = []
    for i in range(2):
        _, full = structural_similarity(t[i], p[i], data_range=peak, full=True)
        valid = np.zeros_like(inside[i])
        valid[3:-3, 3:-3] = inside[i, 3:-3, 3:-3]
        ssim.append(full[valid].mean())
    assert found.ssim == pytest.approx(np.mean(ssim))

    everywhere = torch.ones_like(support)
    assert evaluate(x, target, support=everywhere)[2:] == pytest.approx(evaluate(x, target)[2:])


def test_complex_images_are_judged_by_magnitude_and_a_perfect_one_is_perfect():
    _, target = volumes()
    phase = torch.polar(torch.ones_like(target), 3 * torch.sin(5 * target))
    found = evaluate(target * phase, target)
    assert found.nmse < 1e-30
    assert found.ssim == pytest.approx(1)
    same = evaluate(target, target)
    assert (same.nmse, same.psnr, same.ssim) == (0, math.inf, pytest.approx(1))


def test_gradient_of_ssim_is_the_numerical_one():
    x, target = volumes((1, 9, 8))
    torch.autograd.gradcheck(lambda a: ssim_map(a, target, 1.0), x.requires_grad_())


def test_nrmse_is_a_ratio_of_norms():
    target = torch.tensor([3 + 4j, 0], dtype=torch.complex128)
    assert nrmse(target * 1j, target) == pytest.approx(2**0.5)
    with pytest.raises(ValueError, match="zero"):
        nrmse(target, 0 * target)
    with pytest.raises(ValueError, match=r"\(1,\).*\(2,\)"):
        nrmse(target[:1], target)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_bad_volumes_give_one_clear_error(protocol):
    x, target = volumes()
    with pytest.raises(ValueError, match=r"\(3, 21, 17\).*\(3, 21, 18\)"):
        evaluate(x[..., :-1], target, protocol)
    with pytest.raises(ValueError, match=r"6 x 18.*7 x 7"):
        evaluate(x[:, :6], target[:, :6], protocol)
    with pytest.raises(ValueError, match=r"zero|constant"):
        evaluate(x, 0 * target, protocol)
    with pytest.raises(ValueError, match="reconstruction holds NaN"):
        evaluate(x / 0 * 0, target, protocol)
    with pytest.raises(ValueError, match="support is empty"):
        evaluate(x, target, protocol, support=torch.zeros_like(x, dtype=torch.bool))
    corner = torch.zeros_like(x, dtype=torch.bool)
    corner[:, :2, :2] = True
    with pytest.raises(ValueError, match="no SSIM window"):
        evaluate(x, target, protocol, support=corner)


def test_bad_protocols_and_peaks_give_one_clear_error():
    x, target = volumes()
    with pytest.raises(ValueError, match="unknown protocol 'psnr': choose one of fastmri"):
        evaluate(x, target, "psnr")
    with pytest.raises(ValueError, match="leave out max_value"):
        evaluate(x, target, "slice", max_value=1.0)
    for peak in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="positive max_value"):
            evaluate(x, target, max_value=peak)
        with pytest.raises(ValueError, match="positive maximum"):
            ssim_map(x, target, peak)
    dark = target.clone()
    dark[1] = 0
    evaluate(x, dark)  # one dark slice is fine in a volume, not by itself
    with pytest.raises(ValueError, match="zero in"):
        evaluate(x, dark, "slice")


def test_a_common_gain_is_found_where_it_explains_the_difference():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 20, 20, generator=generator) + 0.1
    noise = 0.05 * torch.randn(3, 20, 20, generator=generator)
    assert common_gain(1000 * (target + noise), target) == pytest.approx(1000, rel=0.01)
    assert common_gain(1e-12 * target, target) == pytest.approx(1e-12)
    assert common_gain(target + noise, target) is None
    assert common_gain(1000 * torch.randn(3, 20, 20, generator=generator) ** 9, target) is None
    assert common_gain(torch.zeros(3, 20, 20), target) is None
