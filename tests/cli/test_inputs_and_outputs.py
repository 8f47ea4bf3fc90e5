"""Folders, patterns, slashes and formats: which scans are meant, and where their outputs go."""

import json
import shutil

import numpy as np
import pytest

from mrirecon.io import read_scan
from mrirecon.io.batch import Inputs, outputs_of_methods, scans_in

QUICK = ("--method", "zero_filled")


@pytest.fixture
def folder(scan_file, tmp_path, monkeypatch):
    """Two scans in a folder, one in another, and what is no scan beside them."""
    monkeypatch.chdir(tmp_path)
    for name in ("session/b.h5", "session/a.h5", "single/c.h5"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        shutil.copy(scan_file, path)
    np.save("session/mask.npy", np.ones((4, 4), bool))
    (tmp_path / "session/notes.txt").write_text("two scans")
    shutil.copy(scan_file, tmp_path / "session/.hidden.h5")
    (tmp_path / "empty").mkdir()
    return tmp_path


def names(path):
    return sorted(one.name for one in path.iterdir() if one.suffix != ".json")


@pytest.mark.parametrize("scans", [("session",), ("session/",), ("session/*.h5",), ("sess*",)])
def test_a_folder_or_pattern_is_its_scans(mrirecon, folder, scans):
    result = mrirecon("recon", *scans, *QUICK, "-o", "out")
    assert result.status == 0 and names(folder / "out") == ["a.nii.gz", "b.nii.gz"]
    assert result.out.index("a.nii.gz") < result.out.index("b.nii.gz")
    again = mrirecon("recon", "session/a.h5", "session/b.h5", *QUICK, "-o", "out")
    assert again.out.count("complete, skipped") == 2  # the same request as with the files typed


@pytest.mark.parametrize(
    ("scan", "options"),
    [
        ("single/c.h5", ("-o", "out/")),
        ("single/c.h5", ("-o", "there")),
        ("single/c.h5", ("-o", "out", "--format", "nii.gz")),
        ("single", ("-o", "out")),
        ("single/*.h5", ("-o", "out")),
    ],
)
def test_one_scan_goes_to_a_folder_where_one_is_meant(mrirecon, folder, scan, options):
    (folder / "there").mkdir()
    assert mrirecon("recon", scan, *QUICK, *options).status == 0
    assert names(folder / options[1]) == ["c.nii.gz"]


def test_one_scan_and_a_file_name_is_that_file(mrirecon, folder):
    for options in (("-o", "x.h5"), ("-o", "y.h5", "--format", "h5")):
        assert mrirecon("recon", "single/c.h5", *QUICK, *options).status == 0
        assert (folder / options[1]).is_file()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("empty", "-o", "lb"), ["empty is a folder without scans", "give"]),
        ((".", "-o", "lb"), ["folder without scans", "give a folder that does, such as s"]),
        (("b*.cfl", "-o", "lb"), ["b*.cfl: no file matches"]),
        (("session/*.txt", "-o", "lb"), ["session/*.txt", "none of the 1 files", "pattern"]),
        (("none.h5", "-o", "lb"), ["none.h5: no such file"]),
        (("single/c.h5", "-o", ""), ["--output ''", "no name of a file or folder"]),
        (("session", "-o", "x.nii.gz"), ["x.nii.gz is named like a file", "folder"]),
        (("single", "-o", "x.nii.gz"), ["x.nii.gz is named like a file", "folder"]),
        (("single/c.h5", "-o", "x.nii", "--format", "h5"), ["--format h5", "x.nii", "leave one"]),
        (
            ("single/c.h5", "-o", "lb"),
            ["lb: the file name must end in", ".nii.gz", "/ for a folder"],
        ),
    ],
)
def test_what_is_meant_is_judged_before_the_work(refused, folder, args, words):
    line = refused("recon", *args, *QUICK)
    assert all(word in line for word in words), line
    assert not (folder / "lb").exists()


def test_damaged_scans_of_a_folder_are_named_and_the_others_done(mrirecon, folder):
    (folder / "session/a.h5").unlink()
    (folder / "session/a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    result = mrirecon("recon", "session", *QUICK, "-o", "out")
    assert result.status == 1 and "session/a.h5" in result.errors[0]
    assert names(folder / "out") == ["b.nii.gz"]


def test_outputs_of_this_program_are_no_scans(mrirecon, folder):
    assert mrirecon("recon", "session", *QUICK, "--format", "npy", "-o", "session").status == 0
    assert [path.name for path in scans_in(folder / "session")] == ["a.h5", "b.h5"]


def test_a_cfl_pair_is_one_scan(mrirecon, folder):
    assert mrirecon("convert", "single/c.h5", "pair/", "--format", "cfl").status == 0
    assert names(folder / "pair") == ["c.cfl", "c.hdr"]
    assert Inputs.named(["pair"]).paths == ["pair/c.cfl"]
    assert Inputs.named(["pair/c.*"]).paths == ["pair/c.cfl"]
    assert Inputs.named(["pair/c"]) == Inputs(["pair/c"], folder=False)


def test_methods_and_scans_have_a_file_each(folder):
    one, two = Inputs.named(["single/c.h5"]), Inputs.named(["session"])
    assert [str(p) for p in outputs_of_methods(one, "out", ["tv", "dds"])["dds"]] == [
        "out/dds.nii.gz"
    ]
    found = outputs_of_methods(two, "out", ["tv", "dds"], "npy")["tv"]
    assert [str(path) for path in found] == ["out/a_tv.npy", "out/b_tv.npy"]


def test_maps_info_convert_and_compare_take_folders(mrirecon, folder):
    assert mrirecon("maps", "session", "-o", "maps").status == 0
    assert names(folder / "maps") == ["a.npy", "b.npy"]
    assert mrirecon("info", "session").out.count("format ") == 2
    assert mrirecon("convert", "session", "converted", "--format", "npz").status == 0
    assert names(folder / "converted") == ["a.npz", "b.npz"]
    methods = ("--methods", "zero_filled", "cg_sense", "--slices", "1:2")
    assert mrirecon("compare", "session", *methods, "-o", "compared").status == 0
    assert names(folder / "compared") == ["a", "b"]
    assert (folder / "compared/b/report.html").is_file()


def test_one_of_several_that_fails_keeps_no_other_from_it(mrirecon, folder):
    result = mrirecon("info", "session", "none.h5")
    assert result.status == 1 and result.out.count("format ") == 2
    assert result.errors == ["mrirecon info: error: none.h5: no such file"]


def test_the_benchmark_takes_patterns(folder):
    from mrirecon.benchmark import find_scans

    assert [source.name for source in find_scans(["session/*"])] == ["a", "b"]
    assert find_scans([]) == []


def test_the_json_names_the_file_in_the_folder(mrirecon, folder):
    mrirecon("recon", "single", *QUICK, "-o", "out")
    info = json.loads((folder / "out/c.nii.gz.json").read_text())
    assert info["request"]["source"] == "single/c.h5"
    assert read_scan(info["request"]["source"]).shape[0] == 3
