"""Noise contrastive alignment: the loss on pairs."""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn.functional import logsigmoid

from burnish.model.signals import Signal
from burnish.objective import ImplicitReward, Pairs, Terms, pair_metrics


@dataclass(frozen=True, kw_only=True)
class NCAPair:
    """Noise contrastive alignment: the likelihood of the chosen answer must not fall, as it may under DPO.

        L = -log sigmoid(beta r_w) - .5 log sigmoid(-beta r_w) - .5 log sigmoid(-beta r_l)
                                                       r = sum(lp - lr) over target tokens, nats

    Source: Chen et al. 2024, arXiv:2402.05369, NCA for two completions with rewards 1 and 0. Deviations: none.
    Shapes: r, L are [pairs]. Reduction: pair_mean.
    Degenerate: policy == reference gives 2 log 2 for every pair; the minimum over r_w lies at beta r_w = log 2.
        >>> L(unmoved) == 2 * log(2)
    """

    beta: float = 0.1
    """Strength of the pull towards the reference; above 0."""
    reward: ImplicitReward = ImplicitReward()
    """How r is read off the log-probabilities."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities, and what the metrics of pairs read."""
        return self.reward.signals()

    def __call__(self, batch: Pairs) -> Terms:
        """One term per pair."""
        r_w, r_l = self.reward.pair(batch)
        h_w, h_l = self.beta * r_w, self.beta * r_l
        loss = -logsigmoid(h_w) - 0.5 * logsigmoid(-h_w) - 0.5 * logsigmoid(-h_l)
        return Terms(pair=loss, metrics=pair_metrics(batch, h_w, h_l))
