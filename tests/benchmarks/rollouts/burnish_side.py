"""A case run by burnish: its built-in backend, or its public `train`."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tests.benchmarks.rollouts.cases import Case, worth
from tests.benchmarks.speed.measuring import Clock, peak_bytes

import burnish
from burnish.config.sections import SamplingSection
from burnish.rollout.local import LocalBackend


def run(case: Case, data: Path, model: Path, steps: int) -> dict[str, Any]:
    """Measure `steps` times after once to warm up."""
    return (_whole if case.whole else _drawing)(case, data, model, steps)


def _drawing(case: Case, data: Path, model: Path, steps: int) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    backend, clock, counts = LocalBackend(), Clock(), []
    policy = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    backend.draw_from(policy, tokenizer, nullcontext)
    asked = [tokenizer.apply_chat_template(one, add_generation_prompt=True)["input_ids"] for one in case.take(data)]
    sampling = SamplingSection(max_new_tokens=case.longest, temperature=1.0)

    async def batch(first: int) -> int:
        every = [ids for ids in asked for _ in range(case.group)]
        answers = [backend.generate(ids, sampling, first + number) for number, ids in enumerate(every)]
        return sum(len(one.ids) for one in await asyncio.gather(*answers))

    clock.start()
    for step in range(steps + 1):
        counts.append(asyncio.run(batch(1000 * step)))
        clock.tick()
    return {"steps": clock.steps, "tokens": counts, "peak_bytes": peak_bytes()}


class Watch:
    """An observer that measures."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.tokens: list[int] = []

    def run_started(self, run: Any) -> None:
        """All is loaded."""
        self.clock.start()

    def step_finished(self, run: Any, step: Any) -> None:
        """A step is over."""
        self.clock.tick()
        drawn = run.config.rollout.prompts * run.config.rollout.group_size
        self.tokens.append(round(step.metrics["completions/mean_length"] * drawn))


def _whole(case: Case, data: Path, model: Path, steps: int) -> dict[str, Any]:
    watch, count = Watch(), case.count * case.group
    prompts = [{"prompt": one} for one in case.take(data)] * (steps + 1)
    with tempfile.TemporaryDirectory() as folder:
        config: dict[str, Any] = {
            "model": {"name": str(model)},
            "rollout": {
                "prompts": case.count,
                "group_size": case.group,
                "rewards": [f"{Path(__file__).with_name('cases.py')}:{worth.__name__}"],
                "sampling": {"max_new_tokens": case.longest},
            },
            "objective": ["grpo"],
            "train": {"batch_size": count, "steps": steps + 1},
            "optimizer": {"lr": 1e-6},
            "schedule": {"name": "constant"},
            "output": f"{folder}/run",
        }
        burnish.train(config, data=prompts, observers=[watch])
    return {"steps": watch.clock.steps, "tokens": watch.tokens, "peak_bytes": peak_bytes()}
