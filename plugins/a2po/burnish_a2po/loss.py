"""Optimal advantage regression: the loss."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.model.signals import Signal, entropy, logp
from burnish.objective import Metric, Sequences, Terms


@dataclass(frozen=True, kw_only=True)
class A2PO:
    """Optimal advantage regression: the implicit reward is fitted to the advantage under the best policy there is.

        L = (beta r - A)^2                                 r = sum of lp - lr over the sequence
        A = R - V*                                         V* = b log mean exp(R' / b) over samples of the reference

    lp: policy, lr: reference, nats; R: reward. A comes with the data as `advantages`; b is a setting of what computes it.
    Source: Brantley et al. 2025, arXiv:2505.20686, eq. 6, where beta is called beta_2 and b beta_1. Deviations: none.
    Shapes: r, L are [sequences]; of advantages per token, the mean is taken. Reduction: sequence_mean.
    Degenerate: policy == reference gives A^2.
        >>> L(unmoved) == A**2
    """

    beta: float = 1e-3
    """How much reward a nat of the log-ratio is worth; above 0."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities; the entropy for its metric."""
        return frozenset({logp(), logp("reference"), entropy()})

    def __call__(self, batch: Sequences) -> Terms:
        """One term per sequence."""
        reward, advantages = self.beta * batch.log_ratio.sum(), batch.field("advantages").mean()
        metrics = {"implicit_reward": Metric(reward), "entropy": Metric(batch.signal(entropy()))}
        return Terms(sequence=(reward - advantages) ** 2, metrics=metrics)
