"""Time and memory of ESPIRiT coil maps beside sigpy and BART: the real 8-coil scan, and 15 to 64 coils of full size.

BART's time includes starting it and reading its files. sigpy is left out at full size, where it needs minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from peers import Bart, Call, Case, kspace_8x230x180, main

from mrirecon.operators import espirit
from mrirecon.phantom import shepp_logan
from mrirecon.simulate import simulate_scan
from mrirecon.tensors import center_crop, rss

CALIBRATION = (24, 24)


def full_size(coils: int) -> torch.Tensor:
    """Noisy k-space (coil, 640, 372) of a phantom."""
    return simulate_scan(shepp_logan((640, 372)).numpy(), coils=coils, snr=50.0).scan.kspace(0)


def ours(kspace: Callable[[], torch.Tensor]) -> Call:
    data = kspace()
    return lambda: espirit(center_crop(data, CALIBRATION), tuple(data.shape[-2:])).maps[0]


def sigpys(kspace: Callable[[], torch.Tensor]) -> Call:
    import sigpy.mri.app

    data = kspace().numpy()
    return lambda: torch.as_tensor(sigpy.mri.app.EspiritCalib(data, show_pbar=False).run())


def barts(kspace: Callable[[], torch.Tensor]) -> Call:
    return Bart(kspace()).command("ecalib -m1")


def agreement(results: dict[str, object]) -> str:
    """Mean |<a, b>| over the pixels where both maps are non-zero."""

    def with_ours(name: str) -> str:
        theirs = results[name]
        maps = theirs.result() if isinstance(theirs, Bart) else theirs
        own = results["mrirecon"]
        assert isinstance(maps, torch.Tensor) and isinstance(own, torch.Tensor)
        both = (own != 0).any(dim=0) & (maps != 0).any(dim=0)
        cosine = (own.conj() * maps).sum(dim=0).abs() / (rss(own) * rss(maps)).clamp_min(1e-20)
        return f"{name} {float(cosine[both].mean()):.5f}"

    others = (with_ours(name) for name in results if name != "mrirecon")
    return "mean |<ours, theirs>| inside both: " + ", ".join(others)


def case(kspace: Callable[[], torch.Tensor], small: bool = False, repeats: int = 99) -> Case:
    tools = {"mrirecon": ours, **({"sigpy": sigpys} if small else {}), "bart": barts}
    return Case(
        {name: partial(tool, kspace) for name, tool in tools.items()}, agreement, repeats=repeats
    )


CASES = {
    "ESPIRiT, 8 coils 230 x 180": case(kspace_8x230x180, small=True),
    **{
        f"ESPIRiT, {coils} coils 640 x 372": case(partial(full_size, coils), repeats=repeats)
        for coils, repeats in ((15, 99), (32, 3), (64, 1))
    },
}

if __name__ == "__main__":
    main(__doc__, CASES, __file__)
