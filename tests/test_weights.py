"""Own weights, and the importer against the official state dicts, the official Lightning modules and hostile files."""

import argparse
import hashlib
import io
import json
import os
import pathlib
import pickle
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from golden_data import golden_arrays, golden_facts, golden_state, published_map
from torch import nn
from torch.optim.swa_utils import AveragedModel

from mrirecon.geometry import Geometry
from mrirecon.masks import make_mask
from mrirecon.methods import METHODS, VarNetMethod
from mrirecon.networks import MODELS, NETWORKS, PRESETS, Generator, Prior
from mrirecon.phantom import shepp_logan
from mrirecon.simulate import simulate_scan
from mrirecon.weights import (
    Card,
    TrainingRange,
    card_of,
    import_weights,
    load_weights,
    read_card,
    save_weights,
    sha256_of,
    shipped_weights,
)

FIXTURES = {
    "unet_a": "unet",
    "varnet_a": "varnet",
    "varnet_b": "varnet",
    "humus_a": "humus",
    "humus_b_adj3": "humus",
    "humus_c_variants": "humus",
}
# What only training and the official forward pass use, and what our networks fix.
NOT_OURS = {"drop_prob", "use_checkpoint", "mask_center", "in_chans", "out_chans"}


def recorded(name):
    """The official state dict, and what is known of it."""
    return golden_state(golden_arrays(name)), golden_facts(name)


def golden(name):
    """The official state dict and constructor arguments."""
    state, about = recorded(name)
    return state, about["constructor"]


def saved(content, folder, name="weights.pt", **options):
    torch.save(content, folder / name, **options)
    return folder / name


def assert_loaded(network, state):
    """Every tensor of the state dict arrived, whatever stands before its name."""
    loaded = network.state_dict()
    inside = "unet." if network.name == "unet" else ""
    assert set(loaded) == {inside + name for name in state}
    for name, tensor in state.items():
        assert torch.equal(loaded[inside + name], tensor), name


@pytest.fixture
def varnet():
    return golden("varnet_a")[0]


# --- configuration ---


@pytest.mark.parametrize("name", FIXTURES)
def test_configuration_is_read_off_the_shapes(name, tmp_path):
    state, constructor = golden(name)
    network, report = import_weights(saved(state, tmp_path))
    unseen = {"no_residual_learning"} if report.network == "humus" else set()
    assert report.network == network.name == FIXTURES[name]
    assert set(report.assumed) == unseen
    for option, value in constructor.items():
        if option not in NOT_OURS | unseen:
            assert report.config[option] == value, option
    assert not network.training
    assert_loaded(network, state)


@pytest.mark.parametrize("name", FIXTURES)
def test_hyper_parameters_of_a_lightning_checkpoint_agree(name, tmp_path):
    state, constructor = golden(name)
    # The official HUMUS module notes mask_center False, and its network is built with True all the same.
    hyper = {**constructor, "mask_center": False, "lr": 1e-3, "lr_step_size": 40}
    if "depths" in hyper:
        hyper["depths"] = tuple(hyper["depths"])
    content = {
        "pytorch-lightning_version": "1.3.3",
        "state_dict": {f"model.{k}": v for k, v in state.items()},
        "hyper_parameters": hyper,
    }
    content["state_dict"]["loss.w"] = torch.ones(1, 1, 7, 7)
    network, report = import_weights(saved(content, tmp_path, "last.ckpt"))
    assert report.layout == "Lightning checkpoint, prefix 'model.'"
    assert report.ignored == ("loss.w",) and report.assumed == ()
    assert all(report.config[k] == v for k, v in constructor.items() if k not in NOT_OURS)
    assert_loaded(network, state)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("varnet_a", {"num_cascades": 3}, ["num_cascades = 3", "2"]),
        ("unet_a", {"chans": 16}, ["chans = 16", "8"]),
        ("humus_b_adj3", {"num_adj_slices": 1}, ["num_adj_slices = 1", "3"]),
        ("humus_a", {"img_size": [64, 32]}, ["img_size = [64, 32]", "[32, 64]"]),
        ("humus_a", {"depths": (2, 2, 2)}, ["depths = [2, 2, 2]", "[2, 2]"]),
        ("humus_a", {"resi_connection": "3conv"}, ["resi_connection = 3conv", "1conv"]),
        ("humus_a", {"mlp_ratio": 4.0}, ["mlp_ratio = 4.0", "2.0"]),
    ],
)
def test_hyper_parameters_that_contradict_the_shapes_are_refused(name, change, words, tmp_path):
    state, constructor = golden(name)
    path = saved({"state_dict": state, "hyper_parameters": {**constructor, **change}}, tmp_path)
    line = refusal(path)
    assert all(word in line for word in words), line


def test_the_sides_of_the_image_come_from_the_attention_mask(tmp_path):
    state, _ = golden("humus_a")
    shifted = "residual_group.blocks.1.attn_mask"
    without = {k: v[:0] if shifted in k else v for k, v in state.items()}
    assert "img_size" in refusal(saved(without, tmp_path))


def published(name):
    """Names and shapes of a published file, and its constructor arguments; the values tell the tensors apart."""
    about = published_map(name)
    others = published("humus_fastmri_leaderboard")[0] if about.get("same_keys") else {}
    return others | about["state"], about["constructor"]


