"""online_dpo against TRL's OnlineDPOTrainer: its own training step, given what was sampled and what it is worth."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

from burnish.testing import evaluate, tiny_tokenizer

# prompt, two samples, their rewards
SAMPLED = [
    ("The sky is ", "blue today.", "made of cheese, they say.", 1.0, -1.0),
    ("Two and two: ", "5", "four", 0.0, 0.5),
    ("Say nothing", "no!", "ok", 2.0, 1.0),
]


def padded(rows: list[list[int]], pad: int, left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    side = "left" if left else "right"
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=pad, padding_side=side)
    mask = pad_sequence([torch.ones(len(row), dtype=torch.int64) for row in rows], batch_first=True, padding_side=side)
    return ids, mask


@pytest.mark.parametrize("form", ["sigmoid", "ipo"])
def test_loss_and_gradients(form: str, models: tuple[nn.Module, nn.Module], settings: dict[str, Any]) -> None:
    policy, reference = models
    tokenizer = tiny_tokenizer(chat=False)
    prompts = [row[0] for row in SAMPLED]
    arguments = {name: value for name, value in settings.items() if name not in ("activation_checkpointing", "max_length")}
    trainer = OnlineDPOTrainer(
        model=policy,
        ref_model=reference,
        reward_funcs=lambda completions, **_: [row[3] for row in SAMPLED] + [row[4] for row in SAMPLED],
        args=OnlineDPOConfig(**arguments, beta=[0.3], loss_type=form, per_device_train_batch_size=len(prompts)),
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
        processing_class=tokenizer,
    )
    asked = padded([tokenizer(prompt)["input_ids"] for prompt in prompts] * 2, tokenizer.pad_token_id, left=True)
    said = [[*tokenizer(row[column])["input_ids"], tokenizer.eos_token_id] for column in (1, 2) for row in SAMPLED]
    answered = padded(said, tokenizer.pad_token_id)
    trainer._generate = lambda *_: (*asked, *answered, None)
    policy.zero_grad()
    loss = trainer.training_step(policy, {"prompt": prompts})
    grads = {name: parameter.grad.clone() for name, parameter in policy.named_parameters() if parameter.grad is not None}
    policy.zero_grad()
    policy.eval()

    rows = [
        {"prompt": prompt, "chosen": one if a > b else other, "rejected": other if a > b else one}
        for prompt, one, other, a, b in SAMPLED
    ]
    ours = evaluate([{"online_dpo": {"beta": 0.3, "form": form}}], rows, policy, tokenizer, reference=reference)
    assert ours.loss == pytest.approx(float(loss), rel=1e-5)
    assert ours.grads.keys() == grads.keys()
    one, other = (torch.cat([found[name].flatten() for name in grads]) for found in (ours.grads, grads))
    assert float((one - other).norm() / other.norm()) < 1e-5
