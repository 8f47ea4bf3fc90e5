"""The index of a folder, and what is said of folders and options that cannot be used."""

import gc
import json
import math
import os
from contextlib import suppress
from pathlib import Path

import h5py
import pytest
from fastmri_layout import write

from mrirecon.masks import MaskSpec
from mrirecon.training.end_to_end import index as index_module
from mrirecon.training.end_to_end.data import FastMRIDataModule
from mrirecon.training.end_to_end.index import describe, index_folder

R4 = MaskSpec("uniform1d", 4)


@pytest.fixture
def described(monkeypatch):
    """The names of the files that were opened to be indexed."""
    names = []

    def spy(path):
        names.append(path.name)
        return describe(path)

    monkeypatch.setattr(index_module, "describe", spy)
    return names


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "multicoil_train"
    for name in ("b.h5", "a.h5"):
        write(folder / name, (2, 2, 24, 20), (20, 20), padding=(2, 1))
    return folder


def test_only_new_and_changed_files_are_opened(folder, described):
    first = index_folder(folder)
    assert described == ["a.h5", "b.h5"]
    assert [entry.name for entry in first] == ["a.h5", "b.h5"]
    assert index_folder(folder) == first
    assert described == ["a.h5", "b.h5"]
    write(folder / "b.h5", (3, 4, 24, 20), (20, 20))
    write(folder / "c.h5", (1, 2, 24, 20), (20, 20))
    shapes = [entry.shape for entry in index_folder(folder)]
    assert shapes == [(2, 2, 24, 20), (3, 4, 24, 20), (1, 2, 24, 20)]
    assert described[2:] == ["b.h5", "c.h5"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_no_file_stays_open(folder):
    """A download has a thousand files, a process no more than about as many open ones."""
    index_folder(folder)
    list(FastMRIDataModule(folder.parent, [R4], workers=1).train_dataloader())
    gc.collect()
    targets = []
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing itself
            targets.append(handle.readlink())
    assert not [path for path in targets if path.is_relative_to(folder)]


def test_a_file_of_equal_size_that_was_touched_is_opened_again(folder, described):
    index_folder(folder)
    os.utime(folder / "a.h5", ns=(1, 1))
    index_folder(folder)
    assert described[2:] == ["a.h5"]


def test_the_index_is_json_beside_the_folders(folder):
    """Not in the folder, where fastMRI's own data set would take it for a volume."""
    index_folder(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["a.h5", "b.h5"]
    assert [path.name for path in folder.parent.iterdir() if path.is_file()] == [
        "mrirecon_index.json"
    ]
    stored = json.loads((folder.parent / "mrirecon_index.json").read_text())
    assert stored["files"][str(folder / "a.h5")]["shape"] == [2, 2, 24, 20]
    assert stored["files"][str(folder / "a.h5")]["acquired"] == [0, 24, 2, 19]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 0, "files": {}}', '{"schema": 3}'])
def test_a_damaged_index_is_made_again(folder, text, described):
    first = index_folder(folder)
    (folder.parent / "mrirecon_index.json").write_text(text)
    assert index_folder(folder) == first
    assert len(described) == 4
    index_folder(folder)
    assert len(described) == 4


def test_entries_of_another_form_are_made_again(folder, described):
    first = index_folder(folder)
    file = folder.parent / "mrirecon_index.json"
    stored = json.loads(file.read_text())
    del stored["files"][str(folder / "a.h5")]["crop"]
    file.write_text(json.dumps(stored))
    assert index_folder(folder) == first


@pytest.mark.parametrize("stored", [0.0, -1.0, math.nan, math.inf, "bright", [1.0, 2.0]])
def test_a_maximum_that_cannot_be_one_is_computed(folder, stored):
    with h5py.File(folder / "a.h5", "r+") as file:
        file.attrs["max"] = stored
        expected = file["reconstruction_rss"][()].max()
    assert describe(folder / "a.h5").maximum == pytest.approx(expected)


def test_an_empty_middle_slice_says_nothing_of_the_sampling(folder):
    with h5py.File(folder / "a.h5", "r+") as file:
        file["kspace"][1] = 0
    entry = describe(folder / "a.h5")
    assert not entry.sampled and entry.acquired == (0, 24, 2, 19)


def test_an_index_of_ones_own(folder, tmp_path, described):
    cache = tmp_path / "elsewhere.json"
    index_folder(folder, cache)
    index_folder(folder, cache)
    assert len(described) == 2
    assert not (tmp_path / "mrirecon_index.json").exists()
    with pytest.raises(FileNotFoundError, match=r"the folder .*missing does not exist"):
        index_folder(folder, tmp_path / "missing" / "index.json")


def test_where_no_index_can_be_written_it_stays_in_memory(folder):
    (folder.parent / "mrirecon_index.json").mkdir()
    assert len(index_folder(folder)) == 2
    assert sorted(path.name for path in folder.parent.iterdir()) == [
        "mrirecon_index.json",
        "multicoil_train",
    ]


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"multicoil_train: no such folder"):
        FastMRIDataModule(tmp_path, [R4]).train_dataloader()
    (tmp_path / "multicoil_train").mkdir()
    with pytest.raises(ValueError, match=r"multicoil_train holds no \.h5 or \.hdf5 file"):
        FastMRIDataModule(tmp_path, [R4]).train_dataloader()
    (tmp_path / "multicoil_val").write_text("")
    with pytest.raises(NotADirectoryError, match=r"multicoil_val is no folder"):
        FastMRIDataModule(tmp_path, [R4]).val_dataloader()


