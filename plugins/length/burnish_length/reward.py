"""Rewards for how much a completion says. In: token ids; for `CosineLength`, another reward, too. Out: one number each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from burnish.registry import load
from burnish.rollout.rewards import Reward, load_reward, run_rewards

Ids = Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class SoftOverlong:
    """Soft overlong punishment.

        R = 0                                       |y| <= max_length - margin
        R = (max_length - margin - |y|) / margin    up to max_length, where it is -1
        R = -1                                      beyond

    Source: DAPO, Yu et al. 2025, arXiv:2503.14476, eq. 13. |y|: tokens of the completion. Deviations: none.
    """

    max_length: int
    """Tokens at which the punishment is whole; at least `margin`."""
    margin: int
    """Tokens before that over which it grows; 0 punishes only what is longer than `max_length`."""

    def __post_init__(self) -> None:
        if not 0 <= self.margin <= self.max_length:
            raise ValueError(f"margin must be from 0 to max_length ({self.max_length}), got {self.margin}")

    def __call__(self, completion_ids: Ids, **_: Any) -> list[float]:
        """One number per completion, from -1 to 0."""
        return [self._of(len(ids)) for ids in completion_ids]

    def _of(self, length: int) -> float:
        over = length - (self.max_length - self.margin)
        if over <= 0:
            return 0.0
        return -1.0 if over >= self.margin else -over / self.margin


@dataclass(frozen=True, kw_only=True)
class CosineLength:
    """Cosine scaling by length of what another reward says.

        R = long + (short - long) (1 + cos(pi min(|y| / max_length, 1))) / 2

    short and long are what an answer earns at length 0 and at `max_length`: `right_short` and `right_long` where the other
    reward is at least .5, else `wrong_short` and `wrong_long`. So right answers are better short, and wrong ones should have
    been longer. None where the other reward is None.
    Source: Yeo et al. 2025, arXiv:2502.03373, appendix C.1. |y|: tokens of the completion. Deviations: a completion longer than
    `max_length` earns what one of that length does, as in TRL.
    """

    of: str
    """Name of the reward that says whether an answer is right."""
    max_length: int
    """Tokens at which the scaling ends; above 0."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of that reward."""
    right_short: float = 1.0
    """Of a right answer without length."""
    right_long: float = 0.5
    """Of a right answer of `max_length`."""
    wrong_short: float = -1.0
    """Of a wrong answer without length."""
    wrong_long: float = -0.5
    """Of a wrong answer of `max_length`."""

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise ValueError(f"max_length must be above 0, got {self.max_length}")

    @cached_property
    def _judge(self) -> Reward:
        return load_reward(self.of, load(), options=self.options)

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], completion_ids: Ids, **columns: Sequence[Any]
    ) -> list[float | None]:
        """One number per completion."""
        [judged] = run_rewards([self._judge], prompts, completions, completion_ids, columns).values()
        lengths = map(len, completion_ids)
        return [None if one is None else self._of(one >= 0.5, length) for one, length in zip(judged, lengths, strict=True)]

    def _of(self, right: bool, length: int) -> float:
        short, long = (self.right_short, self.right_long) if right else (self.wrong_short, self.wrong_long)
        return long + (short - long) * (1 + math.cos(math.pi * min(length / self.max_length, 1.0))) / 2


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """Repetition penalty.

        R = penalty (1 - different n-grams / n-grams)

    N-grams are of token ids, so that no language is preferred. A completion of fewer than `ngram` tokens earns 0.
    Source: Yeo et al. 2025, arXiv:2502.03373, appendix C.2. Deviations: one number for the completion in place of one per
    token, as in TRL.
    """

    ngram: int = 3
    """Tokens that count as one piece; at least 1."""
    penalty: float = -1.0
    """What a completion that only repeats itself comes near; at most 0."""

    def __post_init__(self) -> None:
        if self.ngram < 1:
            raise ValueError(f"ngram must be at least 1, got {self.ngram}")
        if self.penalty > 0:
            raise ValueError(f"penalty must be at most 0, got {self.penalty}")

    def __call__(self, completion_ids: Ids, **_: Any) -> list[float]:
        """One number per completion, from `penalty` to 0."""
        return [self._of(ids) for ids in completion_ids]

    def _of(self, ids: Sequence[int]) -> float:
        pieces = [tuple(ids[place : place + self.ngram]) for place in range(len(ids) - self.ngram + 1)]
        repeated = len(pieces) - len(set(pieces))
        return self.penalty * repeated / len(pieces) if repeated else 0.0
