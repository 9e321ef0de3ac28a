"""Simple preference optimisation: the loss."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.model.signals import Signal, logp
from burnish.objective import PAIR_METRICS, Pairs, Terms, check_smoothing, logistic, pair_metrics


@dataclass(frozen=True, kw_only=True)
class SimPO:
    """Simple preference optimisation: the reward is the mean log-probability, as in decoding, and no reference is needed.

        h = beta * (mean lp_w - mean lp_l) - gamma     lp: over target tokens, nats
        L = -(1 - e) log sigmoid(h) - e log sigmoid(-h)

    Source: Meng et al. 2024, arXiv:2405.14734, eq. 6. Deviations: label smoothing e, 0 in the paper. gamma is subtracted after
    beta has been multiplied, so the margin in nats per token is gamma / beta.
    Shapes: means, h, L are [pairs]. Reduction: pair_mean.
    Degenerate: answers of equal mean log-probability give log(1 + e^gamma), with e = 0.
        >>> L(equal) == log(1 + exp(gamma))
        >>> L(uniform) == log(1 + exp(gamma))
    """

    beta: float = 0.1
    """Slope of the loss in the mean log-probability; above 0. The paper used 2 to 10."""
    gamma: float = 0.5
    """Margin by which the chosen answer must lead; at least 0."""
    label_smoothing: float = 0.0
    """Probability e that a preference is the wrong way round; 0 <= e < .5."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        if not self.gamma >= 0:
            raise ValueError(f"gamma must be at least 0, got {self.gamma}")
        check_smoothing(self.label_smoothing)

    def signals(self) -> frozenset[Signal]:
        """The policy's log-probabilities, and what the metrics of pairs read."""
        return PAIR_METRICS | {logp()}

    def __call__(self, batch: Pairs) -> Terms:
        """One term per pair."""
        r_w, r_l = self.beta * batch.chosen.logp.mean(), self.beta * batch.rejected.logp.mean()
        h = r_w - r_l - self.gamma
        return Terms(pair=logistic(h, self.label_smoothing), metrics=pair_metrics(batch, r_w, r_l))
