"""Trajectories, prompts and a backend without a model. Imported by the tests of rollouts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from burnish.config.sections import SamplingSection
from burnish.data.examples import Prompt as Row
from burnish.data.examples import Side
from burnish.rollout.contract import Capabilities, Episode, Receipt, Span
from burnish.rollout.play import Prompt
from burnish.rollout.sampler import Completion
from burnish.rollout.trajectory import Origin, Trajectory


def trajectory(group: int, member: int, ids: Sequence[int], logps: Sequence[float] | None = None) -> Trajectory:
    """An answer `ids` to the prompt [1, 2], drawn from weights 7."""
    answer = Completion(list(ids), list(logps or [-1.0] * len(ids)), finished=True)
    spans = (Span(ids=(1, 2)), Span(ids=tuple(ids), sampled=answer))
    return Trajectory.of(Origin("main", group, 0, group, member), Episode(spans=spans), version=7)


def prompt(group: int, ids: Sequence[int] = (1, 2), **columns: Any) -> Prompt:
    """The prompt of a group."""
    return Prompt("main", 10 + group, 0, group, Row("what?", side=Side(columns=columns)), tuple(ids))


class Scripted:
    """A backend that answers by rule, and remembers what it was asked."""

    capabilities = Capabilities()

    def __init__(self, answer: Callable[[Sequence[int], int], list[int]], seconds: float = 0.0) -> None:
        self.answer, self.seconds = answer, seconds
        self.asked: list[tuple[tuple[int, ...], float, int]] = []

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        self.asked.append((tuple(ids), sampling.temperature, seed))
        await asyncio.sleep(self.seconds)
        said = self.answer(ids, seed)
        return Completion(said, [-1.0] * len(said), finished=True)

    async def update(self, version: int, weights: Mapping[str, Tensor]) -> Receipt:
        return Receipt.of(version, weights)

    async def close(self) -> None:
        self.asked.clear()
