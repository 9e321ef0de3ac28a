"""The only division of terms: by counts of the global batch, which are known before the first backward.

In: unreduced terms, their multipliers, a count. Out: a sum over this micro-batch that adds up, over micro-batches and ranks, to
the mean over the global batch. The same for metrics. Knows no model and no unit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from burnish.errors import ConfigError, ObjectiveError, did_you_mean
from burnish.objective.ragged import Ragged
from burnish.objective.terms import How, Level, Metric, Terms, flat

ACCEPTS: dict[str, tuple[Level, ...]] = {
    "token_mean": ("token",),
    "sequence_token_mean": ("token",),
    "sequence_mean": ("token", "sequence"),
    "pair_mean": ("token", "sequence", "pair"),
    "list_mean": ("token", "sequence", "list"),
    "constant": ("token", "sequence"),
}
"""Levels of terms that each reduction can reduce: its own and the finer ones, which it sums up to its own."""


@dataclass(frozen=True)
class Reduction:
    """How terms become one number.

    token_mean            sum of terms / number of target tokens
    sequence_mean         sum of terms / number of sequences with a target
    sequence_token_mean   sum over sequences of the mean over their tokens / number of sequences
    pair_mean, list_mean  sum of terms / number of units
    constant              sum of terms / (constant * number of sequences)
    """

    name: str
    constant: float = 1.0

    def __str__(self) -> str:
        return f"constant({self.constant:g})" if self.name == "constant" else self.name

    @classmethod
    def parse(cls, given: Any) -> Reduction:
        """From a config's `token_mean`, `constant(512)` and the like; ConfigError names what is known."""
        match = re.fullmatch(r"(\w+)(?:\(\s*(\S+?)\s*\))?", given) if isinstance(given, str) else None
        name, number = match.groups() if match else (str(given), None)
        if name not in ACCEPTS:
            raise ConfigError(f"no reduction named {name!r}. {did_you_mean(name, ACCEPTS)}")
        if (name == "constant") != (number is not None):
            raise ConfigError(
                f"{given!r}: `constant` takes the tokens that a sequence counts as, `constant(512)`; others take none"
            )
        try:
            constant = float(number or 1)
        except ValueError:
            constant = math.nan
        if not 0 < constant < math.inf:
            raise ConfigError(f"{given!r}: {number!r} is not a number above 0")
        return cls(name, constant)

    def denominator(self, lengths: Iterable[int], num_units: int) -> float:
        """What the global batch's sum is divided by. lengths: targets of every sequence; one without any does not count."""
        counts = [length for length in lengths if length]
        if self.name == "token_mean":
            return float(sum(counts))
        return float(num_units) if self.name in ("pair_mean", "list_mean") else self.constant * len(counts)

    def shares(self, terms: Terms, multipliers: Ragged | Tensor, denominator: float) -> Tensor:
        """What each member adds to the loss: [members].

        multipliers: per member, or per token where terms are; a sequence's term is multiplied by the mean over its tokens.
        """
        values = terms.values
        if terms.level not in ACCEPTS[self.name]:
            fitting = [name for name, levels in ACCEPTS.items() if terms.level in levels]
            raise ObjectiveError(f"{self} cannot reduce terms per {terms.level}; set `reduction` to {' or '.join(fitting)}")
        if isinstance(values, Ragged):
            weighed = values * (multipliers if isinstance(multipliers, Ragged) else values.per_token(multipliers))
            return (weighed.mean() if self.name == "sequence_token_mean" else weighed.sum()) / denominator
        if isinstance(multipliers, Ragged) and terms.level != "sequence":
            raise ObjectiveError(f"a weight per token cannot multiply terms per {terms.level}")
        return values * (multipliers.mean() if isinstance(multipliers, Ragged) else multipliers) / denominator


class Tally:
    """A metric on its way to one number: moments in float64 that micro-batches and ranks merge."""

    def __init__(self, how: How, moments: Tensor) -> None:
        self.how, self.moments = how, moments

    @classmethod
    def of(cls, metric: Metric) -> Tally:
        """Moments of one micro-batch's values: weight in all, then what `how` needs."""
        values = flat(metric.values).detach().double()
        weights = torch.ones_like(values) if metric.weights is None else flat(metric.weights).detach().double()
        values = values.where(weights != 0, 0.0)  # a value of weight 0 may be anything, NaN too
        if metric.how in ("min", "max"):
            limit = torch.inf if metric.how == "min" else -torch.inf
            present = torch.cat([values.where(weights != 0, limit), values.new_full((1,), limit)])
            return cls(metric.how, torch.stack([weights.sum(), present.min() if metric.how == "min" else present.max()]))
        return cls(metric.how, torch.stack([weights.sum(), (weights * values).sum(), (weights * values**2).sum()]))

    def merge(self, other: Tally) -> Tally:
        """Both together."""
        if self.how != other.how:
            raise ObjectiveError(f"one metric is combined as {self.how} and as {other.how}")
        if self.how in ("min", "max"):
            extreme = (torch.minimum if self.how == "min" else torch.maximum)(self.moments[1], other.moments[1])
            return Tally(self.how, torch.stack([self.moments[0] + other.moments[0], extreme]))
        return Tally(self.how, self.moments + other.moments)

    def value(self) -> float | None:
        """The number to log; None when nothing was observed."""
        weight, *moments = self.moments.tolist()
        if weight == 0:
            return None
        if self.how == "mean":
            return float(moments[0] / weight)
        if self.how == "std":
            spread = moments[1] - moments[0] ** 2 / weight
            return math.sqrt(max(spread, 0.0) / max(weight - 1, 1.0))
        return float(moments[0])
