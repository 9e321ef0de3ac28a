"""A case run by TRL, with the options that its documentation recommends for it."""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tests.benchmarks.speed.cases import Case, Row
from tests.benchmarks.speed.measuring import Clock, matrix_rate, report
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, TrainerCallback

trl: Any = importlib.import_module("trl")  # untyped
TRAINERS = {
    "sft": (trl.SFTTrainer, trl.SFTConfig),
    "dpo": (trl.DPOTrainer, trl.DPOConfig),
    "kto": (trl.KTOTrainer, trl.KTOConfig),
    "reward": (trl.RewardTrainer, trl.RewardConfig),
    "policy": (trl.GRPOTrainer, trl.GRPOConfig),
}
PACKED = {"packing": True, "packing_strategy": "bfd"}


def best_options(case: Case, on_gpu: bool) -> dict[str, Any]:
    """What TRL documents as faster than its defaults, for this case and here; named in the table.

    Padding-free batches of pairs are not among them: TRL 1.16 has taken them out for the time being.
    """
    options = {"gradient_checkpointing": False, **(PACKED if case.kind == "sft" else {}), **case.theirs}
    if on_gpu and importlib.util.find_spec("liger_kernel"):
        options["use_liger_kernel"] = True
    return options


class Watch(TrainerCallback):
    """Measures steps."""

    def __init__(self) -> None:
        self.clock = Clock()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.clock.start()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.clock.tick()


def run(case: Case, rows: list[Row], model: Path, steps: int, adapter: bool, dtype: str, per_device: int) -> dict[str, Any]:
    """Measure `steps` steps after one to warm up, `per_device` rows at a time."""
    torch_dtype = torch.bfloat16 if dtype == "bf16" else torch.float32
    rates = [matrix_rate(torch_dtype)]
    on_gpu = torch.cuda.is_available()
    options = best_options(case, on_gpu)
    flash = on_gpu and importlib.util.find_spec("flash_attn") is not None
    attention = {"attn_implementation": "flash_attention_2"} if flash else {}
    with tempfile.TemporaryDirectory() as folder:
        arguments: dict[str, Any] = {
            "output_dir": folder,
            "use_cpu": not on_gpu,
            "bf16": dtype == "bf16",
            "per_device_train_batch_size": per_device,
            "max_steps": steps + 1,
            "learning_rate": 1e-6,
            "lr_scheduler_type": "constant",
            "report_to": "none",
            "disable_tqdm": True,
            "save_strategy": "no",
            "logging_steps": 1,
            "model_init_kwargs": {"dtype": torch.float32, **attention},
            **options,
        }
        arguments |= {} if case.kind == "policy" else {"max_length": case.max_length}
        peft: dict[str, Any] = {}
        if adapter:
            from peft import LoraConfig

            task = "SEQ_CLS" if case.kind == "reward" else "CAUSAL_LM"
            peft["peft_config"] = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type=task)
        make = _policy if case.kind == "policy" else _offline
        clock, trained, losses = make(case, rows, model, arguments, peft)
    return report(clock, [*rates, matrix_rate(torch_dtype)], trained, losses, options={**options, **attention})


def _offline(
    case: Case, rows: list[Row], model: Path, arguments: dict[str, Any], peft: dict[str, Any]
) -> tuple[Clock, torch.nn.Module, list[float]]:
    trainer_class, config_class = TRAINERS[case.kind]
    watch = Watch()
    trainer: Any = trainer_class(
        model=str(model),
        args=config_class(**arguments),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(model),
        callbacks=[watch],
        **peft,
    )
    # After packing there are fewer rows than before: the global batch is all of them.
    trainer.args.gradient_accumulation_steps = -(-len(trainer.train_dataset) // arguments["per_device_train_batch_size"])
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return watch.clock, trainer.model, losses


def _policy(
    case: Case, rows: list[Row], model: Path, arguments: dict[str, Any], peft: dict[str, Any]
) -> tuple[Clock, torch.nn.Module, list[float]]:
    """GRPOTrainer's loss on given completions, and its optimiser: what it does after it has generated."""
    size, steps = arguments["per_device_train_batch_size"], arguments["max_steps"]
    longest = max(len(row["completion_ids"]) for row in rows)
    sizes = {"num_generations": len(rows), "max_completion_length": longest, "generation_batch_size": len(rows)}
    trainer: Any = trl.GRPOTrainer(
        model=str(model),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=trl.GRPOConfig(**arguments, **sizes),
        train_dataset=Dataset.from_list([{"prompt": "a"}] * len(rows)),
        processing_class=AutoTokenizer.from_pretrained(model),
        **peft,
    )
    optimizer, pieces = trainer.create_optimizer(), len(rows) // size
    trainer.current_gradient_accumulation_steps = pieces
    trainer.model.train()
    batch, clock, losses = _batch(rows), Clock(), []
    clock.start()
    for _ in range(steps):
        total = 0.0
        for start in range(0, len(rows), size):
            piece = {name: value if value.ndim == 0 else value[start : start + size] for name, value in batch.items()}
            with trainer.compute_loss_context_manager():
                loss = trainer._compute_loss(trainer.model, piece)
            loss.backward()
            total += float(loss)
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        clock.tick()
        losses.append(total)
    return clock, trainer.model, losses


def _batch(rows: list[Row]) -> dict[str, torch.Tensor]:
    """Padded as TRL does: prompts left, completions right."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    width = max(len(row["prompt_ids"]) for row in rows)

    def prompts(fill: bool) -> torch.Tensor:
        lengths = [(row["prompt_ids"], width - len(row["prompt_ids"])) for row in rows]
        return torch.tensor([[0] * pads + ([1] * len(ids) if fill else ids) for ids, pads in lengths], device=device)

    answers = [torch.tensor(row["completion_ids"], device=device) for row in rows]
    mask = pad_sequence([torch.ones_like(one) for one in answers], batch_first=True)
    return {
        "prompt_ids": prompts(False),
        "prompt_mask": prompts(True),
        "completion_ids": pad_sequence(answers, batch_first=True),
        "completion_mask": mask,
        "advantages": torch.tensor([row["advantages"] for row in rows], device=device),
        "num_items_in_batch": mask.sum(),
    }