def tensor_of(name, shape, value):
    """Of one number in the file, whatever its size."""
    if name.endswith("relative_position_index"):
        return torch.zeros((), dtype=torch.int64).expand(shape)
    if name.endswith("attn_mask"):  # the windows of the last row and column have wrapped neighbours
        side = int(shape[0] ** 0.5)
        edge = torch.arange(side) == side - 1
        return (-100.0 * (edge[:, None] | edge)).flatten()[:, None, None].expand(shape)
    return torch.tensor(value).expand(shape)


@pytest.mark.parametrize(
    ("name", "network", "prefix", "values"),
    [
        ("fastmri_unet_leaderboard", "unet", "", 496_372_225),
        ("fastmri_varnet_leaderboard", "varnet", "varnet.", 29_936_966),
        ("humus_fastmri_leaderboard", "humus", "model.", 159_567_930),
        ("humus_stanford_baseline_differences", "humus", "module.", None),
    ],
)
def test_published_models_at_full_size(name, network, prefix, values, tmp_path):
    shapes, constructor = published(name)
    state = {k: tensor_of(k, s, (n + 1) / 4096) for n, (k, s) in enumerate(shapes.items())}
    content = {prefix + key: tensor for key, tensor in state.items()}
    if prefix in ("varnet.", "model."):
        content = {
            "pytorch-lightning_version": "1.0.6",
            "state_dict": {**content, "loss.w": torch.ones(1, 1, 7, 7)},
            "hyper_parameters": constructor,
        }
    path = saved(content, tmp_path)
    del content
    built, report = import_weights(path)
    assert report.network == network and report.tensors == len(shapes)
    assert all(report.config[k] == v for k, v in constructor.items() if k not in NOT_OURS)
    loaded = built.state_dict()
    if values is not None:
        assert sum(tensor.numel() for tensor in loaded.values()) == values
    for key, tensor in state.items():
        found = loaded["unet." + key if network == "unet" else key]
        assert tuple(found.shape) == tuple(tensor.shape)
        assert found.flatten()[-1] == tensor.flatten()[-1], key


# --- diffusion priors ---

SCORE_MRI = "score_mri_fastmri_knee_320_ncsnpp"


def score_sde(state, order):
    """A training checkpoint as Score-MRI has it; the averages are 1 more than the weights."""
    averages = [state[name] + 1 for name in order]
    moments = {"step": 3, "exp_avg": torch.zeros(2), "exp_avg_sq": torch.zeros(2)}
    return {
        "optimizer": {"state": {0: moments}, "param_groups": [{"lr": 2e-4, "params": [0]}]},
        "model": wrapped("module.", state),
        "ema": {"decay": 0.999, "num_updates": 5, "shadow_params": averages},
        "step": 95,
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ncsnpp_a", {"channels": 1, "num_res_blocks": 1, "attention_levels": [1]}),
        ("ncsnpp_b", {"channels": 2, "num_res_blocks": 2, "attention_levels": []}),
        ("ncsnpp_c", {"channels": 1, "num_res_blocks": 1, "attention_levels": [1]}),
    ],
)
def test_score_mri_weights_and_their_averages(name, expected, tmp_path):
    state, about = recorded(name)
    order, model = about["shadow_params_order"], about["full_config"]["model"]
    network, report = import_weights(saved(score_sde(state, order), tmp_path, "checkpoint_95.pth"))
    expected |= {"nf": model["nf"], "ch_mult": model["ch_mult"], "num_scales": 2000}
    expected |= {"sigma_min": 0.01, "sigma_max": 378.0}
    assert report.network == "ncsnpp" and report.assumed == ()
    assert {name: report.config[name] for name in expected} == expected
    assert report.tensors == len(state) and report.averaged == len(order)
    assert report.layout == (
        f"dict with 'model', prefix 'module.', {len(order)} tensors from the averages in 'ema'"
    )
    loaded = network.state_dict()
    assert set(loaded) == set(state) and set(state) - set(order) == {"sigmas", "all_modules.0.W"}
    for key, tensor in state.items():
        assert torch.equal(loaded[key], tensor.float() + (key in order)), key
    assert "Score-MRI" in report.card().attribution and not network.training


def test_score_mri_weights_without_averages(tmp_path):
    state, _ = recorded("ncsnpp_a")
    network, report = import_weights(saved({"model": wrapped("module.", state)}, tmp_path))
    assert report.averaged == 0 and report.layout == "dict with 'model', prefix 'module.'"
    assert all(torch.equal(network.state_dict()[k], v.float()) for k, v in state.items())


