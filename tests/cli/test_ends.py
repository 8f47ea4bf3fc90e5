"""How a run ends that is told to: nothing half-written stays, and the exit status says why."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

WRITES = ("convert", "big.npy", "out/b.h5")


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "big.npy", np.ones((400, 4, 96, 96), np.complex64))
    (tmp_path / "out").mkdir()
    return tmp_path


def begin(folder, *args, **options):
    line = [sys.executable, "-m", "mrirecon", *args]
    return subprocess.Popen(
        line, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options
    )


def wait_for(process, condition):
    limit = time.monotonic() + 120
    while process.poll() is None and not condition():
        assert time.monotonic() < limit
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGTERM, "ended by SIGTERM"),
        (signal.SIGHUP, "ended by SIGHUP"),
        (signal.SIGINT, "interrupted"),
    ],
)
def test_a_signal_leaves_nothing(folder, number, words):
    process = begin(folder, *WRITES)
    wait_for(process, lambda: any((folder / "out").iterdir()))
    process.send_signal(number)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 128 + number
    assert said.splitlines() == [f"mrirecon convert: {words}"]
    assert not list((folder / "out").iterdir())


def test_a_signal_that_is_ignored_stays_so(folder):
    """As under nohup."""
    process = begin(
        folder, *WRITES, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    wait_for(process, lambda: any((folder / "out").iterdir()))
    process.send_signal(signal.SIGHUP)
    said = process.communicate(timeout=120)[1]
    assert (process.returncode, said) == (0, "")
    assert [path.name for path in (folder / "out").iterdir()] == ["b.h5"]


def test_an_interrupt_while_modules_are_imported(folder):
    """By then nothing is to be tidied up; a traceback of some library's import helps nobody."""
    hold = "import sys, time; sys.modules.pop('mrirecon.cli.run', None)\n"
    (folder / "jsonargparse.py").write_text(
        f"{hold}print('importing', flush=True)\ntime.sleep(60)\n"
    )
    code = "import sys; sys.path.insert(0, '.'); from mrirecon.cli import main; main(['info', 'big.npy'])"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert (process.returncode, said) == (130, "mrirecon info: interrupted\n")


def test_a_library_that_cannot_be_loaded_is_one_line(folder):
    """As where the memory is limited too much for torch."""
    (folder / "jsonargparse.py").write_text("raise ImportError('failed to map segment')\n")
    code = "import sys; sys.path.insert(0, '.'); from mrirecon.cli import main; main(['info', 'big.npy'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2
    assert (
        len(done.stderr.splitlines()) == 1
        and "failed to map segment" in done.stderr
        and "ulimit" in done.stderr
    )


def test_whoever_reads_may_have_enough(folder):
    """As in `mrirecon methods | head`."""
    line = [sys.executable, "-m", "mrirecon", "methods"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder)
    process.stdout.close()
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait(120) == 141 and not told
