"""The same on a GPU as on the CPU. Skipped where there is none."""

import pytest
import torch

from mrirecon.birdcage import birdcage_maps
from mrirecon.cli import main
from mrirecon.io import read_volume, write_scan
from mrirecon.masks.own import equispaced, uniform1d
from mrirecon.methods import METHODS
from mrirecon.networks import MODELS
from mrirecon.operators import espirit, sense
from mrirecon.phantom import shepp_logan
from mrirecon.recon import run
from mrirecon.simulate import simulate_scan
from mrirecon.tensors import complex_noise_like, fft2c
from mrirecon.training.core.trainer import quiet
from mrirecon.training.run import Run
from mrirecon.weights import Card, save_weights

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

SHAPE = (72, 65)
SMALL = {
    "unet": {"chans": 4, "num_pool_layers": 2},
    "varnet": {"num_cascades": 2, "chans": 4, "pools": 2, "sens_chans": 2, "sens_pools": 2},
    "humus": {
        "num_cascades": 2,
        "sens_chans": 2,
        "img_size": [40, 40],
        "window_size": 5,
        "embed_dim": 8,
        "depths": [1, 2],
        "num_heads": [1, 2],
        "bottleneck_heads": 2,
        "num_adj_slices": 3,
    },
    "unrolled_prior": {"steps": 2, "cg_steps": 2, "denoiser": {"widths": [8, 8]}},
    "neumann": {"blocks": 2, "cg_steps": 2, "features": 8},
    "dirac": {"cg_steps": 2, "denoiser": {"widths": [8, 8]}},
    "denoiser": {"widths": [8, 8]},
    "ncsnpp": {"channels": 2, "nf": 16, "ch_mult": [1, 2], "num_res_blocks": 1},
    "adm": {"num_channels": 32, "channel_mult": [1, 1], "num_head_channels": 32},
}


