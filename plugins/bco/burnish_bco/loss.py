"""Binary classifier optimisation: the losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.model.signals import Signal
from burnish.objective import (
    ImplicitReward,
    Metric,
    Pairs,
    SequenceReward,
    Sequences,
    Terms,
    pair_metrics,
    unpaired_metrics,
)


@dataclass(frozen=True, kw_only=True)
class BCOPair:
    """Binary classifier optimisation on pairs: is this answer a chosen one?

        L = -log sigmoid(beta r_w) - log sigmoid(-beta r_l)        r = sum(lp - lr) over target tokens, nats

    Source: Jung et al. 2024, arXiv:2404.04656, eq. 8. Deviations: no reward shift, as in MPO (arXiv:2411.10442, eq. 5).
    Shapes: r, L are [pairs]. Reduction: pair_mean.
    Degenerate: policy == reference gives 2 log 2 for every pair.
        >>> L(unmoved) == 2 * log(2)
    """

    beta: float = 0.1
    """Strength of the pull towards the reference; above 0."""
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
        loss = -logsigmoid(self.beta * r_w) - logsigmoid(-self.beta * r_l)
        return Terms(pair=loss, metrics=pair_metrics(batch, self.beta * r_w, self.beta * r_l))


@dataclass(frozen=True, kw_only=True)
class BCO:
    """Binary classifier optimisation of single answers: is this a good one? The shift keeps the classes balanced.

        h = beta r - m                                  r = sum(lp - lr) over target tokens, nats
        L = -log sigmoid(h) of a good answer, -log sigmoid(-h) of a bad one
        m = mean of beta r over all answers so far, those of this global batch included; detached

    Source: Jung et al. 2024, arXiv:2404.04656. Deviations: the weight of a bad answer (the paper's density ratio) is the row's
    `weight` column, which the source `udm` of burnish-udm computes. The label is the column `label`.
    Shapes: r, h, L are [sequences]; m is one number. Reduction: sequence_mean.
    Degenerate: policy == reference gives log 2 for every answer.
        >>> L(unmoved) == log(2)
    """

    beta: float = 0.1
    """Strength of the pull towards the reference; above 0."""
    reward: SequenceReward = SequenceReward()
    """How r is read off the log-probabilities."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities, and what the metrics read."""
        return self.reward.signals()

    def statistic(self, batch: Sequences, state: Any) -> tuple[Mapping[str, Tensor], Any]:
        """m; the state is m and the number of answers that it is the mean of."""
        rewards = self.beta * self.reward.of(batch)
        before, seen = state if state is not None else (0.0, 0)
        count = seen + len(rewards)
        m = (before * seen + rewards.sum()) / count
        return {"m": m}, [float(m), count]

    def __call__(self, batch: Sequences) -> Terms:
        """One term per sequence."""
        good = batch.scalar("label")
        rewards = self.beta * self.reward.of(batch)
        m = cast("Tensor", batch.statistic["m"]).expand_as(rewards)
        loss = -logsigmoid(torch.where(good > 0, rewards - m, m - rewards))
        return Terms(sequence=loss, metrics={"delta": Metric(m)} | unpaired_metrics(batch, rewards, good))
