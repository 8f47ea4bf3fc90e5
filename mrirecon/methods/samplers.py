"""The samplers of the gallery as methods.

The options of each are those of its function, with their types and defaults; budgets (levels, their schedule, the last
level) belong to the method and stand here where they are not those of `Posterior`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from mrirecon.diffusion import samplers
from mrirecon.methods.posterior import Posterior
from mrirecon.operators.sense import varying_axes
from mrirecon.options import Count
from mrirecon.scan import Scan

WITHOUT_SPECTRUM = (
    "the mask varies along both axes, so that the spectrum of all coils together is too large to compute: {} took {} "
    "steps of Lanczos's method for it (coils: lanczos); coils: each would restore every coil image by itself"
)


@dataclass(frozen=True, kw_only=True)
class ScoreMRI(Posterior, sampler=samplers.score_mri):
    """Predictor-corrector sampling; after each move x <- x + weight A^H (y - A x)."""

    levels: Count = 50
    schedule: Literal["karras", "geometric", "vp"] = "geometric"

    def images_of_a_draw(self, coils: int) -> int:
        return 1 if self.parameters()["coils"] == "joint" else coils


@dataclass(frozen=True, kw_only=True)
class DPS(Posterior, sampler=samplers.dps):
    """Diffusion posterior sampling (Chung et al. 2023, arXiv:2209.14687, Algorithm 1)."""

    levels: Count = 100


@dataclass(frozen=True, kw_only=True)
class DDS(Posterior, sampler=samplers.dds):
    """Decomposed diffusion sampling (Chung, Lee & Ye 2024, arXiv:2303.05754, Algorithms 2 and 3)."""

    finest: ClassVar[float] = 0.015  # lower levels smooth anatomy, higher ones leave grain

    @property
    def couples_slices(self) -> bool:
        return self.parameters()["z_smoothness"] > 0

    def slices_at_once(self, pixels: int, device: torch.device | str) -> int:
        return sys.maxsize if self.couples_slices else super().slices_at_once(pixels, device)


@dataclass(frozen=True, kw_only=True)
class Langevin(Posterior, sampler=samplers.langevin):
    """Posterior sampling by annealed Langevin dynamics (Jalal et al. 2021, arXiv:2108.01368, equation 6)."""

    schedule: Literal["karras", "geometric", "vp"] = "geometric"


@dataclass(frozen=True, kw_only=True)
class Projection(Posterior, sampler=samplers.projection):
    """Song, Shen, Xing & Ermon 2022 (arXiv:2111.08005, Algorithm 2); weight 1 is ScoreSDE's inpainting."""

    levels: Count = 25


@dataclass(frozen=True, kw_only=True)
class RePaint(Posterior, sampler=samplers.repaint):
    """RePaint (Lugmayr et al. 2022, arXiv:2201.09865, Algorithm 1): `ilvr` with resampling."""


@dataclass(frozen=True, kw_only=True)
class ILVR(Posterior, sampler=samplers.ilvr):
    """Iterative latent variable refinement (Choi et al. 2021, arXiv:2108.02938, Algorithm 1)."""

    levels: Count = 25


@dataclass(frozen=True, kw_only=True)
class MCG(Posterior, sampler=samplers.mcg):
    """Manifold constrained gradients (Chung, Sim, Ryu & Ye 2022, arXiv:2206.00941, Algorithm 1)."""

    levels: Count = 50


@dataclass(frozen=True, kw_only=True)
class DDNM(Posterior, sampler=samplers.ddnm):
    """Denoising diffusion null-space model (Wang, Yu & Zhang 2023, arXiv:2212.00490, Algorithm 1)."""


@dataclass(frozen=True, kw_only=True)
class _Spectral(Posterior):
    """What samplers share that act on singular values; it says where `coils: auto` could not have them exactly.

    Attributes:
        coils: joint takes all coils together, for one coil or a mask of whole lines; lanczos does for any mask, about;
            each restores every coil image by itself, at so many times the cost; auto is joint where that can be, and
            else lanczos.
        lanczos_steps: applications of A^H A for each image that lanczos filters; more come nearer to the exact ones.
    """

    def about(self, scan: Scan) -> tuple[dict[str, Any], list[str]]:
        info, notes = super().about(scan)
        options, middle = self.parameters(), scan.middle()
        if options["coils"] != "auto" or scan.shape[1] == 1 or middle is None:
            return info, notes
        if len(varying_axes(scan.mask(middle))) == 2:
            notes = [*notes, WITHOUT_SPECTRUM.format(self.name, options["lanczos_steps"])]
        return info, notes

    def images_of_a_draw(self, coils: int) -> int:
        return coils if self.parameters()["coils"] == "each" else 1


@dataclass(frozen=True, kw_only=True)
class DDNMPlus(_Spectral, sampler=samplers.ddnm_plus):
    """DDNM+ (Wang, Yu & Zhang 2023, arXiv:2212.00490, section 3.3): `ddnm` for noisy data."""


@dataclass(frozen=True, kw_only=True)
class PiGDM(Posterior, sampler=samplers.pigdm):
    """Pseudoinverse-guided diffusion (Song, Vahdat, Mardani & Kautz 2023, ICLR, equation 7 and Algorithm 1)."""


@dataclass(frozen=True, kw_only=True)
class DDRM(_Spectral, sampler=samplers.ddrm):
    """Denoising diffusion restoration (Kawar, Elad, Ermon & Song 2022, arXiv:2201.11793, equations 7 and 8)."""


@dataclass(frozen=True, kw_only=True)
class SNIPS(_Spectral, sampler=samplers.snips):
    """SNIPS (Kawar, Vaksman & Elad 2021, arXiv:2105.14951, Algorithm 1): annealed Langevin dynamics per coefficient."""

    schedule: Literal["karras", "geometric", "vp"] = "geometric"


@dataclass(frozen=True, kw_only=True)
class DiffPIR(Posterior, sampler=samplers.diffpir):
    """DiffPIR (Zhu et al. 2023, arXiv:2305.08995, Algorithm 1): half-quadratic splitting inside a diffusion."""


@dataclass(frozen=True, kw_only=True)
class REDDiff(Posterior, sampler=samplers.red_diff):
    """RED-diff (Mardani, Song, Kautz & Vahdat 2023, arXiv:2305.04391, Algorithm 1): a variational fit."""

    levels: Count = 100


@dataclass(frozen=True, kw_only=True)
class PnPADMM(Posterior, sampler=samplers.pnp_admm):
    """Plug-and-play ADMM (Chan, Wang & Elgendy 2016, arXiv:1605.01710), one iteration per level; draws no noise."""


@dataclass(frozen=True, kw_only=True)
class ReconstructionGuidance(Posterior, sampler=samplers.reconstruction_guidance):
    """Reconstruction guidance (Ho, Salimans, Gritsenko et al. 2022, Video Diffusion, arXiv:2204.03458, section 3.1)."""


@dataclass(frozen=True, kw_only=True)
class Pyramid(Posterior, sampler=samplers.pyramid):
    """Pyramidal diffusion (Ryu & Ye 2022, arXiv:2208.01864): `dds` from a quarter of the matrix size to the whole."""

    levels: Count = 40
    start: str = "noise"

    finest: ClassVar[float] = DDS.finest


# All of this module that have a sampler.
SAMPLER_METHODS: tuple[type[Posterior], ...] = tuple(
    kind
    for kind in [*globals().values()]
    if isinstance(kind, type) and issubclass(kind, Posterior) and "sampler" in vars(kind)
)
