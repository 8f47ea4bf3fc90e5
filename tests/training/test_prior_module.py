"""Training a prior: it learns, resumes bit for bit, is validated and exported, whatever it predicts."""

import math
from unittest.mock import Mock

import numpy as np
import prior_runs
import pytest
import runs
import torch
from pytorch_lightning import LightningModule, Trainer
from test_module_resume import StopAt, assert_same_end

from mrirecon.diffusion import denoiser_of
from mrirecon.networks import PRIORS
from mrirecon.networks.denoiser import DenoiserUNet
from mrirecon.tensors import as_channels
from mrirecon.training.core.gather import gather
from mrirecon.training.core.optimizer import OptimizerSettings
from mrirecon.training.prior.data import PriorDataModule
from mrirecon.training.prior.family import SeenImages
from mrirecon.training.prior.loss import PriorLoss
from mrirecon.training.prior.module import DenoiserModule, LevelScore, level_metrics
from mrirecon.training.run import Run
from mrirecon.weights import load_weights

NETWORKS = {
    "denoiser": prior_runs.NETWORK,
    "magnitude": {**prior_runs.NETWORK, "channels": 1},
    "ncsnpp": {
        "name": "ncsnpp",
        "channels": 2,
        "nf": 8,
        "ch_mult": [1, 1],
        "num_res_blocks": 1,
        "sigma_max": 5.0,
        "dropout": 0.1,
    },
    "adm": {
        "name": "adm",
        "num_channels": 32,
        "channel_mult": [1, 1],
        "num_head_channels": 32,
        "learn_sigma": False,
    },
}


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


def test_it_learns_to_denoise(root, tmp_path):
    """Two hundred steps: better than the noisy image, and than the best scaling of it, at every level."""
    options = prior_runs.data_options(root, tmp_path, patches=[(1.0, 24)], batch_size=10)
    data = PriorDataModule(**options)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = DenoiserModule(DenoiserUNet(widths=[16, 32]), PriorLoss())
    optimizer = torch.optim.AdamW(module.network.parameters(), lr=0.01)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200)
    loader = data.train_dataloader()
    losses = []
    for epoch in range(100):
        loader.batch_sampler.set_epoch(epoch)
        for batch in loader:
            loss = module.batch_loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()
            losses.append(loss.item())
    assert np.mean(losses[-20:]) < 0.7 * np.mean(losses[:5])
    batch = next(iter(data.val_dataloader()))
    with torch.no_grad():
        module.validation_step(batch, 0)
    found = level_metrics(module.scores)
    power = float(batch.image.abs().square().mean()) / 2  # of real and imaginary part
    for sigma in (0.1, 0.3, 1.0):
        wiener = power * sigma**2 / (power + sigma**2)
        assert found[f"psnr_{sigma:g}"] > -10 * math.log10(2 * wiener) + 1


def test_validation_is_logged(root, tmp_path):
    runs.fit(prior_runs.config(root, tmp_path))
    assert len(runs.logged(tmp_path, "val_loss")) == 2
    levels = [runs.logged(tmp_path, f"val_psnr_{s}")[-1] for s in ("0.03", "0.1", "0.3", "1")]
    assert sorted(levels, reverse=True) == levels  # the more noise, the worse
    assert runs.logged(tmp_path, "val_psnr")[-1] == pytest.approx(np.mean(levels))


def test_validation_on_two_processes_is_that_on_one(root, tmp_path):
    """Fifteen slices in batches of four on two processes: copies that fill up the last batches count once."""
    options = prior_runs.data_options(root, tmp_path, validation=["patient0[2-4]"], val_slices=5)
    module = DenoiserModule(DenoiserUNet(widths=[4, 8]))

    def scores(rank, processes):
        loader = PriorDataModule(**options).val_dataloader()
        loader.batch_sampler.rank, loader.batch_sampler.processes = rank, processes
        module.scores.clear()
        with torch.no_grad():
            for batch in loader:
                module.validation_step(batch, 0)
        return list(module.scores)

    alone = scores(0, 1)
    shared = scores(0, 2) + scores(1, 2)
    assert len(alone) == 15 * 4 < len(shared)
    assert level_metrics(gather(shared)) == pytest.approx(level_metrics(gather(alone)), rel=1e-5)


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_kind_of_prior_is_trained_and_exported(root, tmp_path, kind):
    network = NETWORKS[kind]
    loss = {"levels": "loguniform"} if kind == "adm" else {}
    settings = prior_runs.config(
        root, tmp_path, network=network, loss=loss, trainer={"max_epochs": 1}
    )
    run = runs.fit(settings)
    assert all(math.isfinite(v) for v in runs.logged(tmp_path, "train_loss"))
    loaded, card = load_weights(run.export())
    trained = runs.last(tmp_path)["state_dict"]
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, trained[f"ema.module.{name}"]), name
    assert card.network == network["name"] and card.data == str(root)
    assert card.training.patches == (16, 24)
    assert card.training.sigma == tuple(loaded.sigma_range)
    low, high = card.training.pixel_mm
    assert 1.0 <= low <= high <= 1.5
    assert set(card.metrics) >= {"loss", "psnr", "nmse", "psnr_0.1"}
    assert "sources" not in card.settings["data"] and "cache" not in card.settings["data"]


