"""No output replaces what it is made from, under whatever name, with --overwrite or without."""

import numpy as np
import pytest

from mrirecon.io import read_scan, write_maps, write_mask, write_scan

METHOD = ("--method", "zero_filled", "--overwrite")


@pytest.fixture
def here(tmp_path, monkeypatch, scan_file):
    monkeypatch.chdir(tmp_path)
    scan = read_scan(scan_file)
    for name in ("a.h5", "a.npy", "b.npy", "a_std.npy", "pair.cfl"):
        write_scan(scan, name)
    (tmp_path / "soft.npy").symlink_to("a.npy")
    (tmp_path / "hard.npy").hardlink_to(tmp_path / "a.npy")
    write_mask("mask.npy", scan.mask(0))
    write_mask("mask.png", scan.mask(0))
    write_maps("maps.npy", scan.kspace(0)[None], {})
    return tmp_path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "args",
    [
        ("recon", "a.h5", "--output", "a.h5", *METHOD),
        ("recon", "a.npy", "--output", "a.npy", *METHOD),
        ("recon", "a.npy", "--output", "./a.npy", *METHOD),
        ("recon", "a.npy", "--output", "soft.npy", *METHOD),
        ("recon", "soft.npy", "--output", "a.npy", *METHOD),
        ("recon", "a.npy", "--output", "hard.npy", *METHOD),
        ("recon", "pair.cfl", "--output", "pair.cfl", *METHOD),
        ("recon", "pair", "--output", "pair.cfl", *METHOD),
        ("recon", "pair.hdr", "--output", "pair.cfl", *METHOD),
        ("recon", "a.npy", "b.npy", "--output", ".", "--format", "npy", *METHOD),
        ("recon", "a.h5", "--mask", "mask.npy", "--output", "mask.npy", *METHOD),
        (
            "recon",
            "a.h5",
            "--mask",
            "mask.png",
            "--output",
            "o.npy",
            "--report",
            "mask.html",
            *METHOD,
        ),
        (
            "recon",
            "a.h5",
            "--mask",
            "mask.png",
            "--output",
            "o.npy",
            "--preview",
            "mask.png",
            "--method",
            "dds",
        ),
        (
            "recon",
            "a.h5",
            "--maps",
            "maps.npy",
            "--output",
            "maps.npy",
            "--method",
            "cg_sense",
            "--overwrite",
        ),
        (
            "recon",
            "a.npy",
            "--method",
            "dds",
            "--method.start",
            "b.npy",
            "--output",
            "b.npy",
            "--overwrite",
        ),
        ("convert", "a.npy", "a.npy", "--overwrite"),
        ("convert", "a.npy", "soft.npy", "--overwrite"),
        ("convert", "pair", "pair.cfl", "--overwrite"),
        ("maps", "a.npy", "--output", "hard.npy", "--overwrite"),
        ("maps", "pair", "--output", "pair.cfl", "--overwrite"),
        ("evaluate", "a.h5", "a.h5", "--output", "a.h5", "--overwrite"),
    ],
)
def test_an_input_is_no_output(here, refused, args):
    before = contents(here)
    assert "is the input itself" in refused(*args)
    assert contents(here) == before


def test_extras_spare_the_scan(here, refused, monkeypatch):
    """`a.npy` with a standard deviation would write a_std.npy, whose name is known at the end only."""
    line = refused(
        "recon", "a_std.npy", "--output", "a.npy", "--method", "dds", "--samples", "2", "--method.levels", "2",
        "--slices", ":1", "--overwrite",
    )  # fmt: skip
    assert "a_std.npy is the input itself" in line
    assert np.load(here / "a_std.npy").ndim == 4


def test_another_file_is_replaced(here, mrirecon):
    assert mrirecon("recon", "a.h5", "--output", "b.npy", *METHOD).status == 0
    assert np.load(here / "b.npy").ndim == 3
