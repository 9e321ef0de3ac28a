"""Rows from a reasoning-gym generator: prompts, answers, or pairs. Out: raw rows with TRL's columns, conversational."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from burnish.errors import DataError
from burnish_reasoning_gym.items import Generator
from burnish_reasoning_gym.wrong import WrongAnswers, is_number

NUMBER_ONLY = "Answer with the number only."
DRAWS_PER_ROW = 10
TEST_SHARE = 5  # one question in five belongs to the test split


@dataclass(frozen=True, kw_only=True)
class ReasoningGym:
    """`size` rows, each with a question of its own.

    task: the generator (`chain_sum`, `leg_counting`, ...); arguments: its own options. kind: `preference` (the right answer
    chosen, a near one rejected), `prompt_completion`, or `prompt`. instruction: sentence after the question; by default it asks
    for the number only, where the answer is one. split: `train` and `test` share no question, whatever their seeds and sizes;
    `all` has both. Every row also has `answer`, and `item`, by which the reward `reasoning_gym` finds the question again.
    """

    task: str
    size: int
    seed: int = 0
    kind: Literal["preference", "prompt_completion", "prompt"] = "preference"
    split: Literal["all", "train", "test"] = "all"
    instruction: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value, known in (
            ("kind", self.kind, ("preference", "prompt_completion", "prompt")),
            ("split", self.split, ("all", "train", "test")),
        ):
            if value not in known:
                raise DataError(f"reasoning-gym: {name} must be one of {', '.join(known)}, got {value!r}")
        if self.size < 1:
            raise DataError(f"reasoning-gym: size must be at least 1, got {self.size}")

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        generator = Generator(self.task, self.size * DRAWS_PER_ROW, self.seed, json.dumps(dict(self.arguments), sort_keys=True))
        wrong = WrongAnswers(generator) if self.kind == "preference" else None
        seen: set[str] = set()
        for index in range(generator.size):
            item = generator.item(index)
            question = item["question"]
            if question in seen or self.split not in ("all", split_of(question)):
                continue
            seen.add(question)
            self._require_answer(generator, item)
            yield self._row(item, wrong.of(item, Random(f"{self.seed} {index}")) if wrong else None, generator.reference(index))
            if len(seen) == self.size:
                return
        raise DataError(
            f"'{self.task}' gave only {len(seen)} different questions for the split '{self.split}' in {generator.size} draws; "
            f"{self.size} rows were asked for. Lower `size`, or widen the generator's arguments ({generator.arguments})"
        )

    def _require_answer(self, generator: Generator, item: Mapping[str, Any]) -> None:
        answer = item["answer"]
        if not isinstance(answer, str) or generator.score(answer, dict(item)) <= 0:
            raise DataError(
                f"the generator '{self.task}' scores its own stored answer ({answer!r}) as wrong, "
                "so neither answers nor pairs can be made of it; choose another task"
            )

    def _row(self, item: Mapping[str, Any], rejected: str | None, reference: str) -> dict[str, Any]:
        answer = item["answer"]
        instruction = self.instruction if self.instruction is not None else NUMBER_ONLY if is_number(answer) else ""
        text = f"{item['question'].strip()}\n{instruction}".strip()
        row: dict[str, Any] = {"prompt": [{"role": "user", "content": text}]}
        if rejected is not None:
            row |= {"chosen": said(answer), "rejected": said(rejected)}
        elif self.kind == "prompt_completion":
            row["completion"] = said(answer)
        return {**row, "answer": answer, "item": reference}


def said(text: str) -> list[dict[str, str]]:
    """What the assistant answers."""
    return [{"role": "assistant", "content": text}]


def split_of(question: str) -> str:
    """The split that a question belongs to, a function of its text alone."""
    return "train" if hashlib.sha256(question.encode()).digest()[0] % TEST_SHARE else "test"
