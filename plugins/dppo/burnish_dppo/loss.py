"""Divergence proximal policy optimisation: the loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from burnish.model.signals import Signal, entropy, logp
from burnish.objective import Metric, Sequences, Terms

NEARLY_ONE = 1 - 1e-7  # a probability whose complement float32 can still tell from 0


@dataclass(frozen=True, kw_only=True)
class DPPO:
    """Divergence proximal policy optimisation: what bounds a step is how far probabilities have moved, not their ratio.

        L = -A sg(min(rho, cap) M) lp                      rho = exp(lp - ls), p = exp(lp), q = exp(ls)
        M = 0 where D > threshold and A pushes p further away from q (A > 0 and p > q, or A <= 0 and p < q), else 1
        D = |p - q|                                                            divergence `binary_tv`
        D = q log(q / p) + (1 - q) log((1 - q) / (1 - p))                      divergence `binary_kl`

    lp: policy, ls: what the sampler reported, nats.
    Source: arXiv:2602.04879. Deviations: its top-k divergences are not here. They take the sampler's K likeliest tokens one by
    one and all others as one outcome more, D = 1/2 sum |p_k - q_k| or sum q_k log(q_k / p_k): of every token 2 K numbers, where
    backends report one.
    Shapes: rho, D, M, A, L are [tokens]. Reduction: token_mean.
    Degenerate: where policy and sampler agree, the gradient is that of REINFORCE; a token that is certain gives 0.
        >>> L(certain) == 0
    """

    threshold: float = 0.15
    """Largest divergence that a token may go on to increase; at least 0. The paper has .15 for TV, .05 for KL."""
    divergence: Literal["binary_tv", "binary_kl"] = "binary_tv"
    """Between the policy and the sampler, over two outcomes: the sampled token, and any other."""
    cap: float = 20.0
    """Largest weight of a token; above 0."""

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise ValueError(f"threshold must be at least 0, got {self.threshold}")
        if not self.cap > 0:
            raise ValueError(f"cap must be above 0, got {self.cap}")

    def signals(self) -> frozenset[Signal]:
        """The policy's and the sampler's log-probabilities; the entropy for its metric."""
        return frozenset({logp(), logp("behaviour"), entropy()})

    def __call__(self, batch: Sequences) -> Terms:
        """One term per token."""
        now, sampled, advantages = batch.logp.detach(), batch.signal(logp("behaviour")), batch.field("advantages")
        kept = now.map(self._kept, sampled, advantages)
        weight = (now - sampled).clamp(max=math.log(self.cap)).exp() * kept
        apart, dropped = (now.exp() - sampled.exp()).abs(), 1 - kept
        metrics = {
            "mask_ratio/positive_adv_mean": Metric(dropped * (advantages > 0)),
            "mask_ratio/negative_adv_mean": Metric(dropped * (advantages < 0)),
            "mask_ratio/overall_mean": Metric(dropped),
            "prob_diff/mean": Metric(apart),
            "prob_diff/max": Metric(apart, how="max"),
            "entropy": Metric(batch.signal(entropy())),
        }
        return Terms(token=-(weight * advantages * batch.logp), metrics=metrics)

    def _kept(self, now: Tensor, sampled: Tensor, advantage: Tensor) -> Tensor:
        """M of each token."""
        p, q = now.exp(), sampled.exp()
        if self.divergence == "binary_tv":
            apart = (p - q).abs()
        else:
            others = torch.log1p(-q.clamp(max=NEARLY_ONE)) - torch.log1p(-p.clamp(max=NEARLY_ONE))
            apart = q * (sampled - now) + (1 - q) * others
        pushed = torch.where(advantage > 0, p > q, p < q)
        return 1 - ((apart > self.threshold) & pushed).to(now)
