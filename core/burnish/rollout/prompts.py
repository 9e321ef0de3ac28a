"""What a reward is told: the prompt of an example, what was sampled in the prompt's form, the row's columns.

Knows neither models nor rewards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from burnish.data.examples import Chat, Example, Said, Text, Trajectory
from burnish.errors import DataError


def prompt_of(example: Example) -> Said:
    """What an answer is generated from: the prompt, or a conversation up to its last assistant turn."""
    if isinstance(example, Text | Trajectory):
        raise DataError(f"rows of kind '{example.kind}' have no prompt to generate from; rewards need rows with one")
    if not isinstance(example, Chat):
        return example.prompt
    last = max((place for place, message in enumerate(example.messages) if message["role"] == "assistant"), default=None)
    return example.messages[:last]


def completion_said(tokenizer: Any, prompt: Said, ids: Sequence[int]) -> str | list[dict[str, str]]:
    """Sampled ids in the form of their prompt: text, or one assistant message."""
    text = tokenizer.decode(ids, skip_special_tokens=True)
    return text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]


def columns_of(examples: Sequence[Example]) -> dict[str, list[Any]]:
    """Columns for rewards: what the rows hold beside the prompt, one value per row, None where a row lacks it."""
    rows = [
        {part.name: getattr(example, part.name) for part in fields(example) if part.name not in ("prompt", "side")}
        | dict(example.columns)
        for example in examples
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
