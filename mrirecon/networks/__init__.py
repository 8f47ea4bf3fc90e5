"""Networks, end-to-end ones, priors and generators, one module per architecture, and their named configurations.

The module of a network is imported when it is looked up.

Example:
    network = mr.networks.NETWORKS["varnet"](**mr.networks.PRESETS["varnet"]["tiny"])
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from mrirecon.networks.base import Generator as Generator
from mrirecon.networks.base import Model as Model
from mrirecon.networks.base import Network as Network
from mrirecon.networks.base import PredictsKspace as PredictsKspace
from mrirecon.networks.base import Prior as Prior
from mrirecon.networks.base import UnrolledNetwork as UnrolledNetwork
from mrirecon.networks.base import calibration_of as calibration_of
from mrirecon.outside import found_at, is_place


class _Lazy(Mapping[str, Any]):
    """name -> class, or where it lies: its module is imported when it is looked up."""

    def __init__(self, homes: Mapping[str, str | type[Model]]) -> None:
        self.homes = dict(homes)

    def __getitem__(self, name: str) -> Any:
        home = self.homes[name]
        if not isinstance(home, str):
            return home
        module, _, attribute = home.partition(".")
        return getattr(import_module(f"mrirecon.networks.{module}"), attribute)

    def __iter__(self) -> Iterator[str]:
        return iter(self.homes)

    def __len__(self) -> int:
        return len(self.homes)


_END_TO_END = {
    "unet": "unet.UNetBaseline",
    "varnet": "varnet.VarNet",
    "humus": "humus.HUMUSNet",
    "unrolled_prior": "unrolled_prior.UnrolledPrior",
    "neumann": "neumann.Neumann",
    "dirac": "dirac.Dirac",
}
_PRIORS = {"ncsnpp": "ncsnpp.NCSNpp", "adm": "adm.ADMUNet", "denoiser": "denoiser.DenoiserUNet"}
_GENERATORS = {"vae": "vae.ConvVAE"}

NETWORKS: Mapping[str, type[Network]] = (_networks := _Lazy(_END_TO_END))
PRIORS: Mapping[str, type[Prior]] = _Lazy(_PRIORS)
GENERATORS: Mapping[str, type[Generator]] = _Lazy(_GENERATORS)
MODELS: Mapping[str, type[Model]] = (_models := _Lazy(_END_TO_END | _PRIORS | _GENERATORS))


def add_network(network: type[Network]) -> str:
    """Make an end-to-end network from elsewhere known in this program; its name, for its weights say no more of it.

    Raises:
        ValueError: if it has no name of its own.
    """
    name = getattr(network, "name", "")
    if not name or MODELS.get(name, network) is not network:
        raise ValueError(
            f"{network.__name__} needs a name of its own, such as name = {network.__name__.lower()!r}: "
            f"there are {', '.join(MODELS)}"
        )
    _networks.homes[name] = _models.homes[name] = network
    return name


def model_of(name: str) -> type[Model]:
    """The class of a network: a key of `MODELS`, or the place of an end-to-end one such as `mine.py:Net`.

    To be asked only for what the user named: files of weights and checkpoints must not name code to run.

    Raises:
        ValueError: if nothing lies there, or something else does.
        KeyError: if there is none of that name.
    """
    if not is_place(name):
        return MODELS[name]
    found = found_at(name)
    if not (isinstance(found, type) and issubclass(found, Network)):
        raise ValueError(f"{name} is no class of mrirecon.networks.Network")
    add_network(found)
    return found


# Constructor arguments; "published" is what the leaderboard weights of each network were trained with.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "unet": {
        "tiny": {"chans": 16, "num_pool_layers": 3},
        "small": {"chans": 32, "num_pool_layers": 4},
        "published": {"chans": 256, "num_pool_layers": 4},
    },
    "varnet": {
        "tiny": {
            "num_cascades": 6,
            "chans": 12,
            "pools": 3,
            "sens_chans": 4,
            "sens_pools": 3,
            "combine": "maps",
        },
        "small": {"num_cascades": 5, "chans": 8, "pools": 4, "sens_chans": 4, "sens_pools": 3},
        "published": {
            "num_cascades": 12,
            "chans": 18,
            "pools": 4,
            "sens_chans": 8,
            "sens_pools": 4,
        },
    },
    "humus": {
        "tiny": {
            "num_cascades": 6,
            "sens_chans": 4,
            "sens_pools": 3,
            # Any size works; a small one keeps the attention masks in the file small.
            "img_size": [40, 40],
            "window_size": 5,
            "embed_dim": 16,
            "combine": "maps",
            "depths": [2, 2],
            "num_heads": [1, 2],
            "bottleneck_heads": 4,
            "drop_path_rate": 0.0,
            # Training begins with blocks that keep their input; the published ones begin by discarding it.
            "no_residual_learning": True,
        },
        "small": {
            "num_cascades": 2,
            "sens_chans": 4,
            "img_size": [256, 256],
            "embed_dim": 24,
        },
        "published": {
            "num_cascades": 8,
            "sens_chans": 16,
            "num_adj_slices": 3,
            "img_size": [384, 384],
            "embed_dim": 66,
        },
    },
    "unrolled_prior": {"tiny": {"steps": 8, "cg_steps": 5}},
    "neumann": {
        "tiny": {
            "preconditioned": True,
            "eta": 0.2,
            "weight": 1.0,
            "cg_steps": 6,
            "features": 48,
            "batch_norm": False,
        },
        # The size of the paper's, which has no weights for MRI.
        "published": {"blocks": 6, "features": 128},
    },
    "dirac": {"tiny": {"denoiser": {"widths": [32, 64, 96, 128], "sigma_data": 0.4}}},
    "ncsnpp": {
        "tiny": {"channels": 2, "nf": 16, "ch_mult": [1, 2, 2, 2], "num_res_blocks": 1},
        "published": {"channels": 1, "nf": 128, "ch_mult": [1, 2, 2, 2], "num_res_blocks": 4},
    },
    "adm": {
        "tiny": {"num_channels": 32, "channel_mult": [1, 1, 2, 2], "num_head_channels": 32},
        "published": {
            "channels": 2,
            "num_channels": 256,
            "channel_mult": [1, 1, 2, 2, 4, 4],
            "num_res_blocks": 1,
            "num_head_channels": 64,
        },
    },
    "denoiser": {
        "tiny": {"channels": 2, "widths": [32, 64, 96, 128], "sigma_data": 0.4},
        "small": {"channels": 2, "widths": [64, 128, 192, 256], "blocks": 2, "sigma_data": 0.25},
    },
    "vae": {"tiny": {"latent": 32, "widths": [32, 64, 96], "blocks": 2}},
}
