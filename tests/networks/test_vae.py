"""The VAE: images of any size, a latent that moves with the image, options that are checked."""

import pytest
import torch

from mrirecon.networks import GENERATORS, MODELS, PRESETS
from mrirecon.networks.vae import ConvVAE


def network(**options):
    """One whose residual blocks are not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = ConvVAE(**{"latent": 3, "widths": [8, 12], "blocks": 2, **options})
        for parameter in made.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return made.eval()


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(32, 24), (33, 17), (5, 7), (1, 1)])
@torch.no_grad()
def test_images_have_any_size(shape):
    made = network()
    mean, log_variance = made.encode(random(2, 2, *shape))
    assert mean.shape == log_variance.shape == (2, *made.latent_shape(shape))
    assert made(mean, shape).shape == (2, 2, *shape)
    whole = tuple(made.multiple * side for side in mean.shape[-2:])
    assert torch.equal(made(mean, shape), made(mean, whole)[..., : shape[0], : shape[1]])


@pytest.mark.parametrize("axis", [-2, -1])
@torch.no_grad()
def test_the_latent_moves_with_the_image(axis):
    """By one where the image moves by `multiple` pixels, away from the borders; and so back."""
    made = network()
    image = random(1, 2, 128, 112)
    moved = torch.roll(image, made.multiple, axis)
    inner = (..., slice(8, -8), slice(8, -8))
    mean, theirs = made.encode(image)[0], made.encode(moved)[0]
    assert torch.allclose(torch.roll(mean, 1, axis)[inner], theirs[inner], atol=1e-5)
    assert not torch.allclose(mean[inner], theirs[inner], atol=1e-2)
    back, there = made(mean, (128, 112)), made(torch.roll(mean, 1, axis), (128, 112))
    inner = (..., slice(36, -36), slice(36, -36))
    assert torch.allclose(torch.roll(back, made.multiple, axis)[inner], there[inner], atol=1e-5)


def test_it_is_rebuilt_from_its_configuration():
    made = network()
    again = MODELS["vae"](**made.config)
    again.load_state_dict(made.state_dict())
    z = random(1, 3, 2, 2)
    assert torch.equal(made(z, (8, 8)), again(z, (8, 8)))
    assert GENERATORS["vae"] is ConvVAE
    assert ConvVAE(**PRESETS["vae"]["tiny"]).size < 1_500_000  # 6 MB


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"latent": 0}, "latent is 0: give at least 1"),
        ({"blocks": 0}, "blocks is 0: give at least 1"),
        ({"widths": []}, "widths is empty"),
        ({"widths": [8, 0]}, r"widths\[1\] is 0: give at least 1"),
    ],
)
def test_impossible_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        ConvVAE(**options)
