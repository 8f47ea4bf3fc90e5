"""Pictures drawn from a prior for TensorBoard."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from mrirecon.diffusion import denoiser_of, karras
from mrirecon.diffusion.samplers.steps import ddim_step, walk
from mrirecon.networks import Prior
from mrirecon.tensors import complex_noise_like

SAMPLE_SIZE, SAMPLE_LEVELS = 64, 20


class PriorSamples(Callback):
    """A row of images drawn from the averaged prior at each validation, always from the same noise."""

    def __init__(self, count: int = 4) -> None:
        self.count = count

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        boards = [x for x in trainer.loggers if isinstance(x, TensorBoardLogger)]
        if trainer.sanity_checking or not boards or not self.count or not trainer.is_global_zero:
            return
        drawn = self.drawn(pl_module.final, pl_module.device)  # type: ignore[arg-type]
        row = torch.cat(list(drawn), dim=-1).clamp(0, 1).float().cpu()
        for board in boards:
            board.experiment.add_image("samples", row, trainer.global_step, dataformats="HW")

    def drawn(self, prior: Prior, device: torch.device) -> Float[Tensor, "count y x"]:
        """The images to show."""
        drawn = unconditional_samples(prior, self.count, device)
        return drawn.abs() if prior.channels == 2 else drawn.real


@torch.no_grad()
def unconditional_samples(
    prior: Prior,
    count: int,
    device: torch.device,
    size: int = SAMPLE_SIZE,
    steps: int = SAMPLE_LEVELS,
    seed: int = 0,
) -> Complex[Tensor, "count y x"]:
    """Images of the prior, by DDIM without new noise, down the noise levels of Karras et al."""
    denoiser, generator = denoiser_of(prior), torch.Generator().manual_seed(seed)
    sigmas = karras(steps, *denoiser.sigma_range)
    like = torch.empty(count, size, size, dtype=torch.complex64, device=device)
    x = float(sigmas[0]) * complex_noise_like(like, generator)
    for _, sigma, lower in walk(sigmas):
        x0 = denoiser(x, sigma)
        x = ddim_step(x0, (x - x0) / sigma, lower, 0.0, generator)
    return x
