"""`mrirecon train` of a prior, from the command line."""

import nibabel
import numpy as np
import pytest
import yaml

from mrirecon.phantom import shepp_logan
from mrirecon.weights import load_weights

TINY = {
    "network": {"name": "denoiser", "widths": [4, 8]},
    "data": {"patches": [[0.5, 16], [0.5, 24]], "batch_size": 4, "workers": 0},
    "optimizer": {"kind": "adamw", "lr": 0.003, "ema_decay": 0.5},
    "trainer": {"max_epochs": 1, "accelerator": "cpu", "log_every_n_steps": 1},
    "images": 0,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for number in range(3):
        image = shepp_logan((36, 32)).numpy()[:, :, None] * np.array([1.0, 0.8, 0.7])
        image = np.roll(image, number, axis=0)
        nifti = nibabel.Nifti1Image(image.astype(np.float32), np.diag([-1.0, -1, 3, 1]))
        nibabel.save(nifti, root / f"sub-{number}.nii.gz")
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


def given(root, tmp_path, *option):
    """Where the images are, and the output; an option replaces the one of its name."""
    words = {
        "--data.sources": [root],
        "--data.cache": [tmp_path / "cache"],
        "--data.validation": ["sub-1", "sub-2"],
        "--output": [tmp_path / "run"],
    }
    words |= {option[0]: option[1:]} if option else {}
    return [word for name, values in words.items() for word in (name, *values)]


def test_train_resume_and_export(mrirecon, refused, root, config, tmp_path):
    args = ("train", "--config", config(), *given(root, tmp_path))
    first = mrirecon(*args)
    assert first.status == 0 and not first.errors, first.errors
    told = dict(line.split(maxsplit=1) for line in first.out.splitlines())
    assert (
        told["network"].startswith("denoiser, ")
        and "images by plane and echo: " in told["training"]
    )
    assert told["patches"] == "50 % at 16 x 16, 50 % at 24 x 24"
    lines = [line for line in first.out.splitlines() if line.startswith("epoch") or ".json" in line]
    assert "validation loss" in lines[0] and "psnr" in lines[0] and "nmse" in lines[0]
    assert "weights.safetensors" in lines[-1]
    network, card = load_weights(tmp_path / "run" / "weights.safetensors")
    assert network.config["widths"] == [4, 8] and card.training.patches == (16,)
    resolved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert resolved["data"]["validation"] == ["sub-1", "sub-2"]
    assert resolved["data"]["patches"] == [[0.5, 16], [0.5, 24]]
    assert "--ckpt_path last" in refused(*args)
    second = mrirecon(*args, "--ckpt_path", "last", "--trainer.max_epochs", 3)
    assert second.status == 0 and "epoch 3" in second.out and "epoch 1" not in second.out


def test_dry_run(mrirecon, root, config, tmp_path):
    shown = mrirecon("train", "--config", config(), *given(root, tmp_path), "--dry_run")
    assert shown.status == 0 and not shown.errors
    assert not (tmp_path / "run").exists()
    resolved, _, memory = shown.out.partition("network      ")
    assert yaml.safe_load(resolved)["network"]["name"] == "denoiser"
    assert "4 x 24 x 24 (batch x row x column)" in memory and "averaged parameters" in memory


def test_presets_and_kinds(mrirecon, root, tmp_path):
    args = ("train", *given(root, tmp_path), "--print_config")
    shown = yaml.safe_load(mrirecon(*args, "--network", "denoiser", "--network.preset=small").out)
    assert shown["network"]["widths"] == [64, 128, 192, 256]
    assert shown["checkpoints"]["monitor"] == "val_loss" and "masks" not in shown["data"]
    for name in ("ncsnpp", "adm"):
        shown = yaml.safe_load(mrirecon(*args, "--network", name).out)
        assert shown["network"]["name"] == name and shown["loss"]["levels"] == "auto"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--data.validation", "sub-1", "sub-7"), ["data.validation sub-7", "sub0"]),
        (("--data.validation", "sub*"), ["data.validation", "nobody is left"]),
        (("--data.sources", "nowhere"), ["nowhere", "no such file"]),
        (("--data.patient", "volunteer"), ["data.patient"]),
        (("--data.planes", "[oblique]"), ["data.planes"]),
        (("--data.patches", "[[0.5, 16]]"), ["data.patches", "sum to 1"]),
        (("--data.patches", "16"), ["data.patches"]),
        (("--data.pixel_mm", "[2, 1]"), ["data.pixel_mm"]),
        (("--data.pixel_mm", "[0.1, 0.2]"), ["data.pixel_mm", "data.planes"]),
        (("--data.gain", "[0, 1]"), ["data.gain"]),
        (("--data.masks", "[]"), ["--data.masks"]),
        (("--data.root", "x"), ["--data.root"]),
        (("--loss.ssim", 1), ["--loss.ssim"]),
        (("--loss.levels", "uniform"), ["--loss.levels", "lognormal"]),
        (("--loss.std", 0), ["loss.std"]),
        (("--loss.val_levels", "[50]"), ["loss.val_levels", "50"]),
        (("--checkpoints.monitor", "val_ssim"), ["--checkpoints.monitor", "val_psnr"]),
        (("--network.width", "[3]"), ["--network.width", "widths"]),
        (("--network.sigma_min", 7), ["sigma_min"]),
        (("--network.widths", "[]"), ["widths"]),
        (("--network", "denoisr"), ["denoisr", "did you mean denoiser?"]),
    ],
)
def test_bad_usage_is_one_line(refused, root, config, options, words, tmp_path):
    line = refused("train", "--config", config(), *given(root, tmp_path, *options))
    assert all(word in line for word in words), line
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_missing_options(refused, config, root, tmp_path):
    line = refused("train", "--config", config(), "--output", tmp_path)
    assert "--data.sources" in line and "--data.cache" in line


def test_a_folder_where_nothing_may_be_written(refused, root, config, tmp_path):
    (tmp_path / "a.file").write_text("precious")
    options = ("--data.cache", tmp_path / "a.file" / "cache")
    assert "a.file" in refused("train", "--config", config(), *given(root, tmp_path, *options))
