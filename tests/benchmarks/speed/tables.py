"""From all numbers of a benchmark to a table: medians, ranges, and what they mean.

In: what the workers handed back, by case and by TRL's rows per device (0: burnish; a word: burnish otherwise). Out: Markdown.
Knows no framework.
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
COLUMNS = ("case", "framework", "s/step", "range", "CPU s/step", "tokens/s", "memory", "utilisation", "over burnish")
HEAD = (f"| {' | '.join((*COLUMNS, 'ceiling', 'of it'))} |", "|---" * (len(COLUMNS) + 2) + "|")


def steps(results: Iterable[Result], what: str) -> list[float]:
    """Of all runs, the first step of each left out."""
    return [step[what] for result in results for step in result["steps"][1:]]


def seconds(results: Iterable[Result]) -> float:
    """Median of a step."""
    return statistics.median(steps(results, "seconds"))


def framework(who: str, options: dict[str, Any]) -> str:
    """In words: burnish as it is or otherwise, or TRL with its rows per device and what is not its default."""
    if not who.isdigit() or who == "0":
        return "burnish" if who == "0" else f"burnish, {who}"
    names = {True: "{}", False: "no {}"}
    said = [names[value].format(name) if isinstance(value, bool) else f"{name} {value}" for name, value in options.items()]
    return ", ".join([f"TRL, {who} per device", *said])


def rows(name: str, case: dict[str, Any]) -> Iterable[str]:
    """Lines of one case: burnish, burnish otherwise, TRL at every size. Ratios stand beside its fastest, and where packed
    rows without sharing were measured, beside burnish how much of the ceiling there is."""
    found: dict[str, list[Result]] = {who: [one for one in each if "steps" in one] for who, each in case["results"].items()}
    work, ours = found["0"][0]["work"], seconds(found["0"])
    sharing = work["plain"]["operations"] / work["shared"]["operations"]
    theirs = {who: seconds(results) for who, results in found.items() if who != "0" and who.isdigit() and results}
    for who, results in sorted(found.items(), key=lambda item: (item[0].isdigit() and item[0] != "0", item[0] != "0", item[0])):
        if not results:
            yield f"| | {framework(who, {})} | {case['results'][who][0]['failed']}{' |' * 9}"
            continue
        times = steps(results, "seconds")
        shares = who == "0" or not (who.isdigit() or who == "packed")
        operations = case["passes"] * work["shared" if shares else "plain"]["operations"]
        rate = statistics.median(rate for result in results for rate in result["matrix_rate"])
        memory = max(result["peak_bytes"] - result["state_bytes"] for result in results)
        compared = not who.isdigit() or who == min(theirs, key=lambda one: theirs[one], default="")
        reached = f"{seconds(found['packed']) / ours / sharing:.0%}" if found.get("packed") else ""
        cells = (
            name if who == "0" else "",
            framework(who, results[0].get("options", {})),
            f"{statistics.median(times):.2f}",
            f"{min(times):.2f}-{max(times):.2f}",
            f"{statistics.median(steps(results, 'cpu_seconds')):.1f}",
            f"{work['plain']['tokens'] / statistics.median(times):.0f}",
            f"{memory / 1e9:.2f} GB",
            f"{operations / statistics.median(times) / rate:.0%}",
            f"{seconds(results) / ours:.2f}" if compared else "",
            *((f"{sharing:.2f}", reached) if who == "0" else ("", "")),
        )
        yield f"| {' | '.join(cells)} |"


def markdown(runs: Runs, model: str) -> str:
    """The table, and what was measured where."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    every = [one for case in runs.values() for results in case["results"].values() for one in results if "steps" in one]
    rates = [rate / 1e9 for one in every for rate in one["matrix_rate"]]
    loads = [one["load"] for one in every]
    devices = ", ".join(sorted({one["device"] for one in every if one.get("device")}))
    versions = ", ".join(f"{name} {version(name)}" for name in ("burnish", "torch", "transformers", "trl"))
    said = [
        f"Model: {model}. {time.strftime('%Y-%m-%d')}, {platform.machine()} {cpu}, {os.cpu_count()} cores"
        f"{devices and ', ' + devices}. {versions}.",
        f"Matrix products in these runs: {min(rates):.0f} to {max(rates):.0f} GFLOP/s; load average at the end of a run: "
        f"{min(loads):.1f} to {max(loads):.1f}.",
        "memory: peak resident memory (of CUDA, where there is one) above weights, gradients, moments. utilisation: operations "
        "that the layout needs (TRL: every sequence by itself, no pads) over time and the matrix rate of the same processes. "
        "over burnish: seconds of a step over burnish's, of TRL with its fastest number of rows per device. ceiling: what "
        "prefix sharing could bring at most, in operations of one forward; of it: how much faster than packed rows without "
        "sharing a step is, of that.",
    ]
    table = [line for name, case in runs.items() for line in rows(name, case)]
    return "\n\n".join(said) + "\n\n" + "\n".join([*HEAD, *table]) + "\n"
