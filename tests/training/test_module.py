"""The Lightning module: metrics, averaging, schedules, precision, progress."""

import copy
import math

import pytest
import runs
import torch
from pytorch_lightning import Callback

from mrirecon.metrics import evaluate, mean_metrics, score_slice, volume_metrics
from mrirecon.networks import NETWORKS, PRIORS
from mrirecon.training.core.ema import averaged
from mrirecon.training.core.gather import gather
from mrirecon.training.core.optimizer import OptimizerSettings
from mrirecon.training.core.progress import Progress
from mrirecon.training.core.trainer import TrainerSettings, build_trainer, quiet
from mrirecon.training.end_to_end.module import UnrolledModule
from mrirecon.training.end_to_end.pictures import side_by_side
from mrirecon.training.run import Run
from mrirecon.weights import card_of, load_weights, save_weights


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return runs.make_data(tmp_path_factory.mktemp("data"))


class Steps(Callback):
    """Notes what happened at each step."""

    def __init__(self):
        self.weights, self.rates, self.lines = [], [], []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.weights.append([p.detach().clone() for p in pl_module.network.parameters()])


# --- volume metrics ---


def volumes(seed=0):
    stream = torch.Generator().manual_seed(seed)
    for name, slices in (("a.h5", 4), ("b.h5", 3)):
        target = torch.rand(slices, 24, 20, generator=stream) * 1e-4
        noise = 1e-5 * torch.randn(target.shape, generator=stream)
        yield name, (target + noise).abs(), target


def scores():
    return [
        score_slice(x, t, float(target.max()), volume=name, number=number, loss=0.0)
        for name, image, target in volumes()
        for number, (x, t) in enumerate(zip(image, target, strict=True))
    ]


def test_volume_metrics_equal_those_of_the_whole_volumes():
    found = volume_metrics(gather(scores()))
    for name, image, target in volumes():
        whole = evaluate(image, target)
        assert found[name][:2] == whole[:2] and found[name][2:] == pytest.approx(whole[2:])
    mean = (found["a.h5"].ssim + found["b.h5"].ssim) / 2
    assert mean_metrics(found)["ssim"] == pytest.approx(mean)


def test_order_and_copies_of_slices_change_nothing():
    given = scores()
    assert volume_metrics(gather(given[::-1] + given[2:5])) == volume_metrics(gather(given))


def test_a_black_volume_has_no_metrics():
    black = score_slice(torch.rand(9, 9), torch.zeros(9, 9), 0.0, volume="z", number=0, loss=0.0)
    assert "z" not in volume_metrics(gather([*scores(), black]))
    assert mean_metrics(volume_metrics([black])) == {}


def test_metrics_of_an_image_that_is_no_number_are_none():
    broken = torch.full((9, 9), math.nan)
    score = score_slice(broken, torch.rand(9, 9), 1.0, volume="n", number=0, loss=math.nan)
    found = volume_metrics([score])["n"]
    assert all(math.isnan(value) for value in (found.nmse, found.psnr, found.ssim))


def test_validation_equals_evaluate_on_whole_volumes(root, tmp_path):
    with quiet():
        run = Run.of(runs.config(root, tmp_path, data={"batch_size": 2}))
        build_trainer(run.trainer, tmp_path, []).validate(run.module, run.data, verbose=False)
    images, targets = {}, {}
    with torch.no_grad():
        for batch in run.data.val_dataloader():
            image = run.module.final(batch.kspace, batch.mask, batch.calibration, batch.crop)
            for n, volume in enumerate(batch.volume):
                images.setdefault(volume, {})[int(batch.index[n])] = image[n]
                targets.setdefault(volume, {})[int(batch.index[n])] = batch.target[n]
    assert set(run.module.metrics) == set(images) == {"file0.h5", "file1.h5"}
    for volume, metrics in run.module.metrics.items():
        slices = range(runs.SLICES)
        whole = [torch.stack([x[volume][i] for i in slices]) for x in (images, targets)]
        assert metrics[2:] == pytest.approx(evaluate(*whole)[2:], rel=1e-9)


