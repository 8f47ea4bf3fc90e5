"""Weights of a prior as the denoiser that the samplers take."""

from __future__ import annotations

from mrirecon.diffusion import Denoiser, ScaledDenoiser, denoiser_of
from mrirecon.io.files import PathLike
from mrirecon.networks import Prior
from mrirecon.weights.card import Card
from mrirecon.weights.store import load_weights


def load_prior(name_or_path: PathLike, device: str = "cpu") -> tuple[Denoiser, Card]:
    """A shipped prior by name, or that of a file, as a denoiser, and the card of its weights.

    Its images have the bright level 1: divide k-space by `prepare.volume_scale` and multiply the result by it. The
    network is given them as bright as those it was trained on (`Card.bright_level`).

    Raises:
        ValueError: as `load_weights`, or if the weights are of no prior, or of one that knows no complex images.

    Example:
        denoiser, card = mr.load_prior("prior_tiny")
        clean = denoiser(image / mr.volume_scale(scan), 0.1)
    """
    network, card = load_weights(name_or_path)
    if not isinstance(network, Prior):
        raise ValueError(
            f"{name_or_path} holds weights of {network.name}, which is no prior: "
            f"use --method {network.name}, or other weights"
        )
    denoiser = denoiser_of(network.to(device).eval().requires_grad_(False))
    level = 1.0 if card.bright_level is None else card.bright_level
    return denoiser if level == 1 else ScaledDenoiser(denoiser, level), card
