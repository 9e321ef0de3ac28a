"""Clipped importance sampling policy optimisation: the loss."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.model.signals import Signal, entropy, logp
from burnish.objective import Metric, Sequences, Terms, ratio_of


@dataclass(frozen=True, kw_only=True)
class CISPO:
    """Clipped importance sampling policy optimisation: the weight is capped, so every token keeps its gradient.

        L = -sg(min(rho, cap)) A lp                        rho = exp(lp - lo)

    lp: policy, lo: policy at the rollout, nats.
    Source: MiniMax 2025, arXiv:2506.13585, eqs. 4 and 5, with no lower bound, as there; cap as in ScaleRL, arXiv:2510.13786.
    Deviations: none.
    Shapes: rho, A, L are [tokens]. Reduction: token_mean.
    Degenerate: an unmoved policy has the gradient of REINFORCE; a token that is certain gives 0.
        >>> L(certain) == 0
    """

    cap: float = 5.0
    """Largest weight of a token; above 0."""

    def __post_init__(self) -> None:
        if not self.cap > 0:
            raise ValueError(f"cap must be above 0, got {self.cap}")

    def signals(self) -> frozenset[Signal]:
        """Log-probabilities now and at the rollout; the entropy for its metric."""
        return frozenset({logp(), logp("old"), entropy()})

    def __call__(self, batch: Sequences) -> Terms:
        """One term per token."""
        ratio, advantages = ratio_of(batch.logp.detach() - batch.signal(logp("old"))), batch.field("advantages")
        loss = -(ratio.clamp(max=self.cap) * advantages * batch.logp)
        capped = ratio.map(lambda rho, advantage: ((rho > self.cap) & (advantage > 0)).to(rho), advantages)
        return Terms(token=loss, metrics={"cispo_clip_ratio": Metric(capped), "entropy": Metric(batch.signal(entropy()))})
