"""Efficient exact optimisation: the loss on pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch.nn.functional import logsigmoid

from burnish.model.signals import Signal
from burnish.objective import ImplicitReward, Pairs, Terms, pair_metrics


@dataclass(frozen=True, kw_only=True)
class EXOPair:
    """Efficient exact optimisation: the divergence of the policy's preference from the label's, mode-seeking where DPO covers.

        h = beta * (r_w - r_l) - margin                r = sum(lp - lr) over target tokens, nats
        q = sigmoid(h)
        L = q (log q - log(1 - e)) + (1 - q) (log(1 - q) - log e)      = KL([q, 1 - q] || [1 - e, e])

    Source: Ji et al. 2024, arXiv:2402.00856, eq. 16 with two completions. Deviations: the row's `margin` column is subtracted
    (0 where there is none).
    Shapes: r, h, q, L are [pairs]. Reduction: pair_mean.
    Degenerate: policy == reference gives -log 2 - log(e (1 - e)) / 2 for every pair without a margin; L is 0 where q = 1 - e,
    and its gradient vanishes where the policy is certain, also when it is certainly wrong.
        >>> L(unmoved) == -log(2) - log(label_smoothing * (1 - label_smoothing)) / 2
    """

    beta: float = 0.1
    """Strength of the pull towards the reference; above 0."""
    label_smoothing: float = 1e-3
    """Probability e that a preference is the wrong way round; 0 < e < .5."""
    reward: ImplicitReward = ImplicitReward()
    """How r is read off the log-probabilities."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        if not 0 < self.label_smoothing < 0.5:
            raise ValueError(f"label_smoothing must lie in (0, .5), got {self.label_smoothing}")

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities, and what the metrics of pairs read."""
        return self.reward.signals()

    def __call__(self, batch: Pairs) -> Terms:
        """One term per pair."""
        r_w, r_l = self.reward.pair(batch)
        e = self.label_smoothing
        h = self.beta * (r_w - r_l) - batch.scalar("margin", default=0.0)
        right = h.sigmoid() * (logsigmoid(h) - math.log1p(-e))
        wrong = (-h).sigmoid() * (logsigmoid(-h) - math.log(e))
        return Terms(pair=right + wrong, metrics=pair_metrics(batch, self.beta * r_w, self.beta * r_l))
