"""Time and memory of the published NCSN++ and ADM networks beside the official code, same weights and same input.

The official code is that of github.com/HJ-harry/score-MRI and github.com/openai/guided-diffusion, cloned into the
folder of --peers. Its GPU kernels for FIR resampling are compiled when it is imported on a machine with a GPU.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from peers import OURS, Call, Case, clone_of, importable, main

from mrirecon.networks import PRESETS, PRIORS, Prior

LEVEL = 0.5
SIDE = 160  # of 128, Score-MRI would look for attention that it does not have


def official_ncsnpp(config: dict[str, Any]) -> torch.nn.Module:
    with importable(clone_of("score-MRI")):
        from models.ncsnpp import NCSNpp as Official

    model = {
        "normalization": "GroupNorm",
        "nonlinearity": "swish",
        "nf": config["nf"],
        "ch_mult": config["ch_mult"],
        "num_res_blocks": config["num_res_blocks"],
        "attn_resolutions": (16,),
        "resamp_with_conv": True,
        "conditional": True,
        "fir": True,
        "fir_kernel": [1, 3, 3, 1],
        "skip_rescale": True,
        "resblock_type": "biggan",
        "progressive": "none",
        "progressive_input": "residual",
        "progressive_combine": "sum",
        "embedding_type": "fourier",
        "fourier_scale": 16,
        "init_scale": 0.0,
        "dropout": 0.0,
        "scale_by_sigma": True,
        "sigma_min": config["sigma_min"],
        "sigma_max": config["sigma_max"],
        "num_scales": config["num_scales"],
    }
    data = {"image_size": 320, "num_channels": config["channels"], "centered": False}
    parts = {"model": model, "data": data, "training": {"continuous": True}}
    return Official(SimpleNamespace(**{k: SimpleNamespace(**part) for k, part in parts.items()}))


def official_adm(config: dict[str, Any]) -> torch.nn.Module:
    with importable(clone_of("guided-diffusion")):
        from guided_diffusion.unet import UNetModel

    channels = config["channels"]
    return UNetModel(
        image_size=320,
        in_channels=channels,
        model_channels=config["num_channels"],
        out_channels=channels * (1 + config["learn_sigma"]),
        num_res_blocks=config["num_res_blocks"],
        attention_resolutions=(20,),
        channel_mult=config["channel_mult"],
        num_head_channels=config["num_head_channels"],
        use_scale_shift_norm=config["use_scale_shift_norm"],
        resblock_updown=config["resblock_updown"],
    )


OFFICIAL = {"ncsnpp": official_ncsnpp, "adm": official_adm}


def network(name: str, preset: str) -> Prior:
    """A size of network with random weights, none of them zero."""
    torch.manual_seed(0)
    prior = PRIORS[name](**PRESETS[name][preset]).eval()
    with torch.no_grad():
        for weight in prior.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.02)
    return prior


def prepared(
    which: str, name: str, side: int, device: str = "cpu", preset: str = "published"
) -> Call:
    """The call of one of the two: the output of the network, before any division by the noise level."""
    prior = network(name, preset).requires_grad_(False)
    x = torch.randn(1, prior.channels, side, side, generator=torch.Generator().manual_seed(1))
    x, level = x.to(device), torch.full((1,), LEVEL, device=device)
    if which == OURS:
        ours: Any = prior.to(device)
        return partial(ours.network if name == "ncsnpp" else ours, x, level)
    theirs = OFFICIAL[name](prior.config).eval()
    theirs.load_state_dict(prior.state_dict())
    theirs = theirs.to(device)
    if name == "ncsnpp":  # it divides by sigma itself
        return lambda: theirs(x, level) * LEVEL
    return partial(theirs, x, level)


def agreement(results: dict[str, object]) -> str:
    ours, theirs = results[OURS], results["official"]
    assert isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor)
    theirs = theirs[:, : ours.shape[1]]
    return f"largest difference / maximum: {(ours - theirs).abs().max() / theirs.abs().max():.1e}"


CASES = {
    f"published {name}, {SIDE} x {SIDE}": Case(
        {which: partial(prepared, which, name, SIDE) for which in (OURS, "official")},
        agreement,
        repeats=3,
    )
    for name in OFFICIAL
}

if __name__ == "__main__":
    main(__doc__, CASES, __file__)
