"""Self-play preference optimisation: the loss on pairs."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.model.signals import Signal
from burnish.objective import ImplicitReward, Pairs, Terms, pair_metrics


@dataclass(frozen=True, kw_only=True)
class SPPOHard:
    """Self-play preference optimisation: each answer's reward is regressed on how surely it wins.

        L = (r_w - 1 / (2 beta))^2 + (r_l + 1 / (2 beta))^2      r = sum(lp - lr) over target tokens, nats

    Source: Wu et al. 2024, arXiv:2405.00675, eq. 4.7, where beta is 1 / eta. Deviations: the winner is taken to win with
    probability 1 and the loser with 0, not with a preference model's estimate.
    Shapes: r, L are [pairs]. Reduction: pair_mean.
    Degenerate: policy == reference gives 1 / (2 beta^2) for every pair; the minimum 0 lies at finite rewards.
        >>> L(unmoved) == 1 / (2 * beta**2)
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
        goal = 0.5 / self.beta
        loss = (r_w - goal) ** 2 + (r_l + goal) ** 2
        return Terms(pair=loss, metrics=pair_metrics(batch, self.beta * r_w, self.beta * r_l))
