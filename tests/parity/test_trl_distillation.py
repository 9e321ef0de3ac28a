"""`divergence` against TRL's GKD: its trainer on given answers, and its loss with a temperature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import nn
from trl.experimental.gkd import GKDConfig, GKDTrainer

from burnish.testing import evaluate, tiny_tokenizer

CHATS = [
    {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
    for question, answer in (("hi", "hello there"), ("and?", "bye"), ("so", "be it"))
]


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_the_trainer(
    beta: float,
    models: tuple[nn.Module, nn.Module],
    settings: dict[str, Any],
    answer: Callable[..., Any],
    same: Callable[..., None],
) -> None:
    policy, teacher = models
    tokenizer = tiny_tokenizer()
    arguments = {**settings, "max_length": 64, "per_device_train_batch_size": len(CHATS), "dataset_kwargs": None}
    trainer = GKDTrainer(
        model=policy,
        teacher_model=teacher,
        args=GKDConfig(**arguments, beta=beta, lmbda=0.0, temperature=1.0, disable_dropout=True),
        train_dataset=Dataset.from_list(CHATS),
        processing_class=tokenizer,
    )
    theirs = answer(trainer, CHATS)
    ours = evaluate([{"divergence": {"beta": beta}}], CHATS, policy, tokenizer, teacher=teacher)
    same(ours, theirs)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_the_temperature_is_in_the_loss(beta: float, models: tuple[nn.Module, nn.Module]) -> None:
    """TRL's trainer keeps the temperature for sampling; its loss function takes one."""
    policy, teacher = models
    tokenizer = tiny_tokenizer(chat=False)
    row = {"prompt": "one and ", "completion": "two, then three"}
    prompt = len(row["prompt"])
    ids = torch.tensor([[*tokenizer(row["prompt"] + row["completion"]).input_ids, tokenizer.eos_token_id]])
    student, other = (model(input_ids=ids).logits[:, prompt - 1 : -1] for model in (policy, teacher))
    loss = GKDTrainer.generalized_jsd_loss(student, other.detach(), ids[:, prompt:], beta=beta, temperature=2.5)
    policy.zero_grad()
    loss.backward()
    theirs = {name: parameter.grad.clone() for name, parameter in policy.named_parameters()}
    policy.zero_grad()
    ours = evaluate([{"divergence": {"beta": beta, "temperature": 2.5}}], [row], policy, tokenizer, teacher=teacher)
    assert ours.loss == pytest.approx(loss.item(), rel=1e-5)
    one, both = (torch.cat([grads[name].flatten() for name in theirs]) for grads in (ours.grads, theirs))
    assert (one - both).norm() <= 1e-5 * both.norm()
