"""Time and memory of E2E-VarNet beside `fastmri.models.VarNet` with the same weights: inference, a training step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from peers import OURS, Call, Case, main

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


def prepared(which: str, inference: bool) -> Call:
    """The call of one of the two, with the same weights and the same input."""
    data = measured(15, (640, 368)) if inference else measured(8, (208, 200))
    make, run = {
        (OURS, True): (network, infer),
        (OURS, False): (network, train),
        ("fastmri", True): (official, infer_official),
        ("fastmri", False): (official, train_official),
    }[which, inference]
    net = make(**PRESETS["varnet"]["published" if inference else "small"])
    return torch.enable_grad()(partial(run, *data, net))


def agreement(results: dict[str, object]) -> str:
    ours, theirs = results[OURS], results["fastmri"]
    assert isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor)
    return f"largest difference / maximum: {(ours - theirs).abs().max() / theirs.max():.1e}"


def both(inference: bool) -> dict[str, Callable[[], Call]]:
    return {name: partial(prepared, name, inference) for name in (OURS, "fastmri")}


CASES = {
    "VarNet 12 x 18, 15 coils 640 x 368": Case(both(inference=True), agreement),
    "training step of a small VarNet, 8 coils 208 x 200": Case(both(inference=False)),
}

if __name__ == "__main__":
    main(__doc__, CASES, __file__)
