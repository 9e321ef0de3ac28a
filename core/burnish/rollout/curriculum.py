"""Curricula: which prompts may be played yet. In: a prompt's row, how many prompts were used. Out: yes, or wait.

A prompt that must wait is not skipped: it is drawn already, and played as soon as it may be. A curriculum is a pure function,
so that a run which is killed goes on with the very prompts that it would have played.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from burnish.errors import DataError, did_you_mean


class Curriculum(Protocol):
    """A frozen dataclass whose fields are its options."""

    def __call__(self, row: Mapping[str, Any], used: int) -> bool:
        """Whether the prompt of `row` (its columns) may be played, now that `used` prompts have been."""
        ...


@dataclass(frozen=True, kw_only=True)
class Rising:
    """The number in a column may grow from `first` to `last` while `over` prompts are used; then every prompt may be played."""

    column: str
    """Of the rows: how hard a prompt is."""
    first: float
    """The hardest at the beginning."""
    last: float
    """The hardest at the end."""
    over: int
    """Prompts in between."""

    def __post_init__(self) -> None:
        if self.over < 1:
            raise ValueError(f"`over` is a number of prompts, at least 1, got {self.over}")

    def __call__(self, row: Mapping[str, Any], used: int) -> bool:
        """Whether its number is within what is allowed by now."""
        if self.column not in row:
            raise DataError(f"curriculum 'rising': a row has no column '{self.column}'. {did_you_mean(self.column, row)}")
        allowed = self.first + (self.last - self.first) * min(1.0, used / self.over)
        return used >= self.over or float(row[self.column]) <= allowed
