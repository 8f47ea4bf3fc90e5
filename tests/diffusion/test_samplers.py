"""What all samplers share: batches, seeds, starts, callbacks, memory and errors."""

import inspect
import math

import pytest
import torch
from oracle import columns_mask, complex_normal, points_mask
from sampling_cases import SPECTRAL

from mrirecon.birdcage import birdcage_maps
from mrirecon.diffusion import CleanDenoiser, GaussianDenoiser, geometric, samplers
from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.operators import sense

SHAPE = (9, 8)
LEVELS = geometric(4, 0.1, 2.0)
WEIGHED = [name for name in SAMPLERS if "noise_std" in inspect.signature(SAMPLERS[name]).parameters]
every_sampler = pytest.mark.parametrize("name", SAMPLERS)
# Every sampler, and those that take coils in several ways.
SHARED = ("noise_std", "start", "generator", "callback")  # what all take is said once
RUNS = {name: (name, {}) for name in SAMPLERS} | {
    f"score_mri, {coils}": ("score_mri", {"coils": coils}) for coils in ("separate", "hybrid")
}
RUNS |= {
    f"{name}, {coils}": (name, {"coils": coils})
    for name in SPECTRAL
    for coils in ("lanczos", "each")
}


def mask(seed=0):
    lines = torch.rand(SHAPE[1], generator=torch.Generator().manual_seed(seed)) < 0.5
    return columns_mask(SHAPE, 3, 2) | lines


def scan(dtype=torch.complex128, points=False, noise_std=0.05):
    """(image, operator, k-space, prior)."""
    maps = birdcage_maps(SHAPE, 3)[0].to(dtype)
    A = sense(maps, points_mask(SHAPE, 0.4) if points else mask())
    frequency = [torch.fft.fftfreq(size, dtype=torch.float64) for size in SHAPE]
    power = 2 / (1 + 30 * (frequency[0][:, None] ** 2 + frequency[1] ** 2))
    mean = complex_normal(1, 1, seed=3).expand(SHAPE).clone()
    prior = GaussianDenoiser(mean.to(dtype), power.to(maps.real.dtype))
    x = prior(3 * complex_normal(*SHAPE, seed=1).to(dtype), 0.1)
    noise = complex_normal(3, *SHAPE, seed=2).to(dtype)
    return x, A, A(x) + noise_std * noise * A.mask, prior


def run(name, y, A, prior, levels=LEVELS, seed=0, **more):
    if name in WEIGHED:
        more = {"noise_std": 0.05} | more
    generator = more.pop("generator", torch.Generator().manual_seed(seed))
    return SAMPLERS[name](y, A, prior, levels, generator=generator, **more)


@every_sampler
def test_samplers_have_one_signature_and_a_source(name):
    parameters = inspect.signature(SAMPLERS[name]).parameters
    assert list(parameters)[:4] == ["y", "A", "denoiser", "sigmas"]
    assert list(parameters)[-3:] == ["start", "generator", "callback"]
    for parameter in list(parameters)[4:]:
        assert parameters[parameter].kind is inspect.Parameter.KEYWORD_ONLY
        own = SAMPLERS[name].__doc__
        if name in SPECTRAL:  # what these share is said in their module
            own += inspect.getmodule(inspect.unwrap(SAMPLERS[name])).__doc__
        assert f"{parameter}:" in (samplers.__doc__ if parameter in SHARED else own)
    source = SAMPLERS[name].__doc__ + inspect.getmodule(inspect.unwrap(SAMPLERS[name])).__doc__
    assert "arXiv" in source or "ICLR" in source


@every_sampler
def test_a_sampler_fits_one_screen(name):
    lines, _ = inspect.getsourcelines(inspect.unwrap(SAMPLERS[name]))
    text = "".join(lines)
    body = text.split('"""')[2].strip().splitlines()
    assert len(body) <= 40


@pytest.mark.parametrize("name", RUNS)
def test_an_image_does_not_depend_on_what_it_is_batched_with(name):
    """Three scans with their own maps, masks and generators; then each alone, without a batch axis."""
    sampler, more = RUNS[name]
    _, A, y, prior = scan()
    turns = torch.exp(1j * torch.tensor([0.0, 0.7, 2.0], dtype=torch.float64))
    maps = A.maps * turns[:, None, None, None]
    masks = torch.stack([mask(seed) for seed in range(3)])
    ys = torch.stack([y, 2 * y.flip(-1), 0.1 * y.flip(-2)]) * masks[:, None]
    streams = [torch.Generator().manual_seed(seed) for seed in range(3)]
    together = run(sampler, ys, sense(maps, masks), prior, generator=streams, **more)
    assert together.shape == (3, *SHAPE)
    for item in range(3):
        alone = run(sampler, ys[item], sense(maps[item], masks[item]), prior, seed=item, **more)
        torch.testing.assert_close(together[item], alone, rtol=1e-8, atol=1e-8)


