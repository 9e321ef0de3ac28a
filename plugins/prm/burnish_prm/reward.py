"""A trained process reward model as a reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from burnish.errors import RewardError
from burnish.registry import load
from burnish.rollout.classifier import MAIN, MICRO_BATCH_TOKENS, Classifier
from burnish.rollout.prompts import as_said
from burnish.rollout.steps import Aggregate, aggregate, check_aggregate


@dataclass(frozen=True)
class ProcessReward:
    """The score of a completion from the probabilities that its steps are right: a number from 0 to 1.

    None for a completion without a step, or longer than the model's context. Loads at once, to fail at once.
    """

    model: str
    """A run, a checkpoint, an adapter, a folder or a name."""
    aggregate: Aggregate = "product"
    """How steps become one number: `product`, `min`, `last` or `mean`."""
    step_separator: str | None = None
    """What ends a step; none for the one that the run was trained with, else a line break."""
    micro_batch_tokens: int = MICRO_BATCH_TOKENS
    """Tokens that are forwarded at once."""

    def __post_init__(self) -> None:
        check_aggregate(self.aggregate)
        if self.judge.task != "token":
            raise RewardError(f"prm: '{self.model}' scores whole answers; the reward for it is called reward_model")

    @cached_property
    def judge(self) -> Classifier:
        """The model."""
        return Classifier.open(
            self.model, load(), step_separator=self.step_separator, micro_batch_tokens=self.micro_batch_tokens
        )

    def steps(self, prompts: Sequence[Any], completions: Sequence[Any]) -> list[tuple[float, ...] | None]:
        """Probability that each step is right, for every completion; None where there is none."""
        pairs = zip(prompts, completions, strict=True)
        solutions = [self.judge.solution(as_said(prompt), as_said(completion)) for prompt, completion in pairs]
        return [verdict.steps.get(MAIN) for verdict in self.judge.judge(solutions)]

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """prompts, completions: texts, or lists of messages; columns are not looked at."""
        return [None if steps is None else aggregate(self.aggregate, steps) for steps in self.steps(prompts, completions)]
