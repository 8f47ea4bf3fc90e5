"""`mrirecon compare`, and `recon` with several methods."""

import csv
import io
import json
import signal
import subprocess
import sys
import time

import h5py
import nibabel
import numpy as np
import pytest

from mrirecon.io import write_scan
from mrirecon.phantom import shepp_logan
from mrirecon.recon.left_out.ranking import COLUMNS
from mrirecon.simulate import simulate_scan

MASK = ("--mask", "poisson", "--accel", 2, "--center_fraction", 0.25, "--device", "cpu")
QUICK = ("--methods", "cg_sense", "zero_filled", "unet")


def table(folder):
    return list(csv.DictReader(io.StringIO((folder / "table.csv").read_text())))


def test_compare_writes_volumes_a_table_and_a_page(mrirecon, scan_file, tmp_path):
    folder = tmp_path / "new" / "compared"
    options = (*QUICK, "grappa", *MASK, "--slices", "1:2")
    result = mrirecon("compare", scan_file, "--output", folder, *options)
    # GRAPPA refuses the mask: it is named, the others are done
    assert result.status == 1 and len(result.errors) == 1
    assert result.errors[0].startswith(
        "mrirecon compare: error: grappa: grappa needs whole columns"
    )
    done = ["cg_sense", "unet", "zero_filled"]
    files = [f"{name}.nii.gz{end}" for name in done for end in ("", ".json")]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*files, "report.html", "table.csv"]
    )
    text = (folder / "table.csv").read_text()
    assert text.splitlines()[0] == (
        "method,left_out_error,low,high,data_residual,null_space_share,seconds"
    )
    rows = table(folder)
    assert tuple(rows[0]) == COLUMNS
    assert [row["method"] for row in rows] == ["cg_sense", "zero_filled", "unet", "grappa"]
    assert 0 < float(rows[0]["low"]) < float(rows[0]["left_out_error"]) < float(rows[0]["high"])
    unet = rows[2]
    assert [unet[name] for name in COLUMNS[1:6]] == [""] * 5 and float(unet["seconds"]) > 0
    assert set(rows[3].values()) == {"grappa", ""}
    info = json.loads((folder / "cg_sense.nii.gz.json").read_text())
    assert info["left_out"]["error"] == pytest.approx(float(rows[0]["left_out_error"]), rel=1e-5)
    page = (folder / "report.html").read_text()
    assert "By the error of left-out samples: 1. cg_sense; 2. zero_filled" in page
    assert "left-out error" in page and "unet: left-out samples cannot judge it" in page
    lines = result.out.splitlines()
    assert lines[0].split()[:2] == ["rank", "method"]
    assert lines[1].split()[:2] == ["1", "cg_sense"] and lines[3].split()[:2] == ["-", "unet"]


def test_a_poisoned_reference_changes_nothing(mrirecon, tmp_path):
    image = shepp_logan((40, 32)).numpy()[:, :, None].astype(np.float32)
    tables = []
    for poisoned in (False, True):
        path, folder = tmp_path / f"scan{poisoned}.h5", tmp_path / f"out{poisoned}"
        write_scan(simulate_scan(image, coils=4, snr=60.0).scan, path)
        if poisoned:
            with h5py.File(path, "r+") as file:
                file["reconstruction_rss"][...] = np.random.default_rng(0).random((1, 40, 32)) * 99
        methods = ("--methods", "cg_sense", "unrolled_prior", "--tune", "true")
        result = mrirecon("compare", path, "--output", folder, *methods, *MASK)
        assert result.status == 0, result.errors
        rows = [line.rpartition(",")[0] for line in (folder / "table.csv").read_text().splitlines()]
        tables.append("\n".join(rows).encode())  # all but the seconds
        tuned = json.loads((folder / "cg_sense.nii.gz.json").read_text())["left_out"]["tuning"]
        assert set(tuned) == {"regularization"}
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--methods", "tvv"), ["--methods", "'tvv'", "did you mean tv?"]),
        (("--methods", "tv", "TV"), ["tv is given twice"]),
        (("--methods",), ["--methods"]),
        (("--methods", "tv", "--slices", "7:9"), ["7:9"]),
        (("--methods", "grappa", *MASK), ["grappa needs whole columns"]),
        (("--methods", "tv", "--mask", "poison", "--accel", 2), ["did you mean poisson?"]),
        (("--methods", "tv", "--adapt", "3"), ["--adapt"]),
        (("--methods", "tv", "--method.iterations", "3"), ["--method.iterations"]),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(refused, scan_file, tmp_path, options, words):
    folder = tmp_path / "out"
    line = refused("compare", scan_file, "--output", folder, *options)
    assert all(word in line for word in words), line
    assert not folder.exists()


def test_what_is_there_is_kept(mrirecon, refused, scan_file, tmp_path):
    (tmp_path / "zero_filled.nii.gz").write_text("mine")
    given = ("compare", scan_file, "--output", tmp_path, "--methods", "zero_filled")
    assert "--overwrite" in refused(*given)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    assert mrirecon(*given, "--overwrite").status == 0
    assert "file" in refused("compare", scan_file, "--output", scan_file, "--methods", "tv")
    assert "no such file" in refused("compare", "none.h5", "--output", tmp_path / "new")
    assert not (tmp_path / "new").exists()


KILLED = ("--methods", "cg_sense", "unet", "tv", "zero_filled", *MASK)