@every_sampler
def test_draws_of_one_scan_as_a_batch(name):
    """One operator for all items, as for several draws of one slice, with two leading axes."""
    _, A, y, prior = scan()
    images = run(name, y.expand(2, 3, *y.shape), A, prior)
    assert images.shape == (2, 3, *SHAPE)
    differ = float((images[0, 0] - images[1, 2]).norm())
    assert (differ == 0) == (name == "pnp_admm")


@every_sampler
def test_same_seed_same_image(name):
    _, A, y, prior = scan()
    first, again, other = (run(name, y, A, prior, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name == "pnp_admm")


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("name", RUNS)
def test_precision_is_that_of_the_data(name, dtype):
    sampler, more = RUNS[name]
    _, A, y, prior = scan(dtype)
    seen = []
    image = run(sampler, y, A, prior, callback=lambda *state: seen.append(state), **more)
    assert image.dtype == dtype
    assert {part.dtype for state in seen for part in state[2:]} == {dtype}
    assert bool(image.isfinite().all())


@every_sampler
def test_from_a_good_start_at_a_low_level_the_image_stays(name):
    x, A, y, prior = scan(noise_std=1e-3)
    small = {"dps": {"zeta": 1e-4}, "mcg": {"zeta": 1e-4}, "red_diff": {"learning_rate": 1e-4}}
    weighed = {"noise_std": 1e-3} if name in WEIGHED else {}
    levels = geometric(3, 1e-4, 1e-3)
    image = run(name, y, A, prior, levels, start=x, **weighed, **small.get(name, {}))
    assert float((image - x).norm() / x.norm()) < 0.01


@every_sampler
def test_the_first_image_is_noise_around_the_start(name):
    """`start` + sigmas[0] z; without a start, noise alone. RED-diff and ADMM start from other things."""
    if name in ("red_diff", "pnp_admm"):
        pytest.skip("has no noisy image to start from")
    x, A, y, prior = scan()
    levels = torch.tensor([50.0, 1.0, 0.0], dtype=torch.float64)
    firsts = []
    for start in (None, 1e4 * x):
        seen = []
        run(
            name,
            y,
            A,
            prior,
            levels,
            start=start,
            callback=lambda *state, to=seen: to.append(state),
        )
        firsts.append(seen[0][2])
    least = 5 if name == "pyramid" else 20  # there it is noise of a few low frequencies
    assert least < float(firsts[0].abs().square().mean() / 2) ** 0.5 < 80
    if name != "projection":  # which has put the data in before it denoises
        assert float((firsts[1] - 1e4 * x).norm() / (1e4 * x).norm()) < 0.05


@pytest.mark.parametrize("name", RUNS)
def test_the_callback_sees_every_denoised_image(name):
    """Step, level, and x with D(x): once for each time the prior is asked, but for correctors and last denoisings."""
    sampler, more = RUNS[name]
    _, A, y, prior = scan()
    asked, seen = [], []

    class Counted:
        sigma_range = prior.sigma_range

        def __call__(self, x, sigma):
            asked.append(sigma)
            return prior(x, sigma)

    run(sampler, y, A, Counted(), callback=lambda *state: seen.append(state), **more)
    steps = len(LEVELS) - 1
    unseen = {"score_mri": steps - 1, "langevin": 1, "snips": 1}.get(sampler, 0)
    assert len(asked) - len(seen) == unseen
    assert sorted({state[0] for state in seen}) == list(range(steps))
    for step, sigma, x, x0 in seen:
        assert sigma == float(LEVELS[step])
        if more.get("coils") != "each":  # whose units are not those of the image
            torch.testing.assert_close(x0, prior(x, sigma))


@pytest.mark.parametrize("name", RUNS)
def test_no_graph_is_kept(name):
    """A network whose weights could be trained: images remember nothing of how they were made."""
    sampler, more = RUNS[name]
    _, A, y, _ = scan()
    weight = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    prior = CleanDenoiser(lambda x, sigma: weight * x, (0.0, math.inf))
    seen = []
    image = run(sampler, y, A, prior, callback=lambda *state: seen.append(state), **more)
    assert not image.requires_grad
    assert not any(part.requires_grad for state in seen for part in state[2:])
    assert weight.grad is None
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", RUNS)
def test_the_data_and_the_start_are_not_changed(name):
    sampler, more = RUNS[name]
    x, A, y, prior = scan()
    before = x.clone(), y.clone()
    run(sampler, y, A, prior, start=x, **more)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([], "the schedule of noise levels is empty"),
        ([0.0], "the schedule of noise levels is empty"),
        ([1.0, 2.0, 0.0], "must fall from level to level and end in 0; it goes from 1 to 0"),
        ([2.0, 2.0, 0.0], "must fall from level to level and end in 0"),
        ([2.0, 1.0], "must fall from level to level and end in 0; it goes from 2 to 1"),
        ([math.nan, 0.0], "must fall from level to level and end in 0"),
    ],
)
@every_sampler
def test_bad_schedules(name, levels, message):
    _, A, y, prior = scan()
    with pytest.raises(ValueError, match=message) as error:
        run(name, y, A, prior, torch.tensor(levels))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("noise_std", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", WEIGHED)
def test_bad_noise(name, noise_std):
    _, A, y, prior = scan()
    with pytest.raises(ValueError, match=f"{name} weighs the data by its noise") as error:
        run(name, y, A, prior, noise_std=noise_std)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        *((name, {"eta": 1.5}, "eta is 1.5: it is a share") for name in ("dds", "ddnm", "dps")),
        *((name, {"eta": -0.1}, "eta is -0.1: it is a share") for name in ("mcg", "pigdm")),
        ("ddnm_plus", {"eta": 1.01}, "eta is 1.01: it is a share"),
        ("ddrm", {"eta": 1.01}, "eta is 1.01: it is a share"),
        ("ddrm", {"eta_b": 2.0}, "eta_b is 2: it is a share"),
        ("diffpir", {"zeta": -1.0}, "zeta is -1: it is a share"),
        ("dds", {"gamma": 0.0}, "gamma is 0: the data's weight must be above 0"),
        ("dds", {"gamma": math.nan}, "gamma is nan"),
        ("reconstruction_guidance", {"eta": 2.0}, "eta is 2: it is a share"),
        (
            "reconstruction_guidance",
            {"weight": 0.0},
            "weight is 0: the data's weight must be above",
        ),
        ("pyramid", {"restart": math.nan}, "restart is nan, sizes 3 and stride 1: give a level"),
        ("pyramid", {"sizes": 0}, "sizes 0 and stride 1"),
        ("pyramid", {"stride": 0}, "sizes 3 and stride 0"),
        ("pyramid", {"eta": 2.0}, "eta is 2: it is a share"),
        ("repaint", {"jump": 0}, "jump is 0 and repeats 2"),
        ("repaint", {"repeats": 0}, "jump is 5 and repeats 0"),
    ],
)
def test_bad_parameters(name, more, message):
    _, A, y, prior = scan()
    with pytest.raises(ValueError, match=message) as error:
        run(name, y, A, prior, **more)
    assert "\n" not in str(error.value)


