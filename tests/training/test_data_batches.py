"""Batches: buckets, several processes, resuming, memory and open files."""

import gc
import os
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from fastmri_layout import write
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from mrirecon.masks import MaskSpec
from mrirecon.training.core.batches import BucketSampler
from mrirecon.training.end_to_end.data import FastMRIDataModule
from mrirecon.training.end_to_end.index import index_folder

MASKS = [MaskSpec("uniform1d", 3), MaskSpec("fastmri_random", 2, 0.08)]
SHAPES = [(3, 2, 24, 20), (4, 2, 24, 20), (5, 3, 24, 20), (2, 2, 24, 22), (1, 2, 26, 20)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Volumes of four sizes, one of which has another window too."""
    root = tmp_path_factory.mktemp("mixed")
    for folder in ("multicoil_train", "multicoil_val"):
        for number, shape in enumerate(SHAPES):
            write(root / folder / f"{number}.h5", shape, (20, 20))
        write(root / folder / "9.h5", SHAPES[0], (18, 18))
    return root


@pytest.fixture(scope="module")
def entries(root):
    return index_folder(root / "multicoil_train")


def slices(entries):
    return {(n, index) for n, entry in enumerate(entries) for index in range(entry.shape[0])}


def seen(batches):
    return [(request.entry, request.index) for batch in batches for request in batch]


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_each_process_has_as_many_batches_and_together_they_have_all(
    entries, seed, processes, batch_size
):
    samplers = [BucketSampler(entries, batch_size, seed, r, processes) for r in range(processes)]
    shares = [list(sampler) for sampler in samplers]
    assert {len(share) for share in shares} == {len(samplers[0])}
    for step in zip(*shares, strict=True):
        assert len({len(batch) for batch in step}) == 1
        assert len({entries[n].bucket for n, _ in seen(step)}) == 1
    everything = [one for share in shares for one in seen(share)]
    assert set(everything) == slices(entries)
    if seed is None:  # copies only where a process would have nothing
        assert len(everything) - len(slices(entries)) < processes * len(samplers[0])
        assert processes > 1 or len(everything) == len(slices(entries))
        assert seen(shares[0]) == sorted(seen(shares[0])) or len(shares[0]) > 1
    else:
        assert {len(batch) for share in shares for batch in share} == {batch_size}


@pytest.mark.parametrize("seed", [None, 3])
def test_two_processes_see_what_one_sees_with_twice_the_batch(entries, seed):
    one = BucketSampler(entries, 4, seed)
    two = [BucketSampler(entries, 2, seed, rank, 2) for rank in range(2)]
    for sampler in (one, *two):
        sampler.set_epoch(5)
    for whole, *parts in zip(one, *two, strict=True):
        together = [request for part in parts for request in part]
        assert set(together) == set(whole)
        assert seed is None or sorted(together) == sorted(whole)


def test_the_order_follows_seed_and_epoch(entries):
    def order(seed, epoch):
        sampler = BucketSampler(entries, 2, seed)
        sampler.set_epoch(epoch)
        return seen(sampler)

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_batches_are_of_one_size(root):
    module = FastMRIDataModule(root, MASKS, batch_size=2, adjacent_slices=3, workers=2)
    coils = set()
    for batch in module.train_dataloader():
        assert batch.kspace.shape[:2] == (2, 3)
        assert batch.kspace.shape[-2:] == batch.mask.shape[-2:] == batch.calibration.shape[-2:]
        assert batch.target.shape == batch.mask[:, batch.crop[0], batch.crop[1]].shape
        assert len(batch.volume) == len(batch.index) == len(batch.slices) == 2
        coils.add(batch.kspace.shape[2])
    assert coils == {2, 3}


def identity(batch):
    return batch.volume, batch.index.tolist(), batch.mask.sum().item(), batch.kspace.abs().sum()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_threads_change_nothing(root, workers):
    plain = FastMRIDataModule(root, MASKS, batch_size=2, workers=0).train_dataloader()
    threads = FastMRIDataModule(root, MASKS, batch_size=2, workers=workers).train_dataloader()
    assert list(map(identity, plain)) == list(map(identity, threads))


class Recorder(LightningModule):
    """Learns nothing, and remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.batches, self.validated = [], []

    def training_step(self, batch, index):
        self.batches.append((self.current_epoch, *identity(batch)))
        return self.weight * 1.0

    def validation_step(self, batch, index):
        self.validated.append(identity(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(root, folder, recorder, *, workers, every=1, ckpt_path=None, **options):
    data = FastMRIDataModule(root, MASKS, batch_size=2, workers=workers)
    save = ModelCheckpoint(folder, every_n_train_steps=every, save_top_k=-1, filename="{step}")
    trainer = Trainer(
        max_epochs=3,
        callbacks=[save],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )
    trainer.fit(recorder, data, ckpt_path=ckpt_path)
    return recorder


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*")
@pytest.mark.parametrize(("workers", "accumulate"), [(0, 1), (2, 1), (2, 2)])
def test_an_interrupted_run_goes_on_with_the_very_next_batch(root, tmp_path, workers, accumulate):
    options = {"workers": workers, "accumulate_grad_batches": accumulate}
    whole = fit(root, tmp_path / "whole", Recorder(), **options).batches
    per_epoch = len(whole) // 3
    assert [epoch for epoch, *_ in whole] == [e for e in range(3) for _ in range(per_epoch)]
    assert len({str(whole[e * per_epoch : (e + 1) * per_epoch]) for e in range(3)}) == 3
    saved = {int(p.stem.split("=")[1]): p for p in (tmp_path / "whole").iterdir()}
    assert len(saved) >= len(whole) // accumulate - 1
    steps = sorted(saved)
    steps_per_epoch = -(-per_epoch // accumulate)
    for step in (1, steps_per_epoch - 1, steps_per_epoch, steps_per_epoch + 2, 2 * steps_per_epoch):
        assert step in steps
        done = step // steps_per_epoch * per_epoch + step % steps_per_epoch * accumulate
        rest = fit(root, tmp_path / f"rest{step}", Recorder(), ckpt_path=saved[step], **options)
        assert rest.batches == whole[done:], step


def test_a_saved_position_counts_what_was_handed_out_and_not_what_was_read_ahead(root):
    def loader():
        return FastMRIDataModule(root, MASKS, batch_size=1, workers=2).train_dataloader()

    whole = list(map(identity, loader()))
    first = loader()
    batches = iter(first)
    for _ in range(3):
        next(batches)
    state = first.state_dict()
    second = loader()
    second.load_state_dict(state)
    assert second.state_dict() == state == {"epoch": 0, "batches": 3}
    assert list(map(identity, second)) == whole[3:]
    assert list(map(identity, second)) == whole
    assert len(second) == len(whole)


def resident_mb():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def open_files(folder):
    count = 0
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing itself
            count += handle.readlink().is_relative_to(folder)
    return count


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize(("workers", "allowed_mb"), [(0, 10), (2, 60)])
def test_memory_and_open_files_do_not_grow(tmp_path, workers, allowed_mb):
    """Two threads more have heaps of their own, which fill up to some level."""
    for number in range(12):
        write(tmp_path / "multicoil_train" / f"{number}.h5", (3, 4, 192, 160), (128, 128))
    loader = FastMRIDataModule(tmp_path, MASKS, batch_size=2, workers=workers).train_dataloader()

    def read(epochs):
        for epoch in epochs:
            loader.batch_sampler.set_epoch(epoch)
            for _ in loader:
                # Each thread keeps 8, and has one more while it opens that.
                assert open_files(tmp_path) <= 9 * max(workers, 1)

    read(range(2))
    before = resident_mb()
    read(range(2, 8))  # 212 MB of k-space
    assert resident_mb() - before < allowed_mb
