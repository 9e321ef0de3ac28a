"""Cases that fill a GPU: rows of drawn letters whose lengths are numbers, for models whose weights are as random as the rows.

In: nothing that is on a disk; a letter is a token of the tokenizer that such a model has. Out: cases, as in `cases`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from tests.benchmarks.speed.cases import DPO, PRECOMPUTED, Case, Row, message

Rows = Callable[[Path, Any], Iterator[Row]]
LETTERS = range(97, 123)


def text(draw: np.random.Generator, length: int) -> str:
    """So many letters."""
    return "".join(map(chr, draw.integers(LETTERS.start, LETTERS.stop, length)))


def chats(shortest: int, longest: int) -> Rows:
    """A question and an answer three times as long; together uniform in the logarithm between the two lengths."""

    def rows(_: Path, __: Any) -> Iterator[Row]:
        draw = np.random.default_rng(0)
        while True:
            length = int(np.exp(draw.uniform(np.log(shortest), np.log(longest))))
            asked, answered = text(draw, length // 4), text(draw, length - length // 4)
            yield {"prompt": [message("user", asked)], "completion": [message("assistant", answered)]}

    return rows


def pairs(prompt: int, answer: int) -> Rows:
    """Pairs of answers that differ from their first letter on, nearly always."""

    def rows(_: Path, __: Any) -> Iterator[Row]:
        draw = np.random.default_rng(0)
        while True:
            asked = [message("user", text(draw, prompt))]
            yield {"prompt": asked, **{side: [message("assistant", text(draw, answer))] for side in ("chosen", "rejected")}}

    return rows


def marked(prompt: int, answer: int) -> Rows:
    """Good and bad answers in turn, each to a question of its own."""

    def rows(_: Path, __: Any) -> Iterator[Row]:
        draw = np.random.default_rng(0)
        for place in count():
            asked, answered = text(draw, prompt), text(draw, answer)
            yield {"prompt": [message("user", asked)], "completion": [message("assistant", answered)], "label": place % 2 == 0}

    return rows


def groups(prompts: int, group: int, prompt: int, answer: int) -> Rows:
    """Groups of answers, as ids."""

    def rows(_: Path, __: Any) -> Iterator[Row]:
        draw = np.random.default_rng(0)
        for _place in range(prompts):
            asked = draw.integers(LETTERS.start, LETTERS.stop, prompt).tolist()
            for member in range(group):
                answered = draw.integers(LETTERS.start, LETTERS.stop, answer).tolist()
                yield {"prompt_ids": asked, "completion_ids": answered, "advantages": (2 * member - group + 1) / group}

    return rows


# About 64 thousand unique tokens a step; TRL's 8 rows per device are 8 to 64 thousand tokens at once.
FILLING = [
    Case("SFT packed to 8192", "sft", chats(256, 4096), {"sft": {}}, 64, max_length=8192),
    Case("DPO, answers of 768 to 256", "dpo", pairs(256, 768), DPO, 32, max_length=4096),
    Case("DPO, answers of 256 to 1536", "dpo", pairs(1536, 256), DPO, 32, max_length=4096),
    Case("DPO, answers of 768 to 256, known reference", "dpo", pairs(256, 768), DPO, 32, 4096, warm=True, theirs=PRECOMPUTED),
    Case("KTO, answers of 768 to 256", "kto", marked(256, 768), {"kto": {}}, 64, max_length=4096, smallest=2),
    Case("reward model, answers of 768 to 256", "reward", pairs(256, 768), {"bradley_terry": {}}, 32, max_length=4096),
    Case("policy gradient 16 x 8, 512 after 256", "policy", groups(16, 8, 256, 512), {"grpo": {}}, 128, max_length=4096),
    Case("policy gradient 8 x 16, 256 after 2048", "policy", groups(8, 16, 2048, 256), {"grpo": {}}, 128, max_length=4096),
]