@pytest.fixture(autouse=True)
def whole_float32(monkeypatch):
    """Convolutions on a GPU round to TensorFloat-32 unless told not to."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(scope="module")
def scan():
    image = shepp_logan(SHAPE).numpy()[:, :, None] * [1.0, 0.8, 0.6]
    whole = simulate_scan(image.astype("float32"), coils=4, snr=50.0).scan
    return whole.undersample(equispaced(SHAPE, 2, center_fraction=0.25, seed=0))


def built(name):
    """A small network that knows nothing."""
    torch.manual_seed(0)
    network = MODELS[name](**SMALL[name])
    for weight in network.parameters():
        if not weight.any():  # some start at zero, and so would the output
            torch.nn.init.normal_(weight, std=0.02)
    return network


def weights_of(name, folder):
    network, path = built(name), folder / f"{name}.safetensors"
    save_weights(network, path, Card(network=network.name, config=network.config))
    return str(path)


def difference(a, b):
    return float(torch.linalg.vector_norm(a.cpu() - b.cpu()) / torch.linalg.vector_norm(b.cpu()))


def test_the_operator():
    maps, mask = birdcage_maps(SHAPE, 6)[0], uniform1d(SHAPE, 4, center_fraction=0.2, seed=1)
    x = complex_noise_like(maps[0], torch.Generator().manual_seed(0))
    here, there = sense(maps, mask), sense(maps.cuda(), mask.cuda())
    y = here(x)
    assert difference(there(x.cuda()), y) < 1e-5
    assert difference(there.H(y.cuda()), here.H(y)) < 1e-5
    assert difference(there.gram(x.cuda()), here.gram(x)) < 1e-5


@pytest.mark.parametrize("name", ["unet", "varnet", "humus", "unrolled_prior"])
def test_a_cuda_graph(name, scan, tmp_path):
    """Slice after slice replayed, the first ones kept."""
    options = {"weights": weights_of(name, tmp_path)}
    plain, fast = (
        run(METHODS[name](**options, compile=compiled), scan, device="cuda")
        for compiled in (False, True)
    )
    assert any("was compiled" in note for note in fast.info["notes"])
    assert difference(fast.image, plain.image) < 1e-4


def test_espirit():
    maps = birdcage_maps(SHAPE, 4)[0]
    block = fft2c(maps * shepp_logan(SHAPE))[:, 26:46, 22:42].contiguous()
    here, there = espirit(block, SHAPE, kernel=5), espirit(block.cuda(), SHAPE, kernel=5)
    assert difference(there.maps, here.maps) < 1e-3


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method(name, scan, tmp_path):
    method, options = METHODS[name], {}
    if "weights" in method.__dataclass_fields__:
        network = name if name in SMALL else "denoiser"
        options["weights"] = weights_of(network, tmp_path)
    if "levels" in method.__dataclass_fields__:
        options["levels"] = 4
    here, there = (run(method(**options), scan, device=d).image for d in ("cpu", "cuda"))
    assert difference(there, here) < 3e-2  # where ESPIRiT ends the support, rounding decides


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_network_in_low_precision(name):
    """Autocast on the GPU: finite, and near float32."""
    network = built(name).cuda()
    if name in ("denoiser", "ncsnpp", "adm"):
        given = torch.rand(2, 2, 32, 32).cuda(), torch.tensor([0.5, 0.2]).cuda()
    else:
        mask = uniform1d(SHAPE, 3, center_fraction=0.25, seed=0)
        whole = fft2c(birdcage_maps(SHAPE, 4)[0] * shepp_logan(SHAPE)) * mask
        kspace = whole.expand(2, network.adjacent_slices, *whole.shape)
        batch = [x.expand(2, *SHAPE).cuda() for x in (mask, mask)]
        given = kspace.cuda(), *batch, (slice(None), slice(None))
    with torch.no_grad():
        exact = network(*given)
        with torch.autocast("cuda", torch.bfloat16):
            rough = network(*given)
    assert difference(rough.float(), exact) < 0.05


@pytest.mark.parametrize("name", ["unet", "varnet", "humus", "unrolled_prior", "neumann"])
def test_training(name, tmp_path):
    for split, files in (("train", 2), ("val", 1)):
        for number in range(files):
            image = shepp_logan(SHAPE).numpy()[:, :, None] * [1.0, 0.8, 0.6]
            made = simulate_scan(image.astype("float32"), coils=4, snr=40.0, seed=number).scan
            path = tmp_path / f"multicoil_{split}" / f"{number}.h5"
            path.parent.mkdir(exist_ok=True)
            write_scan(made, path)
    mask = {"kind": "uniform1d", "acceleration": 3, "center_fraction": 0.25}
    config = {
        "output": str(tmp_path / "run"),
        "seed": 0,
        "images": 0,
        "compile": False,
        "weights": None,
        "network": {"name": name, **SMALL[name]},
        "data": {"root": str(tmp_path), "masks": [mask], "batch_size": 2, "workers": 1},
        "loss": {"ssim": 1.0, "l1": 1.0},
        "optimizer": {"lr": 0.003, "schedule": "cosine", "ema_decay": 0.9},
        "checkpoints": {"every_minutes": 0.0},
        "trainer": {"max_epochs": 2, "accelerator": "gpu", "precision": "bf16-mixed"},
        "about": {"data": "", "licence": "", "attribution": ""},
    }
    longer = {**config, "trainer": {**config["trainer"], "max_epochs": 3}}
    with quiet():
        run = Run.of(config)
        run.fit(None)
        assert run.export().is_file()
        again = Run.of(longer)
        assert again.fit(again.start("last")).global_step == 3 * 3


def test_the_command(scan, tmp_path):
    path = tmp_path / "scan.h5"
    write_scan(scan, path)
    for device in ("cpu", "cuda"):
        out = tmp_path / f"{device}.npy"
        line = ["recon", str(path), "--method", "cg_sense", "--device", device, "--output"]
        with pytest.raises(SystemExit) as end:
            main([*line, str(out)])
        assert not end.value.code
    here, there = (read_volume(tmp_path / f"{d}.npy") for d in ("cpu", "cuda"))
    assert difference(there, here) < 1e-2
