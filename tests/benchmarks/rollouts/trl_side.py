"""A case run by TRL's GRPOTrainer with its default generation."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tests.benchmarks.rollouts.cases import Case, worth
from tests.benchmarks.speed.measuring import Clock, peak_bytes
from tests.benchmarks.speed.trl_side import Watch
from transformers import AutoTokenizer

trl: Any = importlib.import_module("trl")  # untyped


def run(case: Case, data: Path, model: Path, steps: int, per_device: int) -> dict[str, Any]:
    """Measure `steps` times after once to warm up; per_device: completions trained on at a time."""
    watch, count = Watch(), case.count * case.group
    with tempfile.TemporaryDirectory() as folder:
        trainer: Any = trl.GRPOTrainer(
            model=str(model),
            reward_funcs=worth,
            args=trl.GRPOConfig(
                output_dir=folder,
                use_cpu=not torch.cuda.is_available(),
                bf16=False,
                per_device_train_batch_size=per_device,
                gradient_accumulation_steps=count // per_device,
                generation_batch_size=count,
                num_generations=case.group,
                max_completion_length=case.longest,
                max_steps=steps + 1,
                learning_rate=1e-6,
                lr_scheduler_type="constant",
                report_to="none",
                disable_tqdm=True,
                save_strategy="no",
                logging_steps=1,
                gradient_checkpointing=False,
                model_init_kwargs={"dtype": torch.float32},
            ),
            train_dataset=Dataset.from_list([{"prompt": one} for one in case.take(data)]),
            processing_class=AutoTokenizer.from_pretrained(model),
            callbacks=[watch],
        )
        if case.whole:
            trainer.train()
            means = [line["completions/mean_length"] for line in trainer.state.log_history if "completions/mean_length" in line]
            return {"steps": watch.clock.steps, "tokens": [round(mean * count) for mean in means], "peak_bytes": peak_bytes()}
        return _drawing(case, trainer, data, steps)


def _drawing(case: Case, trainer: Any, data: Path, steps: int) -> dict[str, Any]:
    """What the trainer does to get completions."""
    prompts = [one for one in case.take(data) for _ in range(case.group)]
    ids, images, fields = trainer._tokenize_prompts(prompts)
    clock, counts = Clock(), []
    trainer.model.train()
    clock.start()
    for _ in range(steps + 1):
        answers, _ = trainer._generate_single_turn(ids, images, fields, case.group)
        counts.append(sum(len(one) for one in answers))
        clock.tick()
    return {"steps": clock.steps, "tokens": counts, "peak_bytes": peak_bytes()}
