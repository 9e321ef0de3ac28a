"""Questions as an environment: the policy may try again after a wrong answer. In: a row's `item`. Out: the last one's score."""

from __future__ import annotations

from burnish.errors import DataError
from burnish_reasoning_gym.reward import score


class Questions:
    """One question.

    attempts: answers at most; again: what is said after a wrong one. The reward is what the question's generator gives the
    last answer, times `discount` for every wrong one before it.
    """

    def __init__(self, *, attempts: int = 2, again: str = "That is not right. Try again.", discount: float = 1.0) -> None:
        if attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {attempts}")
        if not 0 <= discount <= 1:
            raise ValueError(f"discount must be from 0 to 1, got {discount}")
        self._attempts, self._again, self._discount = attempts, again, discount
        self._item, self._used, self._score = "", 0, 0.0

    def reset(self, item: str | None = None) -> None:
        """Begin with the question of a row."""
        if item is None:
            raise DataError("the environment 'reasoning-gym' asks questions of the source 'reasoning-gym'; a row has no `item`")
        self._item = item

    def step(self, said: str) -> str | None:
        """Judge an answer; None where it is right, or was the last."""
        self._used += 1
        self._score = score(said, self._item)
        return None if self._score >= 1 or self._used >= self._attempts else self._again

    def reward(self) -> float:
        """What it came to."""
        return self._score * self._discount ** max(0, self._used - 1)
