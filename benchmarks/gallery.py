"""Every sampler at every mask on held-out scans, beside tuned TV and L1-wavelet and the shipped networks.

Samplers have the options of configs/samplers. Results go, one line each, to a JSON-lines file as they are made; the
same line again goes on with what is missing. --curves measures DDS against its conjugate gradients, its network
evaluations, its new noise and the number of averaged draws, and draws them into a PNG.

    python benchmarks/gallery.py FOLDER --results gallery.jsonl > gallery.md
    python benchmarks/gallery.py FOLDER --results curves.jsonl --curves docs/images/dds_settings.png
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from time import process_time
from typing import Any

import torch
import yaml
from cases import (
    CONVERGED,
    PATTERNS,
    best_weight,
    files,
    judged,
    networks,
    truth,
    undersampled,
)

from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.methods import METHODS

CONFIGS = Path(__file__).parents[1] / "configs" / "samplers"
BASELINES = ("zero_filled", "cg_sense", "l1_wavelet", "tv")
TUNED = ("l1_wavelet", "tv")
# What of DDS is varied: title of the curve, option, its values.
CURVES: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("conjugate gradients per level", "cg_steps", (1, 3, 5, 10)),
    ("network evaluations", "levels", (10, 19, 49, 99)),
    ("new noise eta", "eta", (0.0, 0.25, 0.5, 0.85, 1.0)),
    ("averaged draws", "samples", (1, 2, 4, 8)),
)
CURVE_PATTERNS = ("uniform1d x4", "gaussian1d x8")


@dataclass(frozen=True)
class Case:
    """One reconstruction: scan file, mask, method with its options."""

    scan: str
    slices: int
    pattern: str
    seed: int
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return json.dumps({**asdict(self), "scan": Path(self.scan).name}, sort_keys=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="see benchmarks/cases.py")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines, added to")
    parser.add_argument("--slices", type=int, default=4, help="of each scan, in its middle")
    parser.add_argument("--scans", type=int, help="take so many scans only")
    parser.add_argument("--samples", type=int, default=1, help="draws that are averaged")
    parser.add_argument("--tuning", type=int, default=4, help="training scans to tune weights on")
    parser.add_argument("--patterns", nargs="+", default=list(PATTERNS), choices=list(PATTERNS))
    parser.add_argument("--methods", nargs="+", help="all when not given")
    parser.add_argument("--curves", type=Path, metavar="PNG", help="vary the settings of DDS")
    parser.add_argument("--processes", type=int, default=1, help="of one thread each")
    args = parser.parse_args()
    scans = [str(path) for path in files(args.folder)][: args.scans]
    cases = list(curve_cases(scans, args.slices)) if args.curves else list(table_cases(args, scans))
    done = finished(args.results)
    left = [case for case in cases if case.key not in done]
    with multiprocessing.get_context("spawn").Pool(args.processes, one_thread) as pool:
        for case, result in pool.imap_unordered(solved, left):
            with args.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"case": json.loads(case.key), **result}) + "\n")
    done = finished(args.results)
    if args.curves:
        draw(args.curves, scans, args.slices, done)
    else:
        print(table(cases, done))


def table_cases(args: argparse.Namespace, scans: Sequence[str]) -> Iterable[Case]:
    chosen = args.methods or [*BASELINES, *networks(), *SAMPLERS]
    for pattern, name in product(args.patterns, chosen):
        options: dict[str, Any] = {}
        if name in TUNED:
            weight = tuned(name, pattern, args)
            options = {"regularization": weight, **CONVERGED}
        if name in SAMPLERS:
            options = {**sampler_options(name), "samples": args.samples}
        for seed, scan in enumerate(scans):
            yield Case(scan, args.slices, pattern, seed, name, options)


def curve_cases(scans: Sequence[str], slices: int) -> Iterable[Case]:
    for pattern, (_, option, values) in product(CURVE_PATTERNS, CURVES):
        for value, (seed, scan) in product(values, enumerate(scans)):
            options = {**sampler_options("dds"), option: value}
            yield Case(scan, slices, pattern, seed, "dds", options)


def sampler_options(name: str) -> dict[str, Any]:
    """The options of a sampler in its YAML."""
    settings = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))["method"]
    return {key: value for key, value in settings.items() if key != "name"}


def tuned(name: str, pattern: str, args: argparse.Namespace) -> float:
    """The best weight on training scans, kept beside the results."""
    path = args.results.with_suffix(".weights.json")
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    key = f"{name}, {pattern}"
    if key not in known:
        train = files(args.folder, "multicoil_train")
        train = train[:: max(1, len(train) // args.tuning)][: args.tuning]
        scans = [undersampled(scan, 1, pattern, seed) for seed, scan in enumerate(train)]
        known[key] = best_weight(name, scans)
        path.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    return float(known[key])


def one_thread() -> None:
    torch.set_num_threads(1)


def solved(case: Case) -> tuple[Case, dict[str, Any]]:
    """What is written down about a case; a mask that a sampler cannot handle is said."""
    torch.set_grad_enabled(False)
    scan = undersampled(Path(case.scan), case.slices, case.pattern, case.seed)
    begin = process_time()
    try:
        volume = METHODS[case.method](**case.options)(scan)
    except ValueError as error:
        return case, {"error": str(error)}
    seconds = (process_time() - begin) / case.slices
    found = judged(volume, truth(scan))
    return case, {
        "evaluations": volume.info.get("network_evaluations"),
        "seconds": seconds,
        **{region: metrics._asdict() for region, metrics in found.items()},
    }


def finished(path: Path) -> dict[str, dict[str, Any]]:
    """Results by case; a line that a killed run left half-written is made again."""
    results = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        results[json.dumps(entry.pop("case"), sort_keys=True)] = entry
    return results


def table(cases: Sequence[Case], done: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a row for each method, for each mask a table."""
    rows: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for case in cases:
        if case.key in done:
            rows[case.pattern, case.method].append(done[case.key])
    lines = []
    for pattern in dict.fromkeys(pattern for pattern, _ in rows):
        lines += [
            f"\n**{pattern}**\n",
            "| method | PSNR head | SSIM head | PSNR brain | SSIM brain | NFE | CPU s / slice |",
            "|---|---|---|---|---|---|---|",
        ]
        for (of, method), results in rows.items():
            if of == pattern:
                lines.append(row(method, results))
    return "\n".join(lines)


