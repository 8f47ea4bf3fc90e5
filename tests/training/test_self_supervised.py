"""Training without references: what is left out, that nothing tells of it, each loss, and runs of every network."""

import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
import runs
import torch
from pytorch_lightning import Callback

from mrirecon.coverage import calibration_region
from mrirecon.io import read_scan, write_scan
from mrirecon.masks import MaskSpec
from mrirecon.networks import NETWORKS
from mrirecon.networks.base import calibration_of
from mrirecon.recon.left_out.loss import prediction_loss
from mrirecon.tensors import fft2c
from mrirecon.training.core.batches import SliceRequest
from mrirecon.training.end_to_end.data import FastMRIDataModule
from mrirecon.training.end_to_end.dataset import Batch
from mrirecon.training.end_to_end.index import describe
from mrirecon.training.end_to_end.left_out import left_out_loss, predictions
from mrirecon.training.end_to_end.loss import Loss
from mrirecon.training.end_to_end.module import UnrolledModule
from mrirecon.training.end_to_end.pictures import alone
from mrirecon.training.run import Run
from mrirecon.weights import load_weights

MASK = {"kind": "uniform1d", "acceleration": 2, "center_fraction": 0.2}
SSDU = {"ssim": 0.0, "l1": 0.0, "self_supervised": 1.0}
NETWORK = {
    "varnet": runs.VARNET,
    "humus": {
        "num_cascades": 1,
        "num_adj_slices": 3,
        "sens_chans": 2,
        "sens_pools": 2,
        "img_size": [24, 24],
        "window_size": 3,
        "embed_dim": 4,
        "depths": [1, 1],
        "num_heads": [1, 2],
        "bottleneck_heads": 2,
        "drop_path_rate": 0.0,
    },
    "unrolled_prior": {"steps": 2, "cg_steps": 3, "denoiser": {"widths": [4, 6]}},
    "neumann": {"blocks": 2, "cg_steps": 3, "features": 4, "batch_norm": False},
}