def test_folders_have_names_of_ones_own(folder, tmp_path):
    module = FastMRIDataModule(tmp_path, [R4], train_folder="multicoil_train", val_folder="mine")
    write(tmp_path / "mine" / "a.h5", (1, 2, 24, 20), (20, 20))
    assert len(module.train_dataloader()) == 4
    assert len(module.val_dataloader()) == 1


def test_files_that_cannot_be_used(folder):
    (folder / "c.h5").write_bytes((folder / "a.h5").read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"c\.h5: the HDF5 file is truncated"):
        index_folder(folder)
    (folder / "c.h5").write_text("no HDF5 at all")
    with pytest.raises(ValueError, match=r"c\.h5: the HDF5 file is damaged"):
        index_folder(folder)


def test_the_challenge_must_be_that_of_the_files(folder, tmp_path):
    module = FastMRIDataModule(
        tmp_path, [R4], "singlecoil", train_folder="multicoil_train", workers=0
    )
    with pytest.raises(ValueError, match=r"challenge is singlecoil, .*a\.h5 has 2 coils"):
        module.train_dataloader()


def test_options_that_cannot_be_met(tmp_path):
    with pytest.raises(ValueError, match="unknown mask kind 'unform1d': did you mean uniform1d"):
        MaskSpec("unform1d", 4)
    with pytest.raises(ValueError, match=r"acceleration is 0\.5"):
        MaskSpec("uniform1d", 0.5)
    with pytest.raises(ValueError, match=r"center_fraction is 8"):
        MaskSpec("uniform1d", 4, 8.0)
    with pytest.raises(ValueError, match=r"volume_fraction is 0\.0"):
        FastMRIDataModule(tmp_path, [R4], volume_fraction=0.0)
    write(tmp_path / "multicoil_train" / "a.h5", (1, 2, 24, 20), (20, 20))
    for wrong in ({"adjacent_slices": 2}, {"batch_size": 0}, {"workers": -1}):
        (name,) = wrong
        with pytest.raises(ValueError, match=f"{name} is {wrong[name]}"):
            FastMRIDataModule(tmp_path, [R4], **wrong).train_dataloader()


def test_a_share_of_the_volumes(tmp_path):
    for number in range(10):
        write(tmp_path / "multicoil_train" / f"{number}.h5", (1, 1, 12, 10), (10, 10))

    def names(fraction, seed):
        module = FastMRIDataModule(tmp_path, [R4], volume_fraction=fraction, seed=seed, workers=0)
        return {entry.name for entry in module.train_dataloader().dataset.entries}

    assert len(names(1.0, 0)) == 10
    assert len(names(0.3, 0)) == 3
    assert len(names(0.01, 0)) == 1
    assert names(0.3, 0) == names(0.3, 0)
    assert len({frozenset(names(0.3, seed)) for seed in range(8)}) > 4


@pytest.fixture
def modules_by_name():
    """Lets jsonargparse name modules, which a command that ran in this process before has forbidden for good."""
    import jsonargparse

    jsonargparse.set_parsing_settings(import_path_allowlist=["mrirecon"])
    yield
    jsonargparse.set_parsing_settings(import_path_denylist=["mrirecon"])


@pytest.mark.usefixtures("modules_by_name")
def test_the_module_is_configured_by_yaml(tmp_path):
    import jsonargparse

    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(FastMRIDataModule, "data")
    config = tmp_path / "data.yaml"
    config.write_text(
        f"""
root: {tmp_path}
masks:
  - {{kind: uniform1d, acceleration: 4}}
  - {{kind: fastmri_random, acceleration: 8, center_fraction: 0.04}}
batch_size: 2
"""
    )
    module = parser.instantiate(parser.parse_args([f"--data={config}"])).data
    assert module.masks == [R4, MaskSpec("fastmri_random", 8, 0.04)]
    assert module.batch_size == 2
    config.write_text(f"root: {tmp_path}\nmasks:\n  - {{kind: uniform1d, acceleraton: 4}}\n")
    with pytest.raises(jsonargparse.ArgumentError, match="accelerat"):
        parser.parse_args([f"--data={config}"])
