"""TRL as an oracle: its trainers on a tiny Qwen3, the same rows, its loss and gradients."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TRL_EXPERIMENTAL_SILENCE="1", CI="1")
trl = pytest.importorskip("trl", reason="TRL, the numeric peer, is not installed")

from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from burnish.testing import Evaluation, tiny_model, tiny_tokenizer  # noqa: E402

Rows = list[dict[str, Any]]
RELATIVE = 1e-5
# TRL learns an assistant's turns from {% generation %} alone; ours are found without it. As in TRL's own training templates, a
# turn goes up to and including the line break after its end.
MARKED = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>\n' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Answer:
    """What TRL makes of some rows."""

    loss: float
    grads: dict[str, torch.Tensor]
    metrics: dict[str, float]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, nn.Module]:
    """A policy and another model as its reference, saved and read back; both far from uniform."""
    folder: Path = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("policy", "reference")):
        tiny_model("qwen3", seed=seed).save_pretrained(folder / name)
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32) for name in ("policy", "reference")
    )
    return policy, reference


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Arguments that every trainer takes here."""
    return {
        "output_dir": str(tmp_path_factory.mktemp("trl")),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "disable_tqdm": True,
        "activation_checkpointing": False,
        "max_length": None,
    }


@pytest.fixture(scope="session")
def answer() -> Callable[[Any, Rows], Answer]:
    """Loss and gradients of a trainer on its first batch, which holds all rows."""

    def answer(trainer: Any, rows: Rows) -> Answer:
        model = trainer.model
        model.zero_grad()
        batch = next(iter(trainer.get_train_dataloader()))
        assert len(next(iter(batch.values()))) in (len(rows), 2 * len(rows), 3 * len(rows))
        loss = trainer.compute_loss(model, batch)
        loss.backward()
        grads = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
        metrics = {name: values[-1] for mode in getattr(trainer, "_metrics", {}).values() for name, values in mode.items()}
        model.zero_grad()
        return Answer(loss.item(), grads, metrics)

    return answer


@pytest.fixture(scope="session")
def preference(
    models: tuple[nn.Module, nn.Module], settings: dict[str, Any], answer: Callable[..., Answer]
) -> Callable[..., Answer]:
    """DPOTrainer on rows with given arguments."""

    def preference(rows: Rows, **arguments: Any) -> Answer:
        policy, reference = models
        config = trl.DPOConfig(**settings, per_device_train_batch_size=len(rows), **arguments)
        trainer = trl.DPOTrainer(
            model=policy,
            ref_model=reference,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tiny_tokenizer(chat=bool(isinstance(rows[0]["chosen"], list))),
        )
        return answer(trainer, rows)

    return preference


@pytest.fixture(scope="session")
def supervised(
    models: tuple[nn.Module, nn.Module], settings: dict[str, Any], answer: Callable[..., Answer]
) -> Callable[..., Answer]:
    """SFTTrainer on rows with given arguments."""

    def supervised(rows: Rows, **arguments: Any) -> Answer:
        tokenizer = tiny_tokenizer(chat="messages" in rows[0])
        if "messages" in rows[0]:
            tokenizer.chat_template = MARKED
        config = trl.SFTConfig(**settings, per_device_train_batch_size=len(rows), **arguments)
        return answer(
            trl.SFTTrainer(model=models[0], args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer),
            rows,
        )

    return supervised


@pytest.fixture(scope="session")
def same() -> Callable[[Evaluation, Answer], None]:
    """Asserts equal loss and gradients, to 1e-5 relative by norm."""

    def same(ours: Evaluation, theirs: Answer) -> None:
        assert ours.loss == pytest.approx(theirs.loss, rel=RELATIVE)
        assert ours.grads.keys() == theirs.grads.keys()
        one, other = (torch.cat([grads[name].flatten() for name in theirs.grads]) for grads in (ours.grads, theirs.grads))
        assert float((one - other).norm() / other.norm()) < RELATIVE

    return same
