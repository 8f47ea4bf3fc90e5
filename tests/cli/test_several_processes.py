"""`torchrun -m mrirecon recon`: the slices are shared out, one process writes, and nobody waits for one that failed."""

import json
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

SHORT = ("--method", "dds", "--method.levels", "2", "--samples", "2", "--method.trust", "true")
QUICK = ("--method", "cg_sense", "--method.iterations", "2")
MASK = ("--mask", "uniform1d", "--accel", "2", "--center_fraction", "0.4")


@pytest.fixture
def in_two_processes():
    """Runs a command in two processes; gives the exit status of `torchrun` and what they said."""

    def run(*args):
        launch = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m")
        words = [sys.executable, "-m", *launch, "mrirecon", *map(str, args)]
        alone = {name: value for name, value in os.environ.items() if name != "LOCAL_RANK"}
        return subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=120,
            env={**alone, "OMP_NUM_THREADS": "1"},
        )

    return run


def said(text):
    """The errors of the command, without those of the launcher."""
    return [line for line in text.splitlines() if line.startswith("mrirecon recon: ")]


def test_two_processes_make_what_one_makes(in_two_processes, mrirecon, scan_file, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    one, two = tmp_path / "one" / "o.npy", tmp_path / "two" / "o.npy"
    assert mrirecon("recon", scan_file, "--output", one, *SHORT, *MASK).status == 0
    done = in_two_processes("recon", scan_file, "--output", two, *SHORT, *MASK)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("acceleration") == 1  # one process speaks
    assert sorted(path.name for path in two.parent.iterdir()) == sorted(
        path.name for path in one.parent.iterdir()
    )
    for name in ("o.npy", "o_std.npy", "o_null_space.npy"):
        a, b = (np.load(path.with_name(name)) for path in (one, two))
        assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(a), name
    first, second = (json.loads(path.with_name("o.npy.json").read_text()) for path in (one, two))
    assert second["notes"] == first["notes"]
    for figure in ("data_residual", "null_space_share", "intensity_scale", "noise_std"):
        assert second[figure] == pytest.approx(first[figure], rel=1e-4), figure


def test_what_left_out_samples_decide_is_decided_once(in_two_processes, scan_file, tmp_path):
    output = tmp_path / "o.npy"
    options = ("--method", "cg_sense", "--method.regularization", "auto")
    done = in_two_processes("recon", scan_file, "--output", output, *options, *MASK)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if " slices, elapsed " in line]
    assert len(lines) == 2  # of the search, and of the slices of the first process
    tuned = json.loads(output.with_name("o.npy.json").read_text())["left_out"]["tuning"]
    assert tuned["regularization"]["value"] > 0


def test_a_failing_process_stops_all_and_finished_slices_are_kept(
    in_two_processes, mrirecon, scan_file, tmp_path
):
    broken = tmp_path / "scan.npy"
    with h5py.File(scan_file) as file:
        kspace = file["kspace"][()][[0, 1, 2, 2]]
    kspace[3, 0, 3, 4] = np.nan  # in the share of the second process, which alone comes to it
    np.save(broken, kspace)
    good = tmp_path / "good.h5"
    shutil.copy(scan_file, good)
    output = tmp_path / "out"
    done = in_two_processes("recon", broken, good, "--output", output, "--format", "npy", *QUICK)
    assert done.returncode != 0
    errors = said(done.stderr)
    assert len(errors) == 1 and "process 1 of 2" in errors[0] and "slice 3" in errors[0], errors
    kept = {path.name for path in output.iterdir()}
    assert kept == {".scan.npy.slices", "good.npy", "good.npy.json"}
    slices = {path.name for path in (output / ".scan.npy.slices").glob("*.safetensors")}
    assert slices == {"0_00000.safetensors", "0_00001.safetensors", "0_00002.safetensors"}


def test_every_process_has_a_gpu_of_its_own(monkeypatch):
    from mrirecon.device import choose_device

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert choose_device("auto") == choose_device("cuda") == "cuda"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("auto") == choose_device("cuda") == "cuda:1"
    assert choose_device("cpu") == "cpu"
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match=r"process 2 .* there are 2: start at most 2 processes"):
        choose_device("auto")
