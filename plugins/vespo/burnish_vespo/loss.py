"""Variational sequence-level soft policy optimisation: the loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from burnish.model.signals import Signal, entropy, logp
from burnish.objective import Metric, Ragged, Sequences, Terms

LOWEST, HIGHEST = math.log(1e-8), 20.0  # of log w, nats


@dataclass(frozen=True, kw_only=True)
class VESPO:
    """Variational sequence-level soft policy optimisation: sequences count the less, the further their ratio is from 1.

        L = -sg(phi) A lp                                  phi = exp(l + k log w - l w)
        log w = sum of lp - lo, each in [-20, 20], + sum of c, the whole in [log 1e-8, 20]
        c = log of exp(lo - ls) as corrected, in [log 1e-8, 20]
        (k, l) = (k_pos, lambda_pos) where A >= 0, else (k_neg, lambda_neg)

    lp: policy, lo: policy at the rollout, ls: what the sampler reported, nats; sums are over the sequence.
    Source: arXiv:2602.10693. Deviations: none.
    Shapes: w is [sequences]; phi, A, L are [tokens]. Reduction: token_mean.
    Degenerate: an unmoved policy has phi = 1 and so the gradient of REINFORCE; a token that is certain gives 0.
        >>> L(certain) == 0
    """

    k_pos: float = 2.0
    """How fast phi falls below w = k / l, where the advantage is not negative; at least 0."""
    lambda_pos: float = 3.0
    """How fast phi falls above it; above 0."""
    k_neg: float = 3.0
    """As k_pos where the advantage is negative; at least 0."""
    lambda_neg: float = 2.0
    """As lambda_pos where the advantage is negative; above 0."""
    correction: Literal["truncate", "mask", "none"] = "truncate"
    """What happens to a token's exp(lo - ls) above the cap: it is the cap, or 0; `none` leaves the sampler out of w."""
    cap: float = 3.0
    """Largest exp(lo - ls) of a token; above 0."""

    def __post_init__(self) -> None:
        for name in ("k_pos", "k_neg"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("lambda_pos", "lambda_neg", "cap"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")

    def signals(self) -> frozenset[Signal]:
        """Log-probabilities now, at the rollout and of the sampler; the entropy for its metric."""
        sampled = frozenset[Signal]() if self.correction == "none" else frozenset({logp("behaviour")})
        return frozenset({logp(), logp("old"), entropy()}) | sampled

    def __call__(self, batch: Sequences) -> Terms:
        """One term per token."""
        advantages = batch.field("advantages")
        log_w = (batch.logp.detach() - batch.signal(logp("old"))).clamp(-HIGHEST, HIGHEST).sum()
        if self.correction != "none":
            log_w = log_w + self._corrected(batch.signal(logp("old")) - batch.signal(logp("behaviour"))).sum()
        phi = advantages.per_token(log_w.clamp(LOWEST, HIGHEST)).map(self._phi, advantages)
        metrics = {"vespo/phi_seq_mean": Metric(phi.mean()), "entropy": Metric(batch.signal(entropy()))}
        return Terms(token=-(phi * advantages * batch.logp), metrics=metrics)

    def _corrected(self, mismatch: Ragged) -> Ragged:
        """Logarithms of the corrected exp(lo - ls)."""
        most = math.log(self.cap)
        if self.correction == "mask":
            mismatch = mismatch.map(lambda values: torch.where(values > most, LOWEST, values))
        return mismatch.clamp(LOWEST, min(most, HIGHEST))

    def _phi(self, log_w: Tensor, advantage: Tensor) -> Tensor:
        k = torch.full_like(log_w, self.k_neg).masked_fill(advantage >= 0, self.k_pos)
        rate = torch.full_like(log_w, self.lambda_neg).masked_fill(advantage >= 0, self.lambda_pos)
        return (rate + k * log_w - rate * log_w.exp()).exp()
