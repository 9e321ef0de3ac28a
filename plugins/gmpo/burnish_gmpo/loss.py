"""Geometric-mean policy optimisation: the loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from burnish.model.signals import Signal, entropy, logp
from burnish.objective import Metric, Sequences, Terms, clip_metrics


@dataclass(frozen=True, kw_only=True)
class GMPO:
    """Geometric-mean policy optimisation: a sequence's ratio is the geometric mean of its tokens' clipped ones.

        L = -A exp(mean of c over the sequence)            c = min(lp - lo, epsilon_high) where A > 0
                                                           c = max(lp - lo, -epsilon) elsewhere

    lp: policy, lo: policy at the rollout, nats.
    Source: arXiv:2507.20673, eq. 4 and its clipping in log space. Deviations: exponents are at most 80.
    Shapes: c is [tokens]; L is [sequences]. Where tokens have advantages of their own, each clips by its own, and A is their
    mean. Reduction: sequence_mean.
    Degenerate: an unmoved policy gives -A.
        >>> L(unmoved) == -A
    """

    epsilon: float = 0.4
    """How far the logarithm of a token's ratio may fall below 0, nats; at least 0."""
    epsilon_high: float | None = None
    """How far it may rise above 0, nats; at least 0; null for epsilon."""

    def __post_init__(self) -> None:
        for name in ("epsilon", "epsilon_high"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}")

    def signals(self) -> frozenset[Signal]:
        """Log-probabilities now and at the rollout; the entropy for its metric."""
        return frozenset({logp(), logp("old"), entropy()})

    def __call__(self, batch: Sequences) -> Terms:
        """One term per sequence."""
        high = self.epsilon if self.epsilon_high is None else self.epsilon_high
        moved, advantages = batch.logp - batch.signal(logp("old")), batch.field("advantages")

        def one_sided(log_ratio: Tensor, advantage: Tensor) -> Tensor:
            return torch.where(advantage > 0, log_ratio.clamp(max=high), log_ratio.clamp(min=-self.epsilon))

        ratio = moved.map(one_sided, advantages).mean().clamp(max=80).exp()
        metrics = clip_metrics(moved + 1.0, advantages, self.epsilon, high)  # bounds of logarithms, as ratios around 1
        return Terms(sequence=-ratio * advantages.mean(), metrics=metrics | {"entropy": Metric(batch.signal(entropy()))})
