"""Advantages whitened over the rollout batch: the formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from burnish import Groups, Ragged

EPSILON = 1e-8


@dataclass(frozen=True, kw_only=True)
class GloballyWhitened:
    """REINFORCE++.

        G_t = r + sum of token rewards from t on               with `group_baseline`: r - mean(r of the group) in place of r
        A_t = (G_t - mean(G)) / sqrt(var(G) + 1e-8)            over all tokens of the rollout batch, n - 1

    Token rewards are what a token earned by itself, such as a KL penalty. One prompt's rewards are compared with all others':
    a batch has thousands of them where a group has a few, so the scale hardly moves.
    Source: Hu et al. 2025, arXiv:2501.03262, eq. 7 and 8 (without baseline), 11 and 12 (with one). Deviations: none; mean and
    variance are over tokens, so a long completion counts more, as in its authors' code.
    Shapes: r [completions] in [groups]; G, A [tokens] in [completions]. Units: standard deviations.
    Degenerate: equal rewards without token rewards give exactly 0. Without a baseline, a constant group has an advantage: its
    distance from the batch.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"token_rewards"})

    group_baseline: bool = False
    """Take the mean of the group off its rewards first; for several completions a prompt."""

    def __call__(self, groups: Groups) -> Ragged:
        """One advantage per token."""
        earned: Ragged = groups.need("token_rewards")
        rewards = groups.rewards.centred() if self.group_baseline else groups.rewards
        ahead = (earned + earned.at_last(rewards.values)).discounted_sum(1.0)
        whole = ahead.joined()
        return Ragged((whole.centred() * whole.per_token((whole.var() + EPSILON).rsqrt())).values, earned.lengths)
