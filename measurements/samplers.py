"""What a level of DDS costs and where the time goes; DPS beside it; on a GPU the throughput too.

On the CPU (one thread; give the run a quiet core): a level of DDS on 8 coils x 230 x 180 with the shipped prior, in
parts timed in turn. Targets: the 5 conjugate gradients at most 1.3 times the 12 multi-coil FFTs that they cannot do
without (6 Gram operators of two each, for a mask that varies along both axes); what is neither network nor conjugate
gradients below 5 % of the level; a step of DPS at most 3.5 times one of DDS.

With --device cuda: the same parts by the GPU's clock, slices per second by batch size with memory and the network's
share, and a volume of 15 coils x 40 slices x 320 x 320 by 49 levels of DDS with a network of the published DDS size
with random weights (nothing but its time means anything).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from time import perf_counter, process_time

import torch
from peers import Calls, interleaved_medians, kspace_8x230x180
from torch import Tensor

from mrirecon.birdcage import birdcage_maps
from mrirecon.diffusion import Denoiser, denoiser_of, karras
from mrirecon.diffusion.samplers import dds, dps
from mrirecon.masks.own import poisson, uniform1d
from mrirecon.methods.walk import SHIPPED
from mrirecon.networks import PRESETS, PRIORS, Prior
from mrirecon.operators import sense
from mrirecon.operators.sense import Sense
from mrirecon.tensors import fft2, ifft2
from mrirecon.weights import load_weights

LEVELS = 8
NOISE = 0.02
SHAPE = (230, 180)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--slices", type=int, default=40, help="of the large volume")
    parser.add_argument("--batch", type=int, default=10, help="its slices at once")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    network, _ = load_weights(SHIPPED)
    assert isinstance(network, Prior)
    denoiser = denoiser_of(network.to(args.device).eval().requires_grad_(False))
    parts_of_a_level(denoiser, args.device, args.repeats)
    if args.device == "cuda":
        low = args.precision == "bfloat16"
        throughput(lowered(denoiser, low), args.device)
        large_volume(low, args.slices, args.batch, args.device)


def problem(device: str) -> tuple[Sense, Tensor]:
    """(A, y) of the 8-coil scan, whose images have bright level 1; maps are those of loops around the head."""
    maps = birdcage_maps(SHAPE, 8)[0].to(torch.complex64)
    kspace = kspace_8x230x180()
    A = sense(maps, (kspace != 0).any(0))
    kspace = kspace / torch.quantile(A.H(kspace).abs().flatten(), 0.99)
    return sense(maps.to(device), A.mask.to(device)), kspace.to(device)


def parts_of_a_level(denoiser: Denoiser, device: str, repeats: int) -> None:
    A, y = problem(device)
    line = sense(A.maps, uniform1d(SHAPE, 4, center_fraction=0.08, seed=0).to(device))
    sigmas = karras(LEVELS, 0.01, 0.3)
    x = A.H(y)
    coil_images = A.maps * x
    images = iter(range(10**9))

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(next(images))

    def consistency(operator: Sense) -> None:
        back, weight = x, 0.4 * (NOISE / 0.1) ** 2
        operator.solve(back + weight * x, weight, x, iterations=5)

    def twelve_transforms(dim: tuple[int, ...]) -> None:
        for _ in range(6):
            ifft2(fft2(coil_images, dim), dim)

    def nothing(x: Tensor, sigma: float) -> Tensor:
        return x

    def levels_of(sampler: Callable[..., Tensor], prior: object, **options: object) -> None:
        sampler(y, A, prior, sigmas, start=x, generator=generator(), **options)

    calls: Calls = {
        "5 conjugate gradients": lambda: consistency(A),
        "12 FFTs": lambda: twelve_transforms((-2, -1)),
        "5 conjugate gradients, 1D mask": lambda: consistency(line),
        "12 FFTs, 1D mask": lambda: twelve_transforms((-1,)),
        "dds without network": lambda: levels_of(dds, nothing, noise_std=NOISE, eta=1.0),
    }
    with_network: Calls = {  # in a turn of their own: they leave cold caches behind
        "network": lambda: denoiser(x, 0.1),
        "dds": lambda: levels_of(dds, denoiser, noise_std=NOISE, eta=1.0),
        "dps": lambda: levels_of(dps, denoiser),
    }
    if device != "cpu":
        calls = {name: partial(synchronised, call) for name, call in calls.items()}
        with_network = {name: partial(synchronised, call) for name, call in with_network.items()}
    # Of the processor: what else runs on the machine changes it less.
    clock = process_time if device == "cpu" else perf_counter
    seconds = interleaved_medians(calls, repeats, clock)
    seconds |= interleaved_medians(with_network, repeats, clock)
    for name in ("dds", "dds without network", "dps"):
        seconds[name] /= LEVELS
    threads = torch.get_num_threads()
    print(f"8 coils x 230 x 180, {device}, {threads} thread(s), medians of {repeats}")
    for name, value in seconds.items():
        print(f"  {name:32s} {1e3 * value:8.2f} ms")
    solve = seconds["5 conjugate gradients"]
    rest = seconds["dds without network"] - solve
    ratios = {
        "5 conjugate gradients / 12 FFTs (target 1.3)": solve / seconds["12 FFTs"],
        "the same, 1D mask": seconds["5 conjugate gradients, 1D mask"]
        / seconds["12 FFTs, 1D mask"],
        "rest of a level / level (target 0.05)": rest / seconds["dds"],
        "network / level": seconds["network"] / seconds["dds"],
        "step of dps / level of dds (target 3.5)": seconds["dps"] / seconds["dds"],
    }
    for name, ratio in ratios.items():
        print(f"  {name:44s} {ratio:5.2f}")


def throughput(denoiser: Denoiser, device: str) -> None:
    """Slices per second of DDS with 20 levels by the number of slices computed together."""
    A, y = problem(device)
    print("dds, 20 levels, 8 coils x 230 x 180")
    for batch in (1, 4, 16, 64):
        maps, mask = A.maps.expand(batch, *A.maps.shape), A.mask.expand(batch, *A.mask.shape)
        timed_volume(
            f"{batch:3d} slices at once",
            sense(maps, mask),
            y.expand(batch, *y.shape),
            denoiser,
            levels=20,
            device=device,
        )


def large_volume(low: bool, slices: int, batch: int, device: str) -> None:
    """The volume of the title of this file, `batch` slices at once."""
    network = PRIORS["adm"](**PRESETS["adm"]["published"]).to(device).eval().requires_grad_(False)
    weights = sum(weight.numel() for weight in network.parameters()) / 1e6
    denoiser = lowered(denoiser_of(network), low)
    generator = torch.Generator(device).manual_seed(0)
    maps = birdcage_maps((320, 320), 15)[0].to(torch.complex64).to(device)
    mask = poisson((320, 320), 8, center_fraction=24 / 320, seed=0).to(device)
    total, peak = 0.0, 0
    print(f"15 coils x {slices} slices x 320 x 320, 49 levels, ADM of {weights:.0f} M parameters")
    for first in range(0, slices, batch):
        now = min(batch, slices - first)
        A = sense(maps.expand(now, *maps.shape), mask.expand(now, *mask.shape))
        noise = torch.randn(
            now, *maps.shape, dtype=torch.complex64, device=device, generator=generator
        )
        if not first:
            denoiser(A.H(noise), 1.0)  # chooses its algorithms
        seconds, bytes_ = timed_volume(
            f"slices {first} to {first + now - 1}",
            A,
            noise * mask,
            denoiser,
            levels=49,
            device=device,
        )
        total, peak = total + seconds, max(peak, bytes_)
    print(f"  volume: {total:.1f} s, {total / slices:.2f} s per slice, peak {peak / 2**30:.1f} GiB")


def timed_volume(
    title: str, A: Sense, y: Tensor, denoiser: Denoiser, *, levels: int, device: str
) -> tuple[float, int]:
    """Run DDS once after a short warm-up, print what it took; (seconds, peak bytes)."""
    spent: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def watched(x: Tensor, sigma: float) -> Tensor:
        events = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        events[0].record()
        clean = denoiser(x, sigma)
        events[1].record()
        spent.append(events)
        return clean

    streams = [torch.Generator().manual_seed(n) for n in range(len(y))]
    run = partial(dds, y, A, watched, noise_std=NOISE, eta=1.0, start=A.H(y), generator=streams)
    synchronised(partial(run, karras(2, 0.01, 0.3)))
    spent.clear()
    torch.cuda.reset_peak_memory_stats(device)
    begin = perf_counter()
    synchronised(partial(run, karras(levels, 0.01, 0.3)))
    seconds = perf_counter() - begin
    peak = torch.cuda.max_memory_allocated(device)
    share = sum(a.elapsed_time(b) for a, b in spent) / 1e3 / seconds
    print(
        f"  {title}: {seconds:.2f} s, {len(y) / seconds:.2f} slices/s, network {share:.0%}, "
        f"peak {peak / 2**30:.1f} GiB"
    )
    return seconds, peak


def synchronised(call: Callable[[], object]) -> object:
    result = call()
    torch.cuda.synchronize()
    return result


def lowered(denoiser: Denoiser, low: bool) -> Denoiser:
    """The denoiser in bfloat16, as the methods' `precision` has it."""

    class Lowered:
        sigma_range = denoiser.sigma_range

        def __call__(self, x: Tensor, sigma: float) -> Tensor:
            with torch.autocast(x.device.type, torch.bfloat16, enabled=low):
                return denoiser(x, sigma)

    return Lowered()


if __name__ == "__main__":
    main()
