"""Rows that begin games. In: how many. Out: raw rows with a prompt and the seed of the game that it is about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Games:
    """`size` games, each with a seed of its own, from `seed` on. instruction: what the prompt says before the game does."""

    size: int
    seed: int = 0
    instruction: str = "Let us play a game."

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}")

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for seed in range(self.seed, self.seed + self.size):
            yield {"prompt": [{"role": "user", "content": self.instruction}], "seed": seed}
