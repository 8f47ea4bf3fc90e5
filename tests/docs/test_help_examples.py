"""Every example in the help of a command runs as it is printed."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from blocks import SMALLER, run_shell
from conftest import AFFINE, image, scan
from mangling.seeds import SEEDS

from mrirecon.cli import COMMANDS, main
from mrirecon.io import write_scan
from mrirecon.networks import NETWORKS
from mrirecon.training.core.trainer import quiet
from mrirecon.weights import card_of, save_weights

FAST = {
    **{key: more for key, more in SMALLER.items() if key.startswith("mrirecon train")},
    "mrirecon compare scan.h5": "--methods zero_filled cg_sense --slices 1:2",
    "mrirecon benchmark": '--masks=[{"kind":"uniform1d","acceleration":2,"center_fraction":0.2}] '
    '--methods=[{"method":"zero_filled"}]',
}


def examples(command, capsys):
    """The lines below `examples:` of the help, as somebody would copy them."""
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    _, found, text = capsys.readouterr().out.partition("\nexamples:\n")
    return [line.strip() for line in text.splitlines() if line.strip()] if found else []


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """What the examples speak of, beside the stand-ins of the pages."""
    folder = tmp_path_factory.mktemp("examples")
    for name in ("brain", "truth", "dds", "dds_std", "demo/tv", "demo/varnet"):
        path = folder / f"{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(image(1 + len(name) / 100), AFFINE), path)
    for name in ("session", "volumes"):
        (folder / name).mkdir()
    for number in range(2):
        write_scan(scan(number), folder / "session" / f"scan{number}.h5")
        truth = nibabel.Nifti1Image(image(0.6 + number / 4), AFFINE)
        nibabel.save(truth, folder / "volumes" / f"file{number}.nii.gz")
    network = NETWORKS["varnet"](num_cascades=2, pools=2, chans=4, sens_pools=2, sens_chans=3)
    save_weights(network, folder / "best.safetensors", card_of(network))
    SEEDS["twix"].write(folder)
    from scipy.io import savemat

    savemat(folder / "kspace.mat", {"kspace": np.moveaxis(scan().kspace(1).numpy(), 0, 2)})
    return folder


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "demo"])
def test_examples_run(command, stand_ins, inputs, tmp_path, monkeypatch, capsys):
    lines = examples(command, capsys)
    assert lines or command in ("weights list", "methods"), "show how it is used"
    for number, line in enumerate(lines):
        folder = tmp_path / str(number)
        for source in (stand_ins, inputs):
            shutil.copytree(source, folder, dirs_exist_ok=True)
        monkeypatch.chdir(folder)
        written = line.partition("--output ")[2].partition(" ")[0]
        if Path(written).is_file():
            Path(written).unlink()  # a stand-in of another example
        with quiet():
            run_shell(line, capsys, FAST)
