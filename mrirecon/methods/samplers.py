"""The samplers of the gallery as methods.

The options of each are those of its function, whose defaults are the only ones; budgets (levels, their schedule, the
last level) belong to the method and stand here where they are not those of `Posterior`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from mrirecon.diffusion import samplers
from mrirecon.methods.posterior import Posterior
from mrirecon.options import Count


def _default(sampler: Callable[..., Tensor], option: str) -> Any:
    """The default of a sampler's option, which its function alone knows."""
    return inspect.signature(sampler).parameters[option].default


@dataclass(frozen=True, kw_only=True)
class ScoreMRI(Posterior):
    """Predictor-corrector sampling; after each move x <- x + weight A^H (y - A x)."""

    weight: float = _default(samplers.score_mri, "weight")
    snr: float = _default(samplers.score_mri, "snr")
    corrections: int = _default(samplers.score_mri, "corrections")
    coils: Literal["joint", "separate", "hybrid"] = _default(samplers.score_mri, "coils")
    join_every: Count = _default(samplers.score_mri, "join_every")
    levels: Count = 50
    schedule: Literal["karras", "geometric", "vp"] = "geometric"

    name: ClassVar[str] = "score_mri"
    sampler = staticmethod(samplers.score_mri)


@dataclass(frozen=True, kw_only=True)
class DPS(Posterior):
    """Diffusion posterior sampling (Chung et al. 2023, arXiv:2209.14687, Algorithm 1)."""

    zeta: float = _default(samplers.dps, "zeta")
    eta: float = _default(samplers.dps, "eta")
    levels: Count = 100

    name: ClassVar[str] = "dps"
    sampler = staticmethod(samplers.dps)


@dataclass(frozen=True, kw_only=True)
class DDS(Posterior):
    """Decomposed diffusion sampling (Chung, Lee & Ye 2024, arXiv:2303.05754, Algorithms 2 and 3)."""

    prior_weight: float = _default(samplers.dds, "prior_weight")
    gamma: float | None = _default(samplers.dds, "gamma")
    eta: float = _default(samplers.dds, "eta")
    cg_steps: Count = _default(samplers.dds, "cg_steps")
    z_smoothness: float = _default(samplers.dds, "z_smoothness")

    name: ClassVar[str] = "dds"
    finest: ClassVar[float] = 0.015  # lower levels smooth anatomy, higher ones leave grain
    sampler = staticmethod(samplers.dds)

    @property
    def couples_slices(self) -> bool:
        return self.z_smoothness > 0

    def slices_at_once(self, pixels: int, device: torch.device | str) -> int:
        return sys.maxsize if self.couples_slices else super().slices_at_once(pixels, device)


@dataclass(frozen=True, kw_only=True)
class Langevin(Posterior):
    """Posterior sampling by annealed Langevin dynamics (Jalal et al. 2021, arXiv:2108.01368, equation 6)."""

    step_size: float = _default(samplers.langevin, "step_size")
    steps_per_level: Count = _default(samplers.langevin, "steps_per_level")
    annealing: float = _default(samplers.langevin, "annealing")
    schedule: Literal["karras", "geometric", "vp"] = "geometric"

    name: ClassVar[str] = "langevin"
    sampler = staticmethod(samplers.langevin)


@dataclass(frozen=True, kw_only=True)
class Projection(Posterior):
    """Song, Shen, Xing & Ermon 2022 (arXiv:2111.08005, Algorithm 2); weight 1 is ScoreSDE's inpainting."""

    weight: float = _default(samplers.projection, "weight")
    damping: float = _default(samplers.projection, "damping")
    cg_steps: Count = _default(samplers.projection, "cg_steps")
    levels: Count = 25

    name: ClassVar[str] = "projection"
    sampler = staticmethod(samplers.projection)


@dataclass(frozen=True, kw_only=True)
class RePaint(Posterior):
    """RePaint (Lugmayr et al. 2022, arXiv:2201.09865, Algorithm 1): `ilvr` with resampling."""

    jump: Count = _default(samplers.repaint, "jump")
    repeats: Count = _default(samplers.repaint, "repeats")
    damping: float = _default(samplers.repaint, "damping")
    cg_steps: Count = _default(samplers.repaint, "cg_steps")

    name: ClassVar[str] = "repaint"
    sampler = staticmethod(samplers.repaint)


@dataclass(frozen=True, kw_only=True)
class ILVR(Posterior):
    """Iterative latent variable refinement (Choi et al. 2021, arXiv:2108.02938, Algorithm 1)."""

    damping: float = _default(samplers.ilvr, "damping")
    cg_steps: Count = _default(samplers.ilvr, "cg_steps")
    levels: Count = 25

    name: ClassVar[str] = "ilvr"
    sampler = staticmethod(samplers.ilvr)