def test_a_killed_run_goes_on_and_ends_as_an_unbroken_one(mrirecon, scan_file, tmp_path):
    assert mrirecon("compare", scan_file, "--output", tmp_path / "whole", *KILLED).status == 0
    folder = tmp_path / "killed"
    words = ("compare", scan_file, "--output", folder, *KILLED)
    process = subprocess.Popen(
        [sys.executable, "-m", "mrirecon", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    kept = folder / ".unet.nii.gz.slices" / "compared.safetensors"
    deadline = time.monotonic() + 120
    while process.poll() is None and not kept.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "table.csv").exists()
    result = mrirecon(*words)
    assert result.status == 0, result.errors
    for name in ("cg_sense", "unet"):
        assert f"{name}: done before" in result.out
    assert "zero_filled: done before" not in result.out
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )
    tables = [
        [{**row, "seconds": ""} for row in table(one)] for one in (folder, tmp_path / "whole")
    ]
    assert tables[0] == tables[1]
    for name in ("cg_sense", "unet", "tv"):
        files = [tmp_path / one / f"{name}.nii.gz" for one in ("killed", "whole")]
        assert np.array_equal(*(nibabel.load(file).get_fdata() for file in files))
        said = [json.loads(file.with_name(f"{file.name}.json").read_text()) for file in files]
        assert said[0].get("left_out") == said[1].get("left_out")
    assert (
        "file exists" in mrirecon(*words).errors[0] or "--overwrite" in mrirecon(*words).errors[0]
    )


def test_what_another_comparison_kept_is_not_taken(mrirecon, scan_file, tmp_path, monkeypatch):
    words = ("compare", scan_file, "--output", tmp_path, "--methods", "cg_sense", *MASK)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mrirecon.cli.compare.finish", stop)
    mrirecon(*words)
    assert (tmp_path / ".cg_sense.nii.gz.slices" / "compared.safetensors").exists()
    monkeypatch.undo()
    other = mrirecon(*words, "--left_out_seed", 1, "--overwrite")
    assert other.status == 0 and "done before" not in other.out
    assert not list(tmp_path.glob(".*"))


QUICKER = ("--slices", "1:2", "--device", "cpu")


def test_recon_with_several_methods_adds_their_names(mrirecon, scan_file, tmp_path):
    report = tmp_path / "r.html"
    typed = (scan_file, "--method", "CG_SENSE", "adjoint", "--output", tmp_path / "x.nii.gz")
    result = mrirecon("recon", *typed, *QUICKER, "--report", report)
    assert result.status == 0, result.errors
    for name in ("cg_sense", "adjoint"):
        said = json.loads((tmp_path / f"x_{name}.nii.gz.json").read_text())
        assert said["method"] == name
    assert "cg_sense" in report.read_text() and "adjoint" in report.read_text()
    again = mrirecon("recon", *typed, *QUICKER)
    assert again.status == 0 and again.out.count("complete, skipped") == 2


def test_recon_with_several_methods_into_a_folder(mrirecon, scan_file, tmp_path):
    folder = tmp_path / "out"
    words = ("recon", "--method", "adjoint", "zero_filled", scan_file, "--output", folder)
    printed = mrirecon(*words, *QUICKER, "--format", "npy", "--print_config").out
    (tmp_path / "c.yaml").write_text(printed)
    assert mrirecon("recon", "--config", tmp_path / "c.yaml").status == 0
    names = [f"{name}.npy{end}" for name in ("adjoint", "zero_filled") for end in ("", ".json")]
    assert sorted(path.name for path in folder.iterdir()) == names


def test_recon_with_several_methods_and_scans(mrirecon, scan_file, tmp_path):
    other = tmp_path / "other.h5"
    other.write_bytes(scan_file.read_bytes())
    folder = tmp_path / "out"
    words = ("recon", scan_file, other, "--method", "adjoint", "zero_filled", "--output", folder)
    assert mrirecon(*words, *QUICKER, "--format", "npy").status == 0
    stems = [f"{scan}_{name}" for scan in ("other", "scan") for name in ("adjoint", "zero_filled")]
    assert sorted(path.stem for path in folder.glob("*.npy")) == stems


def test_one_of_several_methods_that_fails_is_named(mrirecon, refused, scan_file, tmp_path):
    words = ("recon", scan_file, "--method", "adjoint", "grappa", *MASK, "--slices", "1:2")
    result = mrirecon(*words, "--output", tmp_path / "x.npy")
    assert result.status == 1 and (tmp_path / "x_adjoint.npy").exists()
    assert len(result.errors) == 1 and "grappa needs whole columns" in result.errors[0]
    bad = ("recon", tmp_path / "none.h5", "--method", "adjoint", "tv")
    assert "no such file" in refused(*bad, "--output", tmp_path / "y.npy")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("tv", "cg_sense", "--method.iterations", "3"), ["--method.iterations", "one method"]),
        (("tv", "cg_sense", "--method", "dds"), ["--method is given twice"]),
        (("tv", "cgsense"), ["'cgsense'", "did you mean cg_sense?"]),
        (("tv", "sense"), ["'sense'", "did you mean cg_sense?"]),
        (("tv", "cg_sense", "tv"), ["tv is given twice"]),
        (("tv", "dds", "--samples", "2"), ["--samples 2", "tv has no samples"]),
        (("tv", "dds", "--output", "x.tif"), ["x.tif", ".nii.gz"]),
    ],
)
def test_bad_usage_of_several_methods(refused, scan_file, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    output = () if "--output" in options else ("--output", "x.nii.gz")
    line = refused("recon", scan_file, *output, "--method", *options)
    assert all(word in line for word in words), line
    assert not list(tmp_path.iterdir())
