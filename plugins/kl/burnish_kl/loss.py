"""Divergence from a reference, estimated at the sampled tokens: the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from burnish.model.signals import Signal, logp
from burnish.objective import Metric, Sequences, Terms, ratio_of


@dataclass(frozen=True, kw_only=True)
class KL:
    """Divergence from the reference, KL(policy || reference), estimated at the tokens that there are.

        L = d                                              estimator `k1`         d = lp - lr
        L = d^2 / 2                                        estimator `k2`
        L = e^-d - 1 + d                                   estimator `k3`
        corrected: L times rho = exp(lp - lo), whose gradient counts too

    lp: policy, lr: reference, lo: policy at the rollout, nats.
    Source: Schulman 2020, "Approximating KL divergence"; k3 as in GRPO, arXiv:2402.03300, eq. 4; corrected as in DeepSeek-V3.2,
    arXiv:2512.02556. On the policy's own samples the value of k1 and k3 is right on average, but as losses only k2, and k1 or
    k3 corrected, have the divergence's gradient; that of a plain k1 is 0 on average. Deviations: exponents are at most 80.
    Shapes: d, rho, L are [tokens]. Reduction: token_mean.
    Degenerate: policy == reference gives 0.
        >>> L(unmoved) == 0
        >>> L(unmoved, estimator="k1") == 0
        >>> L(unmoved, estimator="k2") == 0
    """

    estimator: Literal["k1", "k2", "k3"] = "k3"
    """How the divergence is estimated."""
    corrected: bool = False
    """Whether samples of an earlier policy are weighed as this one's, by rho."""

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities; those at the rollout to correct by."""
        earlier = frozenset({logp("old")}) if self.corrected else frozenset[Signal]()
        return frozenset({logp(), logp("reference")}) | earlier

    def __call__(self, batch: Sequences) -> Terms:
        """One term per token."""
        d = batch.log_ratio
        match self.estimator:
            case "k1":
                loss = d
            case "k2":
                loss = d * d / 2
            case "k3":
                loss = ratio_of(-d) - 1 + d
        if self.corrected:
            loss = loss * ratio_of(batch.logp - batch.signal(logp("old")))
        return Terms(token=loss, metrics={"kl": Metric(loss)})