def test_validation_takes_the_averaged_weights(root, tmp_path):
    """As `evaluate` judges the averaged network, whose weights differ from the live ones."""
    with quiet():
        run = Run.of(runs.config(root, tmp_path))
        stream = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in run.module.network.parameters():
                p.add_(0.3 * torch.randn(p.shape, generator=stream))
        build_trainer(run.trainer, tmp_path, []).validate(run.module, run.data, verbose=False)
    judged = run.module.metrics["file0.h5"]

    def metrics(network):
        images, targets = {}, {}
        with torch.no_grad():
            for batch in run.data.val_dataloader():
                image = network(batch.kspace, batch.mask, batch.calibration, batch.crop)
                for n, volume in enumerate(batch.volume):
                    if volume == "file0.h5":
                        images[int(batch.index[n])] = image[n]
                        targets[int(batch.index[n])] = batch.target[n]
        return evaluate(*(torch.stack([x[i] for i in sorted(x)]) for x in (images, targets)))

    assert judged[2:] == pytest.approx(metrics(run.module.ema.module)[2:], rel=1e-9)
    assert judged.psnr != pytest.approx(metrics(run.module.network).psnr, rel=1e-3)


def test_dropout_differs_between_processes_batches_epochs_and_seeds(root, tmp_path, monkeypatch):
    """A function of these and of nothing else, so that a resumed run needs no state of it."""
    place = {}
    for name in ("current_epoch", "global_rank"):
        monkeypatch.setattr(UnrolledModule, name, property(lambda _, name=name: place[name]))
    network = NETWORKS["unet"](chans=2, num_pool_layers=1)

    def drawn(seed=3, epoch=0, batch=0, rank=0):
        place.update(current_epoch=epoch, global_rank=rank)
        UnrolledModule(network, seed=seed).on_train_batch_start(None, batch)
        return tuple(torch.rand(4).tolist())

    with torch.random.fork_rng():
        first = drawn()
        assert drawn() == first
        others = [drawn(seed=4), drawn(epoch=1), drawn(batch=1), drawn(rank=1)]
    assert len({first, *others}) == 5
    settings = runs.config(root, tmp_path)
    assert Run.of({**settings, "seed": 7}).module.seed == 7


def test_a_file_without_target_is_named(root, tmp_path):
    run = Run.of(runs.config(root, tmp_path))
    batch = next(iter(run.data.train_dataloader()))
    with pytest.raises(ValueError, match=rf"{batch.volume[0]} has no target"):
        run.module.training_step(batch._replace(target=None), 0)


# --- averaging ---


def test_averaging_follows_the_formula():
    network = torch.nn.Linear(2, 1)
    average = averaged(network, 0.5)
    expected = None
    for n in range(6):
        with torch.no_grad():
            network.weight.add_(1.0)
        average.update_parameters(network)
        decay = min(0.5, (1 + n) / (10 + n)) if n else 0.0
        value = network.weight.detach()
        expected = value.clone() if expected is None else decay * expected + (1 - decay) * value
        assert torch.allclose(average.module.weight, expected)
    assert not any(p.requires_grad for p in average.parameters())