def row(method: str, results: Sequence[Mapping[str, Any]]) -> str:
    good = [result for result in results if "error" not in result]
    if not good:
        return f"| `{method}` | this mask is refused | | | | | |"
    cells = [
        spread([r[region][name] for r in good if region in r], digits)
        for region in ("support", "brain")
        for name, digits in (("psnr", 2), ("ssim", 4))
    ]
    evaluations = good[0]["evaluations"]
    cells += ["" if evaluations is None else f"{evaluations:.0f}"]
    cells += [f"{mean(r['seconds'] for r in good):.2f}"]
    return f"| `{method}` | {' | '.join(cells)} |"


def spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return ""
    width = stdev(values) if len(values) > 1 else 0.0
    return f"{mean(values):.{digits}f} ± {width:.{digits}f}"


def draw(
    path: Path, scans: Sequence[str], slices: int, done: Mapping[str, Mapping[str, Any]]
) -> None:
    """The curves of DDS; print the numbers behind them too."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.8), layout="constrained")
    FigureCanvasAgg(figure)
    cases = list(curve_cases(scans, slices))
    for axis, (title, option, values) in zip(figure.subplots(1, 4), CURVES, strict=True):
        for pattern in CURVE_PATTERNS:
            heights = [curve_point(cases, done, pattern, option, value) for value in values]
            axis.plot(values, heights, marker="o", label=pattern)
            print(
                f"{pattern}, {title}: {', '.join(f'{v:g}: {h:.2f}' for v, h in zip(values, heights, strict=True))}"
            )
        axis.set_xlabel(title)
        axis.grid(alpha=0.3)
        if option in ("levels", "samples"):
            axis.set_xscale("log", base=2)
            axis.set_xticks(values, [str(value) for value in values])
            axis.minorticks_off()
    figure.axes[0].set_ylabel("PSNR in the head (dB)")
    figure.axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def curve_point(
    cases: Sequence[Case],
    done: Mapping[str, Mapping[str, Any]],
    pattern: str,
    option: str,
    value: Any,
) -> float:
    wanted: Callable[[Case], bool] = lambda case: (  # noqa: E731
        case.pattern == pattern and case.options == {**sampler_options("dds"), option: value}
    )
    found = {case.key: done[case.key] for case in cases if wanted(case)}
    return mean(result["support"]["psnr"] for result in found.values())


if __name__ == "__main__":
    main()
