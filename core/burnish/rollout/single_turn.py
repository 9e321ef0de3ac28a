"""The built-in environment: one prompt, one completion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from burnish.rollout.contract import Episode, Generate, Span, Task


@dataclass(frozen=True)
class SingleTurn:
    """The policy answers once; an answer that does not end by itself is truncated."""

    judges = False

    async def __call__(self, task: Task, generate: Generate) -> Episode:
        """Play one row."""
        answer = await generate(task.ids)
        spans = (Span(ids=task.ids), Span(ids=tuple(answer.ids), sampled=answer))
        return Episode(spans=spans, outcome="ok" if answer.finished else "truncated")


def goes_on(environments: Mapping[str, object]) -> bool:
    """Whether an episode may ask again, after what happens between its turns: then nobody should wait for all that others are
    still drawing."""
    return any(not isinstance(one, SingleTurn) for one in environments.values())
