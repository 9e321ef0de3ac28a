"""SFT and DPO, LoRA and full, on real rows with SmolLM2-135M: does the held-out measure move, over seeds?

    python tests/benchmarks/foundation_learns.py --data ../shared/data --write docs/results/foundation.md

SFT: held-out loss, nats per target token; every run starts from the same weights, and a run with learning rate 0 shows what
not learning ends with. DPO: share of held-out pairs whose chosen answer has the higher implicit reward. With learning rate 0
every reward is 0 but for rounding, and a tie is no preference, so such a run ends far below .5; what it is held against is
chance, .5. Beside it stands the share of pairs whose chosen answer has the higher mean log-probability, which a model that
was never trained decides by its own taste (`simpo` with weight 0 measures it and trains nothing).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from learning_table import show

import burnish
from burnish.api import RunResult


@dataclass(frozen=True)
class Case:
    """One line of the table. measure: metric of the evaluation; rows: rows read; held: held-out rows, of the set's
    own test file, or this share of both files where that one is too small to say anything."""

    name: str
    folder: str
    objective: list[dict[str, Any]]
    measure: str
    chance: float
    rates: dict[str, float]
    steps: int
    batch_size: int
    max_length: int
    rows: int
    held: int
    share: float | None = None
    overlength: str = "drop"
    extra: dict[str, Any] = field(default_factory=dict)

    def config(self, data: Path, adapter: str, seed: int, rate: float, output: Path) -> dict[str, Any]:
        model: dict[str, Any] = {"name": "smollm2-135m-instruct"}
        if adapter == "lora":
            model["adapter"] = {"lora": {"r": 16, "alpha": 32}}
        folder = data / self.folder
        source = {"source": str(folder / ("t*.jsonl" if self.share else "train.jsonl")), "limit": self.rows}
        return {
            "model": model,
            "data": {"main": source | {"holdout": self.share or str(folder / "test.jsonl")}},
            "render": {"max_length": self.max_length, "overlength": self.overlength},
            "objective": self.objective,
            "train": {"batch_size": self.batch_size, "steps": self.steps, "seed": seed},
            "optimizer": {"lr": rate},
            "schedule": {"name": "linear", "warmup": 0.1},
            "evaluate": {"limit": self.held},
            "output": str(output),
            **self.extra,
        }


SFT: list[dict[str, Any]] = [{"sft": {}}]
DPO: list[dict[str, Any]] = [{"dpo": {"beta": 0.1}}, {"simpo": {"weight": 0.0}}]
REWARDS, TASTE = "eval/rewards/accuracies", "eval/simpo/rewards/accuracies"
CASES = [
    Case("SFT instruct_alpaca", "instruct_alpaca", SFT, "eval/loss", 0.0, {"lora": 5e-4, "full": 5e-5}, 12, 16, 256, 999, 101),
    Case(
        "DPO pref_sharegpt", "pref_sharegpt", DPO, REWARDS, 0.5, {"lora": 1e-3, "full": 5e-5}, 8, 8, 320, 300, 105, 0.35,
        "truncate",
    ),
    Case("DPO hh_rlhf_harmless", "hh_rlhf_harmless", DPO, REWARDS, 0.5, {"lora": 2e-3, "full": 1e-4}, 20, 8, 128, 1300, 200),
]


def run(case: Case, data: Path, adapter: str, seed: int, rate: float) -> tuple[RunResult, float]:
    """The run and its seconds. A rate of 0 takes one step: more of nothing is nothing."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        steps = case if rate else replace(case, steps=1)
        result = burnish.train(steps.config(data, adapter, seed, rate, Path(folder) / "run"))
    return result, time.perf_counter() - started


def report(case: Case, data: Path, seeds: range) -> Iterator[tuple[object, ...]]:
    for adapter, rate in case.rates.items():
        untrained = run(case, data, adapter, 0, 0.0)[0].evaluation
        still = untrained[case.measure]
        against = max(still, case.chance)
        for seed in seeds:
            result, seconds = run(case, data, adapter, seed, rate)
            after = result.evaluation[case.measure]
            share = "" if case.chance else f" ({(after / against - 1) * 100:+.1f} %)"
            taste = f"{untrained[TASTE]:.3f} -> {result.evaluation[TASTE]:.3f}" if TASTE in untrained else ""
            cells = (case.name, adapter, f"{rate:g}", case.steps, seed, case.measure.removeprefix("eval/"))
            yield *cells, f"{still:.4f}", f"{after:.4f}", f"{after - against:+.4f}{share}", taste, f"{seconds:.0f}"


if __name__ == "__main__":
    columns = ("case", "weights", "lr", "steps", "seed", "held-out", "with lr 0", "after", "gain", "own taste", "seconds")
    show(__doc__ or "", columns, CASES, report)
