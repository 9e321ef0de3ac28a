"""What a reward is told of a row: what was sampled, in the prompt's form, and the row's columns. Knows no model, no reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from burnish.data.examples import Example, Said


def completion_said(tokenizer: Any, prompt: Said, ids: Sequence[int]) -> str | list[dict[str, str]]:
    """Sampled ids in the form of their prompt: text, or one assistant message."""
    text = tokenizer.decode(ids, skip_special_tokens=True)
    return text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]


def text_of(said: Any) -> str:
    """The text of a completion as a reward gets it: itself, or what its last message says."""
    return said if isinstance(said, str) else str(said[-1]["content"] or "")


def as_list(value: Any) -> Any:
    """Conversations as lists, the form in which reward functions know them; anything else as it is."""
    return list(value) if isinstance(value, tuple) else value


def as_said(value: Any) -> Said:
    """Text as it is, a list of messages as examples hold it: the inverse of `as_list`."""
    said: Said = value if isinstance(value, str) else tuple(value)
    return said


def columns_of(examples: Sequence[Example]) -> dict[str, list[Any]]:
    """Columns for rewards: what the rows hold beside the prompt, one value per row, None where a row lacks it."""
    rows = [
        {part.name: as_list(getattr(example, part.name)) for part in fields(example) if part.name not in ("prompt", "side")}
        | dict(example.columns)
        for example in examples
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
