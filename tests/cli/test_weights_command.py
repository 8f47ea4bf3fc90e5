"""`mrirecon weights info` and `weights import`, on state dicts made by the official fastMRI code."""

import json
import os

import pytest
import torch
from fastmri.models import Unet, VarNet

from mrirecon.networks import PRESETS, PRIORS
from mrirecon.weights import load_weights, read_card

LAYOUT = {"num_cascades": 2, "pools": 2, "chans": 4, "sens_pools": 2, "sens_chans": 3}


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "knee_leaderboard_state_dict.pt"
    torch.save(VarNet(**LAYOUT).state_dict(), path)
    return path


def values(text):
    """`name  value` lines of a report."""
    lines = [line.strip().split("  ", 1) for line in text.splitlines() if line.startswith("  ")]
    return {line[0]: line[1].strip() for line in lines}


def test_import_reports_every_key_and_writes_both_files(mrirecon, published, tmp_path):
    output = tmp_path / "knee.safetensors"
    result = mrirecon("weights", "import", published, "--output", output)
    assert result.status == 0 and not result.errors
    official = torch.load(published, weights_only=True)
    report = values(result.out)
    assert report["layout"] == "bare state dict" and report["network"] == "varnet"
    assert all(f"{name} {value}" in report["configuration"] for name, value in LAYOUT.items())
    assert report["tensors"].startswith(f"{len(official)},")
    assert report["parameters"] == f"{sum(x.numel() for x in official.values()):,}"
    assert report["ignored"] == report["assumed"] == "nothing"
    loaded = load_weights(output)[0].state_dict()
    assert set(loaded) == set(official)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in official.items())
    card = json.loads(output.with_suffix(".json").read_text())
    assert card["training"]["masks"] == ["fastmri_random"]
    assert report["SHA-256"] in card["source"] and card["sha256"] in result.out


def test_import_says_when_the_training_is_unknown(mrirecon, tmp_path):
    torch.save({"model": Unet(1, 1, chans=4).state_dict()}, tmp_path / "my_unet.pt")
    result = mrirecon(
        "weights", "import", tmp_path / "my_unet.pt", "--output", tmp_path / "u.safetensors"
    )
    assert values(result.out)["layout"] == "dict with 'model'"
    assert "u.json: its card: write there what the weights were trained on" in result.out


def test_info_of_published_and_of_own_weights(mrirecon, published, tmp_path):
    before = values(mrirecon("weights", "info", published).out)
    output = tmp_path / "knee.safetensors"
    mrirecon("weights", "import", published, "--output", output)
    after = values(mrirecon("weights", "info", output).out)
    for name in ("network", "parameters"):
        assert after[name] == before[name]
    assert after["data"] == "fastMRI multi-coil knee"
    assert after["trained on accelerations"] == "4.0, 8.0"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "knee.json",
        "knee.safetensors",
        published.name,
    ]


class Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("word", ["info", "import"])
def test_hostile_damaged_and_unknown_files_are_refused(refused, published, tmp_path, word):
    output = ("--output", tmp_path / "o.safetensors") if word == "import" else ()
    mark, bad = tmp_path / "mark", tmp_path / "bad.pt"
    torch.save({"state_dict": {}, "hyper_parameters": Hostile(mark)}, bad)
    assert "system" in refused("weights", word, bad, *output) and not mark.exists()
    bad.write_bytes(published.read_bytes()[:5000])
    assert "damaged" in refused("weights", word, bad, *output)
    torch.save({"linear.weight": torch.zeros(2)}, bad)
    assert "no known network" in refused("weights", word, bad, *output)
    state = torch.load(published, weights_only=True)
    torch.save({k: v for k, v in state.items() if k != "cascades.1.dc_weight"}, bad)
    assert "1 missing (first 'cascades.1.dc_weight')" in refused("weights", word, bad, *output)
    assert "no such file" in refused("weights", word, tmp_path / "none.pt", *output)
    assert not (tmp_path / "o.safetensors").exists()


def test_bad_usage_of_weights(mrirecon, refused, published, tmp_path):
    here = tmp_path / "o.safetensors"
    assert "--output" in refused("weights", "import", published)
    assert ".safetensors" in refused("weights", "import", published, "--output", tmp_path / "o.pt")
    here.with_suffix(".json").write_text("mine")
    assert "exists already" in refused("weights", "import", published, "--output", here)
    assert here.with_suffix(".json").read_text() == "mine" and not here.exists()
    assert "did you mean weights import?" in refused("weights", "improt", published)
    assert "no shipped weights are called 'nothing'" in refused("weights", "info", "nothing")
    for args in (("weights",), ("weights", "--help")):
        result = mrirecon(*args)
        assert result.status == 0
        assert "weights info" in result.out and "weights import" in result.out
        assert "recon  " not in result.out


def test_the_bright_level_of_a_prior_is_said_and_can_be_told(mrirecon, refused, tmp_path):
    network = PRIORS["ncsnpp"](**PRESETS["ncsnpp"]["tiny"])
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    output = tmp_path / "mine.safetensors"
    command = ("weights", "import", tmp_path / "mine.pth", "--output", output)
    assert "nothing tells: import it with --bright_level" in mrirecon(*command).out
    assert read_card(output).bright_level is None
    told = mrirecon(*command, "--bright_level", 0.5, "--overwrite").out
    assert values(told)["bright level"] == "0.5, that of the images it was trained on"
    assert read_card(output).bright_level == 0.5
    assert values(mrirecon("weights", "info", output).out)["bright_level"] == "0.5"
    assert "must be above 0" in refused(*command, "--bright_level", -1, "--overwrite")
    assert read_card(output).bright_level == 0.5
