"""Length-unbiased sequence policy optimisation: the loss."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.model.signals import Signal, entropy, logp
from burnish.objective import Metric, Sequences, Terms, check_clip, clip_metrics, clipped, ratio_of


@dataclass(frozen=True, kw_only=True)
class LUSPO:
    """Length-unbiased sequence policy optimisation: GSPO whose sequences count as much as they have tokens.

        L = |y| -min(rho A, clip(rho, 1 - epsilon, 1 + epsilon_high) A)   rho = exp(mean of lp - lo over the sequence)

    lp: policy, lo: policy at the rollout, nats; |y|: target tokens.
    Source: arXiv:2602.05261. Deviations: exponents are at most 80.
    Shapes: rho is [sequences]; the terms are [tokens], each with the sequence's rho, and the reduction, sequence_mean, adds
    them up: that is the factor |y|. Reduced by token_mean, they are GSPO's with sequences weighed by length.
    Degenerate: an unmoved policy gives -A for each token.
        >>> L(unmoved) == -A
    """

    epsilon: float = 2e-3
    """How far the ratio may fall below 1; in [0, 1). Both bounds are those of the paper's experiments (section 5.1)."""
    epsilon_high: float | None = 2.5e-3
    """How far the ratio may rise above 1; at least 0; null for epsilon."""

    def __post_init__(self) -> None:
        check_clip(self.epsilon, self.epsilon_high)

    def signals(self) -> frozenset[Signal]:
        """Log-probabilities now and at the rollout; the entropy for its metric."""
        return frozenset({logp(), logp("old"), entropy()})

    def __call__(self, batch: Sequences) -> Terms:
        """One term per token."""
        high = self.epsilon if self.epsilon_high is None else self.epsilon_high
        moved, advantages = batch.logp - batch.signal(logp("old")), batch.field("advantages")
        ratio = ratio_of(moved.per_token(moved.mean()))
        metrics = clip_metrics(ratio, advantages, self.epsilon, high, per_sequence=True)
        metrics |= {"entropy": Metric(batch.signal(entropy()))}
        return Terms(token=clipped(ratio, advantages, self.epsilon, high), metrics=metrics)
