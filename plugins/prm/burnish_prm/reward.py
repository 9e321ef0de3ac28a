"""A trained process reward model as a reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from burnish.errors import RewardError
from burnish.judging.classifier import MAIN, MICRO_BATCH_TOKENS, Classifier
from burnish.judging.steps import Aggregate, aggregate, check_aggregate
from burnish.registry import load
from burnish.rollout.contract import Steps
from burnish.rollout.prompts import as_said, text_of
from burnish_prm.placing import ends_of_steps


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
    per_step: bool = False
    """Whether each step earns its own probability, at its last token, instead of the completion one number. For advantages of
    tokens (`step`, `gae`, `reinforce_pp`); others take the sum."""

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

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] = (),
        tokenizer: Any = None,
        **columns: Any,
    ) -> list[float | Steps | None]:
        """prompts, completions: texts, or lists of messages; completion_ids, tokenizer: of the policy, for numbers per step.
        Columns are not looked at."""
        judged = self.steps(prompts, completions)
        if not self.per_step:
            return [None if steps is None else aggregate(self.aggregate, steps) for steps in judged]
        if tokenizer is None:
            raise RewardError("prm: `per_step` places steps among the policy's tokens: it is for rollouts, without `processes`")
        rows = zip(judged, completions, completion_ids, strict=True)
        return [None if steps is None else self._placed(steps, said, ids, tokenizer) for steps, said, ids in rows]

    def _placed(self, steps: tuple[float, ...], said: Any, ids: Sequence[int], tokenizer: Any) -> Steps:
        ends = ends_of_steps(text_of(said), self.judge.step_separator, ids, tokenizer)
        found: dict[int, float] = {}
        for end, step in zip(ends, steps, strict=True):
            found[end] = found.get(end, 0.0) + step
        return Steps(ends=tuple(found), rewards=tuple(found.values()))
