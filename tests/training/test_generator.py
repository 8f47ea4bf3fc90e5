"""Training a generator: its loss beside torch's distributions; it learns, resumes bit for bit, and is exported."""

import prior_runs
import pytest
import runs
import torch
from test_module_resume import StopAt, assert_same_end
from torch.distributions import Normal, kl_divergence

from mrirecon.networks.vae import ConvVAE
from mrirecon.tensors import as_channels
from mrirecon.training.core.optimizer import OptimizerSettings
from mrirecon.training.generator.loss import GeneratorLoss
from mrirecon.training.generator.module import GeneratorModule
from mrirecon.training.prior.data import PriorDataModule
from mrirecon.training.run import Run, family_of
from mrirecon.weights import load_weights

NETWORK = {"name": "vae", "latent": 4, "widths": [8, 12], "blocks": 1}


@pytest.fixture(autouse=True)
def one_thread():
    """Rounding depends on how many threads share a sum."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return prior_runs.make_images(tmp_path_factory.mktemp("data") / "images")


def config(root, output, **changed):
    made = prior_runs.config(root, output, network=NETWORK, **changed)
    return {**made, "loss": changed.get("loss", {})}


def small(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ConvVAE(**{k: v for k, v in NETWORK.items() if k != "name"})


@torch.no_grad()
def test_the_loss_is_minus_the_evidence_lower_bound():
    """Up to the constant of the likelihood, per real number of the image."""
    network, stream = small(), torch.Generator().manual_seed(0)
    x = torch.randn(3, 2, 12, 20, generator=stream)
    noise = torch.randn(x.shape, generator=stream)
    mean, log_variance = network.encode(x)
    posterior = Normal(mean, torch.exp(log_variance / 2))
    drawn = noise.flatten(1)[:, : mean[0].numel()].reshape(mean.shape)
    image = network(mean + posterior.stddev * drawn, (12, 20))
    likelihood = Normal(image, 0.1).log_prob(x) - Normal(x, 0.1).log_prob(x)
    divergence = kl_divergence(posterior, Normal(0.0, 1.0))
    bound = likelihood.sum((1, 2, 3)) - divergence.sum((1, 2, 3))
    loss = GeneratorLoss(noise=0.1)(network, x, noise)
    assert loss.tolist() == pytest.approx((-bound / x[0].numel()).tolist(), rel=1e-4)


def test_it_learns_what_images_look_like(root, tmp_path):
    options = prior_runs.data_options(root, tmp_path, patches=[(1.0, 24)], batch_size=10)
    data = PriorDataModule(**options)
    module = GeneratorModule(small(), GeneratorLoss(noise=0.1))
    optimizer = torch.optim.AdamW(module.network.parameters(), lr=0.01)

    def judged():
        module.scores.clear()
        with torch.no_grad():
            for batch in data.val_dataloader():
                module.validation_step(batch, 0)
        return dict(module.judge(module.scores))

    before, loader = judged(), data.train_dataloader()
    for epoch in range(60):
        loader.batch_sampler.set_epoch(epoch)
        for batch in loader:
            loss = module.batch_loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    after = judged()
    assert after["nmse"] < 0.2 < 0.9 < before["nmse"]
    assert after["loss"] < before["loss"] / 2
    image = as_channels(batch.image)
    with torch.no_grad():
        z = module.network.encode(image)[0]
        assert z.square().mean() < 4  # near a unit normal one
        assert z.std() > 0.1  # and not collapsed


def test_validation_is_that_of_the_averaged_weights(root, tmp_path):
    data = PriorDataModule(**prior_runs.data_options(root, tmp_path))
    module = GeneratorModule(small(), None, OptimizerSettings(ema_decay=0.9))
    with torch.no_grad():
        for parameter in module.network.parameters():
            parameter.add_(0.1)
        for batch in data.val_dataloader():
            module.validation_step(batch, 0)
            image = as_channels(batch.image)
            found = module.ema.module(module.ema.module.encode(image)[0], tuple(image.shape[-2:]))
    last = module.scores[-len(image) :]
    errors = (found - image).square().sum((1, 2, 3)).tolist()
    assert [score.squared_error for score in last] == pytest.approx(errors, rel=1e-4)
    assert module.judge([]) == {}


def test_it_is_trained_and_exported(root, tmp_path):
    run = runs.fit(config(root, tmp_path))
    assert family_of("vae").loss is GeneratorLoss
    assert len(runs.logged(tmp_path, "val_loss")) == 2
    loaded, card = load_weights(run.export())
    assert isinstance(loaded, ConvVAE)
    trained = runs.last(tmp_path)["state_dict"]
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, trained[f"ema.module.{name}"]), name
    assert card.training.patches == (16, 24) and card.training.sigma is None
    assert set(card.metrics) == {"loss", "psnr", "nmse"}


def test_an_interrupted_run_ends_with_the_same_weights(root, tmp_path):
    changed = {"data": {"workers": 1}, "trainer": {"max_epochs": 3}}
    straight = runs.fit(config(root, tmp_path / "straight", **changed))
    settings = config(root, tmp_path / "stopped", **changed)
    runs.fit(settings, StopAt(4), resume=True)
    runs.fit(settings, resume=True)
    assert_same_end(tmp_path / "straight", tmp_path / "stopped")
    assert straight.export().read_bytes() == Run.of(settings).export().read_bytes()


def test_samples_are_shown(root, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    runs.fit({**config(root, tmp_path, trainer={"max_epochs": 1}), "images": 2})
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0}).Reload()
    (shown,) = events.Images("samples")
    assert (shown.height, shown.width) == (64, 128)


@pytest.mark.parametrize("noise", [0.0, -1.0, float("nan"), float("inf")])
def test_the_noise_must_be_positive(noise):
    with pytest.raises(ValueError, match=r"loss\.noise is .*: give a positive number"):
        GeneratorLoss(noise=noise)
