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

from mrirecon.geometry import Geometry
from mrirecon.io import write_maps, write_scan, write_volume
from mrirecon.io.cfl import check_apart
from mrirecon.io.files import (
    LONGEST_NAME,
    check_target,
    clear_partial,
    existing_file,
    replacing,
    suffix_of,
    write_json,
)
from mrirecon.scan import Volume


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


def test_what_a_killed_run_left_goes_with_the_next_one(tmp_path):
    """By kill -9 nothing can be tidied up; the next run of the same output does, and leaves alone what is alive."""
    path, other = tmp_path / "k.npy", tmp_path / "other.npy"
    writers = []
    for target in (path, path, other):
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW, str(target)], stdout=subprocess.PIPE, text=True
        )
        writers.append(process)
        assert process.stdout is not None
        next(line for line in process.stdout if line.strip() == "2")
        if process is writers[0]:
            process.kill()
            process.wait()
    try:
        left = sorted(tmp_path.iterdir())
        assert len(left) == 2, "the second writer has removed what the first, dead one left"
        with replacing(path) as (part,):
            part.write_text("x")
        assert sorted(tmp_path.iterdir()) == sorted([*left, path]), "a live writer lost its file"
        check_target(other, overwrite=True)
        assert len(list(tmp_path.iterdir())) == 3
        writers[2].kill()
        writers[2].wait()
        check_target(other, overwrite=True)
        assert len(list(tmp_path.iterdir())) == 2
        writers[1].kill()
        writers[1].wait()
        clear_partial(tmp_path)
        assert list(tmp_path.iterdir()) == [path]
    finally:
        for process in writers:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def test_two_runs_write_the_same_file_at_once(tmp_path):
    path = tmp_path / "a"
    with replacing(path) as (one,):
        one.write_text("one")
        with replacing(path) as (two,):
            two.write_text("two")
        assert path.read_text() == "two" and one.exists()
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_are_too_long(tmp_path):
    longest = "x" * (LONGEST_NAME - 4) + ".npy"
    for name, fits in ((longest, True), ("y" + longest, False)):
        if fits:
            with replacing(check_target(tmp_path / name)) as (part,):
                assert part.suffix == ".npy"
                part.write_text("x")
            assert (tmp_path / name).exists()
        else:
            with pytest.raises(OSError, match=f"its name is longer than {LONGEST_NAME} bytes"):
                check_target(tmp_path / name)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="there is no /proc here")
def test_what_cannot_be_read_is_named():
    with pytest.raises(OSError, match="/proc/self/mem cannot be read"):
        existing_file("/proc/self/mem")


def test_outputs_apart_from_inputs(tmp_path):
    scan, pair = tmp_path / "scan.h5", tmp_path / "b.cfl"
    for path in (scan, pair, pair.with_suffix(".hdr")):
        path.write_text("x")
    (tmp_path / "soft.h5").symlink_to(scan)
    (tmp_path / "hard.h5").hardlink_to(scan)
    check_apart([tmp_path / "new.h5", tmp_path / "b.h5"], [scan, pair])
    with pytest.raises(ValueError, match=r"scan.h5 is the input itself, which would be lost"):
        check_apart([scan], [scan])
    for name in ("soft.h5", "hard.h5"):
        with pytest.raises(
            ValueError, match=rf"{name} is the input itself, the same file as .*scan.h5"
        ):
            check_apart([tmp_path / name], [scan])
        with pytest.raises(ValueError, match="the same file"):
            check_apart([scan], [tmp_path / name])
    for name in ("b", "b.cfl", "b.hdr"):
        for output in ("b.cfl", "b.hdr"):
            with pytest.raises(ValueError, match="is the input itself"):
                check_apart([tmp_path / output], [tmp_path / name])
