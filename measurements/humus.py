"""Time and memory of a small HUMUS-Net beside the official code, with the same weights and the same input.

The official code (github.com/z-fabian/HUMUS-Net) is read from the folder given by --official. Of timm and einops it
needs four names, which stand-ins provide where those packages are not installed.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from peers import Calls, compare, print_peak

from mrirecon.networks import PRESETS, calibration_of
from mrirecon.networks.humus import HUMUSNet

# Title: (coils, adjacent slices, rows, columns).
CASES = {"256 x 256": (4, 1, 256, 256), "256 x 200, 3 slices": (4, 3, 256, 200)}


def stand_in_for_timm_and_einops() -> None:
    def rearrange(x: torch.Tensor, pattern: str, **sizes: int) -> torch.Tensor:
        assert pattern == "b h w (p1 p2 c)-> b (h p1) (w p2) c" and sizes["p1"] == sizes["p2"] == 2
        quads = x.unflatten(3, (2, 2, -1)).permute(0, 1, 3, 2, 4, 5)
        return quads.flatten(1, 2).flatten(2, 3)

    def module(name: str, **members: object) -> None:
        if name not in sys.modules and find_spec(name.partition(".")[0]) is None:
            sys.modules[name] = ModuleType(name)
            sys.modules[name].__dict__.update(members)

    module(
        "timm.models.layers",
        DropPath=partial(torch.nn.Dropout),  # both do nothing here: nothing is trained
        to_2tuple=lambda x: x if isinstance(x, tuple | list) else (x, x),
        trunc_normal_=torch.nn.init.trunc_normal_,
    )
    module("einops", rearrange=rearrange)


def official_network(folder: str, config: dict[str, Any]) -> torch.nn.Module:
    stand_in_for_timm_and_einops()
    sys.path.insert(0, folder)
    from models.humus_net import HUMUSNet as Official

    return Official(**config, use_checkpoint=False)


def calls_of(title: str, official: str, only: str | None = None) -> Calls:
    """What is compared under a title; all of it, or `only` one of the two."""
    coils, adjacent, rows, columns = CASES[title]
    generator = torch.Generator().manual_seed(0)
    shape = 1, adjacent, coils, rows, columns
    line = torch.rand(columns, generator=generator) < 0.25
    line[columns // 2 - 8 : columns // 2 + 8] = True
    mask = line.expand(1, rows, columns)
    kspace = torch.randn(*shape, dtype=torch.complex64, generator=generator) * mask
    torch.manual_seed(0)
    ours = HUMUSNet(**{**PRESETS["humus"]["small"], "num_adj_slices": adjacent}).eval()
    calls: Calls = {}
    if only != "official":
        window = slice(0, rows), slice(0, columns)
        calls["mrirecon"] = lambda: ours(kspace, mask, calibration_of(mask), window)
    if only != "mrirecon":
        theirs = official_network(official, ours.config).eval()
        theirs.load_state_dict(ours.state_dict())
        channels = torch.view_as_real(kspace.flatten(1, 2))
        calls["official"] = lambda: theirs(channels, line[None, None, None, :, None])
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--official", help="folder of the HUMUS-Net repository")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    # The processes that measure memory are started with --once alone.
    official = args.official or os.environ.get("HUMUS_OFFICIAL", "")
    os.environ["HUMUS_OFFICIAL"] = official
    if not Path(official, "models/humus_net.py").is_file():
        print("nothing to compare with: give the folder of the HUMUS-Net repository by --official")
        return
    warnings.simplefilter("ignore")
    torch.set_grad_enabled(False)
    if args.once:
        title, name = args.once
        print_peak(calls_of(title, official, only=name)[name])
        return
    for title in CASES:
        calls = calls_of(title, official)
        ours, theirs = (call() for call in calls.values())
        print(
            f"largest difference / maximum: {float((ours - theirs).abs().max() / theirs.max()):.1e}"
        )
        compare(title, calls, args.repeats, __file__)


if __name__ == "__main__":
    main()