def undersample(root, files="*"):
    """Leave every file as a scanner does that skipped lines and knows no reference."""
    for number, path in enumerate(sorted(root.glob(f"multicoil_*/{files}.h5"))):
        scan = read_scan(path)
        spec = MaskSpec(**MASK)
        mask = spec.draw(scan.shape[2:], (number,), torch.ones(scan.shape[2:], dtype=torch.bool))
        part = path.with_name("part.h5")
        write_scan(replace(scan.undersample(mask), reference=None), part)
        part.replace(path)
    return root


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return runs.make_data(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def root(full, tmp_path_factory):
    """Undersampled scans without references."""
    copy = tmp_path_factory.mktemp("undersampled") / "data"
    shutil.copytree(full, copy)
    return undersample(copy)


@pytest.fixture(scope="module")
def mixed(full, tmp_path_factory):
    """Half of the training scans undersampled and without references."""
    copy = tmp_path_factory.mktemp("mixed") / "data"
    shutil.copytree(full, copy)
    return undersample(copy, "file[01]")


def config(root, output, name="varnet", loss=SSDU, monitor="val_left_out", **changed):
    changed = {"trainer": {"max_epochs": 1}, **changed}
    made = runs.config(root, output, checkpoints={"monitor": monitor}, **changed)
    made["network"], made["loss"] = {"name": name, **NETWORK[name]}, loss
    del made["data"]["masks"]
    made["data"] |= changed.get("data", {})
    return made


def batch_of(root, **options):
    data = FastMRIDataModule(root, [], batch_size=2, workers=0, loss=Loss(**SSDU), **options)
    return next(iter(data.train_dataloader()))


def network_of(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NETWORKS[name](**NETWORK[name])


# --- what is left out ---


def test_what_is_left_out_was_measured_and_is_not_seen(root):
    batch = batch_of(root)
    assert batch.left_out.shape == (2, 1, *runs.SHAPE) and batch.target is None
    seen = batch.without(0)
    assert torch.equal(seen.mask | batch.left_out[:, 0], batch.mask)
    assert not bool((seen.mask & batch.left_out[:, 0]).any())
    assert bool(batch.left_out.any((1, 2, 3)).all())
    assert not bool(seen.kspace[:, 0][~seen.mask[:, None].expand_as(seen.kspace[:, 0])].any())
    # The sensitivity network looks at samples that are there.
    assert not bool((seen.calibration & ~seen.mask).any())
    assert torch.equal(seen.calibration, batch.calibration & calibration_of(seen.mask))
    # A third of the columns outside the centre.
    columns = batch.left_out[0, 0].any(0).sum() / (batch.mask[0].any(0).sum() - 6)
    assert float(columns) == pytest.approx(1 / 3, abs=0.1)


def test_a_calibration_wider_than_what_always_stays_has_no_holes():
    mask = torch.ones(1, 60, 60, dtype=torch.bool)
    left_out = torch.zeros(1, 1, 60, 60, dtype=torch.bool)
    left_out[..., [15, 47]] = True
    one = torch.ones(1)
    kspace = torch.ones(1, 1, 2, 60, 60, dtype=torch.complex64)
    whole = slice(0, 60), slice(0, 60)
    weight = torch.ones(1, 60, 60)
    batch = Batch(
        kspace, mask, mask, None, one, ("a",), one.long(), one.long(), whole, None, left_out, weight
    )
    calibration = batch.without(0).calibration
    assert not bool(calibration[..., :16].any()) and bool(calibration[..., 16:44].all())


def test_samples_are_drawn_anew_in_training_and_fixed_by_file_name_in_validation(root):
    data = FastMRIDataModule(root, [], workers=0, loss=Loss(**SSDU, splits=2, share=0.5))
    training, validation = data.train_dataloader().dataset, data.val_dataloader().dataset

    def drawn(dataset, epoch=0, entry=0, index=0):
        return dataset.__getitems__([SliceRequest(epoch, entry, index)]).left_out

    first = drawn(training)
    assert first.shape[1] == 2 and not torch.equal(first[:, 0], first[:, 1])
    assert torch.equal(first, drawn(training))
    for other in ({"epoch": 1}, {"entry": 1}, {"index": 1}):
        assert not torch.equal(drawn(training, **other), first)
    # One set of a tenth, whatever is trained with, so that runs can be compared.
    held = drawn(validation)
    assert held.shape[1] == 1 and held.sum() < first[:, 0].sum()
    assert torch.equal(held, drawn(validation, epoch=3))
    assert not torch.equal(held, drawn(validation, index=1))


def test_a_scan_of_the_centre_only_is_named(root, tmp_path):
    shutil.copytree(root, tmp_path / "data")
    path = sorted((tmp_path / "data" / "multicoil_train").glob("*.h5"))[0]
    with h5py.File(path, "r+") as file:
        centre = np.zeros(runs.SHAPE[1], bool)
        centre[[2, *range(13, 19)]] = True
        file["mask"][...] = centre
        file["kspace"][...] *= centre
    with pytest.raises(ValueError, match=rf"{path.name}: hardly anything was sampled outside"):
        runs.fit(config(tmp_path / "data", tmp_path / "run"))


def test_an_interpolated_image_grid_matters_to_targets_only(root, full, tmp_path):
    finer = tuple(2 * size for size in runs.SHAPE)
    for folder, name in ((root, "undersampled.h5"), (full, "full.h5")):
        scan = read_scan(folder / "multicoil_train" / "file0.h5")
        reference = None if scan.reference is None else lambda index: torch.ones(finer)
        path = tmp_path / name
        write_scan(replace(scan, matrix=finer, reference=reference), path)
    assert read_scan(tmp_path / "undersampled.h5").matrix == finer
    entry = describe(tmp_path / "undersampled.h5")
    assert entry.sampled and entry.crop == (0, runs.SHAPE[0], 0, runs.SHAPE[1])
    with pytest.raises(ValueError, match="its target of 72 x 64 is interpolated from 36 x 32"):
        describe(tmp_path / "full.h5")


# --- losses ---


def test_the_loss_is_the_mean_over_sets_and_slices(root):
    """By numpy, from the network's k-space; every set is predicted without that set only."""
    data = FastMRIDataModule(
        root, [], batch_size=2, workers=0, loss=Loss(**SSDU, splits=3, weighting="k")
    )
    batch = next(iter(data.train_dataloader()))
    network = network_of("varnet")
    expected = []
    for number in range(3):
        seen = batch.without(number)
        with torch.no_grad():
            kspace = network.refine(seen.kspace, seen.mask, seen.calibration).numpy()
        for n in range(2):
            points = batch.left_out[n, number].numpy()
            weight = batch.weight[n].numpy()[points]
            y = batch.kspace[n, 0].numpy()[:, points]
            r = kspace[n][:, points] - y
            squares = [np.sqrt((weight * np.abs(x) ** 2).sum()) for x in (r, y)]
            sizes = [(weight * (np.abs(x.real) + np.abs(x.imag))).sum() for x in (r, y)]
            expected.append(squares[0] / squares[1] + sizes[0] / sizes[1])
    assert batch.weight.unique().numel() > 1
    with torch.no_grad():
        found = left_out_loss(predictions(network, batch))
        module = UnrolledModule(network, Loss(**{**SSDU, "self_supervised": 0.5}))
        assert float(module.batch_loss(batch)) == pytest.approx(float(found) / 2)
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)


def test_k_weights_follow_the_formula(root):
    """(1 - p q) / (p (1 - q)), with p counted in bands of columns and q = 2 / 3."""
    data = FastMRIDataModule(root, [], workers=0, loss=Loss(**SSDU, weighting="k"))
    batch = next(iter(data.train_dataloader()))
    sampled = batch.mask[0, 0].numpy()
    width = len(sampled)
    _, centre = calibration_region(batch.mask[0])
    outside = sampled.copy()
    outside[centre] = False
    distance = np.abs(np.arange(width) - width // 2) / width
    edges = np.quantile(np.repeat(distance[outside], len(batch.mask[0])), np.linspace(0, 1, 7))
    band = np.searchsorted(edges[1:-1], distance)
    for column in np.flatnonzero(batch.left_out[0, 0, 0].numpy()):
        here = band == band[column]
        p = (outside & here).sum() / ((outside & here).sum() + (~sampled & here).sum())
        expected = (1 - p * 2 / 3) / (p / 3)
        assert float(batch.weight[0, 0, column]) == pytest.approx(expected, rel=1e-5)


def test_images_count_where_there_is_a_target_and_left_out_samples_everywhere(mixed, tmp_path):
    loss = Loss(ssim=0.5, l1=2.0, self_supervised=0.25)
    masks = [MaskSpec(**MASK)]
    data = FastMRIDataModule(mixed, masks, batch_size=2, workers=0, loss=loss)
    module = UnrolledModule(network_of("varnet"), loss)
    with_target = set()
    for batch in data.train_dataloader():
        predicted = 0.25 * float(left_out_loss(predictions(module.network, batch)).detach())
        image = module.network(batch.kspace, batch.mask, batch.calibration, batch.crop)
        expected = predicted
        if batch.target is not None:
            expected += float(loss(image, batch.target, batch.maximum).detach())
        assert float(module.batch_loss(batch).detach()) == pytest.approx(expected, rel=1e-5)
        with_target.add(batch.target is not None)
    assert with_target == {True, False}


def test_what_is_black_costs_nothing_and_moves_nothing(root):
    batch = batch_of(root)
    batch.kspace[1] = 0
    found = list(predictions(network_of("varnet"), batch))
    first, black, both = (
        x.detach() for x in (found[0].loss(), found[1].loss(), left_out_loss(found))
    )
    assert float(black) == 0 and float(both) == float(first / 2)
    predicted = torch.ones(1, 4, dtype=torch.complex64).requires_grad_()
    prediction_loss(predicted, torch.zeros(1, 4, dtype=torch.complex64)).backward()
    assert not bool(predicted.grad.any())


# --- nothing tells of what is left out, nor of a reference ---


@pytest.mark.parametrize("name", list(NETWORK))
def test_left_out_samples_do_not_change_their_prediction(name, root):
    network = network_of(name)
    data = FastMRIDataModule(
        root,
        [],
        batch_size=2,
        workers=0,
        adjacent_slices=network.adjacent_slices,
        loss=Loss(**SSDU),
    )
    batch = next(iter(data.train_dataloader()))
    points = batch.left_out[:, 0, None, None]
    poisoned = batch._replace(kspace=torch.where(points, 1e3 + 1e3j, batch.kspace))
    with torch.no_grad():
        one, other = (list(predictions(network, x)) for x in (batch, poisoned))
    for mine, theirs in zip(one, other, strict=True):
        assert torch.equal(mine.predicted, theirs.predicted)
        assert float(mine.loss()) != float(theirs.loss())
    # A sample that is seen does change it.
    batch.kspace[..., batch.calibration[0]] *= 1.5
    with torch.no_grad():
        assert not torch.equal(next(predictions(network, batch)).predicted, one[0].predicted)


@pytest.mark.parametrize("name", ["unrolled_prior", "neumann"])
def test_the_refined_kspace_is_that_of_the_image(root, name):
    network, batch = network_of(name), batch_of(root)
    given = batch.kspace, batch.mask, batch.calibration
    with torch.no_grad():
        kspace = network.refine(*given)
        image, maps = network._image_and_maps(*given)
        magnitude = network(*given, batch.crop)
    assert torch.allclose(
        kspace, fft2c(maps * image[:, None]), atol=1e-5 * float(kspace.abs().max())
    )
    assert torch.allclose(magnitude, image.abs()[(..., *batch.crop)])


def test_a_poisoned_reference_changes_nothing(full, tmp_path):
    """Fully sampled files with a reference that is nonsense, and with none."""
    changed = {"data": {"masks": [MASK]}}
    for name in ("as it is", "poisoned", "none"):
        data = tmp_path / name / "data"
        shutil.copytree(full, data)
        for number, path in enumerate(sorted(data.glob("*/*.h5"))):
            with h5py.File(path, "r+") as file:
                if name == "poisoned":
                    training = path.parent.name == "multicoil_train"
                    file["reconstruction_rss"][...] = np.nan if training else number + 1.0
                    file.attrs["max"] = 1e6
                if name == "none":
                    del file["reconstruction_rss"]
        runs.fit(config(data, tmp_path / name / "run", **changed))
    states = [
        runs.last(tmp_path / n / "run")["state_dict"] for n in ("as it is", "poisoned", "none")
    ]
    errors = [
        runs.logged(tmp_path / n / "run", "val_left_out") for n in ("as it is", "poisoned", "none")
    ]
    assert errors[0] == errors[1] == errors[2]
    for other in states[1:]:
        assert all(torch.equal(value, other[key]) for key, value in states[0].items())


# --- runs ---


@pytest.mark.parametrize("name", list(NETWORK))
def test_every_network_learns_from_undersampled_scans(name, root, tmp_path):
    changed = {
        "data": {"batch_size": 1},
        "trainer": {"max_steps": 3, "max_epochs": -1, "val_check_interval": 3},
    }
    run = runs.fit(config(root, tmp_path, name, **changed))
    losses, errors = (runs.logged(tmp_path, key) for key in ("train_loss", "val_left_out"))
    assert len(losses) == 3 and all(np.isfinite(losses)) and 0 < errors[0] < 5
    assert runs.logged(tmp_path, "val_ssim") == []
    (best,) = (tmp_path / "checkpoints").glob("best-val_left_out-*-step3.ckpt")
    assert float(best.name.split("-")[2]) == pytest.approx(errors[0], rel=1e-4)
    network, card = load_weights(run.export())
    assert network.name == name and card.training.masks == () and card.training.coils == (3, 3)
    assert card.metrics == pytest.approx({"volumes": 2, "left_out": errors[0]})


@pytest.mark.parametrize("name", ["varnet", "unrolled_prior"])
def test_steps_lower_the_loss(name, root):
    network, batch = network_of(name), batch_of(root)
    module = UnrolledModule(network, Loss(**SSDU))
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = module.batch_loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[-5:]) < 0.9 * losses[0]


def test_the_validation_error_by_numpy(root, tmp_path):
    run = runs.fit(config(root, tmp_path))
    sums = {}
    for batch in run.data.val_dataloader():
        seen = batch.without(0)
        with torch.no_grad():
            kspace = run.module.final.refine(seen.kspace, seen.mask, seen.calibration).numpy()
        for n, volume in enumerate(batch.volume):
            points, weight = batch.left_out[n, 0].numpy(), batch.weight[n].numpy()
            y = batch.kspace[n, 0].numpy()
            total = sums.setdefault(volume, np.zeros(2))
            for i, x in enumerate((kspace[n] - y, y)):
                total[i] += (weight * points * np.abs(x) ** 2).sum()
    expected = np.mean([np.sqrt(misfit / energy) for misfit, energy in sums.values()])
    assert len(sums) == 2
    assert runs.logged(tmp_path, "val_left_out")[-1] == pytest.approx(expected, rel=1e-5)


def test_a_mixed_run_reports_both(mixed, tmp_path):
    loss = {"ssim": 1.0, "l1": 0.0, "self_supervised": 1.0}
    changed = {"data": {"masks": [MASK]}}
    run = runs.fit(config(mixed, tmp_path, loss=loss, monitor="val_left_out", **changed))
    assert len(runs.logged(tmp_path, "val_left_out")) == 1
    card = json.loads(run.export().with_suffix(".json").read_text())
    assert card["metrics"]["volumes"] == 2 and "left_out" in card["metrics"]


class StopAt(Callback):
    """Ends training after a gradient step, with its checkpoint, as the end of a job does."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *args):
        trainer.should_stop = trainer.global_step >= self.step


def test_an_interrupted_run_ends_with_the_same_weights(mixed, tmp_path):
    loss = {"ssim": 1.0, "l1": 0.0, "self_supervised": 1.0, "splits": 2}
    changed = {"loss": loss, "data": {"masks": [MASK]}, "trainer": {"max_epochs": 2}}
    runs.fit(config(mixed, tmp_path / "straight", **changed))
    stopped = config(mixed, tmp_path / "stopped", **changed)
    runs.fit(stopped, StopAt(2))
    assert runs.last(tmp_path / "stopped")["global_step"] == 2
    runs.fit(stopped, resume=True)
    one, other = (runs.last(tmp_path / name)["state_dict"] for name in ("straight", "stopped"))
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_tensorboard_shows_the_reconstruction_alone(root, tmp_path):
    picture = alone(torch.tensor([[0.0, 1.0], [2.0, 4.0]]))
    assert picture.tolist() == [[0.0, 0.25], [0.5, 1.0]] and not alone(torch.zeros(2, 2)).any()
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    runs.fit({**config(root, tmp_path), "images": 1})
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (shown,) = board.Images("validation/file0.h5")
    assert (shown.height, shown.width) == runs.SHAPE


# --- what is refused ---


def test_a_network_without_kspace_is_refused():
    unet = NETWORKS["unet"](chans=2, num_pool_layers=1)
    with pytest.raises(ValueError, match=r"loss\.self_supervised.*unet gives a magnitude image"):
        UnrolledModule(unet, Loss(**SSDU))


@pytest.mark.parametrize(
    ("loss", "monitor", "words"),
    [
        ({"ssim": 1.0, "l1": 0.5, "self_supervised": 1.0}, "val_left_out", r"loss\.ssim and loss"),
        ({"ssim": 0.0, "complex": 1.0, "self_supervised": 1.0}, "val_loss", r"loss\.complex needs"),
        (SSDU, "val_ssim", "no file has a target, which checkpoints.monitor val_ssim needs"),
        ({"ssim": 1.0}, "val_left_out", "no samples are left out: give loss.self_supervised"),
    ],
)
def test_what_needs_a_target_is_refused_without_one(root, tmp_path, loss, monitor, words):
    changed = {"data": {"masks": [MASK]}}
    with pytest.raises(ValueError, match=words):
        runs.fit(config(root, tmp_path, loss=loss, monitor=monitor, **changed))


def test_fully_sampled_files_need_masks(full, tmp_path):
    with pytest.raises(ValueError, match="is fully sampled: say with `masks` how"):
        runs.fit(config(full, tmp_path))


@pytest.mark.parametrize(
    "options", [{"splits": 0}, {"share": 0.0}, {"share": 0.6}, {"self_supervised": -1.0}]
)
def test_bad_splits(options):
    (name,) = options
    with pytest.raises(ValueError, match=rf"loss\.{name} is {options[name]}: give"):
        Loss(**{**SSDU, **options})


def test_a_dry_run_needs_no_target(root, tmp_path):
    run = Run.of(config(root, tmp_path))
    batch = run.module.synthetic(next(iter(run.data.train_dataloader())))
    assert batch.target is None and torch.isfinite(run.module.batch_loss(batch))
