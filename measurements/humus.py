"""Time and memory of HUMUS-Net beside the official code, with the same weights and the same input.

The official code is github.com/z-fabian/HUMUS-Net, cloned into the folder of --peers. Of timm and einops it needs four
names, which stand-ins provide where those packages are not installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from peers import OURS, Call, Case, clone_of, importable, main

from mrirecon.networks import PRESETS, calibration_of
from mrirecon.networks.humus import HUMUSNet


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


def official_network(folder: Path, config: dict[str, Any]) -> torch.nn.Module:
    stand_in_for_timm_and_einops()
    with importable(folder):
        from models.humus_net import HUMUSNet as Official

    return Official(**config, use_checkpoint=False)


def prepared(which: str, preset: str, coils: int, adjacent: int, rows: int, columns: int) -> Call:
    """The call of one of the two, with the same weights and the same input."""
    generator = torch.Generator().manual_seed(0)
    shape = 1, adjacent, coils, rows, columns
    line = torch.rand(columns, generator=generator) < 0.25
    line[columns // 2 - 8 : columns // 2 + 8] = True
    mask = line.expand(1, rows, columns)
    kspace = torch.randn(*shape, dtype=torch.complex64, generator=generator) * mask
    folder = None if which == OURS else clone_of("HUMUS-Net")
    torch.manual_seed(0)
    net = HUMUSNet(**{**PRESETS["humus"][preset], "num_adj_slices": adjacent}).eval()
    if folder is None:
        window = slice(0, rows), slice(0, columns)
        return lambda: net(kspace, mask, calibration_of(mask), window)
    theirs = official_network(folder, net.config).eval()
    theirs.load_state_dict(net.state_dict())
    channels = torch.view_as_real(kspace.flatten(1, 2))
    return lambda: theirs(channels, line[None, None, None, :, None])


def agreement(results: dict[str, object]) -> str:
    ours, theirs = results[OURS], results["official"]
    assert isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor)
    return f"largest difference / maximum: {(ours - theirs).abs().max() / theirs.max():.1e}"


def case(preset: str, *size: int, repeats: int = 99) -> Case:
    tools: dict[str, Callable[[], Call]] = {
        name: partial(prepared, name, preset, *size) for name in (OURS, "official")
    }
    return Case(tools, agreement, repeats=repeats)


CASES = {
    "small HUMUS-Net, 4 coils 256 x 256": case("small", 4, 1, 256, 256),
    "small HUMUS-Net, 4 coils 256 x 200, 3 slices": case("small", 4, 3, 256, 200),
    "published HUMUS-Net, 4 coils 384 x 384, 3 slices": case(
        "published", 4, 3, 384, 384, repeats=1
    ),
}

if __name__ == "__main__":
    main(__doc__, CASES, __file__)
