"""Alignment by optimal transport: the losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from burnish.model.signals import Signal, logp
from burnish.objective import PAIR_METRICS, ImplicitReward, Pairs, Terms, check_smoothing, logistic, pair_metrics


@dataclass(frozen=True, kw_only=True)
class AOT:
    """Alignment by optimal transport: over the batch, the policy's gaps shall dominate the reference's, quantile by quantile.

        g = sum lp_w - sum lp_l, f = sum lr_w - sum lr_l    over target tokens, nats; one number per pair
        h = beta * (sort(g) - sort(f))                      k-th smallest against k-th smallest of the global batch
        L = -(1 - e) log sigmoid(h) - e log sigmoid(-h)

    Source: Melnyk et al. 2024, arXiv:2406.05882, paired AOT with the logistic loss. Deviations: the sort is over the global
    batch, so micro-batches and ranks do not matter.
    Shapes: g, f, h, L are [pairs]; each term stands at the pair whose g it compares, so a pair's weight is its own. Reduction:
    pair_mean.
    Degenerate: policy == reference gives log 2 for every pair, and so does a policy whose gaps are the reference's reshuffled;
    a batch of one pair is DPO.
        >>> L(unmoved) == log(2)
        >>> L(equal) == log(2)
    """

    coupling: ClassVar[str] = "batch"

    beta: float = 0.1
    """Slope of the loss in the difference of quantiles; above 0."""
    label_smoothing: float = 0.0
    """Probability e that a preference is the wrong way round; 0 <= e < .5."""
    ld_alpha: float = 1.0
    """How much tokens beyond the shorter answer's length count; in [0, 1]."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        if not 0 <= self.ld_alpha <= 1:
            raise ValueError(f"ld_alpha must lie in [0, 1], got {self.ld_alpha}")
        check_smoothing(self.label_smoothing)

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities, and what the metrics of pairs read."""
        return PAIR_METRICS | {logp(), logp("reference")}

    def __call__(self, batch: Pairs) -> Terms:
        """One term per pair of the global batch."""
        lp_w, lp_l = ImplicitReward(reference_free=True, ld_alpha=self.ld_alpha).pair(batch)
        r_w, r_l = ImplicitReward(ld_alpha=self.ld_alpha).pair(batch)
        g = lp_w - lp_l
        f = g - (r_w - r_l)
        h = self.beta * (g - at_rank_of(g, f))
        return Terms(pair=logistic(h, self.label_smoothing), metrics=pair_metrics(batch, self.beta * r_w, self.beta * r_l))


@dataclass(frozen=True, kw_only=True)
class AOTUnpaired:
    """Alignment by optimal transport without pairs: over the batch, rewards of chosen answers shall dominate those of rejected.

        h = beta * (sort(r_w) - sort(r_l))                  r = sum(lp - lr) over target tokens, nats; one number per pair
        L = -(1 - e) log sigmoid(h) - e log sigmoid(-h)

    Source: Melnyk et al. 2024, arXiv:2406.05882, unpaired AOT with the logistic loss. Deviations: as for `AOT`.
    Shapes: r, h, L are [pairs]; each term stands at the pair whose r_w it compares. Reduction: pair_mean.
    Degenerate: policy == reference gives log 2 for every pair; a batch of one pair is DPO; who is whose rival does not matter.
        >>> L(unmoved) == log(2)
        >>> L(equal) == log(2)
    """

    coupling: ClassVar[str] = "batch"

    beta: float = 0.1
    """Slope of the loss in the difference of quantiles; above 0."""
    label_smoothing: float = 0.0
    """Probability e that a preference is the wrong way round; 0 <= e < .5."""
    reward: ImplicitReward = ImplicitReward()
    """How r is read off the log-probabilities."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        check_smoothing(self.label_smoothing)

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities, and what the metrics of pairs read."""
        return self.reward.signals()

    def __call__(self, batch: Pairs) -> Terms:
        """One term per pair of the global batch."""
        r_w, r_l = self.reward.pair(batch)
        h = self.beta * (r_w - at_rank_of(r_w, r_l))
        return Terms(pair=logistic(h, self.label_smoothing), metrics=pair_metrics(batch, self.beta * r_w, self.beta * r_l))


def at_rank_of(values: Tensor, others: Tensor) -> Tensor:
    """For each of `values` the one of `others` that has the same rank, [n]; ties keep their order."""
    rank = values.argsort(stable=True).argsort()
    return others.sort(stable=True).values[rank]
