"""Interrupted, killed and resumed runs; two processes; full disks."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
import runs
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from mrirecon.training.core.checkpoints import (
    Checkpoints,
    CheckpointSettings,
    WholeFiles,
    best_checkpoints,
)
from mrirecon.training.run import Run

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Rounding depends on how many threads share a sum; the processes started here get as many as this one."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return runs.make_data(tmp_path_factory.mktemp("data"))


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *args):
        trainer.should_stop = trainer.global_step == self.step


def assert_same(a, b, where=""):
    """Bit for bit."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for n, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}/{n}")
    elif torch.is_tensor(a):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def assert_same_end(one, other):
    a, b = runs.last(one), runs.last(other)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "validation"):
        assert_same(a[part], b[part], part)


# Dropout draws from the global stream; workers read ahead; validation runs in the middle of an epoch.
HARD = {
    "network": {"name": "unet", "chans": 2, "num_pool_layers": 2, "drop_prob": 0.3},
    "data": {"workers": 1},
    "trainer": {"val_check_interval": 0.5},
}
ACCUMULATED = {"trainer": {"accumulate_grad_batches": 4}}


@pytest.mark.parametrize(
    ("changed", "steps"), [(HARD, (2, 9)), (ACCUMULATED, (1, 2))], ids=["hard", "accumulated"]
)
def test_an_interrupted_run_ends_with_the_same_weights(root, tmp_path, changed, steps):
    straight = runs.fit(runs.config(root, tmp_path / "straight", **changed))
    settings = runs.config(root, tmp_path / "stopped", **changed)
    for step in steps:
        runs.fit(settings, StopAt(step), resume=True)
        assert runs.last(tmp_path / "stopped")["global_step"] == step
    runs.fit(settings, resume=True)
    assert_same_end(tmp_path / "straight", tmp_path / "stopped")
    assert straight.export().read_bytes() == Run.of(settings).export().read_bytes()


class CtrlC(Callback):
    """Presses Ctrl-C in the middle of a step, so many times."""

    def __init__(self, step, times=1):
        self.step, self.times = step, times

    def on_before_optimizer_step(self, trainer, *args):
        if trainer.global_step == self.step - 1:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_loses_nothing(root, tmp_path):
    """In the middle of an epoch, and in its last step, after which validation comes first."""
    changed = {"checkpoints": {"every_minutes": 0.0}}
    straight = runs.config(root, tmp_path / "straight", **changed)
    runs.fit(straight)
    settings = runs.config(root, tmp_path / "stopped", **changed)
    for step in (2, 6):
        with pytest.raises(KeyboardInterrupt):
            runs.fit(settings, CtrlC(step), resume=True)
        assert runs.last(tmp_path / "stopped")["global_step"] == step
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        runs.fit(settings, CtrlC(8, times=2), resume=True)
    assert runs.last(tmp_path / "stopped")["global_step"] == 6
    runs.fit(settings, resume=True)
    assert_same_end(tmp_path / "straight", tmp_path / "stopped")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def command(settings, path):
    """Arguments that train with a configuration in another process."""
    path.write_text(json.dumps(settings))
    config, output = f"--config={path}", f"--output={settings['output']}"
    return [sys.executable, "-m", "mrirecon", "train", config, output, "--ckpt_path", "last"]


def test_a_killed_run_goes_on(root, tmp_path):
    """Signal 9 at random moments, twice, then resumed: the same weights as never killed."""
    changed = {"checkpoints": {"every_steps": 1}, "trainer": {"max_epochs": 8}}
    runs.fit(runs.config(root, tmp_path / "straight", **changed))
    settings = runs.config(root, tmp_path / "killed", **changed)
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    draw = random.Random(0)
    before = 0
    for _ in range(2):
        process = subprocess.Popen(
            command(settings, tmp_path / "config.yaml"), stdout=subprocess.DEVNULL, cwd=CHECKOUT
        )
        while not last.exists() or last.stat().st_mtime_ns == before:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.5))
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert 0 < runs.last(tmp_path / "killed")["global_step"] < 48  # it loads, whatever happened
        before = last.stat().st_mtime_ns
    runs.fit(settings, resume=True)
    assert_same_end(tmp_path / "straight", tmp_path / "killed")
    assert not list(last.parent.glob(".partial-*"))