def in_ema(change):
    def edit(content):
        content["ema"]["shadow_params"] = change(content["ema"]["shadow_params"])

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (in_ema(lambda x: x[:-1]), ["averages 275 tensors", "276 of ncsnpp are trained"]),
        (
            in_ema(lambda x: [x[1], x[0], *x[2:]]),
            ["average 0 is 64", "must be 64 x 32", "1.weight"],
        ),
        (in_ema(lambda x: [*x[:-1], x[-1] * np.nan]), ["average of", "NaN"]),
        (in_ema(lambda x: [*x[:-1], 3]), ["not all of 'shadow_params'"]),
        (in_ema(lambda x: []), ["no list of tensors"]),
        (in_ema(lambda x: "text"), ["not all of 'shadow_params'"]),
        (lambda c: c["model"].pop("module.all_modules.0.W"), ["no known network"]),
        (lambda c: c["model"].pop("module.sigmas"), ["no list of noise levels"]),
        (lambda c: c["model"].pop("module.all_modules.30.bias"), ["1 missing", "30.bias"]),
        (lambda c: c["model"].pop("module.all_modules.3.weight"), ["all_modules.3.weight"]),
        (lambda c: c["model"].update({"module.x": torch.ones(1)}), ["1 unexpected", "'x'"]),
    ],
)
def test_score_mri_files_that_do_not_fit_are_refused(edit, words, tmp_path):
    state, about = recorded("ncsnpp_a")
    content = score_sde(state, about["shadow_params_order"])
    edit(content)
    line = refusal(saved(content, tmp_path))
    assert all(word in line for word in words), line


@pytest.mark.parametrize("place", ["ema", "shadow_params", "optimizer"])
def test_code_beside_score_mri_weights_is_not_run(place, tmp_path):
    state, about = recorded("ncsnpp_a")
    content = score_sde(state, about["shadow_params_order"])
    call = Call(open, str(tmp_path / "mark"), "w")
    if place == "shadow_params":
        content["ema"]["shadow_params"].append(call)
    else:
        content[place]["x"] = call
    assert "refused" in refusal(saved(content, tmp_path))
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", ["dds_unet_a", "dds_unet_b", "dps_unet_a"])
def test_guided_diffusion_weights(name, tmp_path):
    state, about = recorded(name)
    official, unet = about["constructor"], about["unet"]
    plain = name == "dds_unet_b"
    heads = {
        "num_head_channels": None if plain else official["num_head_channels"],
        "num_heads": official["num_heads"],
        "num_heads_upsample": official["num_heads_upsample"] if plain else None,
        "use_new_attention_order": plain,
    }
    content = {"state_dict": state, "hyper_parameters": heads}
    network, report = import_weights(saved(content, tmp_path))
    assert report.network == "adm" and report.assumed == ()
    assert_loaded(network, state)
    expected = {
        **heads,
        "channels": unet["in_channels"],
        "num_channels": 32,
        "channel_mult": [2, 3],
        "num_res_blocks": 1,
        "attention_levels": [0, 1] if plain else [1],
        "learn_sigma": not plain,
        "resblock_updown": not plain,
        "use_scale_shift_norm": not plain,
        "dropout": 0.0,
    }
    assert report.config == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: without(s, "middle_block.1.qkv.bias"), ["1 missing", "middle_block.1.qkv.bias"]),
        (lambda s: without(s, "time_embed.0.weight"), ["no 'time_embed.0.weight'"]),
        (lambda s: {**s, "label_emb.weight": torch.ones(10, 128)}, ["1 unexpected", "label_emb"]),
        (lambda s: {k: v for k, v in s.items() if "output" not in k}, ["missing", "output_blocks"]),
    ],
)
def test_guided_diffusion_files_that_do_not_fit_are_refused(change, words, tmp_path):
    state, _ = recorded("dds_unet_a")
    hyper = {"num_head_channels": 32}
    path = saved({"state_dict": change(state), "hyper_parameters": hyper}, tmp_path)
    line = refusal(path)
    assert all(word in line for word in words), line


def test_published_score_mri_at_full_size(tmp_path):
    about = published_map(SCORE_MRI)
    shapes, order = about["state"], about["shadow_params_order"]
    state = {k: torch.tensor((n + 1) / 4096).expand(s) for n, (k, s) in enumerate(shapes.items())}
    state["sigmas"] = torch.logspace(np.log10(378), -2, 2000, dtype=torch.float64)
    averages = [torch.tensor(n + 1.0).expand(shapes[name]) for n, name in enumerate(order)]
    content = {
        "optimizer": {"state": {}, "param_groups": []},
        "model": wrapped("module.", state),
        "ema": {"decay": 0.999, "num_updates": 1, "shadow_params": averages},
        "step": 1,
    }
    network, report = import_weights(saved(content, tmp_path, "checkpoint_95.pth"))
    assert report.network == "ncsnpp" and report.tensors == 522 and report.averaged == 520
    assert report.config == {**network.config, **PRESETS["ncsnpp"]["published"]}
    loaded = network.state_dict()
    assert {name: list(x.shape) for name, x in loaded.items()} == shapes
    for number, name in enumerate(order):
        assert loaded[name].flatten()[-1] == number + 1, name
    assert torch.equal(loaded["all_modules.0.W"], state["all_modules.0.W"])


@pytest.mark.parametrize(
    ("name", "channels"), [("dds_fastmri_knee_320_complex", 2), ("dds_aapm256", 1)]
)
def test_published_dds_at_full_size(name, channels, tmp_path):
    shapes = published_map(name)["state"]
    state = {k: torch.tensor((n + 1) / 4096).expand(s) for n, (k, s) in enumerate(shapes.items())}
    network, report = import_weights(saved(state, tmp_path))
    assert report.network == "adm" and report.layout == "bare state dict"
    assert report.assumed == (
        "num_head_channels",
        "num_heads",
        "num_heads_upsample",
        "use_new_attention_order",
    )
    attention = [4] if channels == 1 else []
    config = {**PRESETS["adm"]["published"], "channels": channels, "attention_levels": attention}
    assert report.config == {**network.config, **config}
    loaded = network.state_dict()
    assert set(loaded) == set(state)
    for key, tensor in state.items():
        assert tuple(loaded[key].shape) == tuple(tensor.shape)
        assert loaded[key].flatten()[-1] == tensor.flatten()[-1], key


