"""configs/samplers: a YAML for each sampler that recon takes, with every option of the method and a word on each."""

from pathlib import Path

import pytest
import yaml

from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.methods import METHODS

CONFIGS = Path(__file__).parents[2] / "configs" / "samplers"


def test_every_sampler_has_one_and_nothing_else_has():
    assert {path.stem for path in CONFIGS.iterdir()} == set(SAMPLERS)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_option_is_there_and_explained(name):
    text = (CONFIGS / f"{name}.yaml").read_text()
    settings = yaml.safe_load(text)
    assert set(settings) == {"method"}
    options = settings["method"]
    assert options.pop("name") == name
    assert METHODS[name]().parameters() == options  # the file says what the bare name does
    assert "20" in text.splitlines()[0]  # title with the paper and its year
    for line in text.split("method:\n")[1].splitlines()[1:]:
        assert len(line.partition("# ")[2]) > 3, line


@pytest.mark.parametrize("name", SAMPLERS)
def test_recon_takes_it(name, mrirecon, scan_file, tmp_path):
    output = tmp_path / "o.npy"
    mask = ("--mask", "uniform1d", "--accel", 2, "--center_fraction", 0.4, "--slices", "1:2")
    short = ("--method.levels", 2)  # what is typed wins
    config = ("--config", CONFIGS / f"{name}.yaml")
    result = mrirecon("recon", scan_file, *config, "--output", output, *mask, *short)
    assert result.status == 0, result.errors
    assert f"{output}: {name}, acceleration" in result.out
