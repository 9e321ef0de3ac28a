"""From the numbers to pictures: time and memory of a step against each setting. In: what was measured. Out: PNG files."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from tests.benchmarks.growth.points import CURVES, Curve
from tests.benchmarks.growth.tables import Found, memory, on_curve, seconds

SIZE = 3.2  # inches of a panel
BLUE, GREY = "#1f5a7a", "#9a9a9a"


def draw(found: Found, path: Path) -> None:
    """A column of two panels for each curve: seconds and memory, and what would be proportional to the forwarded tokens."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves = [curve for curve in CURVES if len(on_curve(found, curve)) > 1]
    figure = Figure(figsize=(SIZE * len(curves), 2 * SIZE), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, len(curves), squeeze=False)
    for place, curve in enumerate(curves):
        _time(panels[0, place], found, curve)
        _memory(panels[1, place], found, curve)
    figure.savefig(path, dpi=80)


def _time(panel: Any, found: Found, curve: Curve) -> None:
    measured = on_curve(found, curve)
    across = [getattr(point, curve.setting) for point, _ in measured]
    times = [seconds(runs) for _, runs in measured]
    middle = [statistics.median(one) for one in times]
    reach = [
        [at - min(one) for at, one in zip(middle, times, strict=True)],
        [max(one) - at for at, one in zip(middle, times, strict=True)],
    ]
    panel.errorbar(across, middle, reach, marker="o", color=BLUE, capsize=3, label="measured")
    start, tokens = middle[0], [point.unique_tokens for point, _ in measured]
    panel.plot(across, [start * count / tokens[0] for count in tokens], "--", color=GREY, label="by unique tokens")
    _axes(panel, curve, "seconds of a step")


def _memory(panel: Any, found: Found, curve: Curve) -> None:
    measured = on_curve(found, curve)
    across = [getattr(point, curve.setting) for point, _ in measured]
    every, beside = zip(*(memory(runs) for _, runs in measured), strict=True)
    panel.plot(across, [size / 1e6 for size in every], marker="o", color=BLUE, label="peak")
    panel.plot(across, [size / 1e6 for size in beside], marker="o", color=GREY, label="beside weights, gradients, moments")
    _axes(panel, curve, "MB that training adds")


def _axes(panel: Any, curve: Curve, upwards: str) -> None:
    panel.set_xlabel(curve.label)
    panel.set_ylabel(upwards)
    panel.set_ylim(bottom=0)
    panel.set_xlim(left=0)
    panel.locator_params(axis="x", nbins=4)
    panel.legend(frameon=False, fontsize=7)
    panel.spines[["top", "right"]].set_visible(False)
