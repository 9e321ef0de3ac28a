"""Binary classifier optimisation: the losses."""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn.functional import logsigmoid

from burnish.model.signals import Signal
from burnish.objective import ImplicitReward, Pairs, Terms, pair_metrics


@dataclass(frozen=True, kw_only=True)
class BCOPair:
    """Binary classifier optimisation on pairs: is this answer a chosen one?

        L = -log sigmoid(beta r_w) - log sigmoid(-beta r_l)        r = sum(lp - lr) over target tokens, nats

    Source: Jung et al. 2024, arXiv:2404.04656, eq. 8. Deviations: no reward shift, as in MPO (arXiv:2411.10442, eq. 5).
    Shapes: r, L are [pairs]. Reduction: pair_mean.
    Degenerate: policy == reference gives 2 log 2 for every pair.
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
        loss = -logsigmoid(self.beta * r_w) - logsigmoid(-self.beta * r_l)
        return Terms(pair=loss, metrics=pair_metrics(batch, self.beta * r_w, self.beta * r_l))
