"""Anchored preference optimisation: the losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from burnish.model.signals import Signal
from burnish.objective import ImplicitReward, Pairs, SequenceReward, Sequences, Terms, pair_metrics, unpaired_metrics


@dataclass(frozen=True, kw_only=True)
class APOZero:
    """Anchored preference optimisation for chosen answers that are better than the model's own: they rise, the rejected fall.

        L = (1 - sigmoid(beta r_w)) + sigmoid(beta r_l)          r = sum(lp - lr) over target tokens, nats

    Source: D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7. Deviations: none.
    Shapes: r, L are [pairs]. Reduction: pair_mean.
    Degenerate: policy == reference gives 1 for every pair.
        >>> L(unmoved) == 1
    """

    beta: float = 0.1
    """How fast the loss saturates in the reward; above 0."""
    reward: ImplicitReward = ImplicitReward()
    """How r is read off the log-probabilities."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities, and what the metrics of pairs read."""
        return self.reward.signals()

    def __call__(self, batch: Pairs) -> Terms:
        """One term per pair."""
        r_w, r_l = self.reward.pair(batch)
        h_w, h_l = self.beta * r_w, self.beta * r_l
        return Terms(pair=(-h_w).sigmoid() + h_l.sigmoid(), metrics=pair_metrics(batch, h_w, h_l))


@dataclass(frozen=True, kw_only=True)
class APODown:
    """Anchored preference optimisation for chosen answers that are worse than the model's own: both fall, the rejected more.

        L = sigmoid(beta r_w) + (1 - sigmoid(beta (r_w - r_l)))  r = sum(lp - lr) over target tokens, nats

    Source: D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 8. Deviations: none.
    Shapes: r, L are [pairs]. Reduction: pair_mean.
    Degenerate: policy == reference gives 1 for every pair.
        >>> L(unmoved) == 1
    """

    beta: float = 0.1
    """How fast the loss saturates in the reward; above 0."""
    reward: ImplicitReward = ImplicitReward()
    """How r is read off the log-probabilities."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities, and what the metrics of pairs read."""
        return self.reward.signals()

    def __call__(self, batch: Pairs) -> Terms:
        """One term per pair."""
        r_w, r_l = self.reward.pair(batch)
        h_w, h_l = self.beta * r_w, self.beta * r_l
        return Terms(pair=h_w.sigmoid() + (h_l - h_w).sigmoid(), metrics=pair_metrics(batch, h_w, h_l))


@dataclass(frozen=True, kw_only=True)
class APOZeroUnpaired:
    """`apo_zero` for single answers marked good or bad (the column `label`).

        L = w_good (1 - sigmoid(beta r))  of a good answer       r = sum(lp - lr) over target tokens, nats
        L = w_bad sigmoid(beta r)         of a bad one

    Source: D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7, whose two halves need no pair. Deviations: the weights, 1 there.
    Shapes: r, L are [sequences]. Reduction: sequence_mean.
    Degenerate: policy == reference gives half of its weight for every answer.
        >>> L(unmoved) == 1 / 2
    """

    beta: float = 0.1
    """How fast the loss saturates in the reward; above 0."""
    desirable_weight: float = 1.0
    """w_good; at least 0."""
    undesirable_weight: float = 1.0
    """w_bad; at least 0."""
    reward: SequenceReward = SequenceReward()
    """How r is read off the log-probabilities."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        if not (self.desirable_weight >= 0 and self.undesirable_weight >= 0):
            raise ValueError(f"weights must be at least 0, got {self.desirable_weight} and {self.undesirable_weight}")

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities, and what the metrics read."""
        return self.reward.signals()

    def __call__(self, batch: Sequences) -> Terms:
        """One term per sequence."""
        good = batch.scalar("label")
        h = self.beta * self.reward.of(batch)
        loss = torch.where(good > 0, self.desirable_weight * (-h).sigmoid(), self.undesirable_weight * h.sigmoid())
        return Terms(sequence=loss, metrics=unpaired_metrics(batch, h, good))
