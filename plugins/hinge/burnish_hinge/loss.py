"""The hinge loss of preferences: the loss."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.model.signals import Signal
from burnish.objective import ImplicitReward, Pairs, Terms, pair_metrics


@dataclass(frozen=True, kw_only=True)
class Hinge:
    """Sequence likelihood calibration: pairs that are told apart by the margin are left alone.

        L = max(0, 1 + margin - beta * (r_w - r_l))    r = sum(lp - lr) over target tokens, nats

    Source: Liu et al. 2023 (RSO), arXiv:2309.06657, which normalises the rank loss of Zhao et al. 2023 (SLiC-HF),
    arXiv:2305.10425, by a reference. Deviations: the row's `margin` column is asked for on top of 1 (0 where there is none).
    Shapes: r, L are [pairs]. Reduction: pair_mean.
    Degenerate: policy == reference gives 1 for every pair without a margin; a pair beyond it has neither loss nor gradient.
        >>> L(unmoved) == 1
        >>> L(equal) == 1
    """

    beta: float = 0.1
    """Inverse of the gap, in nats, that the loss asks for; above 0."""
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
        h = self.beta * (r_w - r_l) - batch.scalar("margin", default=0.0)
        return Terms(pair=(1 - h).relu(), metrics=pair_metrics(batch, self.beta * r_w, self.beta * r_l))
