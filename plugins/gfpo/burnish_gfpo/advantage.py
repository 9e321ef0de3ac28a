"""Advantages of the best completions of a group: the formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from burnish import Groups, Ragged

EPSILON = 1e-4


@dataclass(frozen=True, kw_only=True)
class BestOfGroup:
    """Group-filtered policy optimisation: draw many, learn from the best.

        S = the `keep` completions of the group with the highest score
        A = (r - mean(r of S)) / (std(r of S) + 1e-4)          for completions in S; the others are not trained on

    The score is the reward per token, the reward, or minus the length: by the first and the last the policy learns to be short.
    Source: Shrivastava et al. 2025, arXiv:2508.09726, section 3. Deviations: a tie for the last place keeps all that tie, so
    that nothing depends on order; completions out of S leave the loss's denominator, where the paper counts their tokens.
    Shapes: r, A are ragged, [completions] in [groups]. Units: standard deviations.
    Degenerate: a group of one, or whose kept rewards are equal, gives exactly 0; a group of at most `keep` is kept whole. Of
    rewards below 0, the reward per token is highest for the longest.
    """

    keep: int = 4
    """Completions of a group that are trained on; at least 1."""
    by: Literal["reward_per_token", "reward", "length"] = "reward_per_token"
    """What makes a completion one of the best."""

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ValueError(f"keep must be at least 1, got {self.keep}")
        if self.by not in ("reward_per_token", "reward", "length"):
            raise ValueError(f"by must be 'reward_per_token', 'reward' or 'length', got {self.by!r}")

    def keeps(self, groups: Groups) -> Tensor:
        """Which completions are trained on: bool [completions]."""
        return (self._score(groups).rank() < self.keep).values

    def __call__(self, groups: Groups) -> Ragged:
        """One advantage per completion; 0 for those that are not kept."""
        kept = self.keeps(groups)
        advantages = torch.zeros_like(groups.rewards.values)
        advantages[kept] = groups.rewards.select(kept).standardised(EPSILON).values
        return Ragged(advantages, groups.rewards.lengths)

    def _score(self, groups: Groups) -> Ragged:
        if self.by == "length":
            return -groups.lengths
        return groups.rewards if self.by == "reward" else groups.rewards / groups.lengths.clamp(min=1)
