"""E2E-VarNet beside `fastmri.models.VarNet` with the same weights: inference 12 x 18, and a training step.

Peak memory is that of one inference, or one step, in a fresh process, which holds nothing of the other library.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from peers import Calls, compare, print_peak

from mrirecon.masks.own import equispaced
from mrirecon.networks import PRESETS, calibration_of
from mrirecon.networks.varnet import VarNet
from mrirecon.phantom import shepp_logan
from mrirecon.simulate import simulate_scan

EVERYWHERE = (slice(None), slice(None))


def measured(coils: int, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """(k-space (batch, adjacent, coil, y, x), mask (batch, y, x)) of a phantom."""
    mask = equispaced(shape, 4, center_fraction=0.08, seed=0)
    scan = simulate_scan(shepp_logan(shape).numpy(), coils=coils, snr=50.0).scan
    return (scan.kspace(0) * mask)[None, None], mask[None]


def network(**config: int) -> VarNet:
    torch.manual_seed(0)
    return VarNet(**config)


def official(**config: int) -> torch.nn.Module:
    from fastmri.models import VarNet as Official

    net = Official(**config)
    net.load_state_dict(network(**config).state_dict())
    return net


def infer(kspace: torch.Tensor, mask: torch.Tensor, net: VarNet) -> torch.Tensor:
    with torch.no_grad():
        return net(kspace, mask, calibration_of(mask), EVERYWHERE)


def infer_official(kspace: torch.Tensor, mask: torch.Tensor, net: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return net(torch.view_as_real(kspace[:, 0]), mask[:, None, :1, :, None])


def train(kspace: torch.Tensor, mask: torch.Tensor, net: VarNet) -> None:
    net.zero_grad()
    net(kspace, mask, calibration_of(mask), EVERYWHERE).mean().backward()


def train_official(kspace: torch.Tensor, mask: torch.Tensor, net: torch.nn.Module) -> None:
    net.zero_grad()
    net(torch.view_as_real(kspace[:, 0]), mask[:, None, :1, :, None]).mean().backward()


def cases(title: str, only: str | None = None) -> Calls:
    """What is compared under a title; all of it, or `only` one of the two."""
    inference = title.startswith("inference")
    config = PRESETS["varnet"]["published" if inference else "small"]
    data = measured(15, (640, 368)) if inference else measured(8, (208, 200))
    ours, theirs = (infer, infer_official) if inference else (train, train_official)
    calls: Calls = {}
    if only != "fastmri":
        calls["mrirecon"] = partial(ours, *data, network(**config))
    if only != "mrirecon":
        calls["fastmri"] = partial(theirs, *data, official(**config))
    return calls


TITLES = (
    "inference, 12 x 18 VarNet, 15 coils 640 x 368",
    "training step, small VarNet, 8 coils 208 x 200",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.once:
        title, name = args.once
        print_peak(cases(title, only=name)[name])
        return
    for title in TITLES:
        calls = cases(title)
        if title.startswith("inference"):
            ours, theirs = (call() for call in calls.values())
            print(f"largest difference / maximum: {(ours - theirs).abs().max() / theirs.max():.1e}")
        compare(title, calls, args.repeats, __file__)


if __name__ == "__main__":
    main()
