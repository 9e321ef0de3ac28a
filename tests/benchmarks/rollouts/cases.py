"""What is drawn: prompts, how many answers, how long; and what the answers are worth where a whole step is timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tests.benchmarks.speed.cases import Row, lines, message

Prompt = list[Row]


def questions(data: Path) -> Iterator[Prompt]:
    for row in lines(data / "gsm8k" / "train.jsonl"):
        yield [message("user", row["question"])]


def instructions(data: Path) -> Iterator[Prompt]:
    for row in lines(data / "instruct_alpaca" / "train.jsonl"):
        yield [message("user", f"{row['instruction']}\n{row['input']}".strip())]


@dataclass(frozen=True)
class Case:
    """One line of the table. whole: a step of GRPO, with one update of all weights, instead of drawing alone."""

    name: str
    prompts: Callable[[Path], Iterator[Prompt]]
    count: int
    group: int
    longest: int
    whole: bool = False

    def take(self, data: Path) -> list[Prompt]:
        """The prompts, each once."""
        return list(islice(self.prompts(data), self.count))


CASES = [
    Case("drawing 2 x 8, gsm8k, 96 tokens", questions, 2, 8, 96),
    Case("drawing 4 x 8, alpaca, up to 256 tokens", instructions, 4, 8, 256),
    Case("GRPO step 2 x 8, gsm8k, 96 tokens", questions, 2, 8, 96, whole=True),
]


def worth(completions: list[Any], **_: Any) -> list[float]:
    """Share of digits: costs nothing, and differs within a group."""
    texts = ["".join(turn["content"] for turn in one) if isinstance(one, list) else one for one in completions]
    return [sum(letter.isdigit() for letter in text) / max(len(text), 1) for text in texts]
