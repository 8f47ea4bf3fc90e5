import errno
import json
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from mrirecon.io import write_maps, write_scan, write_volume
from mrirecon.io.files import check_target, replacing, suffix_of, write_json
from mrirecon.scan import Geometry, Volume


@contextmanager
def full_disk(size):
    """The operating system refuses to let any file grow beyond `size` bytes, as it does when a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_on_success_the_file_appears_and_nothing_else(tmp_path):
    with replacing(tmp_path / "a.txt") as (part,):
        assert part.parent == tmp_path and part.name.endswith("a.txt")
        part.write_text("new")
        assert not (tmp_path / "a.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_on_failure_the_old_file_stays_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.txt") as (part,):
        part.write_text("half")
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_an_old_main_file_never_stands_beside_a_new_companion(tmp_path, monkeypatch):
    """Killed between the two renames: the companion is new, so the main file must be gone."""
    json_path, main = tmp_path / "a.json", tmp_path / "a"
    for path in (json_path, main):
        path.write_text("old")
    renames = []

    def rename(part, target):
        renames.append(target)
        if len(renames) == 2:
            raise KeyboardInterrupt
        original(part, target)

    original = Path.replace
    monkeypatch.setattr(Path, "replace", rename)
    with pytest.raises(KeyboardInterrupt), replacing(json_path, main) as parts:
        for part in parts:
            part.write_text("new")
    assert json_path.read_text() == "new" and not main.exists()


def test_targets_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match=r"exists already: choose another name"):
        check_target(tmp_path / "file")
    assert check_target(tmp_path / "file", overwrite=True) == tmp_path / "file"
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        check_target(tmp_path, overwrite=True)
    with pytest.raises(FileNotFoundError, match=r"the folder .*none does not exist"):
        check_target(tmp_path / "none" / "a.nii")
    with pytest.raises(NotADirectoryError, match="file is not a folder"):
        check_target(tmp_path / "file" / "a.nii")


def test_a_read_only_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(PermissionError, match="is read-only"):
        check_target(tmp_path / "a.nii")


def test_suffixes():
    known = (".nii.gz", ".nii", ".h5")
    assert suffix_of("a.b/Brain.v1.NII.gz", known) == ".nii.gz"
    for name in ("brain", "brain.gz", "brain.png", ".h5"):
        with pytest.raises(ValueError, match=r"must end in one of \.nii\.gz, \.nii, \.h5"):
            suffix_of(name, known)


def test_json_is_strict_and_takes_arrays(tmp_path):
    info = {
        "a": np.float32(1.5),
        "b": torch.ones(2),
        "psnr": float("inf"),
        "s": slice(1),
        3: (True, None),
    }
    write_json(tmp_path / "i.json", info)

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    got = json.loads((tmp_path / "i.json").read_text(), parse_constant=refuse)
    assert got == {"a": 1.5, "b": [1.0, 1.0], "psnr": None, "s": str(slice(1)), "3": [True, None]}


BIG = (1, 4, 128, 96)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".h5", ".npy", ".cfl"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing_volume(tmp_path, suffix):
    image = torch.randn(BIG, generator=torch.Generator().manual_seed(0)).to(torch.complex64)
    volume = Volume(image=image, geometry=Geometry())
    with full_disk(50_000), pytest.raises(OSError) as caught:
        write_volume(volume, tmp_path / f"v{suffix}")
    assert str(caught.value) == f"cannot write {tmp_path / f'v{suffix}'}: File too large"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".h5", ".npy", ".npz", ".cfl"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing_scan(tmp_path, make_scan, suffix):
    scan, _ = make_scan(BIG)
    with full_disk(50_000), pytest.raises(OSError) as caught:
        write_scan(scan, tmp_path / f"k{suffix}")
    assert str(caught.value) == f"cannot write {tmp_path / f'k{suffix}'}: File too large"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".h5", ".npy", ".cfl"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing_maps(tmp_path, suffix):
    maps = torch.ones(BIG, dtype=torch.complex64)
    with full_disk(50_000), pytest.raises(OSError) as caught:
        write_maps(tmp_path / f"m{suffix}", maps, {})
    assert str(caught.value) == f"cannot write {tmp_path / f'm{suffix}'}: File too large"
    assert not list(tmp_path.iterdir())


def test_no_space_keeps_its_kind(tmp_path):
    with (
        pytest.raises(OSError, match=r"cannot write .*a: No space left"),
        replacing(tmp_path / "a"),
    ):
        raise OSError(errno.ENOSPC, "whatever")
    denied = r"cannot write .*a: Permission denied"
    with pytest.raises(PermissionError, match=denied), replacing(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "whatever")


SLOW = """
import sys, time, torch
from mrirecon.io import write_scan
from mrirecon.io.arrays import plain_scan
def read(volume, index):
    print(index, flush=True)
    if index == 2:
        time.sleep(60)
    return torch.ones(2, 64, 64, dtype=torch.complex64)
write_scan(plain_scan("slow", "test", (4, 2, 64, 64), read), sys.argv[1])
"""


@pytest.mark.parametrize("suffix", [".h5", ".npy", ".npz", ".cfl"])
def test_a_killed_run_leaves_nothing_under_the_final_name(tmp_path, suffix):
    path = tmp_path / f"k{suffix}"
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "2":
                break
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not path.exists()
    assert all(p.name.startswith(".partial-") for p in tmp_path.iterdir())
