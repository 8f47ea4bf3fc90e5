"""Mistakes that people make: each is answered in one line that names the remedy."""

import nibabel
import numpy as np
import pytest

SCAN = ("scan.h5", "-o", "o.npy")
CELL = ("benchmark", "-o", "t", "--scans", "scan.h5")
MASKS = ("--masks", "[{kind: poisson, acceleration: 4}]")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("recon", "scan.h5", "brain.nii.gz"), ["give --output", "--output brain.nii.gz?"]),
        (("compare", "scan.h5", "out"), ["did you mean --output out?"]),
        (
            ("recon", *SCAN, "--method", "tv,cg_sense"),
            ["tv,cg_sense", "write several as tv cg_sense"],
        ),
        (("compare", *SCAN[:2], "out", "--methods", "tv,dds"), ["write several as tv dds"]),
        (("recon", *SCAN, "--mask", "poisson", "-R", 4), ["-R", "did you mean --acceleration?"]),
        (("recon", *SCAN, "-v"), ["unknown option -v", "--help"]),
        (("recon", *SCAN[:2], "none/o.npy"), ["the folder none does not exist", "make it first"]),
        (
            ("compare", *SCAN[:2], "page.html"),
            ["page.html", "no name of a folder", "without a suffix"],
        ),
        (
            ("convert", "scan.h5", "-o", "x.h5"),
            ["unknown option -o", "type DST without one", "convert SRC DST"],
        ),
        (("mask", "--kind", "poisson"), ["unknown option --kind", "type KIND without one"]),
        (("view", "--input", "image.nii.gz"), ["type VOLUME without one"]),
        (("demo", "out"), ["'out' is one word too many", "did you mean --output out?"]),
        (("info", "scan.hdf5"), ["scan.hdf5: no such file", "did you mean scan.h5?"]),
        (("info", "none/scan.h5"), ["no such file, nor a folder none"]),
        (("info", "scan.h5", "--voxel_size", "1x1"), ["'1x1'", "3 numbers, such as 1 1 5"]),
        (("recon", *SCAN, "--slices", 2), ["slices '2'", "give 2:3"]),
        (("recon", *SCAN, "--method", "mine.py:Net"), ["mine.py cannot be loaded (no such file)"]),
        (("view", "image.nii.gz", "--open", "no"), ["--open is 'no'", "true or false"]),
        (("evaluate", "image.nii.gz", "scan.h5", "--metric", "ssim"), ["--protocol", "fastmri"]),
        (("weights", "download", "knee"), ["choose one of weights list, weights info"]),
        (("train", "--resume"), ["--ckpt_path has no value", "last is this run's latest"]),
        (
            ("train", "--data.root", "none", "--output", "r", "--data.masks", MASKS[1]),
            ["none/multicoil_", "data.root is the folder that holds multicoil_train"],
        ),
        (
            (*CELL, *MASKS, "--methods", "[{method: tv, iterations: 3}]"),
            ["no option 'iterations'", "put it into `options: {iterations: ...}`"],
        ),
        (("convert", "scan.h5", "x.dat"), ["x.dat", "must end in one of .h5, .mrd"]),
        (
            ("simulate", "scan.h5", "-o", "x.h5"),
            ["scan.h5", "no NIfTI", "give a whole .nii or .nii.gz"],
        ),
        (
            ("simulate", "image.nii.gz", "-o", "x.h5", "--noise", 1),
            ["--noise", "--help lists them"],
        ),
        (("evaluate", "image.nii.gz", "small.nii.gz"), ["3 x 40 x 32", "3 x 30 x 32", "one size"]),
        (("evaluate", "empty", "other"), ["no file name of empty", "files of the same names"]),
        (("evaluate", "image.nii.gz", "scan.mrd"), ["scan.mrd has no image", "reconstruct"]),
        (("info", "scan.h5", "--mask_output", "m.jpg"), ["m.jpg", ".npy, .png"]),
        (("info", "scan.h5", "scan.h5x", "--mask_output", "m.png"), ["one scan"]),
        (("benchmark", "small.yaml", "-o", "t"), ["did you mean --config small.yaml?"]),
        (("benchmark", *CELL[1:3], *MASKS, "--methods", "[{method: tv}]"), ["no scans", "--scans"]),
        ((*CELL, "--masks", "poisson", "--methods", "[{method: tv}]"), ["[{NAME: VALUE"]),
        ((*CELL, *MASKS, "--methods", "[{name: tv}]"), ["no method", "add `method: ...`"]),
        (
            (*CELL, *MASKS, "--methods", "[{method: tv, options: {lambda: 3}}]"),
            ["'lambda'", "did you mean regularization?"],
        ),
        (("weights", "info", "none.pt"), ["none.pt: no such file"]),
        (("weights", "import", "varnet_tiny", "-o", "w.safetensors"), ["--weights varnet_tiny"]),
        (("train", "--data.root", "."), ["give --output"]),
        (("recon", "", "-o", "o.npy"), ["empty", "give a file, a folder"]),
    ],
)
def test_a_mistake_is_answered_with_its_remedy(
    refused, scan_file, tmp_path, monkeypatch, args, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan.h5").symlink_to(scan_file)
    for name in ("empty", "other"):
        (tmp_path / name).mkdir()
    for name, rows in (("image", 40), ("small", 30)):
        image = nibabel.Nifti1Image(np.ones((rows, 32, 3), np.float32), np.eye(4))
        nibabel.save(image, tmp_path / f"{name}.nii.gz")
    if "scan.mrd" in args:
        from mrirecon.io import read_scan, write_scan

        write_scan(read_scan(scan_file), tmp_path / "scan.mrd")
    before = sorted(tmp_path.iterdir())
    line = refused(*args)
    assert all(word in line for word in words), line
    assert sorted(tmp_path.iterdir()) == before
