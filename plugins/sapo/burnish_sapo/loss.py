"""Soft adaptive policy optimisation: the loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from burnish.model.signals import Signal, entropy, logp
from burnish.objective import Metric, Sequences, Terms, ratio_of


@dataclass(frozen=True, kw_only=True)
class SAPO:
    """Soft adaptive policy optimisation: the gradient fades as the ratio leaves 1, instead of being cut off.

        L = -A 4 sigmoid(t (rho - 1)) / t                  rho = exp(lp - lo)
        t = temperature_pos where A > 0, else temperature_neg

    lp: policy, lo: policy at the rollout, nats.
    Source: arXiv:2511.20347. Deviations: exponents are at most 80.
    Shapes: rho, t, A, L are [tokens]. Reduction: sequence_token_mean.
    Degenerate: an unmoved policy gives -2 A / t, with the gradient -A of an unclipped ratio, since 4 s (1 - s) = 1 at s = 1/2.
        >>> L(unmoved, temperature_neg=1.0) == -2 * A
    """

    temperature_pos: float = 1.0
    """How fast the gradient fades where the advantage is positive; above 0."""
    temperature_neg: float = 1.05
    """The same where it is negative; above 0. Larger than the other one, since such tokens push many others up."""

    def __post_init__(self) -> None:
        for name in ("temperature_pos", "temperature_neg"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")

    def signals(self) -> frozenset[Signal]:
        """Log-probabilities now and at the rollout; the entropy for its metric."""
        return frozenset({logp(), logp("old"), entropy()})

    def __call__(self, batch: Sequences) -> Terms:
        """One term per token."""
        ratio, advantages = ratio_of(batch.logp - batch.signal(logp("old"))), batch.field("advantages")
        loss = ratio.map(self._gated, advantages)
        return Terms(token=loss, metrics={"entropy": Metric(batch.signal(entropy()))})

    def _gated(self, rho: Tensor, advantage: Tensor) -> Tensor:
        t = torch.full_like(rho, self.temperature_neg).masked_fill(advantage > 0, self.temperature_pos)
        return -advantage * 4 * (t * (rho - 1)).sigmoid() / t
