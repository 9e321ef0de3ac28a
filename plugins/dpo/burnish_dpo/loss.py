"""Direct preference optimisation: the loss."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.model.signals import Signal
from burnish.objective import ImplicitReward, Pairs, Terms, check_smoothing, logistic, pair_metrics


@dataclass(frozen=True, kw_only=True)
class DPO:
    """Direct preference optimisation.

        h = beta * (r_w - r_l) - margin                r = sum(lp - lr) over target tokens, nats
        L = -(1 - e) log sigmoid(h) - e log sigmoid(-h)

    Source: Rafailov et al. 2023, arXiv:2305.18290, eq. 7; label smoothing e: Mitchell 2023, "A note on DPO with noisy
    preferences", eq. 3 (cDPO). Deviations: the row's `margin` column is subtracted (0 where there is none).
    Shapes: r, h, L are [pairs]. Reduction: pair_mean.
    Degenerate: policy == reference gives log 2 for every pair without a margin, whatever beta and e.
        >>> L(unmoved) == log(2)
        >>> L(equal, label_smoothing=0.1) == log(2)
    """

    beta: float = 0.1
    """Strength of the pull towards the reference; above 0."""
    label_smoothing: float = 0.0
    """Probability e that a preference is the wrong way round; 0 <= e < .5."""
    reward: ImplicitReward = ImplicitReward()
    """How r is read off the log-probabilities."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        check_smoothing(self.label_smoothing)

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities, and what the metrics of pairs read."""
        return self.reward.signals()

    def __call__(self, batch: Pairs) -> Terms:
        """One term per pair."""
        r_w, r_l = self.reward.pair(batch)
        h = self.beta * (r_w - r_l) - batch.scalar("margin", default=0.0)
        return Terms(pair=logistic(h, self.label_smoothing), metrics=pair_metrics(batch, self.beta * r_w, self.beta * r_l))
