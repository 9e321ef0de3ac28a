"""Dynamic fine-tuning: the loss."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.model.signals import Signal, logp
from burnish.objective import TOKEN_METRICS, Sequences, Terms, token_metrics


@dataclass(frozen=True, kw_only=True)
class DFT:
    """Dynamic fine-tuning: cross-entropy of the target tokens, each weighed by its own probability.

        L = -sg(exp(lp)) * lp                          lp: [tokens], nats; sg: no gradient flows through

    Source: Wu et al. 2025, arXiv:2508.05629. Deviations: none.
    Shapes: L is one term per target token. Reduction: token_mean.
    Degenerate: a model that is certain of every target has loss 0; so has, in the limit, one that holds it impossible.
        >>> L(certain) == 0
        >>> L(uniform) == log(num_outcomes) / num_outcomes
    """

    def signals(self) -> frozenset[Signal]:
        """The policy's log-probabilities; entropy and accuracy are metrics."""
        return TOKEN_METRICS | {logp()}

    def __call__(self, batch: Sequences) -> Terms:
        """One term per target token."""
        lp = batch.logp
        return Terms(token=-lp.detach().exp() * lp, metrics=token_metrics(batch, accuracy_of=batch))
