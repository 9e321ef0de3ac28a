"""The built-in environment: one prompt, one completion."""

from __future__ import annotations

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
