"""The checker finds every way in which a download can be broken, and nothing in a whole one."""

import hashlib
import json

import check_fastmri as script
import h5py
import numpy as np
import pytest

HEADER = (
    '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>'
    "<encodedSpace><matrixSize><x>24</x><y>20</y><z>1</z></matrixSize>"
    "<fieldOfView_mm><x>48</x><y>40</y><z>5</z></fieldOfView_mm></encodedSpace>"
    "<reconSpace><matrixSize><x>24</x><y>20</y><z>1</z></matrixSize>"
    "<fieldOfView_mm><x>48</x><y>40</y><z>5</z></fieldOfView_mm></reconSpace>"
    "<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>19</maximum>"
    "<center>10</center></kspace_encoding_step_1></encodingLimits>"
    "<trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"
)


def write(path, seed=0, leave_out=(), **attributes):
    """A file as h5py makes it, in the layout of the public ones."""
    random = np.random.default_rng(seed)
    kspace = random.normal(size=(3, 2, 24, 20)) + 1j * random.normal(size=(3, 2, 24, 20))
    target = np.abs(random.normal(size=(3, 24, 20))).astype(np.float32)
    parts = {
        "kspace": kspace.astype(np.complex64),
        "ismrmrd_header": HEADER,
        "reconstruction_rss": target,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, value in parts.items():
            if name not in leave_out:
                file[name] = value
        file.attrs.update({"max": target.max(), "norm": np.linalg.norm(target), **attributes})
    return path


@pytest.fixture
def root(tmp_path):
    for number, part in enumerate(("train", "train", "val")):
        write(tmp_path / "brain" / f"multicoil_{part}" / f"file{number}.h5", number)
    return tmp_path / "brain"


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_whole_download_passes(root, tmp_path, call, suffix):
    manifest = tmp_path / f"manifest{suffix}"
    assert call(script, root, "--make", manifest)[0] == 0
    status, printed, _ = call(script, root, "--manifest", manifest, "--deep")
    assert (status, printed) == (0, "3 files, 3 scans, 0 problems\n")
    assert not list(tmp_path.glob(".partial*"))


def test_a_manifest_holds_sizes_and_hashes(root, tmp_path, call):
    call(script, root, "--make", tmp_path / "m.json")
    for row in json.loads((tmp_path / "m.json").read_text())["files"]:
        data = (root / row["file"]).read_bytes()
        assert row["bytes"] == len(data)
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
    assert len(json.loads((tmp_path / "m.json").read_text())["files"]) == 3


def test_missing_truncated_changed_and_extra(root, tmp_path, call):
    manifest = tmp_path / "m.csv"
    call(script, root, "--make", manifest)
    train = root / "multicoil_train"
    data = (train / "file0.h5").read_bytes()
    (train / "file0.h5").write_bytes(data[: len(data) // 2])
    changed = bytearray((train / "file1.h5").read_bytes())
    changed[-3000] ^= 1
    (train / "file1.h5").write_bytes(changed)
    (root / "multicoil_val" / "file2.h5").rename(root / "multicoil_val" / "other.h5")
    status, printed, _ = call(script, root, "--manifest", manifest)
    assert status == 1
    lines = printed.splitlines()
    assert any("train/file0.h5: truncated, " in line for line in lines)
    assert any("train/file0.h5: the HDF5 file is truncated" in line for line in lines)
    assert any("train/file1.h5: changed" in line for line in lines)
    assert "multicoil_val/file2.h5: missing" in lines
    assert "multicoil_val/other.h5: extra, not in the manifest" in lines
    assert len(lines) == 6
    _, printed, _ = call(script, root, "--manifest", manifest, "--no_sha256", "--no_open")
    assert "changed" not in printed


def test_a_list_of_names_is_enough(root, tmp_path, call):
    names = ["multicoil_train/file0.h5", "multicoil_train/file1.h5", "multicoil_val/gone.h5"]
    (tmp_path / "m.csv").write_text("\n".join(["file", *names]) + "\n")
    _, printed, _ = call(script, root, "--manifest", tmp_path / "m.csv")
    assert "multicoil_val/gone.h5: missing" in printed
    assert "multicoil_val/file2.h5: extra" in printed


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"leave_out": ["ismrmrd_header"]}, "without ismrmrd_header"),
        ({"leave_out": ["reconstruction_rss"]}, "without target"),
        ({"leave_out": ["kspace"]}, "neither 'kspace'"),
        ({"max": 2.0}, "attribute max is 2, the target's maximum"),
    ],
)
def test_what_training_would_stumble_over(root, call, broken, message):
    write(root / "multicoil_train" / "file0.h5", **broken)
    status, printed, _ = call(script, root)
    assert status == 1
    (line,) = [line for line in printed.splitlines() if "file0.h5" in line]
    assert message in line


def test_test_sets_need_no_target(root, call):
    write(root / "multicoil_test" / "a.h5", leave_out=["reconstruction_rss"])
    assert call(script, root)[0] == 0


def test_deep_reads_every_slice(root, call):
    with h5py.File(root / "multicoil_val" / "file2.h5", "a") as file:
        file["kspace"][0, 0, 0, 0] = np.nan
    assert call(script, root)[0] == 0
    status, printed, _ = call(script, root, "--deep")
    assert status == 1
    assert "slice 0 holds NaN" in printed


@pytest.mark.parametrize("text", ["", "name,size\na,3\n", "file,bytes\na,many\n"])
def test_a_manifest_that_is_none(root, tmp_path, refused, text):
    (tmp_path / "m.csv").write_text(text)
    assert "m.csv" in refused(script, root, "--manifest", tmp_path / "m.csv")


def test_a_manifest_of_another_kind_is_refused_before_hashing(root, tmp_path, refused, monkeypatch):
    monkeypatch.setattr(script, "sha256", lambda path: pytest.fail("hashed first"))
    assert "must end in one of .csv, .json" in refused(script, root, "--make", tmp_path / "m.txt")


def test_wrong_paths(root, tmp_path, refused):
    assert "is not a folder" in refused(script, root / "nothing")
    assert "gone.csv" in refused(script, root, "--manifest", tmp_path / "gone.csv")
