"""A trained reward model as a reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from burnish.data.examples import PromptCompletion
from burnish.errors import RewardError
from burnish.judging.classifier import MAIN, MICRO_BATCH_TOKENS, Classifier
from burnish.registry import load
from burnish.rollout.prompts import as_said


@dataclass(frozen=True)
class RewardModel:
    """The score of a completion: log-odds, without a unit or a zero of its own; of several models their mean.

    None for a completion that is, with its prompt, longer than a model's context. Loads at once, to fail at once.
    """

    model: str | list[str]
    """A run, a checkpoint, an adapter, a folder or a name; or several."""
    micro_batch_tokens: int = MICRO_BATCH_TOKENS
    """Tokens that are forwarded at once."""

    def __post_init__(self) -> None:
        if not self.model:
            raise RewardError("reward_model: `model` names no model")
        for judge, name in zip(self.judges, self._names, strict=True):
            if judge.task != "sequence":
                raise RewardError(f"reward_model: '{name}' judges steps; the reward for it is called prm")

    @cached_property
    def judges(self) -> list[Classifier]:
        """The models."""
        registry = load()
        return [Classifier.open(name, registry, micro_batch_tokens=self.micro_batch_tokens) for name in self._names]

    @property
    def _names(self) -> list[str]:
        return [self.model] if isinstance(self.model, str) else self.model

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """prompts, completions: texts, or lists of messages; columns are not looked at."""
        pairs = zip(prompts, completions, strict=True)
        examples = [PromptCompletion(as_said(prompt), as_said(completion)) for prompt, completion in pairs]
        verdicts = zip(*(judge.judge(examples) for judge in self.judges), strict=True)
        return [_mean([verdict.scores.get(MAIN) for verdict in of_one]) for of_one in verdicts]


def _mean(scores: list[float | None]) -> float | None:
    known = [one for one in scores if one is not None]
    return sum(known) / len(known) if len(known) == len(scores) else None
