"""Training of DiracDiffusion: what the network is given, what is compared, and a run."""

import math

import pytest
import runs
import torch

from mrirecon.diffusion.dirac import nested_mask
from mrirecon.networks import NETWORKS
from mrirecon.networks.dirac import Dirac
from mrirecon.operators import sense
from mrirecon.training.end_to_end.data import FastMRIDataModule
from mrirecon.training.end_to_end.degraded import degraded_loss
from mrirecon.training.end_to_end.family import masks_of
from mrirecon.training.end_to_end.loss import Loss
from mrirecon.training.run import Run
from mrirecon.weights import load_weights

MASK = {"kind": "uniform1d", "acceleration": 3, "center_fraction": 0.2}
LOSS = {"ssim": 0.0, "l1": 0.0, "incremental": 1.0, "look_ahead": 0.5}
NETWORK = {"name": "dirac", "cg_steps": 3, "denoiser": {"widths": [4, 6]}}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return runs.make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def batch(root):
    masks = masks_of([MASK], "data.masks")
    data = FastMRIDataModule(root, masks, batch_size=2, workers=0, loss=Loss(**LOSS))
    return next(iter(data.train_dataloader()))


class Oracle(Dirac):
    """Knows the image, and makes an error in a band of k-space."""

    def __init__(self, batch, wrong=None):
        super().__init__(denoiser={"widths": [4]})
        self.batch, self.wrong, self.given = batch, wrong, None

    def reconstruct(self, y, A, noise_std):
        self.given = y, A.mask, noise_std
        batch = self.batch
        maps, scale, _ = self.prepared(batch.kspace[:, 0], batch.mask, batch.calibration)
        everything = sense(maps, torch.ones_like(batch.mask))
        combined = everything.H(batch.full)
        inside = everything.support()[(..., *batch.crop)]
        target = batch.target * inside * combined[(..., *batch.crop)].sgn()
        combined[(..., *batch.crop)] = target
        self.clean = combined / scale[:, None, None]
        if self.wrong is None:
            return self.clean
        stream = torch.Generator().manual_seed(2)
        error = torch.randn(self.clean.shape, dtype=torch.complex64, generator=stream)
        self.error = everything(error)
        return self.clean + error


def loss_of(network, batch, look_ahead=0.5, key=(0, 1)):
    return degraded_loss(network, batch, Loss(**{**LOSS, "look_ahead": look_ahead}), key)


def test_the_network_is_given_the_process_at_a_random_time(batch):
    network, times = Oracle(batch), set()
    for step in range(6):
        assert float(loss_of(network, batch, key=(0, step))) < 1e-6
        y, masks, noise = network.given
        maps, _, scan_noise = network.prepared(batch.kspace[:, 0], batch.mask, batch.calibration)
        assert bool((noise <= scan_noise).all()) and bool((noise >= 0.5 * scan_noise * 0.999).all())
        assert bool((batch.mask <= masks).all())
        assert not bool((y * ~masks[:, None]).any())
        rest = (y - sense(maps, masks)(network.clean)) / noise[:, None, None, None]
        drawn = torch.view_as_real(rest)[masks[:, None].expand(y.shape)]
        assert float(drawn.square().mean()) == pytest.approx(1, abs=0.1)
        # noise and mask belong to one time
        for mask, full, s, s_1 in zip(masks, batch.mask, noise, scan_noise, strict=True):
            t = 1 + float((s / s_1).log2())
            assert bool((nested_mask(full, min(max(t, 0), 1)) == mask).all())
            times.add(round(t, 3))
    assert len(times) == 12 and min(times) < 0.4 and max(times) > 0.6


@pytest.mark.parametrize("look_ahead", [0.0, 0.3, 1.0])
def test_errors_count_where_the_mask_ahead_samples(batch, look_ahead):
    network = Oracle(batch, wrong=True)
    found = loss_of(network, batch, look_ahead, key=(3,))
    _, masks, noise = network.given
    _, _, scan_noise = network.prepared(batch.kspace[:, 0], batch.mask, batch.calibration)
    expected = 0.0
    for n, full in enumerate(batch.mask):
        level = float(noise[n] / scan_noise[n])
        t = 1 + math.log2(level)
        ahead = nested_mask(full, max(t - look_ahead, 0.0)) if look_ahead else masks[n]
        error = (network.error[n] * ahead).abs().square().sum() / full.numel()
        expected += float(error) / level**2 / len(batch.mask)
    assert float(found) == pytest.approx(expected, rel=1e-3)


def test_times_follow_from_the_key(batch):
    network = NETWORKS["dirac"](**{k: v for k, v in NETWORK.items() if k != "name"})
    one, same, other = (
        float(loss_of(network, batch, key=key).detach()) for key in ((1,), (1,), (2,))
    )
    assert one == same != other


def test_a_run_learns_and_its_weights_load(root, tmp_path):
    settings = runs.config(
        root, tmp_path / "run", network=NETWORK, loss=LOSS, trainer={"max_epochs": 4}
    )
    run = runs.fit(settings)
    network, card = load_weights(run.export())
    assert network.name == "dirac" and card.settings["loss"]["look_ahead"] == 0.5
    begun = Dirac(**network.config)
    assert not torch.equal(network.log_sigma, begun.log_sigma)
    assert runs.logged(tmp_path / "run", "val_ssim")


def test_the_loss_belongs_to_the_network(root, tmp_path):
    for network, loss in ((NETWORK, {"ssim": 1.0}), (runs.VARNET | {"name": "varnet"}, LOSS)):
        with pytest.raises(ValueError, match="is the one of dirac, and of no other network"):
            Run.of(runs.config(root, tmp_path / "run", network=network, loss=loss))
    with pytest.raises(ValueError, match=r"loss\.look_ahead is 2\.0: give a time"):
        Loss(incremental=1.0, look_ahead=2.0)
