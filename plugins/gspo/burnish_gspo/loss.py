"""Group sequence policy optimisation: the loss, and its form with a gradient of its own per token."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.model.signals import Signal, entropy, logp
from burnish.objective import Metric, Sequences, Terms, check_clip, clip_metrics, clipped, ratio_of


@dataclass(frozen=True, kw_only=True)
class GSPO:
    """Group sequence policy optimisation: one ratio per sequence, as its reward is one per sequence.

        L = -min(rho A, clip(rho, 1 - epsilon, 1 + epsilon_high) A)       rho = exp(mean of lp - lo over the sequence)

    lp: policy, lo: policy at the rollout, nats.
    Source: Zheng et al. 2025, arXiv:2507.18071, eqs. 5 and 7; default bounds from its section 5.1. Deviations: exponents are at
    most 80.
    Shapes: rho, L are [sequences]; where a sequence's tokens have advantages of their own, L is the mean over them. Reduction:
    sequence_mean.
    Degenerate: an unmoved policy gives -A.
        >>> L(unmoved) == -A
    """

    epsilon: float = 3e-4
    """How far the ratio may fall below 1; in [0, 1). Much smaller than for ratios of tokens, since means move less."""
    epsilon_high: float | None = 4e-4
    """How far the ratio may rise above 1; at least 0; null for epsilon."""

    def __post_init__(self) -> None:
        check_clip(self.epsilon, self.epsilon_high)

    def signals(self) -> frozenset[Signal]:
        """Log-probabilities now and at the rollout; the entropy for its metric."""
        return frozenset({logp(), logp("old"), entropy()})

    def __call__(self, batch: Sequences) -> Terms:
        """One term per sequence."""
        high = self.epsilon if self.epsilon_high is None else self.epsilon_high
        moved, advantages = batch.logp - batch.signal(logp("old")), batch.field("advantages")
        ratio = ratio_of(moved.per_token(moved.mean()))
        loss = clipped(ratio, advantages, self.epsilon, high).mean()
        metrics = clip_metrics(ratio, advantages, self.epsilon, high, per_sequence=True)
        return Terms(sequence=loss, metrics=metrics | {"entropy": Metric(batch.signal(entropy()))})


@dataclass(frozen=True, kw_only=True)
class GSPOToken:
    """Group sequence policy optimisation for advantages per token: GSPO's value, with a gradient of its own for every token.

        L = -min(rho A, clip(rho, 1 - epsilon, 1 + epsilon_high) A)       rho = sg(exp(mean of lp - lo)) exp(lp - sg(lp))

    lp: policy, lo: policy at the rollout, nats; the mean is over the sequence.
    Source: Zheng et al. 2025, arXiv:2507.18071, eqs. 13 and 14; default bounds from its section 5.1. Deviations: exponents are
    at most 80.
    Shapes: rho, A, L are [tokens]. Reduction: sequence_token_mean.
    Degenerate: an unmoved policy gives -A; with one advantage per sequence, value and gradient are those of `gspo`.
        >>> L(unmoved) == -A
    """

    epsilon: float = 3e-4
    """How far the ratio may fall below 1; in [0, 1)."""
    epsilon_high: float | None = 4e-4
    """How far the ratio may rise above 1; at least 0; null for epsilon."""

    def __post_init__(self) -> None:
        check_clip(self.epsilon, self.epsilon_high)

    def signals(self) -> frozenset[Signal]:
        """Log-probabilities now and at the rollout; the entropy for its metric."""
        return frozenset({logp(), logp("old"), entropy()})

    def __call__(self, batch: Sequences) -> Terms:
        """One term per token."""
        high = self.epsilon if self.epsilon_high is None else self.epsilon_high
        moved, advantages = (batch.logp - batch.signal(logp("old"))).detach(), batch.field("advantages")
        ratio = ratio_of(moved.per_token(moved.mean())) * (batch.logp - batch.logp.detach()).exp()
        metrics = clip_metrics(ratio, advantages, self.epsilon, high, per_sequence=True)
        metrics |= {"entropy": Metric(batch.signal(entropy()))}
        return Terms(token=clipped(ratio, advantages, self.epsilon, high), metrics=metrics)
