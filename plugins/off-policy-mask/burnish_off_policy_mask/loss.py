"""Off-policy sequence masking: the weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from burnish.model.signals import Signal, logp
from burnish.objective import Metric, Sequences, Terms


@dataclass(frozen=True, kw_only=True)
class OffPolicyMask:
    """Off-policy sequence masking: bad answers that the policy would hardly give any more are not learnt from.

        w = 1 where A >= 0 or mean of l - lp over the sequence <= threshold, else 0

    lp: policy, l: what the sampler reported (`behaviour`) or the policy at the rollout (`old`), nats. No gradient flows through
    w, and the denominator stays.
    Source: DeepSeek-V3.2, arXiv:2512.02556, section 3.1. Deviations: none.
    Shapes: w, A are [tokens].
    Degenerate: a policy that has not moved gives 1.
        >>> w(unmoved) == 1
    """

    threshold: float = 0.5
    """Largest mean distance of a sequence with a negative advantage, nats per token; any number."""
    against: Literal["behaviour", "old"] = "behaviour"
    """Which log-probabilities the policy's are compared with; the sampler's show its mismatch too."""

    def __post_init__(self) -> None:
        if self.threshold != self.threshold:
            raise ValueError("threshold must be a number, got nan")

    def signals(self) -> frozenset[Signal]:
        """The policy's log-probabilities, and the earlier ones."""
        return frozenset({logp(), logp(self.against)})

    def __call__(self, batch: Sequences) -> Terms:
        """One weight per token, the same for all tokens of one sign of the advantage."""
        distance = batch.signal(logp(self.against)) - batch.logp
        kept = distance.per_token(distance.mean()).map(self._kept, batch.field("advantages"))
        return Terms(token=kept, metrics={"off_policy_kept": Metric(kept)})

    def _kept(self, distance: Tensor, advantage: Tensor) -> Tensor:
        return torch.logical_or(advantage >= 0, distance <= self.threshold).to(distance)
