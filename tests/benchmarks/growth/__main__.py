"""How time and memory of a step grow with the work: lengths, group, batch, vocabulary, processes, losses, plugins.

    python -m tests.benchmarks.growth --write docs/benchmarks/DATE-growth.md

A policy-gradient step of a random Llama (6 layers, hidden 256) at one middle point, with one setting moved at a time; each
point in a process of its own, all of them once in a round. Beside the Markdown file, or without one nowhere, go all numbers as
JSON and a picture. `--from FILE.json` draws tables and picture again from such numbers. Text above the first heading of a file
that is there is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

from tests.benchmarks.growth.points import CURVES, LOSSES, RANKS, Point
from tests.benchmarks.growth.startup import started
from tests.benchmarks.growth.tables import Found, markdown
from tests.benchmarks.growth.worker import compared, fresh, measured

MADE_UP = (0, 100, 400)


def measure(asked: argparse.Namespace) -> Found:
    """All points that were asked for, round after round."""
    middle = replace(Point(), layers=asked.layers, hidden=asked.hidden)
    curves = [curve for curve in CURVES if asked.only in curve.name]
    points = {point: None for curve in curves for point in curve.points(middle)}
    ranks = [replace(one, layers=asked.layers, hidden=asked.hidden) for one in RANKS] if asked.only in "processes" else []
    runs: dict[Point, list[dict[str, Any]]] = {point: [] for point in (*points, *ranks)}
    for _ in range(asked.rounds):
        for point, found in runs.items():
            found.append(fresh(measured, point, asked.steps))
            say(point.name, found[-1]["seconds"])
    losses = {}
    for kind in LOSSES if asked.only in "losses" else ():
        losses[kind] = fresh(compared, middle, kind, asked.turns)
        say(kind, *losses[kind]["seconds"])
    return {
        "about": about(),
        "middle": asdict(middle),
        "points": [{"point": asdict(point), "runs": found} for point, found in runs.items()],
        "ranks": [asdict(one) for one in ranks],
        "losses": losses,
        "startup": list(starts(asked.turns)) if asked.only in "plugins" else [],
    }


def starts(times: int) -> Iterator[dict[str, Any]]:
    """Start-up without plugins, with the installed ones, and with more."""
    installed = tuple(point.name for point in entry_points(group="burnish"))
    for count, disabled in ((0, installed), *((count, ()) for count in MADE_UP)):
        found = started(count, times, disabled)
        say(f"start with {found['plugins']} plugins", found["load"], found["help"])
        yield found


def about() -> dict[str, str]:
    """Where and with what."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    versions = ", ".join(f"{name} {version(name)}" for name in ("burnish", "torch", "transformers"))
    hardware = f"{platform.machine()} {cpu}, {os.cpu_count()} cores"
    return {"date": time.strftime("%Y-%m-%d"), "hardware": hardware, "versions": versions}


def say(what: str, *times: list[float]) -> None:
    print(f"{what}:", *("/".join(f"{one:.3f}" for one in steps) for steps in times), flush=True)


def write(found: Found, path: Path) -> None:
    """Tables below what stands above the first heading of the second order, numbers and picture beside."""
    from tests.benchmarks.growth.plots import draw

    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.read_text(encoding="utf-8") if path.is_file() else f"# Growth\n\n![]({path.stem}.png)\n"
    path.write_text(old.partition("\n## ")[0] + "\n" + markdown(found), encoding="utf-8")
    path.with_suffix(".json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    draw(found, path.with_suffix(".png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="curves whose name contains this; also: processes, losses, plugins")
    parser.add_argument("--steps", type=int, default=3, help="steps of a run that count")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each point")
    parser.add_argument("--turns", type=int, default=12, help="rounds of steps with one, two and three losses; starts")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--from", type=Path, dest="numbers", help="JSON of an earlier run, instead of measuring")
    parser.add_argument("--write", type=Path, help="Markdown file")
    asked = parser.parse_args()
    found = json.loads(asked.numbers.read_text(encoding="utf-8")) if asked.numbers else measure(asked)
    if asked.write:
        write(found, asked.write)
    print(markdown(found))


if __name__ == "__main__":
    main()
