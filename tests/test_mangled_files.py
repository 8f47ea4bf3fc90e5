"""Three hundred mangled files of all formats: one clear error, or what is read agrees with itself.

More of them: `measurements/fuzz.py`.
"""

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from mangling import Case, Verdict, judged, mangled, oracle
from mangling.cases import whole_files
from mangling.seeds import SEEDS

FILES, PARTS, SEED = 300, 10, 20


def test_the_whole_files_are_read(tmp_path):
    for name, path in whole_files(tmp_path / "whole").items():
        assert oracle.READ[SEEDS[name].kind](path) is None, name


@pytest.mark.parametrize("part", range(PARTS))
def test_mangled_files_give_one_clear_error_or_agree_with_themselves(tmp_path, part):
    wrong = []
    for case in mangled(tmp_path, range(part, FILES, PARTS), SEED):
        verdict = judged(case)
        if verdict.is_fault:
            wrong.append(f"{case.number} ({case.seed}; {case.change}): {verdict}")
        shutil.rmtree(case.path.parent)
    assert not wrong, "\n".join(wrong)


def raising(error):
    def read(path):
        raise error

    return read


def warning(path):
    np.log(np.zeros(1))


def printing(path):
    os.write(2, b"odd")


@pytest.mark.parametrize(
    ("read", "must_refuse", "answer"),
    [
        (lambda path: None, False, "read"),
        (lambda path: None, True, "accepted"),
        (raising(ValueError("scan.npy: the file is damaged: copy it again")), True, "error"),
        (raising(ValueError("the file is damaged: copy it again")), False, "sentence"),
        (raising(ValueError("scan.npy: one line\nand another")), False, "sentence"),
        (raising(OSError(5, "scan.npy cannot be read at all")), False, "sentence"),
        (raising(KeyError("kspace")), False, "exception"),
        (raising(MemoryError()), False, "exception"),
        (warning, False, "warning"),
        (printing, False, "warning"),
        (lambda path: os.kill(os.getpid(), signal.SIGKILL), False, "signal"),
        (lambda path: np.ones(1 << 30).sum() and None, False, "exception"),  # 8 GB
        (lambda path: time.sleep(60), False, "hang"),
    ],
)
def test_every_fault_is_seen(tmp_path, monkeypatch, read, must_refuse, answer):
    monkeypatch.setitem(oracle.READ, "scan", read)
    monkeypatch.setattr(oracle, "SECONDS", 1.0)
    (tmp_path / "scan.npy").touch()
    case = Case(0, "npy", "scan", Path(tmp_path / "scan.npy"), "nothing", must_refuse)
    verdict = judged(case)
    assert isinstance(verdict, Verdict) and verdict.answer == answer, verdict


def test_the_same_seed_mangles_alike(tmp_path):
    one, two = (
        [(case.change, case.path.stat().st_size) for case in mangled(tmp_path / name, range(9), 3)]
        for name in ("one", "two")
    )
    assert one == two
