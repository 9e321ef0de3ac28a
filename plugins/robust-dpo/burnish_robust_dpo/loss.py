"""Direct preference optimisation robust to flipped preferences: the loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn.functional import logsigmoid

from burnish.model.signals import Signal
from burnish.objective import ImplicitReward, Pairs, Terms, check_smoothing, pair_metrics


@dataclass(frozen=True, kw_only=True)
class Robust:
    """Provably robust DPO: in expectation over flips of rate e, the loss of the preferences before they were flipped.

        h = beta * (r_w - r_l) - margin                r = sum(lp - lr) over target tokens, nats
        L = [-(1 - e) log sigmoid(h) + e log sigmoid(-h)] / (1 - 2 e)

    Source: Chowdhury et al. 2024, arXiv:2403.00409. Deviations: the row's `margin` column is subtracted (0 where there
    is none).
    Shapes: r, h, L are [pairs]. Reduction: pair_mean.
    Degenerate: policy == reference gives log 2 for every pair without a margin; e = 0 is DPO. L is not bounded from below: it
    falls like -e |h| / (1 - 2 e) for a pair that the policy ranks the right way round.
        >>> L(unmoved) == log(2)
        >>> L(equal, label_smoothing=0.1) == log(2)
    """

    beta: float = 0.1
    """Strength of the pull towards the reference; above 0."""
    label_smoothing: float = 0.0
    """Rate e at which preferences are flipped; 0 <= e < .5."""
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
        e = self.label_smoothing
        h = self.beta * (r_w - r_l) - batch.scalar("margin", default=0.0)
        loss = (-(1 - e) * logsigmoid(h) + e * logsigmoid(-h)) / (1 - 2 * e)
        return Terms(pair=loss, metrics=pair_metrics(batch, self.beta * r_w, self.beta * r_l))
