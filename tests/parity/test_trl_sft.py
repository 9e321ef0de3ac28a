"""sft against TRL's SFTTrainer: loss, gradients and metrics, for text, completions and chats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from burnish.testing import evaluate, tiny_tokenizer

COMPLETIONS = [
    {"prompt": "The sky is ", "completion": "blue."},
    {"prompt": "The sky ", "completion": "falls, says the hen"},
    {"prompt": "1", "completion": "2"},
]
CHATS = [
    {
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": "and?"},
            {"role": "assistant", "content": "bye then"},
        ]
    },
    {
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "no"},
        ]
    },
]
TEXTS = [{"text": "The sky is blue."}, {"text": "The sky falls."}]
CASES: dict[str, tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]] = {
    "completions": (COMPLETIONS, {}, {}),
    "completions, prompt too": (COMPLETIONS, {"targets": "all"}, {"completion_only_loss": False}),
    "text": (TEXTS, {}, {}),
    # TRL scores every token of a chat unless told otherwise; ours scores the assistant's turns.
    "chat": (CHATS, {}, {"assistant_only_loss": True}),
    "chat, all": (CHATS, {"targets": "all"}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_loss_gradients_and_metrics(
    case: str, models: tuple[nn.Module, nn.Module], supervised: Callable[..., Any], same: Callable[..., None]
) -> None:
    rows, options, arguments = CASES[case]
    theirs = supervised(rows, **arguments)
    for layout, micro_batches in (("tree", 1), ("packed", 2), ("padded", 3)):
        tokenizer = tiny_tokenizer(chat="messages" in rows[0])
        ours = evaluate([{"sft": options}], rows, models[0], tokenizer, layout=layout, micro_batches=micro_batches)  # type: ignore[arg-type]
        same(ours, theirs)
        assert ours.metrics == pytest.approx(
            {name: theirs.metrics[name] for name in ("entropy", "mean_token_accuracy")}, rel=1e-4
        )
