"""Length-normalised direct preference optimisation: the loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn.functional import logsigmoid

from burnish.model.signals import Signal
from burnish.objective import ImplicitReward, Pairs, Terms, pair_metrics


@dataclass(frozen=True, kw_only=True)
class DPONorm:
    """Direct preference optimisation of rewards per token, which do not grow with an answer's length.

        h = beta * (r_w / |w| - r_l / |l|) - margin    r = sum(lp - lr) over target tokens, nats; |y| target tokens
        L = -log sigmoid(h)

    Source: Lambert et al. 2024 (Tulu 3), arXiv:2411.15124, section 5. Deviations: the row's `margin` column is subtracted (0
    where there is none).
    Shapes: r, h, L are [pairs]. Reduction: pair_mean.
    Degenerate: policy == reference gives log 2 for every pair without a margin.
        >>> L(unmoved) == log(2)
        >>> L(equal) == log(2)
    """

    beta: float = 0.1
    """Slope of the logistic loss in a reward per token; above 0. Tulu 3 used 5."""
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
        per_token = r_w / batch.chosen.lengths.clamp(min=1) - r_l / batch.rejected.lengths.clamp(min=1)
        h = self.beta * per_token - batch.scalar("margin", default=0.0)
        return Terms(pair=-logsigmoid(h), metrics=pair_metrics(batch, self.beta * r_w, self.beta * r_l))
