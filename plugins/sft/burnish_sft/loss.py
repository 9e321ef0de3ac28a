"""Supervised fine-tuning: the loss."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.model.signals import Signal, logp
from burnish.objective import TOKEN_METRICS, Sequences, Terms, token_metrics


@dataclass(frozen=True, kw_only=True)
class SFT:
    """Supervised fine-tuning: cross-entropy of the target tokens.

        L = -lp                                        lp: [tokens], nats

    Source: folklore; the maximum-likelihood objective. Deviations: none. For chats the targets are the assistant's turns.
    Reduction: token_mean, over all target tokens of the global batch.
    Degenerate: a model that is certain of every target has loss 0; a uniform one has log of the vocabulary's size.
        >>> L(certain) == 0
        >>> L(uniform) == log(num_outcomes)
    """

    def signals(self) -> frozenset[Signal]:
        """The policy's log-probabilities; entropy and accuracy are metrics."""
        return TOKEN_METRICS | {logp()}

    def __call__(self, batch: Sequences) -> Terms:
        """One term per target token."""
        return Terms(token=-batch.logp, metrics=token_metrics(batch, accuracy_of=batch))
