"""Rewards for answers to reasoning-gym questions. In: completions and the columns of the rows. Out: one number each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from burnish_reasoning_gym.answers import UNREADABLE, is_harmless
from burnish_reasoning_gym.items import find


def reasoning_gym(completions: Sequence[Any], item: Sequence[str | None], **_: Any) -> list[float | None]:
    """The score that the question's generator gives the answer, 0 to 1; None for rows that are not from reasoning-gym.

    The answer is what stands between <answer> and </answer>, else the whole completion.
    """
    return [
        None if reference is None else score(text_of(said), reference)
        for said, reference in zip(completions, item, strict=True)
    ]


def exact_match(completions: Sequence[Any], answer: Sequence[str | None], **_: Any) -> list[float | None]:
    """1 where the completion, without spaces around it, is the row's answer, else 0; None for rows without one."""
    return [
        None if right is None else float(text_of(said).strip() == right.strip())
        for said, right in zip(completions, answer, strict=True)
    ]


def score(text: str, reference: str) -> float:
    """One answer, judged by the generator that a row's `item` refers to. Where that would evaluate it as Python, it is given
    values and formulas only."""
    from reasoning_gym.utils import extract_answer

    generator, index = find(reference)
    item, answer = generator.item(index), extract_answer(text) or text.strip()
    if answer != item["answer"] and not is_harmless(answer, generator.evaluators):
        answer = UNREADABLE
    return generator.score(answer, item)


def text_of(said: Any) -> str:
    """The text of a completion: a str, or a list with the assistant's message."""
    return said if isinstance(said, str) else "".join(message["content"] for message in said)
