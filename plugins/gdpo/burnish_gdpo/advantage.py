"""Advantages normalised reward by reward: the formula."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from burnish import Groups, Ragged

EPSILON = 1e-4


@dataclass(frozen=True, kw_only=True)
class Decoupled:
    """Group reward-decoupled normalisation.

        a = sum over rewards k of w_k (r_k - mean_k) / (std_k + 1e-4)     mean_k, std_k: of reward k in the group, n - 1
        A = a / (std(a over the rollout batch) + 1e-4)

    Source: GDPO, arXiv:2601.05242, eq. 4 to 6. Deviations: none; the batch mean of a, which the paper subtracts, is 0.
    A reward counts where it applies: completions that it does not apply to are in neither its mean nor its deviation.
    Shapes: r_k, a, A are ragged, [completions] in [groups]; w_k one weight a reward. Units: standard deviations.
    Degenerate: a group of one, or one in which every reward is constant, gives exactly 0.
    """

    def __call__(self, groups: Groups) -> Ragged:
        """One advantage per completion."""
        total = torch.zeros_like(groups.rewards.values)
        for name, part in groups.parts.items():
            applies = ~part.values.isnan()
            total[applies] += groups.weights.get(name, 1.0) * part.select(applies).standardised(EPSILON).values
        summed = Ragged(total, groups.rewards.lengths)
        return summed / (float(summed.joined().std()) + EPSILON)
