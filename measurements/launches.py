"""Operators that a GPU would be asked for, counted without one; `launches.json` holds what was reached.

Small operators take a GPU less time than their launch, so that their number is what a reconstruction costs there. The
code runs on fake tensors whose device is a GPU: it takes the branches for accelerators and computes nothing. What it
computes on the CPU is real. Views and empty tensors are not counted; reading a value back is, as a host sync, since the
CPU then waits for the GPU.

    python measurements/launches.py                       # the table
    python measurements/launches.py --update              # write numbers that fell
    python measurements/launches.py --official HUMUS-Net  # beside the official code, also of HUMUS-Net from that folder
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from mrirecon.diffusion import denoiser_of, karras
from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.masks.own import equispaced, poisson
from mrirecon.networks import PRESETS, calibration_of
from mrirecon.networks.denoiser import DenoiserUNet
from mrirecon.networks.humus import HUMUSNet
from mrirecon.networks.varnet import VarNet
from mrirecon.operators import espirit, sense
from mrirecon.weights import locate

aten = torch.ops.aten
RECORD = Path(__file__).with_suffix(".json")
GPU = torch.device("cuda")
EVERYWHERE = (slice(None), slice(None))
FREE = {  # neither a kernel nor a wait
    aten._unsafe_view,
    aten.detach,
    aten.empty,
    aten.empty_like,
    aten.empty_strided,
    aten.lift_fresh,
    aten.new_empty,
    aten.new_empty_strided,
    torch.ops.prim.device,
}
WAITS = {aten._linalg_check_errors, aten.nonzero}


class Launches(TorchDispatchMode):
    """Counts operators on a GPU while it is entered.

    Attributes:
        operators: how often each was called.
        syncs: how often a value was read back. It reads as 1, or True.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()
        self.syncs = 0
        self._others = (FakeTensorMode(allow_non_fake_inputs=True), _Attention(), GPU)

    def __enter__(self) -> Launches:
        for mode in self._others:
            mode.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for mode in self._others[::-1]:
            mode.__exit__(*error)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        on_gpu = any(isinstance(x, FakeTensor) for x in given)
        device = torch.device(kwargs.get("device") or ("cpu" if not on_gpu else GPU))
        if not on_gpu and device.type == "cpu":
            with _disable_current_modes():
                return function(*args, **kwargs)
        packet = function.overloadpacket
        if packet is aten._local_scalar_dense:
            self.syncs += 1
            return True if args[0].dtype == torch.bool else 1
        if device.type == "cpu" or (packet is aten.copy_ and not isinstance(args[0], FakeTensor)):
            self.syncs += 1
            with _disable_current_modes():
                return torch.ones(given[0].shape, dtype=kwargs.get("dtype") or given[0].dtype)
        self.syncs += packet in WAITS
        if not (function.is_view or packet in FREE):
            self.operators[str(packet).removeprefix("aten.")] += 1
        return function(*args, **kwargs)


