"""What a GPU makes of it: E2E-VarNet and HUMUS-Net beside the official code, where the time goes, DDS on a volume.

Times are medians of calls in turn, by the clock of the device; memory is the peak of what PyTorch allocated.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from humus import official_network
from torch.profiler import ProfilerActivity, profile
from varnet import (
    EVERYWHERE,
    infer,
    infer_official,
    measured,
    network,
    official,
    train,
    train_official,
)

from mrirecon.birdcage import birdcage_maps
from mrirecon.diffusion import Denoiser, denoiser_of, karras
from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.masks.own import poisson
from mrirecon.networks import PRESETS, PRIORS, calibration_of
from mrirecon.networks.humus import HUMUSNet
from mrirecon.operators import sense
from mrirecon.weights import load_weights

GPU = torch.device("cuda")
Calls = dict[str, Callable[[], object]]
KINDS = {  # what a kernel is for, by what its name contains
    "FFT": ("fft", "regular_", "vector_", "bluestein"),
    "network": ("conv", "gemm", "cudnn", "cutlass", "xmma", "norm", "attention", "flash", "fmha"),
    "copies": ("memcpy", "memset", "copy", "cat", "pad", "transpose"),
}


def low(call: Callable[[], object]) -> Callable[[], object]:
    """The call with the networks in bfloat16."""

    def autocast() -> object:
        with torch.autocast("cuda", torch.bfloat16):
            return call()

    return autocast


def compare(title: str, calls: Calls, repeats: int, images: int = 1) -> None:
    """Print time, ratio to the last call, and memory of each call; a call that fails is said to."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    peaks = {}
    for name, call in calls.items():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        for _ in range(2):
            call()
        torch.cuda.synchronize()
        peaks[name] = (torch.cuda.max_memory_allocated() - held) / 2**20
    for _ in range(repeats):
        for name, call in calls.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
            seconds[name].append(start.elapsed_time(end) / 1e3)
    base = median(seconds[list(calls)[-1]])
    print(f"{title} (medians of {repeats})")
    for name, times in seconds.items():
        middle = median(times)
        print(
            f"  {name:22s} {1e3 * middle:8.1f} ms  {images / middle:7.1f} /s  x {base / middle:5.2f}"
            f"  {peaks[name]:7.0f} MB",
            flush=True,
        )


