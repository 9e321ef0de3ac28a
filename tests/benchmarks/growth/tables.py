"""From the numbers to Markdown. In: what was measured. Out: tables, medians with their ranges. Knows no model."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from tests.benchmarks.growth.points import CURVES, Curve, Point

Found = dict[str, Any]


def runs_of(found: Found, point: Point) -> list[dict[str, Any]]:
    """All runs of a point."""
    return [run for one in found["points"] if one["point"] == asdict(point) for run in one["runs"]]


def on_curve(found: Found, curve: Curve) -> list[tuple[Point, list[dict[str, Any]]]]:
    """What was measured of a curve, from the smallest to the largest."""
    every = [(point, runs_of(found, point)) for point in curve.points(Point(**found["middle"]))]
    return [(point, runs) for point, runs in every if runs]


def seconds(runs: list[dict[str, Any]], what: str = "seconds") -> list[float]:
    """Of every step of every run."""
    return [step for run in runs for step in run[what]]


def memory(runs: list[dict[str, Any]]) -> tuple[float, float]:
    """Bytes that training added to the process at its peak; and of them those beside weights, gradients and moments."""
    return statistics.median(run["peak_bytes"] for run in runs), statistics.median(
        run["peak_bytes"] - run["state_bytes"] for run in runs
    )


def markdown(found: Found) -> str:
    """All tables."""
    parts = [[f"## By {curve.name}", "", *table_of(found, curve)] for curve in CURVES if len(on_curve(found, curve)) > 1]
    parts += [["## By processes", "", *ranks_table(found)]] if found.get("ranks") else []
    parts += [["## By losses in the objective", "", *losses_table(found)]] if found.get("losses") else []
    parts += [["## Start-up by plugins", "", *startup_table(found)]] if found.get("startup") else []
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def table_of(found: Found, curve: Curve) -> Iterator[str]:
    """One line a point."""
    yield f"| {curve.label} | unique tokens | plain tokens | s/step | range | unique tokens/s | memory, MB | beside states |"
    yield "|---:|---:|---:|---:|---|---:|---:|---:|"
    for point, runs in on_curve(found, curve):
        yield f"| {getattr(point, curve.setting)} | {point.unique_tokens} | {point.plain_tokens} | {_cells(point, runs)} |"


def ranks_table(found: Found) -> Iterator[str]:
    """One line a way to use the machine."""
    yield "| processes | threads of each | s/step | range | unique tokens/s | memory, MB | beside states |"
    yield "|---:|---:|---:|---|---:|---:|---:|"
    for point in (Point(**one) for one in found["ranks"]):
        yield f"| {point.ranks} | {point.threads} | {_cells(point, runs_of(found, point))} |"


def losses_table(found: Found) -> Iterator[str]:
    """One line an objective: what it costs beyond the first loss alone, in the steps of the same round; and the milliseconds
    that it costs with next to no model, of those steps."""
    yield "| losses | s/step | range | beyond the first alone | middle half | ms, with next to no model | of the step |"
    yield "|---|---:|---|---:|---|---:|---:|"
    for case in found["losses"].values():
        first = statistics.median(case["seconds"][0])
        for count, steps in enumerate(case["seconds"], 1):
            shares = [more / one for more, one in zip(_beyond(case, count - 1), case["seconds"][0], strict=True)]
            low, _, high = statistics.quantiles(shares, n=4) if len(shares) > 1 else shares * 3
            more = statistics.median(_beyond(case["alone"], count - 1))
            told = f"{statistics.median(shares):+.1%} | {low:+.1%} to {high:+.1%} | {1e3 * more:.1f} | {more / first:.2%}"
            names = " + ".join(case["losses"][:count])
            yield f"| {names} | {_spread(steps)} | {told if count > 1 else ' |  |  | '} |"


def startup_table(found: Found) -> Iterator[str]:
    """One line a number of plugins."""
    yield "| plugins | of them made up | `registry.load`, s | range | hash of the sources, s | `burnish --help`, s | range |"
    yield "|---:|---:|---:|---|---:|---:|---|"
    for one in found["startup"]:
        hashing = statistics.median(one["hash"])
        yield f"| {one['plugins']} | {one['made_up']} | {_spread(one['load'])} | {hashing:.3f} | {_spread(one['help'])} |"


def _beyond(case: dict[str, Any], turn: int) -> list[float]:
    """Seconds by which a turn took longer than the first one of the same round."""
    return [later - first for first, later in zip(case["seconds"][0], case["seconds"][turn], strict=True)]


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} | {min(values):.3f}-{max(values):.3f}"


def _cells(point: Point, runs: list[dict[str, Any]]) -> str:
    times, (peak, beside) = seconds(runs), memory(runs)
    return f"{_spread(times)} | {point.unique_tokens / statistics.median(times):.0f} | {peak / 1e6:.0f} | {beside / 1e6:.0f}"
