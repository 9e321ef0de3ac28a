"""Preference optimisation of ranked lists: the loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from burnish.model.signals import Signal, mean_logit
from burnish.objective import Lists, Metric, Ragged, SequenceReward, Terms, token_metrics


@dataclass(frozen=True, kw_only=True)
class PlackettLuce:
    """Direct preference optimisation of whole rankings: place after place, the best of the items not yet placed is drawn.

        L = -sum over places k of log(e^(beta r_k) / sum over j >= k of e^(beta r_j))
                                                       r = sum(lp - lr) over target tokens, nats; items best first
    Source: Rafailov et al. 2023, arXiv:2305.18290, appendix A.3. Deviations: none.
    Shapes: r is [items]; L is [lists]. Reduction: list_mean.
    Degenerate: policy == reference gives log(K!) for a list of K items; a list of one item gives 0, of two DPO's loss.
        >>> L(unmoved) == log(factorial(num_items))
        >>> L(equal) == log(factorial(num_items))
    """

    beta: float = 0.1
    """Strength of the pull towards the reference; above 0."""
    reward: SequenceReward = SequenceReward()
    """How r is read off the log-probabilities."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities; entropy and accuracy are metrics."""
        return self.reward.signals() - {mean_logit()}

    def __call__(self, batch: Lists) -> Terms:
        """One term per list."""
        h = batch.per_list(self.beta * self.reward.of(batch.items))
        after = (h.index[:, None] == h.index) & (h.offset.values[:, None] <= h.offset.values)
        log_sum = h.map(lambda values: torch.where(after, values, -torch.inf).logsumexp(1))
        metrics = list_metrics(h, after) | token_metrics(batch.items, accuracy_of=batch.items)
        return Terms(list=(log_sum - h).sum(), metrics=metrics)


def list_metrics(h: Ragged, after: Tensor) -> dict[str, Metric]:
    """Rewards of the first items and of the others, gaps and order of every two items. after: [items, items], or equal."""
    first, second = after.triu(1).nonzero(as_tuple=True)
    gaps = h.values[first] - h.values[second]
    is_best = h.offset.values == 0
    return {
        "rewards/chosen": Metric(h.values, is_best.to(h.values)),
        "rewards/rejected": Metric(h.values, (~is_best).to(h.values)),
        "rewards/margins": Metric(gaps),
        "rewards/accuracies": Metric((gaps > 0).to(gaps)),
    }