@dataclass(frozen=True, kw_only=True)
class MCG(Posterior):
    """Manifold constrained gradients (Chung, Sim, Ryu & Ye 2022, arXiv:2206.00941, Algorithm 1)."""

    zeta: float = _default(samplers.mcg, "zeta")
    eta: float = _default(samplers.mcg, "eta")
    damping: float = _default(samplers.mcg, "damping")
    cg_steps: Count = _default(samplers.mcg, "cg_steps")
    levels: Count = 50

    name: ClassVar[str] = "mcg"
    sampler = staticmethod(samplers.mcg)


@dataclass(frozen=True, kw_only=True)
class DDNM(Posterior):
    """Denoising diffusion null-space model (Wang, Yu & Zhang 2023, arXiv:2212.00490, Algorithm 1)."""

    damping: float = _default(samplers.ddnm, "damping")
    cg_steps: Count = _default(samplers.ddnm, "cg_steps")
    eta: float = _default(samplers.ddnm, "eta")

    name: ClassVar[str] = "ddnm"
    sampler = staticmethod(samplers.ddnm)


@dataclass(frozen=True, kw_only=True)
class DDNMPlus(Posterior):
    """DDNM+ (Wang, Yu & Zhang 2023, arXiv:2212.00490, section 3.3): `ddnm` for noisy data."""

    eta: float = _default(samplers.ddnm_plus, "eta")
    weakest: float = _default(samplers.ddnm_plus, "weakest")

    name: ClassVar[str] = "ddnm_plus"
    sampler = staticmethod(samplers.ddnm_plus)


@dataclass(frozen=True, kw_only=True)
class PiGDM(Posterior):
    """Pseudoinverse-guided diffusion (Song, Vahdat, Mardani & Kautz 2023, ICLR, equation 7 and Algorithm 1)."""

    prior_variance: float = _default(samplers.pigdm, "prior_variance")
    eta: float = _default(samplers.pigdm, "eta")
    cg_steps: Count = _default(samplers.pigdm, "cg_steps")

    name: ClassVar[str] = "pigdm"
    sampler = staticmethod(samplers.pigdm)


@dataclass(frozen=True, kw_only=True)
class DDRM(Posterior):
    """Denoising diffusion restoration (Kawar, Elad, Ermon & Song 2022, arXiv:2201.11793, equations 7 and 8)."""

    eta: float = _default(samplers.ddrm, "eta")
    eta_b: float = _default(samplers.ddrm, "eta_b")
    weakest: float = _default(samplers.ddrm, "weakest")

    name: ClassVar[str] = "ddrm"
    sampler = staticmethod(samplers.ddrm)


@dataclass(frozen=True, kw_only=True)
class SNIPS(Posterior):
    """SNIPS (Kawar, Vaksman & Elad 2021, arXiv:2105.14951, Algorithm 1): annealed Langevin dynamics per coefficient."""

    step_size: float = _default(samplers.snips, "step_size")
    steps_per_level: Count = _default(samplers.snips, "steps_per_level")
    schedule: Literal["karras", "geometric", "vp"] = "geometric"

    name: ClassVar[str] = "snips"
    sampler = staticmethod(samplers.snips)


@dataclass(frozen=True, kw_only=True)
class DiffPIR(Posterior):
    """DiffPIR (Zhu et al. 2023, arXiv:2305.08995, Algorithm 1): half-quadratic splitting inside a diffusion."""

    prior_weight: float = _default(samplers.diffpir, "prior_weight")
    zeta: float = _default(samplers.diffpir, "zeta")
    cg_steps: Count = _default(samplers.diffpir, "cg_steps")

    name: ClassVar[str] = "diffpir"
    sampler = staticmethod(samplers.diffpir)


@dataclass(frozen=True, kw_only=True)
class REDDiff(Posterior):
    """RED-diff (Mardani, Song, Kautz & Vahdat 2023, arXiv:2305.04391, Algorithm 1): a variational fit."""

    weight: float = _default(samplers.red_diff, "weight")
    learning_rate: float = _default(samplers.red_diff, "learning_rate")
    levels: Count = 100

    name: ClassVar[str] = "red_diff"
    sampler = staticmethod(samplers.red_diff)


@dataclass(frozen=True, kw_only=True)
class PnPADMM(Posterior):
    """Plug-and-play ADMM (Chan, Wang & Elgendy 2016, arXiv:1605.01710), one iteration per level; draws no noise."""

    prior_weight: float = _default(samplers.pnp_admm, "prior_weight")
    cg_steps: Count = _default(samplers.pnp_admm, "cg_steps")

    name: ClassVar[str] = "pnp_admm"
    sampler = staticmethod(samplers.pnp_admm)


SAMPLER_METHODS: tuple[type[Posterior], ...] = (
    ScoreMRI,
    DPS,
    DDS,
    Langevin,
    Projection,
    RePaint,
    ILVR,
    MCG,
    DDNM,
    DDNMPlus,
    PiGDM,
    DDRM,
    SNIPS,
    DiffPIR,
    REDDiff,
    PnPADMM,
)
