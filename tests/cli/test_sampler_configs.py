"""The options in configs/: a YAML for each sampler, untrained network and flow, with each option and a word on it."""

from pathlib import Path

import pytest
import yaml

from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.methods import METHODS, UNTRAINED

CONFIGS = Path(__file__).parents[2] / "configs"
OF_FOLDER = {
    "samplers": {*SAMPLERS},
    "untrained": {method.name for method in UNTRAINED},
    "flows": {"variational"},
}
FOLDER_OF = {name: folder for folder, names in OF_FOLDER.items() for name in sorted(names)}
STEPS = ("--method.iterations", 2)
SHORT = {"samplers": ("--method.levels", 2), "untrained": STEPS, "flows": STEPS}


@pytest.mark.parametrize("folder", OF_FOLDER)
def test_every_one_has_one_and_nothing_else_has(folder):
    assert {path.stem for path in (CONFIGS / folder).iterdir()} == OF_FOLDER[folder]


@pytest.mark.parametrize("name", FOLDER_OF)
def test_every_option_is_there_and_explained(name):
    text = (CONFIGS / FOLDER_OF[name] / f"{name}.yaml").read_text()
    settings = yaml.safe_load(text)
    assert set(settings) == {"method"}
    options = settings["method"]
    assert options.pop("name") == name
    assert METHODS[name]().parameters() == options  # the file says what the bare name does
    assert "20" in text.splitlines()[0]  # title with the paper and its year
    for line in text.split("method:\n")[1].splitlines()[1:]:
        assert len(line.partition("# ")[2]) > 3, line


@pytest.mark.parametrize("name", FOLDER_OF)
def test_recon_takes_it(name, mrirecon, scan_file, tmp_path):
    output = tmp_path / "o.npy"
    mask = ("--mask", "uniform1d", "--accel", 2, "--center_fraction", 0.4, "--slices", "1:2")
    folder = FOLDER_OF[name]
    config = ("--config", CONFIGS / folder / f"{name}.yaml")
    # What is typed wins.
    result = mrirecon("recon", scan_file, *config, "--output", output, *mask, *SHORT[folder])
    assert result.status == 0, result.errors
    assert f"{output}: {name}, acceleration" in result.out
