"""Coil compression is suggested once, where it would pay."""

import numpy as np
import torch

import mrirecon as mr


def test_info_and_recon_say_it_once(tmp_path, mrirecon):
    maps = mr.birdcage_maps((24, 24), 24)
    kspace = mr.fft2c(torch.ones(24, 24) * maps)
    for name in ("one", "two"):
        np.save(tmp_path / f"{name}.npy", kspace.numpy())
    files = [tmp_path / f"{name}.npy" for name in ("one", "two")]
    said = mrirecon("info", files[0]).out
    assert said.count("--compress_coils 12") == 1 and "24 coils" in said
    assert "not for networks" in said
    words = ["recon", *files, "--maps", "lowres", "--method", "cg_sense", "--output"]
    assert mrirecon(*words, f"{tmp_path}/all/").out.count("--compress_coils 12") == 1
    fewer = mrirecon(*words, f"{tmp_path}/fewer/", "--compress_coils", 12)
    assert fewer.status == 0 and "--compress_coils" not in fewer.out
