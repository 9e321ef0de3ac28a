"""Distillation from a teacher: the loss."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.model.signals import Signal, divergence
from burnish.objective import TOKEN_METRICS, Metric, Sequences, Terms, token_metrics


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """How far the student's next-token distribution p is from the teacher's q, at every target.

        L = beta KL(q || m) + (1 - beta) KL(p || m)      m = beta q + (1 - beta) p; nats
        beta = 0: L = KL(q || p), forward                beta = 1: L = KL(p || q), reverse

    Source: Agarwal et al. 2023 (GKD), arXiv:2306.13649, eq. 2. Deviations: the temperature divides both models' logits in
    the loss itself. With top_k, both are compared on the teacher's k likeliest tokens, with all others as one more outcome.
    Shapes: L is one term per target token. Reduction: token_mean.
    Degenerate: a student that equals its teacher has loss 0 and gradient 0.
        >>> L(unmoved) == 0
    """

    beta: float = 0.0
    """From forward KL (0), which covers what the teacher does, to reverse KL (1), which keeps to its modes; in [0, 1]."""
    temperature: float = 1.0
    """Divides the logits of both: the higher, the more unlikely tokens count; above 0."""
    top_k: int = 0
    """Compare on the teacher's k likeliest tokens; 0 compares on all; at least 0."""
    tail: bool = True
    """With top_k: count all other tokens as one outcome, else leave them out and renormalise."""

    def __post_init__(self) -> None:
        self._signal()  # refuses what is out of range

    def signals(self) -> frozenset[Signal]:
        """The divergence; the student's entropy and accuracy are metrics."""
        return TOKEN_METRICS | {self._signal()}

    def __call__(self, batch: Sequences) -> Terms:
        """One term per target token."""
        distance = batch.signal(self._signal())
        return Terms(token=distance, metrics={"divergence": Metric(distance), **token_metrics(batch, accuracy_of=batch)})

    def _signal(self) -> Signal:
        return divergence(self.beta, self.temperature, self.top_k, self.tail)
