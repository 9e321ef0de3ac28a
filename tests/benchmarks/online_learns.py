"""Do the online methods raise the reward? docs/quickstart/grpo.yaml's task and model, every method from its recipe.

    python tests/benchmarks/online_learns.py --runs FOLDER --write docs/results/online.md

The numbers of a run are kept in `--runs`; a run whose numbers are there is not run again, so that an interrupted program goes
on, and several may share the work (`--only rloo`, `--only ppo`, each in a process of its own). The page, its JSON and its
picture are made of all that is there.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from reward_curves import draw

QUICKSTART = Path(__file__).resolve().parents[2] / "docs" / "quickstart" / "grpo.yaml"
ENDS = 5
HEAD = ("method", "seed", "rollout batches", "steps", "first five", "last five", "held-out before", "after", "seconds")


@dataclass(frozen=True)
class Case:
    """One method. recipe: as in a config, None for the quickstart itself; steps: optimiser steps; changes: to the config."""

    name: str
    recipe: Any = None
    steps: int = 26
    changes: Mapping[str, Any] = field(default_factory=dict)

    def overrides(self, seed: int, output: Path) -> dict[str, Any]:
        """Dotted paths to values."""
        return {"train.steps": self.steps, "train.seed": seed, "output": str(output), **self.changes}


CASES = [
    Case("grpo"),
    Case("rloo", "rloo"),
    Case("reinforce_pp", "reinforce_pp"),
    Case("dapo", {"dapo": {"rewards": ["math"], "max_new_tokens": 24}}),
    Case("gspo, two steps a batch", "gspo", 52, {"train.batch_size": 16}),
    Case("ppo, two passes", {"ppo": {"epochs": 2}}, 52),
    Case("online_dpo, best and worst of 8", {"online_dpo": {"group_size": 8}}, 26, {"train.batch_size": 4}),
]


def config(case: Case, seed: int, output: Path) -> dict[str, Any]:
    """The quickstart's with a method in place of its own."""
    found: dict[str, Any] = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    if case.recipe is not None:
        del found["objective"]
        found["recipe"] = case.recipe
        if case.name.startswith("dapo"):  # the recipe adds a reward to those that it is given
            del found["rollout"]["rewards"]
    for path, value in case.overrides(seed, output).items():
        *above, last = path.split(".")
        inner = found
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return found


def run(case: Case, seed: int) -> dict[str, Any]:
    """Train, and give what the ledger says."""
    import burnish

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = burnish.train(config(case, seed, Path(folder) / "run"))
        seconds = time.perf_counter() - started
        lines = [json.loads(line) for line in (result.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    held = [line["eval/rewards/math/mean"] for line in lines if "eval/rewards/math/mean" in line]
    rewards = [line["rewards/math/mean"] for line in lines if "rewards/math/mean" in line]
    lengths = [line["completions/mean_length"] for line in lines if "completions/mean_length" in line]
    return {"method": case.name, "seed": seed, "steps": case.steps, "rewards": rewards, "lengths": lengths} | {
        "before": held[0],
        "after": held[-1],
        "seconds": seconds,
    }


def file_of(runs: Path, case: Case, seed: int) -> Path:
    return runs / f"{case.name.split(',')[0]}-{seed}.json"


def page(found: list[dict[str, Any]], picture: str) -> str:
    """Markdown."""
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    for one in found:
        rewards = one["rewards"]
        first, last = sum(rewards[:ENDS]) / ENDS, sum(rewards[-ENDS:]) / ENDS
        numbers = (f"{first:.2f}", f"{last:.2f}", f"{one['before']:.2f}", f"{one['after']:.2f}", f"{one['seconds']:.0f}")
        lines.append(f"| {' | '.join(map(str, (one['method'], one['seed'], len(rewards), one['steps'], *numbers)))} |")
    machine = f"{platform.machine()}, {time.strftime('%Y-%m-%d')}"
    return "\n".join([machine, "", *lines, "", f"![Share of right answers over the run, by method]({picture})", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder for the numbers of each run")
    parser.add_argument("--only", default="", help="run only the methods whose name contains this")
    parser.add_argument("--seeds", default="0,1", help="which seeds")
    parser.add_argument("--write", type=Path, help="Markdown file; JSON and PNG go beside it")
    asked = parser.parse_args()
    asked.runs.mkdir(parents=True, exist_ok=True)
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    for seed in seeds:
        for case in CASES:
            kept = file_of(asked.runs, case, seed)
            if asked.only in case.name and not kept.exists():
                result = run(case, seed)
                kept.write_text(json.dumps(result) + "\n", encoding="utf-8")
                print(f"{case.name}, seed {seed}: held out {result['before']:.2f} -> {result['after']:.2f}", flush=True)
    files = [file_of(asked.runs, case, seed) for case in CASES for seed in seeds]
    found = [json.loads(kept.read_text(encoding="utf-8")) for kept in files if kept.exists()]
    curves: dict[str, list[list[float]]] = {}
    for one in found:
        curves.setdefault(one["method"], []).append(one["rewards"])
    if asked.write and found:
        picture = asked.write.with_suffix(".png")
        draw(picture, curves, across="rollout batches of 4 prompts x 8 answers", up="share of right answers")
        asked.write.with_suffix(".json").write_text(json.dumps(found) + "\n", encoding="utf-8")
        asked.write.write_text(page(found, picture.name), encoding="utf-8")
        print(page(found, picture.name))


if __name__ == "__main__":
    main()
