"""A policy gradient in miniature: a loss, an advantage, rewards and an environment for online runs, named by path in their
configs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from burnish.model.signals import Signal, logp
from burnish.objective import Ragged, Sequences, Terms
from burnish.rollout.contract import Episode, Generate, Groups, Task
from burnish.rollout.sampler import Completion
from burnish.rollout.single_turn import SingleTurn

HERE = Path(__file__)
OLD = logp(role="old")


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """-rho A, rho the ratio to the policy that drew the tokens."""

    def signals(self) -> frozenset[Signal]:
        return frozenset({logp(), OLD})

    def __call__(self, batch: Sequences) -> Terms:
        ratio = (batch.logp - batch.signal(OLD)).map(torch.exp)
        return Terms(token=-ratio * batch.field("advantages"))


@dataclass(frozen=True, kw_only=True)
class Centred:
    """A reward minus its group's mean."""

    def __call__(self, groups: Groups) -> Ragged:
        return groups.rewards - groups.rewards.per_token(groups.rewards.mean())


def small(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
    """Share of ids below 40."""
    return [sum(one < 40 for one in ids) / len(ids) for ids in completion_ids]


def begins_small(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
    """Whether the first id is below 40: often the same for a whole group."""
    return [float(ids[0] < 40) for ids in completion_ids]


def online(**rollout: Any) -> dict[str, Any]:
    """What to lay over a config to make it an online run: two prompts by four completions, two passes of two steps."""
    section = {
        "prompts": 2,
        "group_size": 4,
        "epochs": 2,
        "rewards": [f"{HERE}:small"],
        "advantage": f"{HERE}:Centred",
        "sampling": {"max_new_tokens": 6, "temperature": 1.0},
        **rollout,
    }
    return {"objective": [{f"{HERE}:Gradient": {}}], "rollout": section, "train": {"batch_size": 4, "steps": 9}}


class Cut:
    """An environment in which no answer comes to its end."""

    judges = False

    async def __call__(self, task: Task, generate: Generate) -> Episode:
        return replace(await SingleTurn()(task, generate), outcome="truncated")


class Lying:
    """One turn, of which the sampler reports log-probabilities that are `by` nats too low, after the first `honest` answers."""

    judges = False

    def __init__(self, by: float = 0.5, honest: int = 0) -> None:
        self.by, self.left = by, honest

    async def __call__(self, task: Task, generate: Generate) -> Episode:
        async def lying(ids: Sequence[int]) -> Completion:
            found = await generate(ids)
            self.left -= 1
            return found if self.left >= 0 else replace(found, logps=[one - self.by for one in found.logps])

        return await SingleTurn()(task, lying)
