"""How time and memory of a step grow with the work: lengths, group, batch, vocabulary, processes, losses, plugins.

    python -m tests.benchmarks.growth --write docs/benchmarks/DATE-growth.md

A policy-gradient step of a random Llama (6 layers, hidden 256) at one middle point, with one setting moved at a time; each
point in a process of its own, all of them once in a round. Beside the Markdown file, or without one nowhere, go all numbers as
JSON and a picture. Of a file that is there are kept: the text above its first heading, and what was not measured again;
`--only nothing` draws tables and picture anew.
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

from tests.benchmarks.growth.points import CURVES, LOSSES, RANKS, SMALLEST_VOCABULARY, Point
from tests.benchmarks.growth.startup import started
from tests.benchmarks.growth.tables import Found, markdown
from tests.benchmarks.growth.worker import compared, fresh, measured

MADE_UP = (0, 100, 400)


def measure(asked: argparse.Namespace) -> Found:
    """All points that were asked for, round after round."""
    middle = replace(Point(), layers=asked.layers, hidden=asked.hidden)
    curves = [curve for curve in CURVES if wanted(asked.only, curve.name)]
    points = {point: None for curve in curves for point in curve.points(middle)}
    ranks = [replace(one, layers=asked.layers, hidden=asked.hidden) for one in RANKS] if wanted(asked.only, "processes") else []
    runs: dict[Point, list[dict[str, Any]]] = {point: [] for point in (*points, *ranks)}
    for _ in range(asked.rounds):
        for point, found in runs.items():
            found.append(fresh(measured, point, asked.steps))
            say(point.name, found[-1]["seconds"])
    losses = {}
    for kind in LOSSES if wanted(asked.only, "losses") else ():
        losses[kind] = fresh(compared, middle, kind, asked.turns)
        losses[kind]["alone"] = fresh(compared, tiny(middle), kind, asked.turns)
        say(kind, *losses[kind]["seconds"])
    return {
        "about": about(),
        "middle": asdict(middle),
        "points": [{"point": asdict(point), "runs": found} for point, found in runs.items()],
        "ranks": [asdict(one) for one in ranks],
        "losses": losses,
        "startup": list(starts(asked.turns)) if wanted(asked.only, "start-up") else [],
    }


def wanted(only: str, name: str) -> bool:
    """Whether something was asked for."""
    return any(word in name for word in only.split(","))


def tiny(point: Point) -> Point:
    """The same batch through next to no model."""
    return replace(point, layers=1, hidden=16, vocabulary=SMALLEST_VOCABULARY, threads=1)


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


def merged(old: Found, new: Found) -> Found:
    """What is new, and the rest of what was known before."""
    again = [one["point"] for one in new["points"]]
    points = [one for one in old["points"] if one["point"] not in again] + new["points"]
    kept = {name: new[name] or old[name] for name in ("ranks", "startup")}
    return {**new, **kept, "points": points, "losses": {**old["losses"], **new["losses"]}}


def write(found: Found, path: Path) -> None:
    """Tables below what stands above the first heading of the second order, numbers and picture beside."""
    from tests.benchmarks.growth.plots import draw

    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.read_text(encoding="utf-8") if path.is_file() else f"# Growth\n\n![]({path.stem}.png)\n"
    path.write_text(old.partition("\n## ")[0] + "\n" + markdown(found), encoding="utf-8")
    path.with_suffix(".json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    if found["points"]:
        draw(found, path.with_suffix(".png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="words: curves named so, processes, losses, start-up")
    parser.add_argument("--steps", type=int, default=3, help="steps of a run that count")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each point")
    parser.add_argument("--turns", type=int, default=12, help="rounds of steps with one, two and three losses; starts")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--write", type=Path, help="Markdown file")
    asked = parser.parse_args()
    found = measure(asked)
    if asked.write:
        known = asked.write.with_suffix(".json")
        found = merged(json.loads(known.read_text(encoding="utf-8")), found) if known.is_file() else found
        write(found, asked.write)
    print(markdown(found))


if __name__ == "__main__":
    main()
