"""Reward models against TRL's RewardTrainer, with its metrics, in chats, and where padding is the end of sequence; process
reward models against what its PRMTrainer (up to 1.4) asks of transformers: labels at the last token of each step, and a token
classifier's own loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import nn

from burnish.batch.layout import Kind
from burnish.testing import evaluate, tiny_model, tiny_tokenizer

trl: Any = pytest.importorskip("trl")

Rows = list[dict[str, Any]]
PAIRS: Rows = [
    {"prompt": "The sky is ", "chosen": "blue today.", "rejected": "made of cheese, they say."},
    {"prompt": "Two and two: ", "chosen": "four", "rejected": "5"},
    {"prompt": "Two and two: ", "chosen": "it is four", "rejected": "forty"},
    {"prompt": "Two and ten: ", "chosen": "twelve", "rejected": "twelve hundred"},
]
WITH_MARGINS = [{**row, "margin": 0.5 * place} for place, row in enumerate(PAIRS)]
CHATS: Rows = [
    {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        **{side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")},
    }
    for row in PAIRS
]
CASES: dict[str, tuple[Rows, dict[str, Any], dict[str, Any], bool]] = {
    "margins, centred": (WITH_MARGINS, {"center": 0.3}, {"center_rewards_coefficient": 0.3}, False),
    "chats": (CHATS, {}, {}, False),
    "padding that is the end": (PAIRS, {}, {}, True),
}
STEPS: Rows = [
    {"prompt": "2 + 2 + 2 =", "completions": ["2 + 2 = 4", "4 + 2 = 7"], "labels": [True, False]},
    {"prompt": "1 + 1 =", "completions": ["two"], "labels": [True]},
    {"prompt": "1 + 1 =", "completions": ["one", "so two", "done"], "labels": [False, False, True]},
]
LAYOUTS: tuple[tuple[Kind, int], ...] = (("tree", 1), ("packed", 2), ("padded", 3))


@pytest.mark.parametrize("case", CASES)
def test_bradley_terry(case: str, settings: dict[str, Any], answer: Callable[..., Any], same: Callable[..., None]) -> None:
    rows, options, arguments, pad_is_eos = CASES[case]
    model, tokenizer = tiny_model("llama_classifier"), tiny_tokenizer(chat=rows is CHATS, pad_is_eos=pad_is_eos)
    config = trl.RewardConfig(**settings, per_device_train_batch_size=len(rows), **arguments)
    trainer = trl.RewardTrainer(model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    theirs = answer(trainer, rows)
    model.config.pad_token_id = tokenizer.pad_token_id
    for layout, count in LAYOUTS[::2]:
        ours = evaluate([{"bradley_terry": options}], rows, model, tokenizer, layout=layout, micro_batches=count)
        same(ours, theirs)
        names = ("accuracy", "margin", "min_reward", "mean_reward", "max_reward")
        assert {name: ours.metrics[name] for name in names} == pytest.approx(
            {name: theirs.metrics[name] for name in names}, rel=1e-4
        )


def labelled(rows: Rows, separator: str, last_only: bool) -> dict[str, torch.Tensor]:
    """Right-padded rows with a label at the last token of each step, -100 elsewhere."""
    tokenizer = tiny_tokenizer(chat=False)

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    inputs, labels = [], []
    for row in rows:
        one, marks = ids(row["prompt"]), [-100] * len(ids(row["prompt"]))
        for place, (step, label) in enumerate(zip(row["completions"], row["labels"], strict=True)):
            own = ids(step) + ids(separator)
            is_scored = not last_only or place == len(row["labels"]) - 1
            one, marks = one + own, marks + [-100] * (len(own) - 1) + [int(label) if is_scored else -100]
        inputs.append(torch.tensor(one))
        labels.append(torch.tensor(marks))
    pad = nn.utils.rnn.pad_sequence
    return {
        "input_ids": pad(inputs, True, tokenizer.pad_token_id),
        "attention_mask": pad([torch.ones_like(one) for one in inputs], True, 0),
        "labels": pad(labels, True, -100),
    }


@pytest.mark.parametrize(("targets", "last_only"), [("steps", False), ("last_step", True)])
def test_prm(targets: str, last_only: bool) -> None:
    model = tiny_model("llama_steps")
    expected = model(**labelled(STEPS, "\n", last_only)).loss
    expected.backward()
    grads = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    for layout, count in LAYOUTS:
        tokenizer = tiny_tokenizer(chat=False)
        ours = evaluate([{"prm": {"targets": targets}}], STEPS, model, tokenizer, layout=layout, micro_batches=count)
        assert ours.loss == pytest.approx(expected.item(), rel=1e-5)
        flat = [torch.cat([one[name].flatten() for name in grads]) for one in (ours.grads, grads)]
        assert float((flat[0] - flat[1]).norm() / flat[1].norm()) < 1e-5


@pytest.mark.parametrize("last_only", [False, True])
def test_the_labels_are_those_of_trls_own_trainer(last_only: bool) -> None:
    prm = pytest.importorskip("trl.experimental.prm", reason="TRL has no PRMTrainer after 1.4")
    theirs = [
        prm.PRMTrainer.tokenize_row(row, tiny_tokenizer(chat=False), "\n", None, None, last_only, False) for row in STEPS
    ]
    ours = labelled(STEPS, "\n", last_only)
    for place, row in enumerate(theirs):
        assert ours["input_ids"][place][: len(row["input_ids"])].tolist() == row["input_ids"]
        assert ours["labels"][place][: len(row["labels"])].tolist() == row["labels"]
