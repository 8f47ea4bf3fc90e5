"""Time and memory of the diffusion priors NCSN++ and ADM beside the official code, with the same weights and input.

The official code is read from the folders given by --score-mri (github.com/HJ-harry/score-MRI) and --dds
(github.com/HJ-harry/DDS); one of them is enough. --published adds the published sizes, which take minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from peers import Calls, compare, print_peak
from torch import nn

from mrirecon.networks import PRESETS, PRIORS

# Title: (network, image size, constructor arguments).
CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "NCSN++ 128 x 128, 32 features": ("ncsnpp", 128, {"nf": 32, "num_res_blocks": 2}),
    "NCSN++ 160 x 160, 64 features": ("ncsnpp", 160, {"nf": 64, "num_res_blocks": 2}),
    "ADM 128 x 128, 64 features": (
        "adm",
        128,
        {"num_channels": 64, "channel_mult": [1, 1, 2, 2], "attention_levels": [3]},
    ),
    "ADM 160 x 160, 64 features": (
        "adm",
        160,
        {"num_channels": 64, "channel_mult": [1, 1, 2, 2, 4, 4]},
    ),
}
PUBLISHED: dict[str, tuple[str, int, dict[str, Any]]] = {
    "NCSN++ 320 x 320, published": ("ncsnpp", 320, PRESETS["ncsnpp"]["published"]),
    "ADM 320 x 320, published": ("adm", 320, PRESETS["adm"]["published"]),
}
FOLDERS = {"ncsnpp": "SCORE_MRI_OFFICIAL", "adm": "DDS_OFFICIAL"}
MARKS = {"ncsnpp": "models/ncsnpp.py", "adm": "guided_diffusion/unet.py"}


def official_ncsnpp(folder: str, size: int, ours: dict[str, Any]) -> nn.Module:
    sys.path.insert(0, folder)
    from models.ncsnpp import NCSNpp

    model = SimpleNamespace(
        nf=ours["nf"],
        ch_mult=ours["ch_mult"],
        num_res_blocks=ours["num_res_blocks"],
        attn_resolutions=[size // 2**level for level in ours["attention_levels"]],
        sigma_min=ours["sigma_min"],
        sigma_max=ours["sigma_max"],
        num_scales=ours["num_scales"],
        dropout=0.0,
        resamp_with_conv=True,
        conditional=True,
        fir=True,
        fir_kernel=[1, 3, 3, 1],
        skip_rescale=True,
        resblock_type="biggan",
        progressive="none",
        progressive_input="residual",
        progressive_combine="sum",
        embedding_type="fourier",
        init_scale=0.0,
        fourier_scale=16,
        nonlinearity="swish",
        scale_by_sigma=True,
    )
    return NCSNpp(
        SimpleNamespace(
            model=model,
            data=SimpleNamespace(image_size=size, num_channels=ours["channels"], centered=False),
            training=SimpleNamespace(continuous=True),
        )
    )


def official_adm(folder: str, size: int, ours: dict[str, Any]) -> nn.Module:
    sys.path.insert(0, folder)
    from guided_diffusion.unet import UNetModel

    return UNetModel(
        image_size=size,
        in_channels=ours["channels"],
        model_channels=ours["num_channels"],
        out_channels=ours["channels"] * (1 + ours["learn_sigma"]),
        num_res_blocks=ours["num_res_blocks"],
        attention_resolutions=[2**level for level in ours["attention_levels"]],
        channel_mult=ours["channel_mult"],
        num_heads=ours["num_heads"],
        num_head_channels=ours["num_head_channels"] or -1,
        num_heads_upsample=ours["num_heads_upsample"] or -1,
        use_scale_shift_norm=ours["use_scale_shift_norm"],
        resblock_updown=ours["resblock_updown"],
        use_new_attention_order=ours["use_new_attention_order"],
    )


OFFICIAL: dict[str, Callable[[str, int, dict[str, Any]], nn.Module]] = {
    "ncsnpp": official_ncsnpp,
    "adm": official_adm,
}


def calls_of(title: str, gradients: bool, only: str | None = None) -> Calls:
    """What is compared under a title; all of it, or `only` one of the two."""
    kind, size, config = {**CASES, **PUBLISHED}[title]
    torch.manual_seed(0)
    ours = PRIORS[kind](**config).eval()
    x = torch.randn(1, ours.channels, size, size)
    level = torch.tensor([0.5 if kind == "ncsnpp" else 300.0])
    for weight in ours.parameters():
        if not weight.any():  # they start at zero, and so would the output
            nn.init.normal_(weight, std=0.02)

    def call(network: nn.Module) -> torch.Tensor:
        if not gradients:
            with torch.no_grad():
                return network(x, level)
        given = x.clone().requires_grad_()
        return torch.autograd.grad(network(given, level).square().sum(), given)[0]

    calls: Calls = {}
    if only != "official":
        calls["mrirecon"] = lambda: call(ours)
    if only != "mrirecon":
        theirs = OFFICIAL[kind](os.environ[FOLDERS[kind]], size, ours.config).eval()
        theirs.load_state_dict(ours.state_dict())
        calls["official"] = lambda: call(theirs)
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--score-mri", help="folder of the score-MRI repository")
    parser.add_argument("--dds", help="folder of the DDS repository")
    parser.add_argument("--published", action="store_true", help="the published sizes too")
    parser.add_argument(
        "--gradients", action="store_true", help="time the gradient by the image, as DPS needs it"
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    # The processes that measure memory are started with --once alone.
    for kind, given in (("ncsnpp", args.score_mri), ("adm", args.dds)):
        os.environ[FOLDERS[kind]] = given or os.environ.get(FOLDERS[kind], "")
    os.environ["WITH_GRADIENTS"] = "1" if args.gradients else os.environ.get("WITH_GRADIENTS", "")
    gradients = bool(os.environ["WITH_GRADIENTS"])
    warnings.simplefilter("ignore")
    if args.once:
        title, name = args.once
        print_peak(calls_of(title, gradients, only=name)[name])
        return
    for title, (kind, _, _) in {**CASES, **(PUBLISHED if args.published else {})}.items():
        if not Path(os.environ[FOLDERS[kind]], MARKS[kind]).is_file():
            print(f"{title}: nothing to compare with: give the folder of the repository (--help)")
            continue
        calls = calls_of(title, gradients)
        ours, theirs = (call() for call in calls.values())
        assert isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor)
        difference = (ours - theirs).abs().max() / theirs.abs().max()
        print(f"largest difference / maximum: {float(difference):.1e}")
        compare(title, calls, args.repeats, __file__)


if __name__ == "__main__":
    main()
