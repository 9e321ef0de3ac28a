"""REINFORCE: the loss."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.model.signals import Signal, entropy, logp
from burnish.objective import Metric, Sequences, Terms


@dataclass(frozen=True, kw_only=True)
class Reinforce:
    """REINFORCE: the plain policy gradient.

        L = -A lp                                          lp: policy, nats

    Source: Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning".
    Deviations: none. It is right on the policy's own fresh samples only; weigh others (`is_correction`) or clip (`grpo`).
    Shapes: A, L are [tokens]. Reduction: token_mean.
    Degenerate: a token that is certain gives 0.
        >>> L(certain) == 0
        >>> L(uniform) == A * log(num_outcomes)
    """

    def signals(self) -> frozenset[Signal]:
        """The policy's log-probabilities; the entropy for its metric."""
        return frozenset({logp(), entropy()})

    def __call__(self, batch: Sequences) -> Terms:
        """One term per token."""
        loss = -(batch.field("advantages") * batch.logp)
        return Terms(token=loss, metrics={"entropy": Metric(batch.signal(entropy()))})
