"""Coil compression is suggested where it pays, and to no network."""

import numpy as np
import pytest
import torch

import mrirecon as mr
from mrirecon.cli import main
from mrirecon.methods import METHODS
from mrirecon.recon.advice import MANY, compression_hint


@pytest.mark.parametrize(
    "name", ["varnet", "humus", "unet", "unrolled_prior", "zero_filled", "grappa"]
)
def test_nothing_is_suggested_to_networks_and_methods_without_maps(name):
    assert compression_hint(64, METHODS[name]()) is None


def test_many_coils_pay_and_few_do_not():
    assert compression_hint(MANY - 1, METHODS["cg_sense"]()) is None
    hint = compression_hint(36, METHODS["cg_sense"]())
    assert "--compress_coils 12" in hint and "cg_sense about 3.0 times" in hint


def test_info_and_recon_say_it_once(tmp_path, capsys):
    maps = mr.birdcage_maps((24, 24), 24)
    kspace = mr.fft2c(torch.ones(24, 24) * maps)
    for name in ("one", "two"):
        np.save(tmp_path / f"{name}.npy", kspace.numpy())
    files = [str(tmp_path / f"{name}.npy") for name in ("one", "two")]
    assert main(["info", files[0]]) == 0
    said = capsys.readouterr().out
    assert (
        said.count("--compress_coils 12") == 1 and "24 coils" in said and "not for networks" in said
    )
    words = [
        "recon",
        *files,
        "--maps",
        "lowres",
        "--method",
        "cg_sense",
        "--output",
        str(tmp_path / "out/"),
    ]
    assert main(words) == 0
    assert capsys.readouterr().out.count("--compress_coils 12") == 1
    assert main([*words[:-1], str(tmp_path / "fewer/"), "--compress_coils", "12"]) == 0
    assert "--compress_coils" not in capsys.readouterr().out
