"""Importance correction between trainer and sampler: the weight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from burnish.model.signals import Signal, logp
from burnish.objective import Metric, Ragged, Sequences, Terms


@dataclass(frozen=True, kw_only=True)
class ISCorrection:
    """Importance correction: what the sampler drew counts as much as the trainer's own model would have drawn it.

        w = c(exp(lo - ls))                                level `token`
        w = c(exp(sum of lo - ls over the sequence))       level `sequence`
        c(x) = x limited to [floor, cap]                   mode `truncate`
        c(x) = x in [floor, cap], else 0                   mode `mask`

    lo: policy at the rollout, ls: what the sampler reported for the same tokens, nats. The two differ by kernels, precision and
    weights that are on their way. No gradient flows through w, and the denominator stays.
    Source: Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training" (truncate);
    arXiv:2510.18855 (mask). Deviations: none.
    Shapes: w is [tokens] or [sequences].
    Degenerate: a sampler that agrees with the trainer gives 1.
        >>> w(unmoved) == 1
        >>> w(unmoved, level="sequence", mode="mask") == 1
    """

    mode: Literal["truncate", "mask"] = "truncate"
    """What happens to a ratio out of bounds: it is held at the bound, or its token or sequence does not count."""
    level: Literal["token", "sequence"] = "token"
    """Whether each token has a ratio of its own, or the sequence has one."""
    cap: float = 3.0
    """Largest ratio; above 0."""
    floor: float = 0.0
    """Least ratio; at least 0."""

    def __post_init__(self) -> None:
        if not 0 < self.cap < math.inf:
            raise ValueError(f"cap must be above 0, got {self.cap}")
        if not 0 <= self.floor <= self.cap:
            raise ValueError(f"floor must be at least 0 and at most cap, {self.cap:g}; got {self.floor}")

    def signals(self) -> frozenset[Signal]:
        """Log-probabilities at the rollout, the trainer's and the sampler's."""
        return frozenset({logp("old"), logp("behaviour")})

    def __call__(self, batch: Sequences) -> Terms:
        """One weight per token, or per sequence."""
        mismatch = batch.signal(logp("old")) - batch.signal(logp("behaviour"))
        if self.level == "token":
            per_token = mismatch.exp().map(self._bounded)
            return Terms(token=per_token, metrics=_metrics(per_token))
        per_sequence = self._bounded(mismatch.sum().exp())
        return Terms(sequence=per_sequence, metrics=_metrics(per_sequence))

    def _bounded(self, ratio: Tensor) -> Tensor:
        if self.mode == "truncate":
            return ratio.clamp(self.floor, self.cap)
        return torch.where((ratio >= self.floor) & (ratio <= self.cap), ratio, 0.0)


def _metrics(weights: Tensor | Ragged) -> dict[str, Metric]:
    name = "sampling/importance_sampling_ratio"
    return {
        f"{name}/min": Metric(weights, how="min"),
        f"{name}/mean": Metric(weights),
        f"{name}/max": Metric(weights, how="max"),
    }
