"""Rewards over a run as a picture, from the numbers of several seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

WINDOW = 5
Curves = Mapping[str, Sequence[Sequence[float]]]


def smooth(values: Sequence[float], window: int = WINDOW) -> list[float]:
    """Means over the last `window` values, of fewer at the beginning."""
    found = []
    for end in range(1, len(values) + 1):
        some = values[max(0, end - window) : end]
        found.append(sum(some) / len(some))
    return found


def draw(path: Path, curves: Curves, across: str, up: str = "reward") -> None:
    """A PNG: one panel for each name, one line for each seed, the values themselves behind their running means."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(3, len(curves))
    shape = math.ceil(len(curves) / columns), columns
    figure, axes = pyplot.subplots(*shape, figsize=(3.4 * shape[1], 2.5 * shape[0]), sharex=True, sharey=True, squeeze=False)
    panels = list(axes.flat)
    for panel, (name, seeds) in zip(panels, curves.items(), strict=False):
        for number, values in enumerate(seeds):
            places = range(1, len(values) + 1)
            panel.plot(places, values, color=f"C{number}", alpha=0.25, linewidth=1)
            panel.plot(places, smooth(values), color=f"C{number}", linewidth=1.8, label=f"seed {number}")
        panel.set_title(name, fontsize=10)
        panel.grid(alpha=0.3)
    for panel in panels[len(curves) :]:
        panel.set_visible(False)
    panels[0].set_ylim(0, 1)
    panels[0].legend(fontsize=8, frameon=False)
    figure.supxlabel(across, fontsize=10)
    figure.supylabel(up, fontsize=10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