def test_validation_and_export_take_the_averaged_weights(root, tmp_path):
    steps = Steps()
    run = runs.fit(runs.config(root, tmp_path), steps)
    average = averaged(copy.deepcopy(run.module.network), 0.9)
    for weights in steps.weights:
        with torch.no_grad():
            for p, value in zip(run.module.network.parameters(), weights, strict=True):
                p.copy_(value)
        average.update_parameters(run.module.network)
    for mine, theirs in zip(
        run.module.final.parameters(), average.module.parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)
    assert run.module.final is not run.module.network
    network, card = load_weights(run.export())
    best = max((p for p in (tmp_path / "checkpoints").glob("best-*")), key=lambda p: p.name)
    state = torch.load(best, weights_only=True)["state_dict"]
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[f"ema.module.{name}"])
    assert card.training.masks == ("uniform1d",) and card.training.coils == (3, 3)
    assert card.training.matrix == (runs.SHAPE, runs.SHAPE)
    assert card.metrics["volumes"] == 2 and 0 < card.metrics["ssim"] < 1
    assert card.seeds == {"training": 0} and card.settings["loss"]["ssim"] == 1.0
    assert str(root) not in str(card.settings)


def test_without_averaging_the_plain_weights_are_exported(root, tmp_path):
    changed = {"optimizer": {"ema_decay": 0.0}, "trainer": {"max_epochs": 1}}
    run = runs.fit(runs.config(root, tmp_path, **changed))
    network, _ = load_weights(run.export())
    for mine, theirs in zip(network.parameters(), run.module.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


# --- optimizer ---


def test_schedules():
    cosine = OptimizerSettings(lr=1.0, schedule="cosine", warmup_steps=3, lr_end=0.1)
    found = [cosine.factor(step, 13.0, 5.0) for step in range(14)]
    assert found[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert found[8] == pytest.approx(0.55) and found[13] == pytest.approx(0.1)
    assert found[3:] == sorted(found[3:], reverse=True)
    step = OptimizerSettings(schedule="step", step_epochs=2, gamma=0.1)
    found = [step.factor(n, math.inf, 5.0) for n in (0, 9, 10, 19, 20)]
    assert found == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert OptimizerSettings().factor(1000, 10.0, 5.0) == 1


def test_the_learning_rate_follows_the_schedule(root, tmp_path):
    steps = Steps()
    run = runs.fit(runs.config(root, tmp_path), steps)
    total = len(steps.rates)
    assert total == 2 * 6
    factors = [run.module.settings.factor(n, float(total), total / 2) for n in range(1, total + 1)]
    assert steps.rates == pytest.approx([0.003 * factor for factor in factors])
    assert steps.rates[-1] == 0


def test_a_cosine_can_go_by_the_clock(root, tmp_path):
    """Its share of the time decides, whatever the speed: near 1 at first, near the end's value at last."""
    steps = Steps()
    settings = runs.config(root, tmp_path, trainer={"max_epochs": -1, "max_time": "00:00:00:03"})
    runs.fit(settings, steps)
    assert max(steps.rates[:5]) > 0.8 * 0.003
    assert steps.rates[-1] < 0.05 * 0.003


def test_a_cosine_without_end_is_refused(root, tmp_path):
    settings = runs.config(root, tmp_path, trainer={"max_epochs": -1})
    with pytest.raises(ValueError, match="cosine"):
        runs.fit(settings)


@pytest.mark.parametrize(
    ("key", "value"),
    [("lr", 0.0), ("lr", math.nan), ("gamma", 2.0), ("ema_decay", 1.0), ("step_epochs", 0)],
)
def test_bad_optimizer_settings(key, value):
    with pytest.raises(ValueError, match=f"optimizer.{key} is {value}"):
        OptimizerSettings(**{key: value})


def test_accumulation_and_clipping(root, tmp_path):
    changed = {
        "trainer": {"accumulate_grad_batches": 4, "gradient_clip_val": 1e-3, "max_epochs": 1},
    }
    runs.fit(runs.config(root, tmp_path, **changed))
    kept = runs.last(tmp_path)
    assert kept["global_step"] == kept["state_dict"]["ema.n_averaged"] == 2  # of 6 batches: 4 and 2
    moments = [s["exp_avg"].norm() for s in kept["optimizer_states"][0]["state"].values()]
    # Adam's first moment of two gradients of norm 1e-3 is at most (1 - 0.9**2) times that.
    assert 1e-5 < float(torch.stack(moments).norm()) <= (1 - 0.9**2) * 1.001e-3


# --- precision ---


def test_bf16_keeps_the_loss_in_float32_and_trains(root, tmp_path):
    changed = {"trainer": {"precision": "bf16-mixed", "max_epochs": 1}}
    low = runs.fit(runs.config(root, tmp_path / "low", **changed))
    runs.fit(runs.config(root, tmp_path / "full", trainer={"max_epochs": 1}))
    assert all(p.dtype == torch.float32 for p in low.module.parameters())
    a, b = (runs.logged(tmp_path / name, "train_loss") for name in ("low", "full"))
    assert a != b and a == pytest.approx(b, rel=0.05)


# --- what the user sees ---


def test_progress_lines(root, tmp_path):
    shown, told = [], []
    runs.fit(runs.config(root, tmp_path), Progress(shown.append, told.append, 0.0))
    assert len(shown) == 12 and len(told) == 2
    assert shown[2].startswith("epoch 1, step 3/12, loss 0.") and "slices/s" in shown[2]
    assert shown[2].endswith(" left")
    assert "epoch 2, step 12/12" in told[1] and "psnr" in told[1] and "ssim" in told[1]


@pytest.mark.parametrize("steps", [-1, 10**9])
def test_progress_shows_the_time_until_the_clock_stops(root, tmp_path, steps):
    shown = []
    limits = {"max_epochs": -1, "max_steps": steps, "max_time": "00:00:00:03"}
    runs.fit(runs.config(root, tmp_path, trainer=limits), Progress(shown.append, print, 0.0))
    left = [line.rpartition(", ")[2] for line in shown]
    assert set(left) <= {f"0:00:0{seconds} left" for seconds in range(4)} and left[-1] < left[0]


def test_progress_lines_are_few(root, tmp_path):
    shown = []
    runs.fit(runs.config(root, tmp_path), Progress(shown.append, print, 60.0))
    assert shown == []


def test_early_stopping(root, tmp_path):
    changed = {
        "optimizer": {"lr": 1e-12, "schedule": "constant", "warmup_steps": 0},
        "checkpoints": {"patience": 1},
        "trainer": {"max_epochs": 9},
    }
    runs.fit(runs.config(root, tmp_path, **changed))
    assert runs.last(tmp_path)["epoch"] < 4


def test_divergence_is_an_error_and_keeps_the_checkpoint(root, tmp_path):
    class Poison(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                with torch.no_grad():
                    next(pl_module.network.parameters()).fill_(math.nan)

    with pytest.raises(ValueError, match=r"diverged.*optimizer\.lr"):
        runs.fit(runs.config(root, tmp_path), Poison())
    assert runs.last(tmp_path)["epoch"] == 0


def test_tensorboard_shows_the_middle_slice_of_fixed_volumes(root, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = runs.config(root, tmp_path)
    runs.fit({**settings, "images": 1})
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert board.Tags()["images"] == ["validation/file0.h5"]
    pictures = board.Images("validation/file0.h5")
    assert [picture.step for picture in pictures] == [6, 12]
    assert {(picture.height, picture.width) for picture in pictures} == {
        (runs.SHAPE[0], 3 * runs.SHAPE[1])
    }


def test_tensorboard_pictures():
    image, target = torch.zeros(4, 5), torch.full((4, 5), 2.0)
    picture = side_by_side(image, target, 4.0)
    assert picture.shape == (4, 15)
    assert picture[0, [0, 5, 10]].tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("name", ["unet", "varnet"])
def test_any_network_trains(name, root, tmp_path):
    network = {"varnet": runs.VARNET, "unet": {"chans": 2, "num_pool_layers": 2}}[name]
    changed = {"network": {"name": name, **network}, "trainer": {"max_epochs": 4}}
    runs.fit(runs.config(root, tmp_path, **changed))
    losses = runs.logged(tmp_path, "train_loss")
    assert sum(losses[-6:]) < sum(losses[:6])


def test_a_cpu_trainer_is_built_from_the_defaults(tmp_path):
    with quiet():
        trainer = build_trainer(TrainerSettings(accelerator="cpu"), tmp_path, [])
    assert trainer.max_epochs == 50 and trainer.gradient_clip_val is None


@pytest.mark.parametrize("time", ["12:00", "1 day", "00:12:00"])
def test_bad_max_time(time):
    with pytest.raises(ValueError, match=r"trainer\.max_time.*DD:HH:MM:SS"):
        TrainerSettings(max_time=time)


def test_module_defaults():
    module = UnrolledModule(NETWORKS["unet"](chans=2, num_pool_layers=1))
    assert module.ema is None and module.final is module.network


def test_the_complex_loss_trains_unrolled_networks_only(root, tmp_path):
    loss = {"ssim": 0.0, "l1": 0.0, "complex": 1.0}
    runs.fit(runs.config(root, tmp_path / "varnet", loss=loss, trainer={"max_epochs": 4}))
    losses = runs.logged(tmp_path / "varnet", "train_loss")
    assert sum(losses[-6:]) < sum(losses[:6])
    unet = {"name": "unet", "chans": 2, "num_pool_layers": 1}
    with pytest.raises(ValueError, match=r"loss\.complex is of coil images, which unet"):
        runs.fit(runs.config(root, tmp_path / "unet", loss=loss, network=unet))


def test_training_begins_with_given_weights(root, tmp_path):
    runs.fit(runs.config(root, tmp_path / "first")).export()
    weights = tmp_path / "first" / "weights.safetensors"
    settings = {**runs.config(root, tmp_path / "second"), "weights": str(weights)}
    with quiet():
        begun = Run.of(settings).module.network.state_dict()
    for name, value in load_weights(weights)[0].state_dict().items():
        assert torch.equal(begun[name], value)
    settings["network"] = {**settings["network"], "chans": 3}
    with pytest.raises(ValueError, match="a varnet with chans 2 there, 3 here: make the options"):
        Run.of(settings)
    settings["network"] = {"name": "unet", "chans": 2}
    with pytest.raises(
        ValueError, match="are of varnet, this run trains unet: give weights of unet"
    ):
        Run.of(settings)


def test_fine_tuning_chooses_its_own_dropout(root, tmp_path):
    network = {"chans": 2, "num_pool_layers": 1, "drop_prob": 0.0}
    trained, path = NETWORKS["unet"](**network), tmp_path / "unet.safetensors"
    save_weights(trained, path, card_of(trained))
    network = {**network, "name": "unet", "drop_prob": 0.1}
    settings = {**runs.config(root, tmp_path, network=network), "weights": str(path)}
    begun = Run.of(settings).module.network
    assert begun.config["drop_prob"] == 0.1
    for name, value in trained.state_dict().items():
        assert torch.equal(begun.state_dict()[name], value)


def test_an_unrolled_prior_begins_with_its_denoiser(root, tmp_path):
    denoiser = PRIORS["denoiser"](widths=(4, 6))
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "prior.safetensors"
    save_weights(denoiser, path, card_of(denoiser))
    network = {"name": "unrolled_prior", "steps": 2, "cg_steps": 3, "denoiser": {"widths": [4, 6]}}
    settings = runs.config(root, tmp_path / "run", network=network, trainer={"max_epochs": 4})
    settings["weights"] = str(path)
    with quiet():
        begun = Run.of(settings).module.network.denoiser.state_dict()
    assert all(torch.equal(begun[name], value) for name, value in denoiser.state_dict().items())
    run = runs.fit(settings)
    losses = runs.logged(tmp_path / "run", "train_loss")
    assert sum(losses[-6:]) < sum(losses[:6])
    assert load_weights(run.export())[0].name == "unrolled_prior"
