"""Weights of a prior as a denoiser for the samplers."""

from __future__ import annotations

from mrirecon.diffusion import Denoiser, ScaledDenoiser, denoiser_of
from mrirecon.io.files import PathLike
from mrirecon.networks import Generator, Prior
from mrirecon.weights.card import Card
from mrirecon.weights.store import load_weights


def load_prior(name_or_path: PathLike, device: str = "cpu") -> tuple[Denoiser, Card]:
    """A prior, shipped (by name) or from a file, as a denoiser, and the card of its weights.

    Images of the denoiser have the bright level 1: divide k-space by `scale.volume_scale`, and multiply the result by
    it. Inside, images are scaled to the brightness of the training images (`Card.bright_level`).

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: as `load_weights`.
        ValueError: as `load_weights`, or if the network is not a prior, or not one of complex or magnitude images.

    Example:
        >>> denoiser, card = mr.load_prior("prior_tiny")
        >>> denoiser
        CleanDenoiser(network=DenoiserUNet, sigma_range=(0.005, 5))
        >>> clean = denoiser(image / mr.volume_scale(scan), 0.1)
    """
    network, card = load_prior_network(name_or_path)
    return denoiser_with(network.to(device), card), card


def load_prior_network(name_or_path: PathLike) -> tuple[Prior, Card]:
    """The network of a prior, whose weights need no gradients, and its card. Raises as `load_prior`."""
    network, card = load_weights(name_or_path)
    if not isinstance(network, Prior):
        method = "csgm" if isinstance(network, Generator) else network.name
        raise ValueError(
            f"{name_or_path} holds weights of {network.name}, which is no prior: "
            f"use --method {method}, or other weights"
        )
    return network.eval().requires_grad_(False), card


def denoiser_with(network: Prior, card: Card) -> Denoiser:
    """The denoiser of images of the bright level 1 by a network that was trained on others."""
    denoiser = denoiser_of(network)
    level = 1.0 if card.bright_level is None else card.bright_level
    return denoiser if level == 1 else ScaledDenoiser(denoiser, level)