@pytest.mark.parametrize("name", ["ncsnpp", "adm"])
def test_own_weights_of_priors_come_back(name, tmp_path):
    network = MODELS[name](**PRESETS[name]["tiny"])
    save_weights(network, tmp_path / "w.safetensors", card_of(network))
    loaded, card = load_weights(tmp_path / "w.safetensors")
    assert card.network == name and isinstance(loaded, Prior)
    assert_loaded(loaded, network.state_dict())
    with pytest.raises(ValueError, match=f"holds weights of {name}, a prior for diffusion"):
        _ = VarNetMethod(weights=str(tmp_path / "w.safetensors")).trained


@pytest.mark.parametrize(
    ("network", "name", "level"),
    [
        ("ncsnpp", "checkpoint_95.pth", 0.5),
        ("adm", "fastmri_knee_320_complex_1m.pt", 0.5),
        ("ncsnpp", "mine.pth", None),
        ("adm", "mine.pt", None),
    ],
)
def test_the_bright_level_of_a_priors_images(network, name, level, tmp_path):
    """Half where their maximum was 1; of an unknown file unknown, until it is told."""
    state = MODELS[network](**PRESETS[network]["tiny"]).state_dict()
    path = saved(state, tmp_path, name)
    _, report = import_weights(path)
    assert report.card().bright_level == level and load_weights(path)[1].bright_level == level
    assert report.card(0.7).bright_level == 0.7 and not report.card(0.7).notes
    with pytest.raises(ValueError, match="bright_level is -1"):
        report.card(-1.0)


def test_networks_that_are_no_prior_have_no_bright_level(tmp_path):
    network = NETWORKS["unet"](chans=2, num_pool_layers=1)
    state = {k.removeprefix("unet."): v for k, v in network.state_dict().items()}
    _, report = import_weights(saved(state, tmp_path))
    assert report.card().bright_level == 1
    with pytest.raises(ValueError, match="unet is no prior: leave out bright_level"):
        report.card(0.5)


def test_a_trained_prior_has_the_bright_level_1(tmp_path):
    network = MODELS["ncsnpp"](**PRESETS["ncsnpp"]["tiny"])
    content = {
        "state_dict": {f"network.{k}": v for k, v in network.state_dict().items()},
        "network": {"name": "ncsnpp", "config": network.config},
    }
    _, report = import_weights(saved(content, tmp_path, "last.ckpt"))
    assert report.own and report.card().bright_level == 1


# --- layouts ---


