"""The reward: answers that are right if they are mathematically equal. In: completions, right answers. Out: one number each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from burnish.errors import RewardError
from burnish.rollout.prompts import text_of
from burnish_math.worker import Worker


@dataclass(frozen=True, kw_only=True)
class Math:
    """1 where the answer in a completion equals the row's, as mathematics, else 0: `verify(parse(right), parse(said))`.

    Source: math-verify, https://github.com/huggingface/Math-Verify. The right answer stands in the column `answer`, else in
    `solution`; None for a row without one, or whose own cannot be read. Expressions are compared in a process of their own,
    since a completion may hold any; one that takes too long, or too much memory, is not equal.
    """

    time_limit: float = 5.0
    """Seconds of the processor that a comparison may take; above 0."""

    def __post_init__(self) -> None:
        if not self.time_limit > 0:
            raise ValueError(f"time_limit must be above 0, got {self.time_limit}")

    def __call__(
        self,
        completions: Sequence[Any],
        answer: Sequence[Any] | None = None,
        solution: Sequence[Any] | None = None,
        **_: Any,
    ) -> list[float | None]:
        """One number per completion. completions: texts, or conversations whose last message counts."""
        nothing = [None] * len(completions)
        if answer is None and solution is None:
            raise RewardError("the reward 'math' reads the column `answer`, or `solution`; the rows have neither")
        right = [one if one is not None else other for one, other in zip(answer or nothing, solution or nothing, strict=True)]
        return [self._judged(text_of(said), wanted) for said, wanted in zip(completions, right, strict=True)]

    def _judged(self, said: str, right: Any) -> float | None:
        return None if right is None else _worker(self.time_limit).equal(str(right), said)


@cache
def _worker(time_limit: float) -> Worker:
    """One process for all rewards of this limit: it takes seconds to start."""
    return Worker(time_limit)
