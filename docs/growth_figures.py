"""The picture of docs/cost.md: what measurements/growth.py measured, and the powers that fit."""

from __future__ import annotations

import numpy as np
import records

PATH = records.DOCS / "images" / "growth.png"


def draw() -> None:
    """CPU time and peak memory over what grows, on logarithmic axes."""
    from matplotlib.figure import Figure

    series = records.read("growth").numbers
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, what, unit in zip(
        panels, ("time", "memory"), ("cpu_seconds", "peak_mb"), strict=True
    ):
        for name, one in series.items():
            values, costs = np.array(one["values"]), np.array(one[unit])
            power = one[f"{what}_exponent"]
            (line,) = panel.loglog(values, costs, "o", markersize=4)
            level = np.exp(np.mean(np.log(costs) - power * np.log(values)))
            label = f"{name}: {power:.2f}"
            panel.loglog(values, level * values**power, color=line.get_color(), label=label)
        panel.legend(fontsize=7, title="exponent", title_fontsize=7)
        panel.set_xlabel("slices, coils, pixels of a side, levels or draws")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("CPU seconds")
    panels[1].set_ylabel("MB of peak memory above the start")
    figure.savefig(PATH, dpi=110)