class _Attention(TorchFunctionMode):
    """Attention as PyTorch chooses it on a GPU: one fused kernel where it fits, or else the operators of its formula.

    With a mask only the memory-efficient kernel fits, and only heads of whole 16 bytes.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is not scaled_dot_product_attention:
            return function(*args, **kwargs)
        q, k, v = args
        bias, scale = kwargs.get("attn_mask"), kwargs.get("scale")
        aligned = q.shape[-1] * q.dtype.itemsize % 16 == 0
        if not aligned:
            return aten._scaled_dot_product_attention_math(q, k, v, bias, scale=scale)[0]
        if bias is not None:
            bias = bias.expand(*q.shape[:2], q.shape[2], k.shape[2])
        attend = aten._scaled_dot_product_efficient_attention
        return attend(q, k, v, bias, compute_log_sumexp=False, scale=scale)[0]


Prepare = Callable[
    [], Callable[[], object]
]  # builds a function, of which only the launches are counted
Row = list[
    tuple[float, Prepare]
]  # weights, and what is summed with them: one cascade is two less one


def count(prepare: Prepare) -> tuple[Counter[str], int]:
    """Operators and host syncs of what `prepare` returns, when it is called a second time."""
    launches = Launches()
    with launches, torch.no_grad():
        call = prepare()
        call()
        launches.operators.clear()
        launches.syncs = 0
        call()
    return launches.operators, launches.syncs


def launches_of(row: Row) -> dict[str, float]:
    """Operators and host syncs of a row."""
    operators, syncs = 0.0, 0.0
    for weight, prepare in row:
        called, waited = count(prepare)
        operators, syncs = operators + weight * called.total(), syncs + weight * waited
    return {"operators": round(operators, 2), "syncs": round(syncs, 2)}


def on_gpu(build: Callable[..., torch.nn.Module], config: dict[str, Any]) -> Any:
    """A network on the GPU, without numbers in it."""
    with _disable_current_modes(), torch.device("cpu"):
        network = build(**config).eval()
    return network.to_empty(device=GPU)


def measured(adjacent: int, coils: int, shape: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """k-space, mask and calibration columns of a batch of one."""
    with torch.device("cpu"):
        mask = equispaced(shape, 4, center_fraction=0.08, seed=0)[None]
        calibration = calibration_of(mask)
    kspace = torch.zeros(1, adjacent, coils, *shape, dtype=torch.complex64)
    return kspace, mask.to(GPU), calibration.to(GPU)


# VarNet has 15 coils of 640 x 368, and so have the published HUMUS-Net, which sees 3 slices, and ESPIRiT. The small
# HUMUS-Net has 4 coils of 256 x 256; CG and DDS have 15 of 320 x 320.


def varnet(cascades: int, coils: int = 15) -> Callable[[], object]:
    network = on_gpu(VarNet, PRESETS["varnet"]["published"] | {"num_cascades": cascades})
    return partial(network, *measured(1, coils, (640, 368)), EVERYWHERE)


def humus(preset: str, cascades: int) -> Callable[[], object]:
    size = {"small": (4, 256, 256), "published": (15, 640, 368)}[preset]
    config = PRESETS["humus"][preset] | {"num_adj_slices": 3, "num_cascades": cascades}
    return partial(on_gpu(HUMUSNet, config), *measured(3, size[0], size[1:]), EVERYWHERE)


def fastmri_varnet(cascades: int) -> Callable[[], object]:
    from fastmri.models import VarNet as Official

    network = on_gpu(Official, PRESETS["varnet"]["published"] | {"num_cascades": cascades})
    kspace, mask, _ = measured(1, 15, (640, 368))
    return partial(network, torch.view_as_real(kspace[:, 0]), mask[:, None, :1, :, None])


def official_humus(folder: str, preset: str, cascades: int) -> Callable[[], object]:
    from humus import official_network

    coils, shape = {"small": (4, (256, 256)), "published": (15, (384, 368))}[preset]
    config = PRESETS["humus"][preset] | {"num_adj_slices": 3, "num_cascades": cascades}
    network = on_gpu(lambda **all: official_network(folder, all), on_gpu(HUMUSNet, config).config)
    kspace, mask, _ = measured(3, coils, shape)
    return partial(network, torch.view_as_real(kspace.flatten(1, 2)), mask[:, None, :1, :, None])


def physics(shape: tuple[int, int] = (320, 320), coils: int = 15) -> tuple[Tensor, Any]:
    """k-space of 15 coils and its operator."""
    with torch.device("cpu"):
        mask = poisson(shape, 8, center_fraction=0.075, seed=0)
    maps = torch.zeros(coils, *shape, dtype=torch.complex64)
    A = sense(maps, mask.to(GPU))
    A._gram_axes = [-2, -1]
    return torch.zeros_like(maps), A


def cg(iterations: int) -> Callable[[], object]:
    y, A = physics()
    b = A.H(y)
    return partial(A.solve, b, 0.01, iterations=iterations)


def dds(levels: int) -> Callable[[], object]:
    y, A = physics()
    config = json.loads(locate("prior_tiny").with_suffix(".json").read_text())["config"]
    denoiser = denoiser_of(on_gpu(DenoiserUNet, config))
    with torch.device("cpu"):
        sigmas = karras(levels, 0.01, 0.3)
        generator = torch.Generator().manual_seed(0)
    return partial(SAMPLERS["dds"], y, A, denoiser, sigmas, noise_std=0.02, generator=generator)


def maps() -> Callable[[], object]:
    block = torch.zeros(15, 24, 24, dtype=torch.complex64)
    return partial(espirit, block, (640, 368))


def one_of(prepare: Callable[[int], Callable[[], object]]) -> Row:
    """One of many cascades; the first ones may have less to do."""
    return [(1, partial(prepare, 4)), (-1, partial(prepare, 3))]


def besides(prepare: Callable[[int], Callable[[], object]]) -> Row:
    """All but the cascades, of three."""
    return [(4, partial(prepare, 3)), (-3, partial(prepare, 4))]


def rows() -> dict[str, Row]:
    """Everything that is counted, by its title."""
    return {
        "VarNet 12 x 18, 15 coils": [(1, partial(varnet, 12))],
        "VarNet, a cascade": one_of(varnet),
        "VarNet, outside the cascades": besides(varnet),
        "VarNet of 32 coils, a cascade": one_of(partial(varnet, coils=32)),
        "VarNet of 32 coils, outside": besides(partial(varnet, coils=32)),
        "HUMUS small, a cascade": one_of(partial(humus, "small")),
        "HUMUS small, outside": besides(partial(humus, "small")),
        "HUMUS published, a cascade": one_of(partial(humus, "published")),
        "HUMUS published, outside": besides(partial(humus, "published")),
        "CG, a step": [(0.1, partial(cg, 12)), (-0.1, partial(cg, 2))],
        "DDS, a level of prior_tiny": [(0.2, partial(dds, 8)), (-0.2, partial(dds, 3))],
        "ESPIRiT": [(1, maps)],
    }


def peers(folder: str) -> dict[str, Row]:
    """The same by fastmri, and by the HUMUS-Net repository in a folder."""
    small, published = (
        partial(official_humus, folder, preset) for preset in ("small", "published")
    )
    return {
        "VarNet 12 x 18, 15 coils": [(1, partial(fastmri_varnet, 12))],
        "VarNet, a cascade": one_of(fastmri_varnet),
        "VarNet, outside the cascades": besides(fastmri_varnet),
        "HUMUS small, a cascade": one_of(small),
        "HUMUS small, outside": besides(small),
        "HUMUS published, a cascade": one_of(published),
        "HUMUS published, outside": besides(published),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("words", nargs="*", help="count only what has one of these in its title")
    parser.add_argument("--official", help="folder of the HUMUS-Net repository; counts peers too")
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--update", action="store_true", help="write what is new or fell")
    args = parser.parse_args()
    record = json.loads(args.record.read_text()) if args.record.exists() else {}
    official = peers(args.official) if args.official else {}
    rose = []
    for title, row in rows().items():
        if args.words and not any(word in title for word in args.words):
            continue
        found, before = launches_of(row), record.setdefault(title, {})
        if title in official:
            before["official"] = launches_of(official[title])["operators"]
        print(
            f"{title:30s} {found['operators']:8g} operators, {found['syncs']:g} syncs; "
            f"official {before.get('official', '-')}",
            flush=True,
        )
        for key, number in found.items():
            if number > before.get(key, number):
                rose.append(f"{title}: {number:g} {key}, {before[key]:g} before")
            before[key] = min(number, before.get(key, number))
    if args.update:
        args.record.write_text(json.dumps(record, indent=1) + "\n")
    sys.exit("\n".join(rose) or None)


if __name__ == "__main__":
    main()