def shares(title: str, call: Callable[[], object]) -> None:
    """Print how the kernels' time divides."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        call()
        torch.cuda.synchronize()
    total: dict[str, float] = dict.fromkeys((*KINDS, "other"), 0.0)
    for event in seen.key_averages():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            name = event.key.lower()
            kind = next((k for k, words in KINDS.items() if any(w in name for w in words)), "other")
            total[kind] += event.self_device_time_total
    whole = sum(total.values()) or 1.0
    print(f"  {title}: " + ", ".join(f"{k} {t / whole:.0%}" for k, t in total.items()), flush=True)


def varnet(repeats: int, compiled: bool) -> None:
    """Inference 12 x 18 on 15 coils 640 x 368, and a training step of the small network."""
    data = [x.to(GPU) for x in measured(15, (640, 368))]
    ours = network(**PRESETS["varnet"]["published"]).to(GPU)
    calls: Calls = {
        "mrirecon": lambda: infer(*data, ours),
        "mrirecon bf16": low(lambda: infer(*data, ours)),
    }
    if compiled:
        fast = network(**PRESETS["varnet"]["published"]).to(GPU)
        fast.compile_parts()
        calls["mrirecon bf16 compiled"] = low(lambda: infer(*data, fast))
    theirs = official(**PRESETS["varnet"]["published"]).to(GPU)
    calls["fastmri bf16"] = low(lambda: infer_official(*data, theirs))
    calls["fastmri"] = lambda: infer_official(*data, theirs)
    compare("VarNet 12 x 18, 15 coils 640 x 368, inference", calls, repeats)
    shares("mrirecon", calls["mrirecon"])
    shares("mrirecon bf16", calls["mrirecon bf16"])
    shares("fastmri", calls["fastmri"])
    kspace, mask = (x.to(GPU) for x in measured(8, (208, 200)))
    small, their_small = (f(**PRESETS["varnet"]["small"]).to(GPU) for f in (network, official))
    for batch in (1, 8):
        several = kspace.expand(batch, *kspace.shape[1:]), mask.expand(batch, *mask.shape[1:])
        steps: Calls = {
            "mrirecon": lambda several=several: train(*several, small),
            "mrirecon bf16": low(lambda several=several: train(*several, small)),
            "fastmri": lambda several=several: train_official(*several, their_small),
        }
        compare(f"small VarNet, 8 coils 208 x 200, training step of {batch}", steps, repeats, batch)


def humus(repeats: int, folder: str) -> None:
    """Small HUMUS-Net, 4 coils, 3 slices 256 x 256, inference."""
    shape = 1, 3, 4, 256, 256
    line = torch.rand(256, generator=torch.Generator().manual_seed(0)) < 0.25
    line[120:136] = True
    mask = line.expand(1, 256, 256).to(GPU)
    kspace = torch.randn(*shape, dtype=torch.complex64, device=GPU) * mask
    ours = HUMUSNet(**{**PRESETS["humus"]["small"], "num_adj_slices": 3}).eval().to(GPU)
    theirs = official_network(folder, ours.config).eval()
    theirs.load_state_dict(ours.state_dict())
    theirs = theirs.to(GPU)
    channels = torch.view_as_real(kspace.flatten(1, 2))
    columns = line[None, None, None, :, None].to(GPU)

    def call() -> object:
        return ours(kspace, mask, calibration_of(mask), EVERYWHERE)

    with torch.no_grad():
        calls: Calls = {
            "mrirecon": call,
            "mrirecon bf16": low(call),
            "official": lambda: theirs(channels, columns),
        }
        compare("small HUMUS-Net, 4 coils, 3 slices 256 x 256, inference", calls, repeats)


def dds(slices: int, evaluations: int, at_once: int) -> None:
    """A volume of 15 coils 320 x 320: the network of the DDS paper with random weights, and the shipped prior."""
    mask = poisson((320, 320), 8, center_fraction=0.075, seed=0).to(GPU)
    maps = birdcage_maps((320, 320), 15)[0].to(GPU)
    y = torch.randn(at_once, 15, 320, 320, dtype=torch.complex64, device=GPU) * mask
    A = sense(maps.expand(at_once, 15, 320, 320), mask)
    streams = [torch.Generator().manual_seed(n) for n in range(at_once)]

    def sample(name: str, denoiser: Denoiser, levels: int) -> float:
        """Seconds for `at_once` slices."""
        torch.cuda.synchronize()
        start = time.perf_counter()
        options = {"noise_std": 0.02} if name == "dds" else {}
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
            SAMPLERS[name](y, A, denoiser, karras(levels, 0.01, 0.3), generator=streams, **options)
        torch.cuda.synchronize()
        return time.perf_counter() - start

    with GPU:
        torch.manual_seed(0)
        published = PRIORS["adm"](**PRESETS["adm"]["published"])
    for title, prior in (("ADM", published), ("prior_tiny", load_weights("prior_tiny")[0])):
        denoiser = denoiser_of(prior.to(GPU).eval().requires_grad_(False))
        sample("dds", denoiser, 2)  # warm-up
        torch.cuda.reset_peak_memory_stats()
        seconds = sum(sample("dds", denoiser, evaluations) for _ in range(-(-slices // at_once)))
        peak = torch.cuda.max_memory_allocated() / 2**30
        print(
            f"DDS, {title}, 15 coils 320 x 320, {evaluations} evaluations, {at_once} at once, bf16: {slices} slices in "
            f"{seconds:.1f} s, {peak:.1f} GiB",
            flush=True,
        )
        shares(title, partial(sample, "dds", denoiser, 2))
    for name in ("dds", "dps"):
        sample(name, denoiser, 2)
        print(f"  {name}, prior_tiny: {sample(name, denoiser, 20) / 20 * 1e3:.1f} ms/level")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help="of varnet, humus, dds; all when none is given")
    parser.add_argument("--official", help="folder of the HUMUS-Net repository")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile too, which takes minutes"
    )
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--evaluations", type=int, default=49)
    parser.add_argument("--at_once", type=int, default=8)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("there is no GPU here")
    parts = args.parts or ["varnet", "humus", "dds"]
    print(torch.cuda.get_device_name(), torch.__version__)
    if "varnet" in parts:
        varnet(args.repeats, args.compile)
    if "humus" in parts and args.official:
        humus(args.repeats, args.official)
    if "dds" in parts:
        dds(args.slices, args.evaluations, args.at_once)


if __name__ == "__main__":
    main()
