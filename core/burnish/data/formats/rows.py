"""Rows of each built-in format, standard and conversational: what its record's `examples` names and the tests run over."""

from __future__ import annotations

from typing import Any

_ASK: list[Any] = [{"role": "user", "content": "What is 2 + 2?"}]
_FOUR: list[Any] = [{"role": "assistant", "content": "4"}]
_FIVE: list[Any] = [{"role": "assistant", "content": "5"}]
_WORDS: list[Any] = [{"role": "assistant", "content": "It is four."}]

TEXT: list[dict[str, Any]] = [{"text": "The sky is blue."}]
CHAT: list[dict[str, Any]] = [{"messages": _ASK + _FOUR}]
PROMPT: list[dict[str, Any]] = [{"prompt": "2 + 2 =", "answer": "4"}, {"prompt": _ASK, "answer": "4"}]
PROMPT_COMPLETION: list[dict[str, Any]] = [
    {"prompt": "2 + 2 =", "completion": " 4"},
    {"prompt": _ASK, "completion": _FOUR, "weight": 0.5},
]
PREFERENCE: list[dict[str, Any]] = [
    {"prompt": "2 + 2 =", "chosen": " 4", "rejected": " 5", "margin": 1.0},
    {"prompt": _ASK, "chosen": _FOUR, "rejected": _FIVE},
]
PREFERENCE_IMPLICIT: list[dict[str, Any]] = [
    {"chosen": "2 + 2 = 4", "rejected": "2 + 2 = 5"},
    {"chosen": _ASK + _FOUR, "rejected": _ASK + _FIVE},
]
TRIPLE: list[dict[str, Any]] = [
    {"prompt": "2 + 2 =", "chosen": " four", "rejected": " 5", "reference": " 4"},
    {"prompt": _ASK, "chosen": _WORDS, "rejected": _FIVE, "reference": _FOUR},
]
TRIPLE_IMPLICIT: list[dict[str, Any]] = [
    {"chosen": "2 + 2 = four", "rejected": "2 + 2 = 5", "reference": "2 + 2 = 4"},
    {"chosen": _ASK + _WORDS, "rejected": _ASK + _FIVE, "reference": _ASK + _FOUR},
]
RANKED: list[dict[str, Any]] = [
    {"prompt": "2 + 2 =", "completions": [" 4", " four", " 5"]},
    {"prompt": _ASK, "completions": [_FOUR, _WORDS, _FIVE]},
]
RATED: list[dict[str, Any]] = [
    {"prompt": "2 + 2 =", "completion": " 4", "rating": 4.5},
    {"prompt": _ASK, "completion": _FIVE, "rating": 1},
]
UNPAIRED: list[dict[str, Any]] = [
    {"prompt": "2 + 2 =", "completion": " 4", "label": True},
    {"prompt": _ASK, "completion": _FIVE, "label": False},
]
UNPAIRED_CHAT: list[dict[str, Any]] = [{"messages": _ASK + _FOUR, "label": True}]
STEPWISE: list[dict[str, Any]] = [{"prompt": "2 + 2 + 2 =", "completions": ["2 + 2 = 4", "4 + 2 = 7"], "labels": [True, False]}]
TRAJECTORY: list[dict[str, Any]] = [
    {"prompt_ids": [5, 6], "completion_ids": [7, 8], "advantages": 0.5, "old_logps": [-1.0, -2.0]},
    {"prompt_ids": [5], "completion_ids": [7, 8, 9], "completion_mask": [1, 0, 1], "behaviour_logps": [-1.0, 0.0, -0.5]},
]
