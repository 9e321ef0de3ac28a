"""From all numbers of a benchmark to a table: medians, ranges, and what they mean.

In: what the workers handed back, by case and by TRL's rows per device (0: burnish). Out: Markdown. Knows no framework.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

Result = dict[str, Any]
Runs = dict[str, Any]
HEAD = (
    "| case | framework | s/step | range | CPU s/step | tokens/s | memory | utilisation | TRL / burnish | ceiling |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def steps(results: Iterable[Result], what: str) -> list[float]:
    """Of all runs, the first step of each left out."""
    return [step[what] for result in results for step in result["steps"][1:]]


def seconds(results: Iterable[Result]) -> float:
    """Median of a step."""
    return statistics.median(steps(results, "seconds"))


def rows(name: str, case: dict[str, Any]) -> Iterable[str]:
    """Lines of one case: burnish, then TRL at every size; the ratio stands beside the fastest."""
    found: dict[str, list[Result]] = case["results"]
    work = found["0"][0]["work"]
    theirs = {size: seconds(results) for size, results in found.items() if size != "0"}
    for size, results in sorted(found.items(), key=lambda item: int(item[0])):
        times = steps(results, "seconds")
        operations = case["passes"] * work["plain" if size != "0" else "shared"]["operations"]
        rate = statistics.median(rate for result in results for rate in result["matrix_rate"])
        memory = max(result["peak_bytes"] - result["state_bytes"] for result in results)
        is_best = bool(theirs) and size == min(theirs, key=lambda one: theirs[one])
        sharing = work["plain"]["operations"] / work["shared"]["operations"]
        cells = (
            name if size == "0" else "",
            "burnish" if size == "0" else f"TRL, {size} per device",
            f"{statistics.median(times):.2f}",
            f"{min(times):.2f}-{max(times):.2f}",
            f"{statistics.median(steps(results, 'cpu_seconds')):.1f}",
            f"{work['plain']['tokens'] / statistics.median(times):.0f}",
            f"{memory / 1e9:.2f} GB",
            f"{operations / statistics.median(times) / rate:.0%}",
            f"{theirs[size] / seconds(found['0']):.2f}" if is_best else "",
            f"{sharing:.2f}" if size == "0" else "",
        )
        yield f"| {' | '.join(cells)} |"


def markdown(runs: Runs, model: str) -> str:
    """The table, and what was measured where."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    every = [one for case in runs.values() for results in case["results"].values() for one in results]
    rates = [rate / 1e9 for one in every for rate in one["matrix_rate"]]
    loads = [one["load"] for one in every]
    versions = ", ".join(f"{name} {version(name)}" for name in ("burnish", "torch", "transformers", "trl"))
    said = [
        f"Model: {model}. {time.strftime('%Y-%m-%d')}, {platform.machine()} {cpu}, {os.cpu_count()} cores. {versions}.",
        f"Matrix products in these runs: {min(rates):.0f} to {max(rates):.0f} GFLOP/s; load average at the end of a run: "
        f"{min(loads):.1f} to {max(loads):.1f}.",
        "memory: peak resident memory above weights, gradients, moments. utilisation: operations that the layout needs (TRL: "
        "every sequence by itself, no pads) over time and the matrix rate of the same processes. ceiling: what prefix sharing "
        "could bring at most, in operations of one forward.",
    ]
    table = [line for name, case in runs.items() for line in rows(name, case)]
    return "\n\n".join(said) + "\n\n" + "\n".join([*HEAD, *table]) + "\n"
