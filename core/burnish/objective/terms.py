"""What a loss returns: unreduced terms, and metrics with how they combine. Divides nothing; `reduce.py` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from torch import Tensor

from burnish.errors import ObjectiveError
from burnish.objective.ragged import Ragged

How = Literal["mean", "sum", "min", "max", "std"]
Level = Literal["token", "sequence", "pair", "list"]


@dataclass(frozen=True)
class Metric:
    """Numbers to be logged as one, over the global batch.

    values: [n] or ragged; n may be 0. weights: the same shape; how often a value counts in a mean or standard deviation, what
    it is multiplied by in a sum; minimum and maximum skip values of weight 0. how: `mean`, `sum`, `min`, `max` or `std` (n - 1
    in the denominator). A metric whose weights add up to 0 is not logged.
    """

    values: Tensor | Ragged
    weights: Tensor | Ragged | None = None
    how: How = "mean"

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise ObjectiveError(f"a metric combines as one of {', '.join(get_args(How))}, not '{self.how}'")
        values, weights = flat(self.values), None if self.weights is None else flat(self.weights)
        if values.dim() != 1:
            raise ObjectiveError(
                f"a metric takes its unreduced values [n], got {list(values.shape)}; how='{self.how}' combines them later"
            )
        if weights is not None and weights.shape != values.shape:
            raise ObjectiveError(f"a metric's weights must be {list(values.shape)} like its values, got {list(weights.shape)}")


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Unreduced terms of one level: `token` (ragged), `sequence` [S], `pair` [pairs] or `list` [lists]; and metrics."""

    token: Ragged | None = None
    sequence: Tensor | None = None
    pair: Tensor | None = None
    list: Tensor | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(given := [level for level in get_args(Level) if getattr(self, level) is not None]) != 1:
            raise ObjectiveError(f"Terms takes exactly one of token, sequence, pair and list; got {given or 'none'}")

    @property
    def level(self) -> Level:
        """Which of the four was given."""
        levels: tuple[Level, ...] = get_args(Level)
        return next(level for level in levels if getattr(self, level) is not None)

    @property
    def values(self) -> Ragged | Tensor:
        """The terms themselves."""
        values: Ragged | Tensor = getattr(self, self.level)
        return values


def flat(values: Tensor | Ragged) -> Tensor:
    """The numbers of ragged values; a tensor as it is."""
    return values.values if isinstance(values, Ragged) else values
