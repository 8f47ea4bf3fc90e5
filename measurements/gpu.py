"""What a GPU makes of it, in a few minutes: correctness, then time and memory beside official and earlier code.

    python measurements/gpu.py --minutes 5 --json gpu.json
    python measurements/gpu.py --peers PEERS --before ../earlier          # beside code in these folders, in one run
    python measurements/gpu.py --device cpu --tiny --minutes 0.2          # the same code on toy sizes

The tests of `tests/test_gpu.py` come first. Then each part repeats its calls in turn for its share of the time, at
least once after a warm-up; times are medians with the device's queue empty before and after, memory the peak of what
PyTorch allocated. Parts that fail are said to. `--peers` has clones of official code, named as theirs (HUMUS-Net,
score-MRI, guided-diffusion); fastmri is installed. `--before` runs the package of another folder, such as an earlier
commit, by this same script in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from humus import official_network
from peers import OURS, PEERS, Call, Calls, Missing, clone_of
from priors import prepared
from varnet import EVERYWHERE, infer, infer_official, measured, network, official

from mrirecon.birdcage import birdcage_maps
from mrirecon.diffusion import denoiser_of, karras
from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.masks.own import poisson
from mrirecon.networks import PRESETS, PRIORS, calibration_of
from mrirecon.networks.humus import HUMUSNet
from mrirecon.operators import espirit, sense
from mrirecon.weights import load_weights

TESTS = Path(__file__).parents[1] / "tests/test_gpu.py"
SHARES = {"tests": 0.2, "here": 0.5, "before": 0.3}  # of the time, where there is code from before
SLICES, LEVELS = 40, 49  # of the volume whose time by DDS is told, as that of a level so many times
Row = dict[str, Any]


class Sizes:
    """Shapes and configurations: those of the field, or toys."""

    def __init__(self, tiny: bool) -> None:
        self.preset = "tiny" if tiny else "published"
        self.knee = (3, (64, 48)) if tiny else (15, (640, 368))
        self.brain = (3, (48, 48)) if tiny else (15, (320, 320))
        self.humus = {"small": (2, (48, 40)) if tiny else (4, (256, 256)), "published": self.knee}
        self.many = 4 if tiny else 32  # coils
        self.at_once = 2 if tiny else 8
        self.varnet = {**PRESETS["varnet"][self.preset]}
        self.varnet.pop("combine", None)  # fastmri's network has the root sum of squares only


def low(call: Callable[[], object], device: str) -> Callable[[], object]:
    """The call with the networks in bfloat16."""

    def autocast() -> object:
        with torch.autocast(device, torch.bfloat16):
            return call()

    return autocast


def with_official(calls: Calls, official: Callable[[], Call]) -> Calls:
    """The calls, and that of official code where its clone is here."""
    try:
        return calls | {"official": official()}
    except Missing as error:
        print(error, file=sys.stderr)
        return calls


def varnet(sizes: Sizes, device: str) -> Calls:
    """E2E-VarNet 12 x 18, inference."""
    data = [x.to(device) for x in measured(*sizes.knee)]
    ours, theirs = (f(**sizes.varnet).to(device).eval() for f in (network, official))
    here, there = partial(infer, *data, ours), partial(infer_official, *data, theirs)
    calls = {OURS: here, "fastmri": there}
    return calls | {f"{OURS} bf16": low(here, device), "fastmri bf16": low(there, device)}


def humus(preset: str, sizes: Sizes, device: str) -> Calls:
    """HUMUS-Net of 3 slices, inference."""
    coils, shape = sizes.humus[preset]
    config = PRESETS["humus"]["tiny" if sizes.preset == "tiny" else preset]
    ours = HUMUSNet(**{**config, "num_adj_slices": 3}).eval().to(device)
    one, mask = (x.to(device) for x in measured(coils, shape))
    kspace, calibration = one.expand(1, 3, *one.shape[2:]).contiguous(), calibration_of(mask)
    here = partial(ours, kspace, mask, calibration, EVERYWHERE)

    def there() -> Call:
        theirs = official_network(clone_of("HUMUS-Net"), ours.config).eval()
        theirs.load_state_dict(ours.state_dict())
        channels, columns = torch.view_as_real(kspace.flatten(1, 2)), mask[:, None, :1, :, None]
        return partial(theirs.to(device), channels, columns)

    return with_official({OURS: here, f"{OURS} bf16": low(here, device)}, there)


def prior(name: str, sizes: Sizes, device: str) -> Calls:
    """A network of published diffusion models, with random weights, on one image."""
    made = partial(prepared, name=name, side=sizes.brain[1][0], device=device, preset=sizes.preset)
    here = made(OURS)
    return with_official({OURS: here, f"{OURS} bf16": low(here, device)}, lambda: made("official"))


def dds(name: str, sizes: Sizes, device: str) -> Calls:
    """Two levels of DDS in bfloat16 beside one, whose difference is a level, and its network alone."""
    coils, shape = sizes.brain
    if name == "prior_tiny":
        made = load_weights(name)[0].to(device)
    else:
        with torch.device(device):
            made = PRIORS[name](**PRESETS[name][sizes.preset])
    denoiser = denoiser_of(made.eval().requires_grad_(False))
    mask = poisson(shape, 4, center_fraction=0.1, seed=0).to(device)
    maps = birdcage_maps(shape, coils)[0].to(device).expand(sizes.at_once, coils, *shape)
    A = sense(maps, mask)
    y = torch.randn(maps.shape, dtype=torch.complex64, device=device) * mask
    streams = [torch.Generator().manual_seed(n) for n in range(sizes.at_once)]

    def levels(count: int) -> object:
        sigmas = karras(count, 0.01, 0.3)
        return SAMPLERS["dds"](y, A, denoiser, sigmas, noise_std=0.02, generator=streams)

    x = A.H(y)
    calls: Calls = {f"{count} levels": partial(levels, count) for count in (2, 7)}
    calls["network"] = lambda: denoiser(x, 0.1)
    return {title: low(call, device) for title, call in calls.items()}


def maps(sizes: Sizes, device: str) -> Calls:
    """ESPIRiT."""
    shape, calls = sizes.knee[1], Calls()
    for coils in (sizes.knee[0], sizes.many):
        generator = torch.Generator().manual_seed(0)
        block = torch.randn(coils, 24, 24, dtype=torch.complex64, generator=generator).to(device)
        calls[f"{coils} coils"] = partial(espirit, block, shape)
    return calls


def cg(sizes: Sizes, device: str) -> Calls:
    """Thirty steps of conjugate gradients."""
    coils, shape = sizes.knee
    mask = poisson(shape, 4, center_fraction=0.1, seed=0).to(device)
    A = sense(birdcage_maps(shape, coils)[0].to(device), mask)
    b = A.H(torch.randn(coils, *shape, dtype=torch.complex64, device=device))
    return {"30 steps": partial(A.solve, b, 0.02, iterations=30)}


PARTS: dict[str, Callable[[Sizes, str], Calls]] = {
    "VarNet": varnet,
    "DDS, prior_tiny": partial(dds, "prior_tiny"),
    "CG": cg,
    "ESPIRiT": maps,
    "HUMUS small": partial(humus, "small"),
    "HUMUS published": partial(humus, "published"),
    "NCSN++": partial(prior, "ncsnpp"),
    "ADM": partial(prior, "adm"),
    "DDS, ADM": partial(dds, "adm"),
}


def timed(calls: Calls, device: str, seconds: float) -> Iterator[Row]:
    """Median time and peak memory of each call, in turn, for so long."""
    gpu = device != "cpu"
    spent: dict[str, list[float]] = {name: [] for name in calls}
    peaks: dict[str, float] = {}
    until = time.perf_counter() + seconds

    def one(name: str) -> float:
        if gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        calls[name]()
        if gpu:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    for name in calls:
        if gpu:
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
        one(name)
        peaks[name] = (torch.cuda.max_memory_allocated() - held) / 2**20 if gpu else 0.0
    while True:
        for name, times in spent.items():
            times.append(one(name))
        if time.perf_counter() > until:
            break
    for name, times in spent.items():
        yield {"call": name, "ms": 1e3 * median(times), "mb": peaks[name], "repeats": len(times)}


def run_parts(args: argparse.Namespace) -> None:
    """All parts by the package that is imported; a line of JSON for each call."""
    until = time.perf_counter() + 60 * args.minutes
    chosen = [title for title in PARTS if not args.parts or title in args.parts]
    torch.set_grad_enabled(False)
    for number, title in enumerate(chosen):
        share = (until - time.perf_counter()) / (len(chosen) - number)
        try:
            calls = PARTS[title](Sizes(args.tiny), args.device)
            for row in timed(calls, args.device, max(0.0, 0.5 * share)):
                print(json.dumps({"part": title, **row}), flush=True)
        except Exception as error:  # one that fails keeps no other from being timed
            print(json.dumps({"part": title, "failure": f"{type(error).__name__}: {error}"}))


def rows_of(package: Path, args: argparse.Namespace, minutes: float) -> list[Row]:
    """What `run_parts` says with the package in a folder; what is not done in time is missing."""
    line = [sys.executable, __file__, *args.parts, "--device", args.device, "--alone"]
    line += ["--minutes", str(minutes), *(["--tiny"] if args.tiny else [])]
    environment = os.environ | {"PYTHONPATH": str(package)}
    environment |= {PEERS: args.peers} if args.peers else {}
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            said, _ = process.communicate(timeout=60 * minutes + 60)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
    return [json.loads(one) for one in said.splitlines() if one.startswith("{")]


def add_ratios(rows: list[Row], before: list[Row], at_once: int) -> None:
    """Ratios to official and earlier code; what a level of DDS is beside its network, and takes of a volume."""
    known = {(row["part"], row.get("call")): row.get("ms") for row in rows}
    earlier = {(row["part"], row.get("call")): row.get("ms") for row in before}
    for row in rows:
        part, call = row["part"], row.get("call", "")
        bf16 = " bf16" if call.endswith("bf16") else ""
        theirs = known.get((part, f"fastmri{bf16}")) or known.get((part, f"official{bf16}"))
        if theirs and call.startswith(OURS):
            row["official_over_this"] = theirs / row["ms"]
        if (then := earlier.get((part, call))) and "ms" in row:
            row["before_over_this"] = then / row["ms"]
    for part in {row["part"] for row in rows if row["part"].startswith("DDS")}:
        some, more, alone = (
            known.get((part, call)) for call in ("2 levels", "7 levels", "network")
        )
        if some and more and alone:
            level = (more - some) / 5
            volume = level / 1e3 * LEVELS * SLICES / at_once
            row = {"over_network": level / alone, "volume_s": volume}
            rows.append({"part": part, "call": "a level", "ms": level, **row})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all when none is given")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--peers", help="folder of clones of official code, named as theirs")
    parser.add_argument("--before", type=Path, help="folder with an earlier package")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="toy sizes")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        sys.exit(f"unknown part {unknown.pop()!r}: choose of {', '.join(PARTS)}")
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("there is no GPU here: give --device cpu --tiny to try the script")
    if args.alone:
        run_parts(args)
        return
    tests = "not run on a CPU"
    if args.device == "cuda":
        tests = checked(60 * args.minutes * SHARES["tests"] + 60)
        print(f"tests: {tests}", flush=True)
    minutes = args.minutes * (SHARES["here"] if args.before else 1 - SHARES["tests"])
    rows = rows_of(Path(__file__).parents[1], args, minutes)
    before = rows_of(args.before, args, args.minutes * SHARES["before"]) if args.before else []
    add_ratios(rows, before, Sizes(args.tiny).at_once)
    for row in rows:
        told(row)
    if args.json:
        machine = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
        found = {"device": machine, "torch": torch.__version__, "tests": tests}
        args.json.write_text(json.dumps(found | {"rows": rows, "before": before}, indent=1) + "\n")


def checked(seconds: float) -> str:
    """The last line of the tests that need a GPU."""
    line = [sys.executable, "-m", "pytest", "-q", "-x", str(TESTS)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"not done in {seconds:.0f} s"
    return (done.stdout.strip().splitlines() or ["nothing said"])[-1]


def told(row: Row) -> None:
    """A line of the table."""
    if "failure" in row:
        print(f"{row['part']:18s} {row['failure']}")
        return
    ratios = {k: v for k, v in row.items() if "over" in k or k == "volume_s"}
    words = "  ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in ratios.items())
    print(
        f"{row['part']:18s} {row['call']:14s} {row['ms']:9.2f} ms {row.get('mb', 0):8.0f} MB  {words}"
    )


if __name__ == "__main__":
    main()
