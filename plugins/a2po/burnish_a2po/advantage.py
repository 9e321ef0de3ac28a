"""Advantages under the best policy there is: the formula."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from burnish import Groups, Ragged
from burnish.errors import RewardError


@dataclass(frozen=True, kw_only=True)
class Optimal:
    """How much better a completion is than what the best policy near the reference earns on average.

        A = r - V*                                         V* = beta log mean exp(r' / beta) over samples r' of the reference

    The samples are the group's opponents: draw them with `rollout.opponents: {mixture: 1.0}`. Prompts of which no sample earns
    more than `wrong` are left out, since V* says nothing of them.
    Source: Brantley et al. 2025, arXiv:2505.20686, eq. 3 and section 3, where beta is called beta_1. Deviations: V* is
    estimated anew each time that a prompt is drawn, not once before training.
    Shapes: r, A are [completions] in [groups], r' [opponents] in [groups]. Units: those of r.
    Degenerate: opponents that all earn r give exactly 0.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"opponents"})

    beta: float = 0.5
    """How far the best policy may be from the reference, in reward a nat; above 0. Near 0 V* is the best sample's reward."""
    wrong: float = 0.0
    """What a wrong answer earns at most; any number."""

    def __post_init__(self) -> None:
        if not 0 < self.beta < math.inf:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        if not math.isfinite(self.wrong):
            raise ValueError(f"wrong must be a finite number, got {self.wrong}")

    def __call__(self, groups: Groups) -> Ragged:
        """One advantage per completion; 0 for those of prompts without samples."""
        values = [self._value(theirs) if len(theirs) else math.nan for theirs in _opponents(groups)]
        best = groups.rewards.per_token(groups.rewards.values.new_tensor(values))
        return (groups.rewards - best).map(lambda apart: torch.nan_to_num(apart, nan=0.0))

    def keeps(self, groups: Groups) -> torch.Tensor:
        """Completions of prompts that the reference gets right at times."""
        right = [bool((theirs > self.wrong).any()) for theirs in _opponents(groups)]
        flags = groups.rewards.per_token(groups.rewards.values.new_tensor([float(one) for one in right]))
        return flags.values > 0

    def _value(self, theirs: torch.Tensor) -> float:
        return float(self.beta * (torch.logsumexp(theirs / self.beta, 0) - math.log(len(theirs))))


def _opponents(groups: Groups) -> tuple[torch.Tensor, ...]:
    theirs: Ragged = groups.need("opponents")
    if not len(theirs.values):
        raise RewardError("a2po: no completion has an opponent; write `rollout.opponents`")
    return torch.split(theirs.values, theirs.lengths.tolist())
