"""The discovered log-ratio modulated loss: the loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn.functional import logsigmoid

from burnish.model.signals import Signal
from burnish.objective import ImplicitReward, Pairs, Terms, pair_metrics


@dataclass(frozen=True, kw_only=True)
class DiscoPOP:
    """Log-ratio modulated loss, found by a language model's search over losses.

        h = beta * (r_w - r_l) - margin                r = sum(lp - lr) over target tokens, nats
        m = sigmoid(h / tau)
        L = -(1 - m) log sigmoid(h) + m e^-h

    Source: Lu et al. 2024, arXiv:2406.08414, eq. 5. Deviations: the row's `margin` column is subtracted (0 where there is
    none); m e^-h is computed as e^(log m - h), which stays finite where e^-h does not.
    Shapes: r, h, m, L are [pairs]. Reduction: pair_mean.
    Degenerate: policy == reference gives (1 + log 2) / 2 for every pair without a margin. L is not convex: with
    tau .05 it has a local minimum at h = -.119 and a local maximum at h = .072.
        >>> L(unmoved) == (1 + log(2)) / 2
    """

    beta: float = 0.1
    """Strength of the pull towards the reference; above 0."""
    tau: float = 0.05
    """Gap over which the exponential takes over from the logistic loss; in (0, 1]."""
    reward: ImplicitReward = ImplicitReward()
    """How r is read off the log-probabilities."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        if not 0 < self.tau <= 1:
            raise ValueError(f"tau must lie in (0, 1], got {self.tau}")

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities, and what the metrics of pairs read."""
        return self.reward.signals()

    def __call__(self, batch: Pairs) -> Terms:
        """One term per pair."""
        r_w, r_l = self.reward.pair(batch)
        h = self.beta * (r_w - r_l) - batch.scalar("margin", default=0.0)
        logistic = -logsigmoid(h) * (-h / self.tau).sigmoid()
        exponential = (logsigmoid(h / self.tau) - h).exp()
        return Terms(pair=logistic + exponential, metrics=pair_metrics(batch, self.beta * r_w, self.beta * r_l))
