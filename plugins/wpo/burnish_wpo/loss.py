"""Weighted preference optimisation: the weight."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.model.signals import Signal, logp, sum_p2
from burnish.objective import Metric, Sequences, Terms


@dataclass(frozen=True, kw_only=True)
class WPO:
    """Weighted preference optimisation: answers count as much as the policy itself would give them.

        w = exp(mean(lp - log sum p^2))                over target tokens; p: the whole next-token distribution

    A pair's term is multiplied by the product of both sides' weights, a list's by the product over its items. The denominator
    stays, and no gradient flows through w.
    Source: Zhou et al. 2024, arXiv:2406.11827, eq. 2, aligned by sampled tokens. Deviations: none.
    Shapes: w is [sequences]; lp, log sum p^2 in nats.
    Degenerate: a policy that spreads evenly over any number of tokens, the target among them, gives 1.
        >>> w(uniform) == 1
    """

    def signals(self) -> frozenset[Signal]:
        """The policy's log-probabilities, and how sure its distributions are."""
        return frozenset({logp(), sum_p2()})

    def __call__(self, batch: Sequences) -> Terms:
        """One weight per sequence."""
        weights = (batch.logp - batch.signal(sum_p2()).log()).mean().exp()
        return Terms(sequence=weights, metrics={"wpo_weights": Metric(weights)})
