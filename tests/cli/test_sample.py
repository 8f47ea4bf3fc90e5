"""`mrirecon sample`: images of a prior alone."""

import json

import nibabel
import numpy as np
import pytest
from PIL import Image


def test_a_seed_draws_the_same_images_into_a_volume(mrirecon, tmp_path):
    options = ("--shape", "24x20", "--count", 2, "--levels", 5)
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        result = mrirecon(
            "sample", *options, "--seed", seed, "--output", tmp_path / f"{name}.nii.gz"
        )
        assert "2 images 24 x 20 drawn from prior_tiny: nobody was scanned" in result.out
    one, same, other = (
        nibabel.load(tmp_path / f"{name}.nii.gz").get_fdata() for name in ("one", "same", "other")
    )
    assert one.shape == (24, 20, 2)
    assert np.array_equal(one, same) and not np.allclose(one, other)
    about = json.loads((tmp_path / "one.nii.gz.json").read_text())
    assert about["method"] == "sample" and about["parameters"]["seed"] == 1
    assert any("nobody was scanned" in note for note in about["notes"])


def test_a_picture_has_all_images(mrirecon, tmp_path):
    output = tmp_path / "drawn.png"
    result = mrirecon("sample", "--shape", 24, 20, "--count", 4, "--levels", 3, "--output", output)
    assert result.status == 0, result.errors
    with Image.open(output) as picture:
        assert picture.size == (2 * 24, 2 * 20)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--count", 0), "--count is 0: give at least 1"),
        (("--levels", 0), "--levels is 0: give at least 1"),
        (("--seed", -1), "--seed is -1: give at least 0"),
        (("--weights", "varnet_tiny"), "varnet_tiny holds weights of varnet, which is no prior"),
        (("--output", "x.txt"), "the file name must end in one of .png"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(refused, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    given = options if "--output" in options else (*options, "--output", "x.png")
    assert said in refused("sample", "--shape", 24, 20, *given)
    assert not list(tmp_path.iterdir())
