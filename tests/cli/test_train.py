"""`mrirecon train` from the command line, and the recipes in configs/."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from mrirecon.io import write_scan
from mrirecon.methods.outside import method_at
from mrirecon.networks import MODELS, NETWORKS
from mrirecon.phantom import shepp_logan
from mrirecon.simulate import simulate_scan
from mrirecon.weights import load_weights
from mrirecon.weights.recognise import PUBLISHED

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
TINY = {
    "network": {
        "name": "varnet",
        "num_cascades": 2,
        "chans": 4,
        "pools": 2,
        "sens_chans": 2,
        "sens_pools": 2,
    },
    "data": {
        "masks": [{"kind": "uniform1d", "acceleration": 4, "center_fraction": 0.1}],
        "batch_size": 2,
        "workers": 0,
    },
    "optimizer": {"lr": 0.003, "ema_decay": 0.5},
    "trainer": {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 1},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for split, count in (("train", 4), ("val", 2)):
        (root / f"multicoil_{split}").mkdir()
        for volume in range(count):
            image = shepp_logan((36, 32)).numpy()[:, :, None] * np.array([1.0, 0.7])
            image = (image * (0.5 + volume / 4)).astype(np.float32)
            scan = simulate_scan(image, coils=3, snr=40.0, seed=volume).scan
            write_scan(scan, root / f"multicoil_{split}" / f"file{volume}.h5")
    return root


@pytest.fixture
def config(tmp_path):
    """The path of a small recipe; called with changes it writes them first."""
    path = tmp_path / "recipe.yaml"

    def write(**groups):
        path.write_text(yaml.safe_dump({**TINY, **groups}))
        return path

    write()
    return write


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipes_parse_and_stay_what_they_are(mrirecon, path, tmp_path):
    where = ("--data.root", "D")
    if path.stem.startswith(("prior_", "generator_")):
        where = ("--data.sources", "D", "E", "--data.cache", "C")
    shown = mrirecon("train", "--config", path, *where, "--output", "O", "--print_config")
    assert shown.status == 0 and not shown.errors
    resolved = yaml.safe_load(shown.out)
    written = yaml.safe_load(path.read_text())
    for group, values in written.items():
        for key, value in values.items() if isinstance(values, dict) else ():
            assert key == "preset" or resolved[group][key] == value, (group, key)
    again = tmp_path / "again.yaml"
    again.write_text(shown.out)
    assert mrirecon("train", "--config", again, "--print_config").out == shown.out


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipes_are_commented(path):
    text = path.read_text()
    assert text.startswith("# ") and f"configs/{path.name}" in text and text.count("#") > 5


@pytest.mark.parametrize("part", ["knee", "brain"])
def test_recipes_have_the_masks_of_the_published_networks(part):
    recipe = next(path for path in CONFIGS if path.stem == f"fastmri_{part}_varnet")
    masks = yaml.safe_load(recipe.read_text())["data"]["masks"]
    published = PUBLISHED["varnet", f"{part}_leaderboard_state_dict.pt"]["training"]
    assert {mask["kind"] for mask in masks} == set(published.masks)
    assert tuple(mask["acceleration"] for mask in masks) == published.accelerations
    assert tuple(mask["center_fraction"] for mask in masks) == published.center_fractions


def test_there_are_the_promised_recipes():
    names = {path.stem for path in CONFIGS}
    assert names >= {"fastmri_knee_varnet", "fastmri_brain_varnet", "fastmri_knee_humus"}
    assert names >= {"fastmri_knee_unet", "tiny_varnet", "tiny_unet", "tiny_humus"}
    assert names >= {"prior_tiny", "prior_fastmri_knee"}


def test_train_resume_and_export(mrirecon, refused, root, config, tmp_path):
    """Two epochs of a small VarNet; the loss falls; a second call goes on; a third without asking is refused."""
    out = tmp_path / "run"
    args = ("train", "--config", config(), "--data.root", root, "--output", out)
    first = mrirecon(*args, "--ckpt_path", "last")
    assert first.status == 0, first.errors
    assert first.errors == []
    lines = first.out.splitlines()
    assert lines[0].startswith("note: ") and "starts anew" in lines[0]
    told = dict(line.split(maxsplit=1) for line in lines[1:-4])
    assert told["training"] == "8 slices, volumes: 4; 4 steps an epoch, 8 steps in all"
    assert told["validation"] == "4 slices, volumes: 2" and told["masks"] == "uniform1d x4"
    assert told["device"].startswith("cpu (") and told["device"].endswith("precision 32-true")
    assert str(out / "logs" / "version_0") in told["logs"]
    assert f"tensorboard --logdir {out / 'tensorboard'}" in told["logs"]
    assert lines[-4].startswith("first step")
    lines = [lines[0], *lines[-3:]]
    assert "epoch 2" in lines[2] and "weights.safetensors" in lines[3]
    network, card = load_weights(out / "weights.safetensors")
    assert card.network == "varnet" and card.metrics["volumes"] == 2
    assert network.config["num_cascades"] == 2
    assert yaml.safe_load((out / "config.yaml").read_text())["data"]["root"] == str(root)

    second = mrirecon(*args, "--ckpt_path", "last", "--trainer.max_epochs", 6)
    assert second.status == 0 and "epoch 3" in second.out and "epoch 2" not in second.out
    losses = [float(line.split("validation loss ")[1].split()[0]) for line in lines[1:3]]
    losses += [
        float(line.split("validation loss ")[1].split()[0])
        for line in second.out.splitlines()
        if "validation loss" in line
    ]
    assert len(losses) == 6 and losses[-1] < losses[0]

    longer = ("--trainer.max_epochs", 9, "--trainer.max_time", "00:00:00:00")
    for limits in ((*longer[:1], 6), longer):
        more = mrirecon(*args, "--ckpt_path", "last", *limits)
        assert more.status == 0 and "note: nothing was left to train" in more.out
        assert f"raise {limits[-2][2:]}" in more.out

    line = refused(*args)
    assert "--ckpt_path last" in line and str(out) in line


def test_dry_run(mrirecon, root, config, tmp_path):
    out = tmp_path / "run"
    shown = mrirecon(
        "train", "--config", config(), "--data.root", root, "--output", out, "--dry_run"
    )
    assert shown.status == 0 and not shown.errors
    assert not out.exists()
    resolved, _, rest = shown.out.partition("network      ")
    about, _, memory = rest.partition("memory of a training step")
    assert "8 slices, volumes: 4" in about and "uniform1d x4" in about
    assert yaml.safe_load(resolved)["network"]["chans"] == 4
    sizes = {
        line[2:24].strip(): float(line[24:])
        for line in memory.splitlines()[1:]
        if line.startswith("  ")
    }
    count = sum(p.numel() for p in NETWORKS["varnet"](**_options(TINY)).parameters())
    assert about.startswith(f"varnet, {count:,} parameters")
    assert sizes["parameters"] == pytest.approx(4e-6 * count, abs=0.06)
    assert sizes["optimizer state"] == pytest.approx(8e-6 * count, abs=0.06)
    parts = sum(size for name, size in sizes.items() if name != "total")
    assert sizes["total"] == pytest.approx(parts, abs=0.3)
    assert "pass" in sizes or sys.platform != "linux"


def _options(config):
    return {key: value for key, value in config["network"].items() if key != "name"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--trainer.max_epoch", 3), ["--trainer.max_epoch", "did you mean --trainer.max_epochs?"]),
        (("--optimiser.lr", 3), ["--optimiser.lr"]),
        (("--optimizer.lr", "fast"), ["--optimizer.lr", "'fast'", "a number"]),
        (("--optimizer.lr", -1), ["optimizer.lr", "-1"]),
        (("--optimizer.schedule", "cosin"), ["--optimizer.schedule", "cosine"]),
        (("--data.batch_size", "two"), ["--data.batch_size", "a whole number"]),
        (("--data.batch_size", 0), ["batch_size", "0"]),
        (("--data.root", "nowhere"), ["nowhere"]),
        (("--data.test_folder", "test"), ["unknown option --data.test_folder", "did you mean"]),
        (("--data.challenge", "twocoil"), ["--data.challenge", "multicoil"]),
        (("--network", "varnett"), ["varnett", "did you mean varnet?"]),
        (("--network.preset", "tinny"), ["tinny", "did you mean tiny?"]),
        (("--network.pools", 7), ["cannot be halved 7 times", "pools"]),
        (("--network.chans", 0), ["chans is 0", "at least 1"]),
        (("--network.num_cascades", 0), ["num_cascades is 0", "at least 1"]),
        (("--network.sens_pools", 0), ["sens_pools is 0", "at least 1"]),
        (("--network=humus", "--network.num_cascades", 0), ["num_cascades is 0", "at least 1"]),
        (("--network=unet", "--network.num_pool_layers", 0), ["num_pool_layers is 0"]),
        (("--trainer.accumulate_grad_batches", 0), ["trainer.accumulate_grad_batches is 0"]),
        (("--trainer.check_val_every_n_epoch", 0), ["trainer.check_val_every_n_epoch is 0"]),
        (("--trainer.val_check_interval", 99), ["99", "trainer.check_val_every_n_epoch"]),
        (("--network.cascades", 3), ["--network.cascades", "num_cascades"]),
        (("--loss.ssim", 0), ["loss"]),
        (("--seed", -1), ["--seed", "-1"]),
        (("--trainer.max_time", "1h"), ["max_time", "DD:HH:MM:SS"]),
        (("--trainer.precision", "bf17"), ["bf17"]),
        (("--trainer.strategy", "dpp"), ["dpp"]),
        (("--trainer.accelerator", "gpux"), ["gpux"]),
        (("--checkpoints.monitor", "val_sim"), ["--checkpoints.monitor", "val_ssim"]),
        (("--checkpoints.keep_best", -2), ["checkpoints.keep_best", "-2"]),
        (("--ckpt_path", "none.ckpt"), ["none.ckpt", "no such file"]),
        (("--data.masks", "[]"), ["data.masks"]),
        (("--data.masks", "[{kind: uniform}]"), ["data.masks", "acceleration"]),
        (("--data.masks", "[{kind: uniform, acceleration: 4}]"), ["uniform", "uniform1d"]),
        (("--data.masks", "[{kind: poisson, accel: 4}]"), ["accel", "acceleration"]),
        (("--data.masks", "[{kind: poisson, acceleration: x}]"), ["data.masks", "'x'", "number"]),
        (("--data.masks", "[{kind: poisson, acceleration: 0.5}]"), ["0.5"]),
        (("--output", "a.file/run"), ["a.file"]),
    ],
)
def test_bad_usage_is_one_line(refused, root, config, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.file").write_text("precious")
    given = ("--data.root", root, "--output", "run", *options)
    line = refused("train", "--config", config(), *given)
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--trainer.precision", "bf17"),
        ("--trainer.strategy", "dpp"),
        ("--trainer.devices", "0"),
        ("--data.val_folder", "nowhere"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(refused, root, config, tmp_path, option, value):
    given = ("--data.root", root, "--output", tmp_path / "run", option, value)
    assert value in refused("train", "--config", config(), *given, "--dry_run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (
            {"trainer": {"max_epoch": 3}},
            ["trainer.max_epoch", "did you mean --trainer.max_epochs?"],
        ),
        ({"optimizer": {"lr": "fast"}}, ["--optimizer.lr", "'fast'"]),
        ({"optimizer": 3}, ["optimizer"]),
        ({"traner": {"max_epochs": 3}}, ["traner", "trainer"]),
        ({"network": "humuss"}, ["humuss", "humus"]),
        ({"network": {"name": "unet", "num_cascades": 2}}, ["num_cascades"]),
        ({"network": {"name": ["varnet"]}}, ["unknown network ['varnet']"]),
        ({"network": {"name": "varnet", "preset": ["tiny"]}}, ["no preset ['tiny']"]),
        ({"data": {"masks": 3}}, ["--data.masks", "a list"]),
        ({"data": {"masks": {"kind": "uniform1d"}}}, ["--data.masks", "it takes a list"]),
        ({"data": {"masks": [3]}}, ["masks"]),
    ],
)
def test_bad_recipe_is_one_line(refused, root, config, groups, words, tmp_path):
    path = config(**groups)
    line = refused("train", "--config", path, "--data.root", root, "--output", tmp_path / "run")
    assert all(word in line for word in words), line


def test_empty_data_set(refused, config, tmp_path):
    (tmp_path / "empty" / "multicoil_train").mkdir(parents=True)
    line = refused(
        "train", "--config", config(), "--data.root", tmp_path / "empty", "--output", tmp_path / "r"
    )
    assert "multicoil_train" in line


def test_missing_options(refused, config, root, tmp_path):
    assert "--data.root" in refused("train", "--config", config(), "--output", tmp_path)
    assert "--output" in refused("train", "--config", config(), "--data.root", root)
    assert "masks" in refused("train", "--data.root", root, "--output", tmp_path / "run")


def test_a_dry_run_needs_no_output_and_compiles_nothing(
    mrirecon, root, config, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mrirecon.networks.base.Model.compile_parts", lambda self: 1 / 0)
    before = set(tmp_path.iterdir())
    args = ("--data.root", root, "--compile", "true", "--dry_run")
    assert mrirecon("train", "--config", config(), *args).status == 0
    assert set(tmp_path.iterdir()) - before <= {tmp_path / "recipe.yaml"}


def test_no_data_no_folder(refused, config, tmp_path):
    line = refused(
        *("train", "--config", config(), "--data.root", tmp_path / "none"),
        *("--output", tmp_path / "runs" / "new"),
    )
    assert "none" in line and not (tmp_path / "runs").exists()
    (tmp_path / "old").mkdir()
    refused("train", "--config", config(), "--data.root", "none", "--output", tmp_path / "old")
    assert (tmp_path / "old").exists()


@pytest.mark.parametrize(("steps", "compiled"), [(8, False), (6, True)])
def test_short_runs_are_not_compiled(
    mrirecon, root, config, tmp_path, monkeypatch, steps, compiled
):
    """Here short is less than 8 of 7 or 8 steps."""
    made = []
    monkeypatch.setattr(
        "mrirecon.networks.base.Model.compile_parts", lambda self: made.append(self)
    )
    for module in ("base", "introduction"):
        monkeypatch.setattr(f"mrirecon.training.core.{module}.COMPILED_FROM", steps)
    args = ("--data.root", root, "--output", tmp_path / "run", "--compile", "true")
    shown = mrirecon("train", "--config", config(), *args, "--trainer.max_steps", 7)
    assert shown.status == 0 and bool(made) is compiled
    lines = shown.out.splitlines()
    assert any(line.startswith("compiling the network") for line in lines) is compiled
    assert any(line.startswith("compile ") for line in lines) is not compiled


def test_without_tensorboard_a_line_says_how_to_have_it(
    mrirecon, root, config, tmp_path, monkeypatch
):
    for module in ("trainer", "introduction"):
        monkeypatch.setattr(f"mrirecon.training.core.{module}.find_spec", lambda name: None)
    args = ("--data.root", root, "--output", tmp_path / "run", "--trainer.max_steps", 1)
    shown = mrirecon("train", "--config", config(), *args)
    assert (
        "pip install tensorboard" in shown.out and not (tmp_path / "run" / "tensorboard").exists()
    )


@pytest.mark.parametrize("kept", [True, False])
def test_an_interrupted_run_says_how_to_go_on(root, config, tmp_path, monkeypatch, capsys, kept):
    from mrirecon.cli import main
    from mrirecon.training.run import Run

    def stop(self, *args, **options):
        if kept:
            self.folder.mkdir(parents=True)
            (self.folder / "last.ckpt").write_text("")
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "fit", stop)
    with pytest.raises(SystemExit) as end:
        main(
            [
                "train",
                "--config",
                str(config()),
                "--data.root",
                str(root),
                "--output",
                str(tmp_path / "run"),
            ]
        )
    said = capsys.readouterr().err
    assert end.value.code == 130 and ("--ckpt_path last" in said) is kept
    assert ("no checkpoint" in said) is not kept


OWN = '''
import torch

from mrirecon.networks import Network
from mrirecon.tensors import ifft2c, rss


class Net(Network):
    """A few convolutions."""

    name = "{name}"

    def __init__(self, chans: int = 4):
        super().__init__()
        self.config = {{"chans": chans}}
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, chans, 3, padding=1), torch.nn.Conv2d(chans, 1, 3, padding=1)
        )

    def forward(self, kspace, mask, calibration, crop):
        image = rss(ifft2c(kspace[:, 0]))[(..., *crop)]
        return image + self.layers(image[:, None])[:, 0]
'''


def test_a_network_of_ones_own(mrirecon, refused, root, config, tmp_path, monkeypatch):
    for table in (NETWORKS, MODELS):
        monkeypatch.setattr(table, "homes", dict(table.homes))
    (tmp_path / "own.py").write_text(OWN.format(name="own"))
    out, place = tmp_path / "run", f"{tmp_path}/own.py:Net"
    recipe = config(network={"name": place, "chans": 3})
    args = ("train", "--config", recipe, "--data.root", root, "--output", out)
    first = mrirecon(*args, "--trainer.max_steps", 2)
    assert first.status == 0, first.errors
    assert "network      own, " in first.out and not first.errors
    again = ("train", "--config", out / "config.yaml", "--ckpt_path", "last")
    assert mrirecon(*again, "--trainer.max_steps", 3).status == 0
    for table in (NETWORKS, MODELS):  # as in another program
        del table.homes["own"]
    weights = ("--weights", out / "weights.safetensors", "--output", tmp_path / "o.npy")
    scan = next((root / "multicoil_val").iterdir())
    line = refused("recon", scan, "--method", "unet", *weights)
    assert "there is no network 'own'" in line and "--method mine.py:Class" in line
    method_at.cache_clear()
    shown = mrirecon("recon", scan, "--method", place, *weights)
    assert shown.status == 0 and ": own, " in shown.out, shown.errors

    (tmp_path / "taken.py").write_text(OWN.format(name="varnet"))
    line = refused("train", "--network", f"{tmp_path}/taken.py:Net", "--output", out, "--dry_run")
    assert "Net needs a name of its own" in line
    line = refused("train", "--network", f"{tmp_path}/own.py:torch", "--output", out)
    assert "is no class of mrirecon.networks.Network" in line


def test_a_damaged_checkpoint(refused, config, root, tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "last.ckpt").write_bytes(b"PK\x03\x04 nothing else")
    given = ("--data.root", root, "--output", tmp_path / "run", "--ckpt_path", "last")
    assert "last.ckpt" in refused("train", "--config", config(), *given)


def test_presets_and_typed_options(mrirecon, config, tmp_path):
    args = ("train", "--data.root", "D", "--output", "O", "--print_config")
    shown = yaml.safe_load(mrirecon(*args, "--network", "unet", "--network.preset=small").out)
    assert shown["network"]["name"] == "unet" and shown["network"]["chans"] == 32
    options = ("--network.preset", "tiny", "--network.chans", 5)
    shown = yaml.safe_load(mrirecon(*args, "--config", config(), *options).out)
    assert (
        shown["network"]["chans"] == 5
    )  # typed, and so is the preset, whose 6 win over the file's 2
    assert shown["network"]["num_cascades"] == 6
    recipe = config(network={"name": "varnet", "preset": "small", "chans": 6})
    shown = yaml.safe_load(mrirecon(*args, "--config", recipe).out)
    assert shown["network"]["chans"] == 6 and shown["network"]["num_cascades"] == 5
    shown = yaml.safe_load(mrirecon(*args, "--config", config(), "--network=unet").out)
    assert shown["network"]["name"] == "unet" and "num_cascades" not in shown["network"]


def test_the_card_is_plain_json(mrirecon, root, config, tmp_path):
    out = tmp_path / "run"
    given = ("--data.root", root, "--output", out, "--trainer.max_epochs", 1)
    about = ("--about.licence", "MIT", "--about.attribution", "Shepp and Logan")
    assert mrirecon("train", "--config", config(), *given, *about).status == 0
    card = json.loads((out / "weights.json").read_text())
    assert card["licence"] == "MIT" and card["attribution"] == "Shepp and Logan"
    assert card["data"] == str(root) and card["training"]["accelerations"] == [4.0]


def test_processes_that_would_each_train_for_themselves(
    refused, config, root, tmp_path, monkeypatch
):
    """What torchrun sets; without it a WORLD_SIZE may be of something else."""
    args = ("train", "--config", config(), "--data.root", root, "--output", tmp_path / "run")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    line = refused(*args, "--trainer.devices", 1)
    assert "torchrun started 2 processes" in line and "--trainer.strategy ddp" in line