def wrapped(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


LAYOUTS = {
    "bare": lambda s: s,
    "module": lambda s: wrapped("module.", s),
    "compiled": lambda s: wrapped("_orig_mod.", s),
    "model in model": lambda s: {"model": wrapped("module.", s), "optimizer": {"lr": 0.1}},
    "lightning in distributed": lambda s: {"state_dict": wrapped("module.varnet.", s)},
    "list": lambda s: [{"old": torch.zeros(1)}, wrapped("module.", s)],
    "parameters": lambda s: {k: nn.Parameter(v) for k, v in s.items()},
    "double precision": lambda s: {k: v.double() for k, v in s.items()},
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, zipped, varnet, tmp_path):
    path = saved(LAYOUTS[layout](varnet), tmp_path, _use_new_zipfile_serialization=zipped)
    network, report = import_weights(path)
    assert report.network == "varnet" and report.tensors == len(varnet)
    assert_loaded(network, varnet)


def test_foreign_safetensors(varnet, tmp_path):
    from safetensors.torch import save_file

    save_file(varnet, tmp_path / "weights.safetensors")
    assert_loaded(import_weights(tmp_path / "weights.safetensors")[0], varnet)


@pytest.mark.parametrize("name", ["varnet", "unet"])
def test_checkpoints_of_the_official_lightning_modules(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pytorch_lightning as pl
        from fastmri.pl_modules import UnetModule, VarNetModule

        if name == "varnet":
            module = VarNetModule(num_cascades=3, pools=2, chans=4, sens_pools=3, sens_chans=5)
        else:
            module = UnetModule(chans=6, num_pool_layers=3, drop_prob=0.1)
        trainer = pl.Trainer(
            logger=False,
            accelerator="cpu",
            default_root_dir=tmp_path,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.strategy.connect(module)
        trainer.save_checkpoint(tmp_path / "epoch=0.ckpt")
    network, report = import_weights(tmp_path / "epoch=0.ckpt")
    assert report.layout == f"Lightning checkpoint, prefix '{name}.'"
    assert set(report.ignored) <= {"loss.w"}
    assert_loaded(network, getattr(module, name).state_dict())


def test_what_old_lightning_checkpoints_hold_beside_the_weights(varnet, tmp_path):
    from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

    hyper = argparse.Namespace(
        num_cascades=2,
        data_path=pathlib.PurePosixPath("/data"),
        lr=np.float64(0.1),
        pools=np.int64(2),
    )
    content = {
        "state_dict": wrapped("varnet.", varnet),
        "hyper_parameters": hyper,
        "callbacks": {ModelCheckpoint: {"dirpath": pathlib.Path("/x")}, EarlyStopping: {"wait": 1}},
    }
    network, _ = import_weights(saved(content, tmp_path))
    assert_loaded(network, varnet)


def test_metrics_of_old_fastmri_modules_are_ignored(varnet, tmp_path):
    content = wrapped("varnet.", varnet)
    content |= {"loss.w": torch.ones(1), "NMSE.quantity": torch.zeros(())}
    network, report = import_weights(saved({"state_dict": content}, tmp_path))
    assert report.ignored == ("loss.w", "NMSE.quantity")
    assert_loaded(network, varnet)


def test_a_training_checkpoint_gives_its_averaged_weights(varnet, tmp_path):
    network = NETWORKS["varnet"](num_cascades=2, chans=4, pools=2, sens_chans=3, sens_pools=2)
    module = nn.Module()
    module.network, module.ema = network, AveragedModel(network)
    module.ema.module.load_state_dict(varnet)
    content = {
        "pytorch-lightning_version": "2.4.0",
        "state_dict": module.state_dict(),
        "network": {"name": "varnet", "config": network.config},
    }
    loaded, report = import_weights(saved(content, tmp_path))
    assert "averaged" in report.layout
    assert_loaded(loaded, varnet)


def test_two_files_of_one_name_are_told_apart_by_their_keys(tmp_path):
    reports = {}
    for name in ("unet_a", "varnet_a"):
        (tmp_path / name).mkdir()
        path = saved(golden(name)[0], tmp_path / name, "brain_leaderboard_state_dict.pt")
        reports[name] = import_weights(path)[1]
    assert reports["unet_a"].network == "unet" and reports["varnet_a"].network == "varnet"
    assert reports["unet_a"].card().training.masks == ()
    assert reports["varnet_a"].card().training.masks == ("fastmri_equispaced_fraction",)


# --- refusals ---


def refusal(path, error=ValueError):
    with pytest.raises(error) as caught:
        import_weights(path)
    line = str(caught.value)
    assert "\n" not in line and str(path) in line and len(line) < 600
    return line


def without(state, *names):
    return {k: v for k, v in state.items() if k not in names}


def renamed(state, old, new):
    return {new if k == old else k: v for k, v in state.items()}


DEEP = "cascades.1.model.unet.conv.layers.4.weight"
SENS = "sens_net.norm_unet.unet.up_conv.1.1.bias"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: without(s, DEEP, SENS), ["2 missing", SENS]),
        (lambda s: {**s, "extra.weight": torch.zeros(3)}, ["1 unexpected", "extra.weight"]),
        (lambda s: renamed(s, DEEP, DEEP + "s"), ["1 missing", "1 unexpected", DEEP + "s"]),
        (
            lambda s: {**s, DEEP: s[DEEP][:3]},
            ["1 of another shape", DEEP, "3 x 16 x 3 x 3", "must"],
        ),
        (lambda s: {**s, DEEP: s[DEEP].long()}, ["1 of another shape or type", DEEP, "whole"]),
        (lambda s: {**s, DEEP: s[DEEP] * np.nan}, [DEEP, "NaN"]),
        (lambda s: {**s, SENS: s[SENS] + np.inf}, [SENS, "infinite"]),
        (lambda s: without(s, "cascades.0.model.unet.up_conv.1.1.weight"), ["up_conv.1.1.weight"]),
        (
            lambda s: {
                **s,
                "cascades.0.model.unet.down_sample_layers.0.layers.0.weight": torch.ones(4),
            },
            ["axes"],
        ),
        (lambda s: {k: v for k, v in s.items() if "sens_net" not in k}, ["sens_net"]),
        (lambda s: {k: v for k, v in s.items() if "cascades" not in k}, ["no known network"]),
        (lambda s: {"linear.weight": torch.zeros(2, 2)}, ["linear.weight", "no known network"]),
        (lambda s: wrapped("other.", s), ["no known network"]),
    ],
)
def test_what_does_not_match_to_the_last_key_is_refused(change, words, varnet, tmp_path):
    line = refusal(saved(change(varnet), tmp_path))
    assert all(word in line for word in words), line


def test_a_unet_for_something_else_is_refused(tmp_path):
    assert "2 channel(s)" in refusal(saved(golden("unet_b")[0], tmp_path))


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


HOSTILE = {
    "os.system": lambda mark: Call(os.system, f"touch {mark}"),
    "eval": lambda mark: Call(eval, f"open({str(mark)!r}, 'w')"),
    "exec": lambda mark: Call(exec, f"open({str(mark)!r}, 'w')"),
    "open": lambda mark: Call(open, str(mark), "w"),
    "subprocess": lambda mark: Call(subprocess.check_call, ["touch", str(mark)]),
    "path method": lambda mark: Call(pathlib.Path.touch, pathlib.Path(mark)),
    "getattr": lambda mark: Call(getattr, pathlib.Path(mark), "touch"),
    "pickle in pickle": lambda mark: Call(pickle.loads, pickle.dumps(Call(open, str(mark), "w"))),
    "a class": lambda mark: Fraction(1, 2),
    "a file type": lambda mark: Call(argparse.FileType("w"), str(mark)),
    "torch.load": lambda mark: Call(torch.load, str(mark)),
    "torch.jit": lambda mark: Call(torch.hub.load, "a/b", "c"),
}
PLACES = {
    "itself": lambda thing, state: thing,
    "among the tensors": lambda thing, state: {**state, "x": thing},
    "hyper-parameter": lambda thing, state: {"state_dict": state, "hyper_parameters": {"x": thing}},
    "in a namespace": lambda thing, state: {
        "state_dict": state,
        "hyper_parameters": argparse.Namespace(x=thing),
    },
}


