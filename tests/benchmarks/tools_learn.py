"""Does a model learn to use a tool? Two turns: it calls a calculator, is told the result, and says it.

    python tests/benchmarks/tools_learn.py --runs FOLDER --write docs/results/tools.md

SmolLM2-135M-Instruct, all weights, float32. It never calls anything by itself, so it is shown 32 demonstrations first, each
once (`sft`, 4 steps of 8); then it learns from rewards alone (`grpo`): 1 where the last turn is the right number, 0 else. The
questions are sums, differences and products of numbers of two or three digits. Held-out: 40 other questions, answered greedily,
by the model as it comes, after the demonstrations, after grpo. Calls: the share of episodes in which the tool was called and
answered without an error.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from calculator import INSTRUCTIONS
from learning_table import line, write
from reward_curves import draw
from transformers import AutoTokenizer

import burnish
from burnish.rollout.journal import Journal
from burnish.rollout.metrics import CALLS, FAILURES
from burnish.rollout.trajectory import Trajectory

MODEL = "smollm2-135m-instruct"
TASK = Path(__file__).with_name("calculator.py")
HELD = 40


def teaching(seed: int, output: Path) -> dict[str, Any]:
    """The run that shows what a call looks like."""
    return {
        "model": {"name": MODEL},
        "data": {"main": {"source": f"{TASK}:demonstrations", "options": {"size": 32, "seed": 1000 + seed}}},
        "objective": [{"sft": {"targets": "assistant"}}],
        "train": {"batch_size": 8, "steps": 4, "seed": seed},
        "optimizer": {"lr": 2e-5},
        "schedule": {"name": "constant"},
        "output": str(output),
    }


def learning(seed: int, model: str, steps: int, output: Path) -> dict[str, Any]:
    """The run that learns from rewards."""
    tools = {"tools": [f"{TASK}:calculator"], "max_turns": 2, "instructions": INSTRUCTIONS}
    return {
        "model": {"name": model},
        "data": {"main": {"source": f"{TASK}:questions", "options": {"size": 4 * HELD, "seed": seed}, "holdout": 0.25}},
        "rollout": {
            "environment": {"tools": tools},
            "rewards": [f"{TASK}:right"],
            "prompts": 4,
            "group_size": 8,
            "sampling": {"max_new_tokens": 40},
        },
        "objective": ["grpo"],
        "train": {"batch_size": 32, "steps": steps, "seed": seed},
        "optimizer": {"lr": 1e-5},
        "schedule": {"name": "constant"},
        "checkpoint": {"every": 5, "keep": 1},
        "evaluate": {"at_start": True, "limit": HELD, "sampling": {"max_new_tokens": 40}},
        "output": str(output),
    }


@dataclass(frozen=True)
class Course:
    """How it went. rewards, calls: by step; held: right answers to the held-out questions, at first, after the demonstrations,
    at last; turns: episodes with two turns of the policy's, whose masks were looked at."""

    seed: int
    rewards: list[float]
    calls: list[float]
    held: tuple[float, float, float]
    turns: int


def course(seed: int, steps: int, runs: Path) -> Course:
    """The runs of a seed, those that are not there yet, and what they left."""
    still = learning(seed, MODEL, 1, runs / f"still-{seed}")
    at_first, *_ = held_out(run(still | {"optimizer": {"lr": 0.0}}))
    taught = run(teaching(seed, runs / f"taught-{seed}"))
    learnt = run(learning(seed, str(taught / "model"), steps, runs / f"learnt-{seed}"))
    before, *_, after = held_out(learnt)
    journal, tokenizer = Journal(learnt / "rollouts"), AutoTokenizer.from_pretrained(learnt / "model")
    batches = [journal.read(number) or [] for number in journal.numbers()]
    turns = sum(masked(one, tokenizer) for batch in batches for one in batch)
    rewards = [fmean(one.reward for one in batch) for batch in batches]
    return Course(seed, rewards, [fmean(map(called, batch)) for batch in batches], (at_first, before, after), turns)


def run(config: dict[str, Any]) -> Path:
    """The folder of a run, which is made, or gone on with, unless it has ended."""
    folder = Path(config["output"])
    if not (folder / "model").exists():
        burnish.train(config, resume=(folder / "checkpoints").exists())
    return folder


def held_out(folder: Path) -> list[float]:
    """Right answers to the held-out questions, each time that they were asked."""
    lines = [json.loads(one) for one in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [one["eval/reward"] for one in lines if "eval/reward" in one]


def called(one: Trajectory) -> bool:
    """Whether a tool was called, and answered."""
    return one.notes.get(CALLS, 0.0) > one.notes.get(FAILURES, 0.0)


def masked(one: Trajectory, tokenizer: Any) -> bool:
    """Whether the policy had two turns; AssertionError unless exactly its own words are trained on."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], one.own, [False]]).astype(int)))
    written = [tokenizer.decode(one.ids[start:end], skip_special_tokens=True) for start, end in edges.reshape(-1, 2)]
    assert written == [message["content"] for message in one.said if message["role"] == "assistant"]
    assert bool((one.versions[one.own] >= 0).all() and (one.versions[~one.own] == -1).all())
    assert bool((one.tokens["advantages"][~one.own] == 0).all())
    return len(written) == 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs; those that are there are not made again")
    parser.add_argument("--seeds", default="0,1", help="which seeds")
    parser.add_argument("--steps", type=int, default=20, help="of grpo")
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to; the picture goes beside it")
    asked = parser.parse_args()
    columns = ("seed", "right, steps 1-3", "last 3", "calls, steps 1-3", "last 3", "held out: as it comes", "taught", "learnt")
    table = [line((*columns, "episodes of two turns")), line(["---"] * (len(columns) + 1))]
    print("\n".join(table), flush=True)
    courses = []
    for seed in map(int, asked.seeds.split(",")):
        one = course(seed, asked.steps, asked.runs)
        courses.append(one)
        numbers = [fmean(part) for part in (one.rewards[:3], one.rewards[-3:], one.calls[:3], one.calls[-3:])]
        table.append(line((seed, *(f"{number:.2f}" for number in (*numbers, *one.held)), f"{one.turns} of {32 * asked.steps}")))
        print(table[-1], flush=True)
        print("right, by step:", *(f"{reward:.2f}" for reward in one.rewards), flush=True)
    if asked.write:
        picture = asked.write.with_suffix(".png")
        curves = {"right answers": [one.rewards for one in courses], "episodes with a call": [one.calls for one in courses]}
        draw(picture, curves, across="rollout batches of 4 questions x 8 episodes", up="share of the episodes")
        write(asked.write, f"# A tool in two turns\n\n{__doc__}\n![Right answers and calls]({picture.name})\n", table)


if __name__ == "__main__":
    main()
