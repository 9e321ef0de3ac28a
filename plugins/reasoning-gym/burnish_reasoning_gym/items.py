"""One question of one generator, and a short text that finds it again. Knows reasoning-gym; no rows, no rewards.

A generator scores with more than an item's answer (grids, graphs, sets), which need not survive a file. So a row carries where
its item comes from, and whoever scores it asks the generator again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from burnish.errors import DataError, did_you_mean
from burnish_reasoning_gym.answers import evaluators


@dataclass(frozen=True)
class Generator:
    """A generator with its settings. arguments: JSON of the generator's own options, so that this can be a dictionary key."""

    task: str
    size: int
    seed: int
    arguments: str

    def item(self, index: int) -> dict[str, Any]:
        """The question at `index`, with its answer."""
        item: dict[str, Any] = self._dataset()[index]
        return item

    def score(self, answer: str, item: dict[str, Any]) -> float:
        """What the generator gives `answer`, 0 to 1."""
        return float(self._dataset().score_answer(answer, item))

    @property
    def evaluators(self) -> frozenset[str]:
        """What it may evaluate an answer with."""
        kind: Any = type(self._dataset())
        return evaluators(kind)

    def reference(self, index: int) -> str:
        """A text that `find` turns into this generator and index."""
        return json.dumps([self.task, self.size, self.seed, self.arguments, index])

    def _dataset(self) -> Any:
        return _dataset(self)


def find(reference: str) -> tuple[Generator, int]:
    """The generator and index that a row's `item` refers to."""
    task, size, seed, arguments, index = json.loads(reference)
    return Generator(task, size, seed, arguments), index


@lru_cache(maxsize=16)
def _dataset(generator: Generator) -> Any:
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if generator.task not in DATASETS:
        raise DataError(f"reasoning-gym has no generator '{generator.task}'. {did_you_mean(generator.task, DATASETS)}")
    try:
        return reasoning_gym.create_dataset(
            generator.task, size=generator.size, seed=generator.seed, **json.loads(generator.arguments)
        )
    except (TypeError, ValueError, AssertionError) as error:
        raise DataError(f"the generator '{generator.task}' does not take {generator.arguments}: {error}") from error
