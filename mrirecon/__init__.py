"""mrirecon: MRI reconstruction, every method on the same scan through one operator. Research use only.

The names below load their module when first used, so that `import mrirecon` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what `_HOMES` says, for type checkers and editors
    from mrirecon.diffusion import Denoiser as Denoiser
    from mrirecon.diffusion import GaussianDenoiser as GaussianDenoiser
    from mrirecon.diffusion import geometric as geometric
    from mrirecon.diffusion import karras as karras
    from mrirecon.diffusion import samplers as samplers
    from mrirecon.diffusion import vp as vp
    from mrirecon.io import read_image as read_image
    from mrirecon.io import read_maps as read_maps
    from mrirecon.io import read_scan as read_scan
    from mrirecon.io import write_scan as write_scan
    from mrirecon.io import write_volume as write_volume
    from mrirecon.masks import MASKS as MASKS
    from mrirecon.masks import make_mask as make_mask
    from mrirecon.methods import METHODS as METHODS
    from mrirecon.metrics import PROTOCOLS as PROTOCOLS
    from mrirecon.metrics import evaluate as evaluate
    from mrirecon.noise import noise_level as noise_level
    from mrirecon.operators import LinearOperator as LinearOperator
    from mrirecon.operators import Wavelet as Wavelet
    from mrirecon.operators import conjugate_gradient as conjugate_gradient
    from mrirecon.operators import espirit as espirit
    from mrirecon.operators import fista as fista
    from mrirecon.operators import pdhg as pdhg
    from mrirecon.operators import sense as sense
    from mrirecon.prepare import volume_scale as volume_scale
    from mrirecon.recon import EstimatedMaps as EstimatedMaps
    from mrirecon.recon import GivenMaps as GivenMaps
    from mrirecon.recon import reconstruct as reconstruct
    from mrirecon.scan import Geometry as Geometry
    from mrirecon.scan import Scan as Scan
    from mrirecon.scan import Volume as Volume
    from mrirecon.simulate import simulate_scan as simulate_scan
    from mrirecon.weights import import_weights as import_weights
    from mrirecon.weights import load_prior as load_prior
    from mrirecon.weights import load_weights as load_weights
    from mrirecon.weights import save_weights as save_weights
    from mrirecon.weights import shipped_weights as shipped_weights

__version__ = "0.1.0"

_HOMES = {
    "Denoiser": "diffusion",
    "GaussianDenoiser": "diffusion",
    "Geometry": "scan",
    "EstimatedMaps": "recon",
    "GivenMaps": "recon",
    "LinearOperator": "operators",
    "MASKS": "masks",
    "METHODS": "methods",
    "PROTOCOLS": "metrics",
    "Scan": "scan",
    "Volume": "scan",
    "Wavelet": "operators",
    "conjugate_gradient": "operators",
    "espirit": "operators",
    "evaluate": "metrics",
    "fista": "operators",
    "geometric": "diffusion",
    "import_weights": "weights",
    "karras": "diffusion",
    "load_prior": "weights",
    "load_weights": "weights",
    "make_mask": "masks",
    "noise_level": "noise",
    "pdhg": "operators",
    "read_image": "io",
    "read_maps": "io",
    "read_scan": "io",
    "reconstruct": "recon",
    "samplers": "diffusion.samplers",
    "save_weights": "weights",
    "sense": "operators",
    "shipped_weights": "weights",
    "simulate_scan": "simulate",
    "volume_scale": "prepare",
    "vp": "diffusion",
    "write_scan": "io",
    "write_volume": "io",
}
_MODULES = ("samplers",)  # names that are modules themselves

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mrirecon' has no attribute {name!r}")
    home = import_module(f"mrirecon.{_HOMES[name]}")
    return home if name in _MODULES else getattr(home, name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
