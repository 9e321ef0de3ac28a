"""Divergence proximal policy optimisation: the loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from burnish.model.signals import Signal, entropy, logp, sampler_divergence
from burnish.objective import Metric, Sequences, Terms

NEARLY_ONE = 1 - 1e-7  # a probability whose complement float32 can still tell from 0


@dataclass(frozen=True, kw_only=True)
class DPPO:
    """Divergence proximal policy optimisation: what bounds a step is how far probabilities have moved, not their ratio.

        L = -A sg(min(rho, cap) M) lp                      rho = exp(lp - ls), p = exp(lp), q = exp(ls)
        M = 0 where D > threshold and A pushes p further away from q (A > 0 and p > q, or A <= 0 and p < q), else 1
        D = |p - q|                                                            divergence `binary_tv`
        D = q log(q / p) + (1 - q) log((1 - q) / (1 - p))                      divergence `binary_kl`
        D = 1/2 sum |p_i - q_i|                                                divergence `topk_tv`
        D = sum q_i log(q_i / p_i)                                             divergence `topk_kl`

    lp: policy, ls: what the sampler reported, nats. i: the sampled token, the sampler's K likeliest, and all others as one
    outcome more; so K + 1 of them where the sampled token is one of the likeliest, else K + 2.
    Source: Qi et al. 2026, arXiv:2602.04879. Deviations: none. (TRL 1.4.0 has K + 1 outcomes always: a sampled token that is
    not among the K likeliest takes the place of the last of them.)
    Shapes: rho, D, M, A, L are [tokens]. Reduction: token_mean.
    Degenerate: where policy and sampler agree, the gradient is that of REINFORCE; a token that is certain gives 0.
        >>> L(certain) == 0
    """

    threshold: float = 0.15
    """Largest divergence that a token may go on to increase; at least 0. The paper has .15 for TV, .05 for KL."""
    divergence: Literal["binary_tv", "binary_kl", "topk_tv", "topk_kl"] = "binary_tv"
    """Between the policy and the sampler: over two outcomes, the sampled token and any other; or over the sampler's likeliest
    tokens too, which it then reports with each token that it draws."""
    top_k: int = 20
    """How many of the sampler's likeliest tokens `topk_tv` and `topk_kl` tell apart; at least 1."""
    cap: float = 20.0
    """Largest weight of a token; above 0."""

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise ValueError(f"threshold must be at least 0, got {self.threshold}")
        if not self.top_k >= 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}")
        if not self.cap > 0:
            raise ValueError(f"cap must be above 0, got {self.cap}")

    def signals(self) -> frozenset[Signal]:
        """The policy's and the sampler's log-probabilities, and how far both are apart; the entropy for its metric."""
        apart = self._apart()
        return frozenset({logp(), logp("behaviour"), entropy()} | ({apart} if apart is not None else set()))

    def __call__(self, batch: Sequences) -> Terms:
        """One term per token."""
        now, sampled, advantages = batch.logp.detach(), batch.signal(logp("behaviour")), batch.field("advantages")
        p, q, signal = now.exp(), sampled.exp(), self._apart()
        apart = now.map(self._of_two, sampled) if signal is None else batch.signal(signal)
        pushed = advantages.map(lambda a, p, q: torch.where(a > 0, p > q, p < q), p, q)
        kept = apart.map(lambda d, pushed: 1 - ((d > self.threshold) & pushed).to(d), pushed)
        weight = (now - sampled).clamp(max=math.log(self.cap)).exp() * kept
        moved, dropped = (p - q).abs(), 1 - kept
        metrics = {
            "mask_ratio/positive_adv_mean": Metric(dropped * (advantages > 0)),
            "mask_ratio/negative_adv_mean": Metric(dropped * (advantages < 0)),
            "mask_ratio/overall_mean": Metric(dropped),
            "prob_diff/mean": Metric(moved),
            "prob_diff/max": Metric(moved, how="max"),
            "entropy": Metric(batch.signal(entropy())),
        }
        return Terms(token=-(weight * advantages * batch.logp), metrics=metrics)

    def _apart(self) -> Signal | None:
        """D over the likeliest tokens, None where two outcomes are looked at."""
        if self.divergence == "topk_tv":
            return sampler_divergence("tv", self.top_k)
        return sampler_divergence("kl", self.top_k) if self.divergence == "topk_kl" else None

    def _of_two(self, now: Tensor, sampled: Tensor) -> Tensor:
        """D of each token over two outcomes."""
        p, q = now.exp(), sampled.exp()
        if self.divergence == "binary_tv":
            return (p - q).abs()
        others = torch.log1p(-q.clamp(max=NEARLY_ONE)) - torch.log1p(-p.clamp(max=NEARLY_ONE))
        return q * (sampled - now) + (1 - q) * others