@pytest.mark.parametrize("container", ["zip", "legacy", "pickle", "called safetensors"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("payload", HOSTILE)
def test_code_in_a_file_is_refused_and_not_run(payload, place, container, varnet, tmp_path):
    mark = tmp_path / "mark"
    content = PLACES[place](
        HOSTILE[payload](mark), {"x": torch.zeros(1), **dict(list(varnet.items())[:2])}
    )
    path = tmp_path / ("w.safetensors" if container == "called safetensors" else "w.pt")
    if container == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=container != "legacy")
    line = refusal(path)
    assert not mark.exists()
    if container in ("zip", "legacy"):
        assert "code" in line and "refused" in line


def test_the_hostile_files_would_run_if_they_were_unpickled(tmp_path):
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(HOSTILE["os.system"](mark)))
    assert mark.exists()


def test_stand_ins_are_not_the_real_classes(varnet, tmp_path):
    from pytorch_lightning.callbacks import ModelCheckpoint

    made = []
    real = ModelCheckpoint.__init__
    ModelCheckpoint.__init__ = lambda self, *args, **options: made.append(args)
    try:
        call = Call(ModelCheckpoint, str(tmp_path))
        import_weights(saved({"state_dict": varnet, "callbacks": call}, tmp_path))
    finally:
        ModelCheckpoint.__init__ = real
    assert not made


def _truncated(share):
    return lambda data: data[: int(len(data) * share)]


def _bits_flipped(data):
    data = bytearray(data)
    for place in range(0, min(len(data), 4000), 97):
        data[place] ^= 0xFF
    return bytes(data)


def _other_zip(data):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("readme.txt", "hello")
    return stream.getvalue()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize(
    "mangle",
    [
        _truncated(0),
        _truncated(0.001),
        _truncated(0.4),
        _truncated(0.99),
        _bits_flipped,
        _other_zip,
        lambda data: b"this is a text\n" * 20,
        lambda data: b'{"json": 1}',
        lambda data: bytes(4096),
        lambda data: b"\x89HDF\r\n\x1a\n" + bytes(600),
        lambda data: np.random.default_rng(1).bytes(5000),
    ],
)
def test_damaged_files_and_other_files_are_refused(mangle, name, zipped, varnet, tmp_path):
    path = saved(varnet, tmp_path, "w.pt", _use_new_zipfile_serialization=zipped)
    data = mangle(path.read_bytes())
    (tmp_path / name).write_bytes(data)
    assert "damaged" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.zeros(3), ["Tensor"]),
        ({}, ["nothing"]),
        ({"epoch": 3, "optimizer": {}}, ["'epoch'", "'optimizer'"]),
        ({"state_dict": {}}, ["'state_dict'"]),
        ({"model": {"a": 1}}, ["'model'"]),
        ([], ["list"]),
        ("a text", ["str"]),
        ({3: torch.zeros(1)}, ["3"]),
    ],
)
def test_files_without_weights_are_refused(content, words, tmp_path):
    line = refusal(saved(content, tmp_path))
    assert all(word in line for word in words), line


def test_missing_files_and_folders(tmp_path):
    refusal(tmp_path / "none.pt", FileNotFoundError)
    refusal(tmp_path, IsADirectoryError)


# --- own weights ---


@pytest.fixture
def network():
    torch.manual_seed(3)
    return NETWORKS["varnet"](num_cascades=2, chans=4, pools=2, sens_chans=3, sens_pools=2)


RANGE = TrainingRange(
    masks=("uniform1d", "fastmri_random"),
    accelerations=(4.0, 8.0),
    center_fractions=(0.08, 0.04),
    coils=(4, 8),
    matrix=((40, 32), (80, 64)),
    intensity=(0.5, 2.0),
    pixel_mm=(0.7, 1.5),
)


def own(network, **details):
    return card_of(network, training=RANGE, data="simulated", seeds={"training": 1}, **details)