@every_sampler
def test_masks_of_points(name):
    """Every sampler takes them; those that need the spectrum have it by Lanczos, or coil by coil."""
    _, A, y, prior = scan(points=True)
    image = run(name, y, A, prior)
    assert bool(image.isfinite().all())
    if name not in SPECTRAL:
        return
    assert torch.equal(run(name, y, A, prior, coils="lanczos"), image)
    assert not torch.equal(run(name, y, A, prior, coils="lanczos", lanczos_steps=2), image)
    assert bool(run(name, y, A, prior, coils="each").isfinite().all())
    with pytest.raises(ValueError, match="give coils: lanczos or each, or a mask of whole lines"):
        run(name, y, A, prior, coils="joint")


@pytest.mark.parametrize("name", SPECTRAL)
def test_coils_are_joint_by_themselves_where_they_can_be(name):
    _, A, y, prior = scan()
    image = run(name, y, A, prior)
    assert torch.equal(run(name, y, A, prior, coils="joint"), image)
    exact = run(name, y, A, prior, coils="lanczos", lanczos_steps=math.prod(SHAPE))
    torch.testing.assert_close(exact, image, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("steps", [5, 40])
@pytest.mark.parametrize("name", ["dds", "ddnm", "projection", "ilvr"])
def test_conjugate_gradients_stop_where_they_have_converged(name, steps):
    """One coil: A^H A is a projection, solved in one step, and more steps must not blow up what rounding left over."""
    _, A, y, prior = scan(torch.complex64)
    A = sense(torch.ones_like(A.maps[:1]), A.mask)
    noiseless = {"noise_std": None} if name == "dds" else {"damping": 0.0}
    image = run(name, y[:1], A, prior, geometric(20, 0.01, 100.0), cg_steps=steps, **noiseless)
    assert float(image.abs().max()) < 20
    torch.testing.assert_close(A(image), y[:1], atol=0.06 if name == "projection" else 1e-4, rtol=0)