def test_two_processes_equal_one_with_twice_the_batch(root, tmp_path):
    """The loss curve to rounding; metrics of the same weights exactly."""
    slow = {"lr": 3e-4}  # large steps amplify rounding
    one = runs.config(root, tmp_path / "one", data={"batch_size": 2}, optimizer=slow)
    two = runs.config(
        root,
        tmp_path / "two",
        data={"batch_size": 1},
        optimizer=slow,
        trainer={"devices": 2, "strategy": "ddp"},
    )
    path = tmp_path / "two.json"
    path.write_text(json.dumps(two))
    script = [sys.executable, HERE / "runs.py", path, tmp_path / "two-metrics.json"]
    done = subprocess.run(script, capture_output=True, text=True, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr
    alone = runs.config(root, tmp_path / "alone", data={"batch_size": 1})
    alone["trainer"]["max_epochs"] = 0
    runs.validate_and_fit(alone, tmp_path / "one-metrics.json")
    assert (tmp_path / "two-metrics.json").read_text() == (
        tmp_path / "one-metrics.json"
    ).read_text()
    runs.fit(one)
    for column in ("train_loss", "val_loss", "val_ssim", "val_psnr"):
        mine, theirs = (runs.logged(tmp_path / name, column) for name in ("one", "two"))
        if column != "train_loss":
            theirs = theirs[-len(mine) :]  # the first is of validate_and_fit
        assert len(mine) > 1 and mine == pytest.approx(theirs, rel=2e-6), column
    # The card tells what all processes saw, not the first one alone.
    seen = [runs.last(tmp_path / name)["callbacks"]["SeenScans"] for name in ("one", "two")]
    assert seen[0] == seen[1]
    assert sorted(seen[0]["intensities"]) == [f"file{number}.h5" for number in range(4)]
    # Gradients must have been averaged: the processes end with the same weights as one.
    states = [runs.last(tmp_path / name)["state_dict"] for name in ("one", "two")]
    for name, value in states[0].items():
        assert torch.allclose(value, states[1][name], atol=1e-6), name


def beside(first):
    """The trainer of a process beside another one, which decided `first`."""
    trainer = Mock(spec=Trainer, sanity_checking=False, is_global_zero=False, global_step=7)
    trainer.callback_metrics = {"val_ssim": torch.tensor(0.5)}
    trainer.strategy.broadcast.return_value = first
    trainer.strategy.reduce_boolean_decision = lambda mine, all: mine
    return trainer


MODULE = Mock(spec=LightningModule)


@pytest.mark.parametrize("first", [True, False])
def test_all_processes_save_when_the_first_one_does(tmp_path, first):
    """Whatever the others see in the folder: writing has a barrier."""
    (tmp_path / ("best-val_ssim-0.9-step6.ckpt" if first else "other")).touch()
    trainer = beside(first)
    Checkpoints(tmp_path, CheckpointSettings(), None).on_validation_end(trainer, MODULE)
    assert trainer.save_checkpoint.called == first


def test_processes_that_would_start_from_different_checkpoints_refuse(tmp_path):
    last = tmp_path / "last.ckpt"
    trainer = beside(last)
    with pytest.raises(OSError, match="an --output that all machines share"):
        Checkpoints(tmp_path, CheckpointSettings(), None).setup(trainer, MODULE, "fit")
    Checkpoints(tmp_path, CheckpointSettings(), last).setup(trainer, MODULE, "fit")


def test_which_checkpoint_a_run_goes_on_from(root, tmp_path):
    run = Run.of(runs.config(root, tmp_path / "run"))
    assert run.start("last") is None
    run.folder.mkdir(parents=True)
    (run.folder / ".partial-1.ckpt").touch()  # of a run that was killed early
    assert run.start("last") is None
    older, best, other = run.folder / "best-1.ckpt", run.folder / "best-2.ckpt", tmp_path / "o.ckpt"
    for age, path in enumerate((other, best, older)):
        path.touch()
        os.utime(path, (-age, -age))
    with pytest.raises(FileNotFoundError, match=rf"no last\.ckpt.* go on with --ckpt_path {best}"):
        run.start("last")
    (run.folder / "last.ckpt").touch()
    assert run.start("last") == run.folder / "last.ckpt"
    assert run.start(str(older)) == older
    for path in (None, str(other)):
        with pytest.raises(FileExistsError, match="choose another --output"):
            run.start(path)


# --- what is kept ---


def test_the_best_checkpoints_are_kept(root, tmp_path):
    changed = {"checkpoints": {"keep_best": 2}, "trainer": {"max_epochs": 5}}
    run = runs.fit(runs.config(root, tmp_path, **changed))
    scores = runs.logged(tmp_path, "val_ssim")
    kept = best_checkpoints(run.folder, CheckpointSettings())
    assert [b.score for b in kept] == pytest.approx(sorted(scores, reverse=True)[:2], rel=1e-5)
    assert sorted(path.name for path in run.folder.iterdir()) == sorted(
        ["last.ckpt", *(b.path.name for b in kept)]
    )


def test_best_checkpoints_sort_by_score_each_monitor_alone(tmp_path):
    for score in ("0.9-step10", "0.95-step5", "1e-05-step7"):
        for monitor in ("val_ssim", "val_loss"):
            (tmp_path / f"best-{monitor}-{score}.ckpt").touch()
    (tmp_path / "x.ckpt").touch()
    for monitor, steps in (("val_ssim", [5, 10, 7]), ("val_loss", [7, 10, 5]), ("val_psnr", [])):
        best = best_checkpoints(tmp_path, CheckpointSettings(monitor=monitor))
        assert [b.step for b in best] == steps


def test_checkpoints_by_steps_and_minutes(root, tmp_path):
    for kept, expected in (
        ({"every_steps": 4}, [4, 6, 10]),
        ({"every_minutes": 1e-9}, [1, 2, 3, 4, 5, 6, 7]),
    ):
        seen = []

        class Watch(Callback):
            def on_save_checkpoint(self, trainer, pl_module, checkpoint, seen=seen):
                seen.append(trainer.global_step)

        out = tmp_path / str(expected[0])
        settings = runs.config(root, out, checkpoints={**kept, "keep_best": 0})
        runs.fit(settings, Watch())
        assert seen[: len(expected)] == expected  # 6 is the end of the epoch


@pytest.mark.parametrize("key", ["every_steps", "every_minutes", "keep_best", "patience"])
def test_bad_checkpoint_settings(key):
    with pytest.raises(ValueError, match=f"checkpoints.{key} is -1"):
        CheckpointSettings(**{key: -1.0 if key == "every_minutes" else -1})


# --- what goes wrong ---


def test_a_full_disk_is_one_clear_error_and_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "last.ckpt"
    WholeFiles().save_checkpoint({"step": 1}, target)

    def full(file_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot write .*last\.ckpt: No space left"):
        WholeFiles().save_checkpoint({"step": 2}, target)
    assert torch.load(target, weights_only=True) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_file_system_that_refuses_to_write_is_one_clear_error(tmp_path):
    """A limit on the size of files makes the kernel refuse what torch writes."""
    code = (
        "import resource, signal, torch; from pathlib import Path\n"
        "from mrirecon.training.core.checkpoints import WholeFiles\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: WholeFiles().save_checkpoint({'x': torch.rand(1_000_000)}, Path('last.ckpt'))\n"
        "except OSError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.startswith("cannot write last.ckpt: ") and done.stdout.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_network_is_refused(root, tmp_path):
    settings = runs.config(root, tmp_path, trainer={"max_epochs": 1})
    runs.fit(settings)
    settings["network"]["chans"] = 3
    with pytest.raises(ValueError, match=r"network.*'chans': 2.*'chans': 3"):
        runs.fit(settings, resume=True)


def test_averaging_cannot_change_on_resume(root, tmp_path):
    settings = runs.config(root, tmp_path, trainer={"max_epochs": 1})
    runs.fit(settings)
    settings["optimizer"]["ema_decay"] = 0.0
    with pytest.raises(ValueError, match=r"optimizer\.ema_decay"):
        runs.fit(settings, resume=True)


def test_a_checkpoint_executes_no_code(root, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "owned").touch, ())

    settings = runs.config(root, tmp_path)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    torch.save({"state_dict": Evil()}, folder / "last.ckpt")
    with pytest.raises(ValueError, match=r"last\.ckpt is damaged or no checkpoint"):
        runs.fit(settings, resume=True)
    assert not (tmp_path / "owned").exists()