def test_own_weights_come_back_as_they_were(network, tmp_path):
    path = tmp_path / "tiny.safetensors"
    card = save_weights(network, path, own(network, metrics={"psnr": [30.5, 31.0]}, notes=("n",)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.json", "tiny.safetensors"]
    assert card.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() == sha256_of(path)
    loaded, read = load_weights(path)
    assert read == card == read_card(path) and loaded.config == network.config
    assert_loaded(loaded, network.state_dict())
    assert not loaded.training


def test_loading_draws_no_random_numbers(network, tmp_path):
    save_weights(network, tmp_path / "w.safetensors", own(network))
    before = torch.get_rng_state()
    load_weights(tmp_path / "w.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


def test_loading_a_published_file_imports_it(varnet, tmp_path):
    network, card = load_weights(saved(varnet, tmp_path, "knee_leaderboard_state_dict.pt"))
    assert_loaded(network, varnet)
    assert card.training.accelerations == (4.0, 8.0) and "Sriram" in card.attribution
    assert card.sha256 in card.source


def test_existing_files_are_kept(network, tmp_path):
    path = tmp_path / "w.safetensors"
    for existing in (path, path.with_suffix(".json")):
        existing.write_text("mine")
        with pytest.raises(FileExistsError, match="exists already"):
            save_weights(network, path, own(network))
        assert existing.read_text() == "mine"
        existing.unlink()
    save_weights(network, path, own(network))
    save_weights(network, path, own(network, licence="CC0"), overwrite=True)
    assert load_weights(path)[1].licence == "CC0"


def test_a_write_that_fails_leaves_nothing(network, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mrirecon.weights.store.write_json", fail)
    with pytest.raises(OSError, match=r"cannot write .*w\.json: No space left"):
        save_weights(network, tmp_path / "w.safetensors", own(network))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_sentence(tmp_path):
    code = f"""
import resource
from mrirecon.networks import NETWORKS
from mrirecon.weights import card_of, save_weights
network = NETWORKS["varnet"](num_cascades=1, chans=8, pools=2, sens_chans=3, sens_pools=2)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    save_weights(network, {str(tmp_path / "w.safetensors")!r}, card_of(network))
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"cannot write {tmp_path / 'w.safetensors'}: ")
    assert len(done.stdout.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_cards_and_names_must_suit_the_network(network, tmp_path):
    with pytest.raises(ValueError, match="safetensors"):
        save_weights(network, tmp_path / "w.pt", own(network))
    with pytest.raises(ValueError, match="the card describes humus"):
        save_weights(network, tmp_path / "w.safetensors", replace(own(network), network="humus"))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        save_weights(network, tmp_path / "none" / "w.safetensors", own(network))
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_the_cards_are_refused(network, tmp_path):
    for name in "ab":
        save_weights(network, tmp_path / f"{name}.safetensors", own(network))
        network.cascades[0].dc_weight.data += 1
    (tmp_path / "a.safetensors").write_bytes((tmp_path / "b.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"a\.safetensors is not the file that a\.json describes"):
        load_weights(tmp_path / "a.safetensors")


def edited(**changes):
    return lambda text: json.dumps({**json.loads(text), **changes})


def in_training(**changes):
    def edit(text):
        card = json.loads(text)
        return json.dumps({**card, "training": {**card["training"], **changes}})

    return edit


def lacking(name):
    return lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != name})


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda text: text[:50], ["w.json"]),
        (lambda text: "", ["w.json"]),
        (lambda text: "[1, 2]", ["no card of weights"]),
        (lacking("schema"), ["schema"]),
        (lacking("network"), ["lacks 'network'"]),
        (lacking("config"), ["lacks 'config'"]),
        (edited(schema=99), ["schema 99", "knows 1"]),
        (edited(licens="MIT"), ["licens", "did you mean licence"]),
        (edited(data=3), ["data is 3", "str"]),
        (edited(config=[1]), ["config is [1]"]),
        (edited(training=5), ["training is 5"]),
        (edited(notes="one"), ["notes is 'one'"]),
        (edited(bright_level=0.0), ["bright_level is 0.0: it must be above 0"]),
        (edited(bright_level=-0.5), ["bright_level is -0.5"]),
        (edited(bright_level="half"), ["bright_level is 'half'"]),
        (in_training(mask=["poisson"]), ["training.mask", "did you mean masks"]),
        (in_training(coils=[4]), ["training.coils is [4]"]),
        (in_training(coils=[4.5, 8]), ["training.coils is [4.5, 8]"]),
        (in_training(accelerations=[True]), ["training.accelerations"]),
        (in_training(matrix=[320, 320]), ["training.matrix"]),
        (edited(network="varnot"), ["varnot", "varnet"]),
        (edited(config={"cascades": 2}), ["varnet cannot have the configuration", "cascades"]),
        (edited(config={"num_cascades": 2}), ["of another shape"]),
    ],
)
def test_mangled_cards_are_refused_in_one_line(edit, words, network, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(network, path, own(network))
    card = path.with_suffix(".json")
    card.write_text(edit(card.read_text()))
    with pytest.raises(ValueError) as caught:
        load_weights(path)
    line = str(caught.value)
    assert "\n" not in line and all(word in line for word in words), line


def test_cards_of_before_bright_levels_are_read(network, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(network, path, own(network))
    card = path.with_suffix(".json")
    card.write_text(lacking("bright_level")(card.read_text()))
    assert load_weights(path)[1].bright_level == 1


def test_weights_without_a_card_say_so(network, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(network, path, own(network))
    path.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no card w\.json.*mrirecon weights import"):
        load_weights(path)


def test_shipped_weights_are_found_by_name(network, tmp_path, monkeypatch):
    monkeypatch.setattr("mrirecon.weights.store.PRETRAINED", tmp_path)
    with pytest.raises(ValueError, match=r"'tiny_varnet': there is none \(or give a file\)"):
        load_weights("tiny_varnet")
    save_weights(network, tmp_path / "tiny_varnet.safetensors", own(network))
    (tmp_path / "half.json").write_text("{}")
    assert shipped_weights() == ("tiny_varnet",)
    assert_loaded(load_weights("tiny_varnet")[0], network.state_dict())
    with pytest.raises(ValueError, match="did you mean tiny_varnet"):
        load_weights("tiny_varne")
    with pytest.raises(ValueError, match="choose one of tiny_varnet"):
        load_weights("zzz")


@pytest.mark.parametrize("name", shipped_weights())
def test_what_is_shipped_loads(name):
    network, card = load_weights(name)
    assert card.network == network.name and card.licence and card.attribution and card.data
    if isinstance(network, Prior | Generator):
        assert card.training.patches and card.training.pixel_mm
        assert bool(card.training.sigma) is isinstance(network, Prior)
    else:
        assert card.training.masks and card.training.accelerations and card.training.coils


# --- where a scan lies outside ---


def undersampled(
    kind="uniform1d", acceleration=4, shape=(64, 48), coils=6, pixel_mm: tuple | None = (1.0, 1.0)
):
    image = shepp_logan(shape).numpy()[:, :, None].astype(np.float32)
    scan = simulate_scan(image, coils=coils, source="brain.h5").scan
    geometry = Geometry(voxel_mm=None if pixel_mm is None else (*pixel_mm, 5.0))
    scan = replace(scan, geometry=geometry)
    if kind is None:
        return scan
    return scan.undersample(make_mask(kind, shape, acceleration, center_fraction=0.04, seed=1))


@pytest.mark.parametrize(
    ("scan", "given", "words"),
    [
        ({}, {}, None),
        ({}, {"mask": "uniform1d"}, None),
        ({}, {"mask": "uniform1d", "intensity": 1.0}, None),
        ({"acceleration": 8}, {}, None),
        ({"acceleration": 6}, {"mask": "fastmri_random"}, None),
        ({}, {"mask": "equispaced"}, ["mask is equispaced", "fastmri_random or uniform1d"]),
        ({"kind": "poisson"}, {}, ["mask is of points", "of whole columns"]),
        ({"kind": "poisson"}, {"mask": "poisson"}, ["mask is poisson", "uniform1d"]),
        ({"kind": "poisson"}, {"mask": "my.npy"}, ["mask is of points"]),
        ({"acceleration": 12}, {}, ["acceleration is 12", "4 to 8"]),
        ({}, {"acceleration": 2.0}, ["acceleration is 2", "4 to 8"]),
        ({"kind": None}, {}, ["acceleration is 1,", "4 to 8"]),
        ({"coils": 1}, {}, ["1 coil(s)", "4 to 8"]),
        ({"coils": 12}, {}, ["12 coil(s)", "4 to 8"]),
        ({"shape": (64, 96)}, {}, ["k-space is 64 x 96", "40 x 32 to 80 x 64"]),
        ({"shape": (32, 48)}, {}, ["k-space is 32 x 48"]),
        ({}, {"intensity": 1e-4}, ["bright level is 0.0001", "0.5 to 2"]),
        ({}, {"intensity": 40.0}, ["bright level is 40", "0.5 to 2"]),
        ({"pixel_mm": (0.67, 1.57)}, {}, None),
        ({"pixel_mm": None}, {}, None),
        ({"pixel_mm": (0.66, 1.0)}, {}, ["pixels are 0.66 x 1 mm", "0.7 to 1.5"]),
        ({"pixel_mm": (1.0, 1.6)}, {}, ["pixels are 1 x 1.6 mm", "0.7 to 1.5"]),
    ],
)
def test_warnings_name_what_lies_outside(scan, given, words):
    card = Card(network="varnet", config={}, training=RANGE)
    found = card.warnings(undersampled(**scan), **given)
    if words is None:
        assert found == []
    else:
        assert len(found) == 1 and all(word in found[0] for word in words), found
        assert found[0].startswith("brain.h5 is not what the varnet weights were trained for: ")


def test_every_difference_is_its_own_warning():
    card = Card(network="varnet", config={}, training=RANGE)
    scan = undersampled("gaussian2d", 15, (96, 96), 2, (3.0, 3.0))
    assert len(card.warnings(scan, intensity=100.0)) == 6


def test_what_the_card_does_not_state_is_not_warned_about():
    card = Card(network="varnet", config={})
    assert card.warnings(undersampled("poisson", 15, (96, 96), 2), "poisson", intensity=9.0) == []


@pytest.mark.parametrize(
    ("weights", "said"),
    [("varnet_tiny", True), ("neumann_tiny", True), ("unrolled_prior_tiny", False)],
)
def test_a_reconstruction_says_the_advice_of_its_card(weights, said, tmp_path):
    scan = simulate_scan(shepp_logan((64, 56)).numpy(), coils=4, snr=50.0).scan
    method = METHODS[weights.removesuffix("_tiny")](weights=weights)
    _, notes = method.about(scan)
    assert any("unrolled_prior does better" in note for note in notes) is said
    network, card = load_weights(weights)
    own = replace(card, advice="another one is better", sha256="")
    save_weights(network, tmp_path / "own.safetensors", own)
    _, notes = METHODS[card.network](weights=str(tmp_path / "own.safetensors")).about(scan)
    assert notes.count("another one is better") == 1
