"""How fast completions are drawn, and a whole step of GRPO, beside TRL: same model, prompts, lengths and settings.

    python -m tests.benchmarks.rollouts --data ../shared/data --model FOLDER --write docs/benchmarks/DATE-rollouts.md

Both take turns for so many `--rounds`, each run in a process of its own; the first batch of a run warms up. Samples differ, so
drawing is compared by tokens a second; a step of GRPO also by seconds. TRL draws with the generation that is its default.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.rollouts.cases import CASES, Case

ROOT = Path(__file__).resolve().parents[3]
QUIET = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "CI": "1"}
HEAD = ("case", "framework", "seconds", "range", "tokens", "tokens/s", "peak memory", "burnish / TRL by tokens/s")


def measure(case: Case, per_device: int, asked: argparse.Namespace) -> dict[str, Any]:
    """One run in a process of its own; per_device 0 is burnish."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        command = [sys.executable, "-m", "tests.benchmarks.rollouts", "--worker", str(per_device), "--case", case.name]
        command += ["--data", str(asked.data), "--model", str(asked.model), "--steps", str(asked.steps), "--write", str(out)]
        environment = {**os.environ, **QUIET, "BURNISH_CACHE": f"{folder}/cache"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            who = "TRL" if per_device else "burnish"
            raise SystemExit(f"{case.name}, {who}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    seconds = [round(step["seconds"], 2) for step in result["steps"]]
    print(f"{case.name}: {f'TRL {per_device}' if per_device else 'burnish'} {seconds} s, tokens {result['tokens']}", flush=True)
    return result


def work(case: Case, asked: argparse.Namespace) -> None:
    """What the process of a run does."""
    if asked.worker:
        from tests.benchmarks.rollouts import trl_side

        result = trl_side.run(case, asked.data, asked.model, asked.steps, asked.worker)
    else:
        from tests.benchmarks.rollouts import burnish_side

        result = burnish_side.run(case, asked.data, asked.model, asked.steps)
    asked.write.write_text(json.dumps({**result, "load": os.getloadavg()[0]}), encoding="utf-8")


def counted(results: list[dict[str, Any]]) -> list[tuple[float, int]]:
    """Seconds and tokens of all batches that count: the first of each run is left out."""
    return [
        (step["seconds"], tokens) for one in results for step, tokens in list(zip(one["steps"], one["tokens"], strict=True))[1:]
    ]


def rows(name: str, found: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Lines of one case: burnish, then TRL; the ratio stands beside the fastest of TRL's."""
    rates = {
        size: statistics.median(tokens / seconds for seconds, tokens in counted(results)) for size, results in found.items()
    }
    best = max((size for size in rates if size != "0"), key=lambda size: rates[size], default=None)
    for size, results in found.items():
        times, tokens = zip(*counted(results), strict=True)
        cells = (
            name if size == "0" else "",
            "burnish" if size == "0" else f"TRL, {size} per device",
            f"{statistics.median(times):.2f}",
            f"{min(times):.2f}-{max(times):.2f}",
            f"{min(tokens)}-{max(tokens)}",
            f"{rates[size]:.1f}",
            f"{max(one['peak_bytes'] for one in results) / 1e9:.2f} GB",
            f"{rates['0'] / rates[size]:.2f}" if size == best else "",
        )
        yield f"| {' | '.join(cells)} |"


def markdown(runs: dict[str, dict[str, list[dict[str, Any]]]], model: str) -> str:
    """The table, and what was measured where."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("burnish", "torch", "transformers", "trl"))
    loads = [one["load"] for found in runs.values() for results in found.values() for one in results]
    said = f"Model: {model}, float32. {time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores. {versions}."
    busy = f"Load average at the end of a run: {min(loads):.1f} to {max(loads):.1f}."
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    return "\n".join([said, busy, "", *lines, *(line for name, found in runs.items() for line in rows(name, found))]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the shared data sets")
    parser.add_argument("--model", type=Path, required=True, help="folder of a model")
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--steps", type=int, default=2, help="batches that count, of each run")
    parser.add_argument("--rounds", type=int, default=2, help="times that all take turns")
    parser.add_argument("--trl", default="1,2,4", help="TRL's completions per device to try, where a whole step is timed")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, help="Markdown file; the numbers go beside it as JSON. Cases it has are kept")
    asked = parser.parse_args()
    asked.data, asked.model = asked.data.resolve(), asked.model.resolve()
    chosen = [case for case in CASES if asked.case.lower() in case.name.lower()]
    if asked.worker is None:
        compare(chosen, asked)
    else:
        work(chosen[0], asked)


def compare(chosen: list[Case], asked: argparse.Namespace) -> None:
    """All take turns; what is known is written after every case."""
    numbers = asked.write.with_suffix(".json") if asked.write else None
    runs = json.loads(numbers.read_text(encoding="utf-8")) if numbers and numbers.is_file() else {}
    for case in chosen:
        found: dict[str, list[dict[str, Any]]] = {}
        for _ in range(asked.rounds):
            for size in (0, *([int(size) for size in asked.trl.split(",")] if case.whole else [1])):
                found.setdefault(str(size), []).append(measure(case, size, asked))
        runs[case.name] = found
        if numbers and asked.write:
            asked.write.write_text(markdown(runs, asked.model.name), encoding="utf-8")
            numbers.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    print(markdown(runs, asked.model.name))


if __name__ == "__main__":
    main()
