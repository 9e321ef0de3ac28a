"""Identity preference optimisation: the loss."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.model.signals import Signal
from burnish.objective import ImplicitReward, Pairs, Terms, pair_metrics


@dataclass(frozen=True, kw_only=True)
class IPO:
    """Identity preference optimisation.

        L = (r_w / |w| - r_l / |l| - (1 / 2 + margin) / beta)^2
        r = sum(lp - lr) over target tokens, nats; |y| target tokens

    Source: Azar et al. 2023, arXiv:2310.12036, eq. 17, where beta is called tau. Deviations: r is averaged over tokens, as its
    authors' own experiments do, while the paper's formula has sums; the row's `margin` column is asked for on top.
    Shapes: r, L are [pairs]. Reduction: pair_mean.
    Degenerate: policy == reference gives 1 / (4 beta^2) for every pair without a margin; the minimum 0 lies at a finite gap.
        >>> L(unmoved) == 1 / (4 * beta**2)
        >>> L(equal) == 1 / (4 * beta**2)
    """

    beta: float = 0.1
    """Inverse of twice the gap, in nats per token, that the loss asks for; above 0."""
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
        gap = r_w / batch.chosen.lengths.clamp(min=1) - r_l / batch.rejected.lengths.clamp(min=1)
        loss = (gap - (0.5 + batch.scalar("margin", default=0.0)) / self.beta) ** 2
        return Terms(pair=loss, metrics=pair_metrics(batch, self.beta * r_w, self.beta * r_l))