@pytest.mark.parametrize("kind", ["denoiser", "ncsnpp"])
def test_an_interrupted_run_ends_with_the_same_weights(root, tmp_path, kind):
    """Stopped in the middle of an epoch and at another patch size; dropout and read-ahead included."""
    changed = {"network": NETWORKS[kind], "data": {"workers": 1}, "trainer": {"max_epochs": 3}}
    straight = runs.fit(prior_runs.config(root, tmp_path / "straight", **changed))
    settings = prior_runs.config(root, tmp_path / "stopped", **changed)
    for step in (3, 9):
        runs.fit(settings, StopAt(step), resume=True)
        assert runs.last(tmp_path / "stopped")["global_step"] == step
    runs.fit(settings, resume=True)
    assert_same_end(tmp_path / "straight", tmp_path / "stopped")
    assert straight.export().read_bytes() == Run.of(settings).export().read_bytes()


def test_samples_are_shown(root, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = prior_runs.config(root, tmp_path, trainer={"max_epochs": 2})
    runs.fit({**settings, "images": 2})
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0}).Reload()
    shown = events.Images("samples")
    assert [image.step for image in shown] == [5, 10]
    assert (shown[0].height, shown[0].width) == (64, 128)


def test_metrics_of_levels():
    def score(volume, sigma, error):
        return LevelScore(f"{volume}@{sigma}", 0, sigma, error, 50.0, 100, loss=error)

    found = level_metrics([score("a", 0.1, 1.0), score("b", 0.1, 3.0), score("a", 1.0, 10.0)])
    assert found == pytest.approx(
        {
            "loss": 14 / 3,
            "nmse": (0.04 + 0.2) / 2,
            "psnr": (10 * math.log10(50) + 10) / 2,
            "nmse_0.1": 0.04,
            "psnr_0.1": 10 * math.log10(50),
            "nmse_1": 0.2,
            "psnr_1": 10.0,
        }
    )
    assert level_metrics([]) == {}


def test_without_anybody_held_out_the_last_weights_are_exported(root, tmp_path):
    settings = prior_runs.config(root, tmp_path, data={"validation": []}, trainer={"max_epochs": 1})
    run = runs.fit(settings)
    assert [path.name for path in run.folder.iterdir()] == ["last.ckpt"]
    assert load_weights(run.export())[1].metrics == {}


def test_validation_denoises_with_the_averaged_weights(root, tmp_path):
    """By hand, with averages that differ from the live weights."""
    data = PriorDataModule(**prior_runs.data_options(root, tmp_path))
    module = DenoiserModule(
        DenoiserUNet(widths=[4, 8]), PriorLoss(), OptimizerSettings(ema_decay=0.9)
    )
    stream = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.network.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=stream))
        (batch,) = module_batches = list(data.val_dataloader())
        assert len(module_batches) == 1
        module.validation_step(batch, 0)
        clean, noise = as_channels(batch.image), as_channels(batch.noise)

        def errors(network, sigma):
            noisy, levels = clean + sigma * noise, torch.full((len(clean),), sigma)
            found = denoiser_of(network).clean(noisy, levels)
            return (found - clean).double().square().sum(dim=(1, 2, 3)).tolist()

        for sigma in (0.1, 1.0):
            judged = [s.squared_error for s in module.scores if s.sigma == sigma]
            assert judged == pytest.approx(errors(module.ema.module, sigma))
            assert judged != pytest.approx(errors(module.network, sigma), rel=1e-3)
            losses = [s.loss for s in module.scores if s.sigma == sigma]
            levels = torch.full((len(clean),), sigma)
            expected = module.loss(module.ema.module, clean, noise, levels).tolist()
            assert losses == pytest.approx(expected, rel=1e-4)


def test_what_the_images_are_like_is_noted_by_all_processes(monkeypatch):
    """The checkpoint holds what each of two processes saw, and goes on from there."""
    parts = [SeenImages(), SeenImages()]
    parts[0].add({"sizes": [16], "pixel_mm": [0.9, 1.0]})
    parts[1].add({"sizes": [24], "pixel_mm": [0.7]})
    states = [part.state_dict() for part in parts]
    monkeypatch.setattr("mrirecon.training.core.family.of_all_processes", lambda mine: states)
    checkpoint = {"callbacks": {}}
    parts[0].on_save_checkpoint(Mock(spec=Trainer), Mock(spec=LightningModule), checkpoint)
    (state,) = checkpoint["callbacks"].values()
    assert state == {"pixel_mm": [0.7, 1.0], "sizes": [16, 24]}
    again = SeenImages()
    again.load_state_dict(state)
    assert again.state_dict() == state
    unknown = SeenImages()
    unknown.add({"sizes": [8], "pixel_mm": None})
    assert unknown.state_dict() == {"pixel_mm": None, "sizes": [8]}


def test_levels_of_validation_must_be_known_to_the_network():
    with pytest.raises(
        ValueError, match=r"loss\.val_levels has 9: denoiser is trained from 0\.005"
    ):
        DenoiserModule(DenoiserUNet(widths=[4]), PriorLoss(val_levels=[9.0]))
    colour = PRIORS["adm"](channels=3, num_channels=32, channel_mult=[1], num_head_channels=32)
    with pytest.raises(ValueError, match=r"network\.channels is 3"):
        DenoiserModule(colour)


def test_growth_needs_an_end(root, tmp_path):
    settings = prior_runs.config(
        root,
        tmp_path,
        optimizer={"schedule": "constant", "warmup_steps": 0},
        trainer={"max_epochs": -1, "max_time": "00:00:00:10"},
    )
    with pytest.raises(ValueError, match=r"data\.patches of several sizes"):
        runs.fit(settings)
