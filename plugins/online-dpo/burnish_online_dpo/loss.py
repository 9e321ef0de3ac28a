"""Preference optimisation on own samples: the losses on pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from burnish.model.signals import Signal
from burnish.objective import ImplicitReward, Metric, Pairs, Terms, contrast, pair_metrics


@dataclass(frozen=True, kw_only=True)
class OnlineDPO:
    """Direct preference optimisation on two samples of the policy, of which rewards have said which is better.

        L = -log sigmoid(beta d)                           form `sigmoid`
        L = (d - 1 / (2 beta))^2                           form `ipo`
        d = r_w - r_l,  r = sum(lp - lr)                   lp: policy, lr: reference, nats, over target tokens

    Source: Guo et al. 2024, arXiv:2402.04792. Deviations: equal rewards make no pair. In the form `ipo`, r is a sum, as in TRL.
    Shapes: r, L are [pairs]. Reduction: pair_mean.
    Degenerate: policy == reference gives log 2, in the form `ipo` 1 / (4 beta^2).
        >>> L(unmoved) == log(2)
        >>> L(unmoved, form="ipo") == 1 / (4 * beta**2)
    """

    beta: float = 0.1
    """How much a nat of the log-ratio counts; above 0."""
    form: Literal["sigmoid", "ipo"] = "sigmoid"
    """What is made of the gap between both rewards."""
    reward: ImplicitReward = ImplicitReward()
    """How r is read off the log-probabilities."""

    def __post_init__(self) -> None:
        _check(self.beta, self.form)

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities, and what the metrics of pairs read."""
        return self.reward.signals()

    def __call__(self, batch: Pairs) -> Terms:
        """One term per pair."""
        r_w, r_l = self.reward.pair(batch)
        loss = contrast(self.form, r_w - r_l, self.beta)
        return Terms(pair=loss, metrics=pair_metrics(batch, self.beta * r_w, self.beta * r_l))


@dataclass(frozen=True, kw_only=True)
class XPO:
    """Exploratory preference optimisation: a sample of the policy against one of the reference, which it is to leave behind.

        L = L_pair(d) + alpha sum(lp over the reference's sample)

    L_pair is what `online_dpo` makes of d = r_w - r_l, r = sum(lp - lr); lp: policy, lr: reference, nats.
    Source: Xie et al. 2024, arXiv:2405.21046, algorithm 1. Deviations: equal rewards make no pair, and then nothing is
    explored. Which side is the reference's is said by the pair's number `opponent_won`, which rollouts write.
    Shapes: d, L are [pairs]. Reduction: pair_mean.
    Degenerate: alpha 0 gives `online_dpo`.
        >>> L(unmoved, alpha=0.0) == log(2)
    """

    beta: float = 0.1
    """How much a nat of the log-ratio counts; above 0."""
    alpha: float = 1e-5
    """Weight of the exploration; at least 0."""
    form: Literal["sigmoid", "ipo"] = "sigmoid"
    """What is made of the gap between both rewards."""
    reward: ImplicitReward = ImplicitReward()
    """How r is read off the log-probabilities."""

    def __post_init__(self) -> None:
        _check(self.beta, self.form)
        if not 0 <= self.alpha < math.inf:
            raise ValueError(f"alpha must be at least 0, got {self.alpha}")

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities, and what the metrics of pairs read."""
        return self.reward.signals()

    def __call__(self, batch: Pairs) -> Terms:
        """One term per pair."""
        r_w, r_l = self.reward.pair(batch)
        lost = batch.scalar("opponent_won", default=0.0) < 0.5
        theirs = torch.where(lost, batch.rejected.logp.sum(), batch.chosen.logp.sum())
        loss = contrast(self.form, r_w - r_l, self.beta) + self.alpha * theirs
        metrics = pair_metrics(batch, self.beta * r_w, self.beta * r_l)
        return Terms(pair=loss, metrics=metrics | {"win_rate": Metric(lost.to(theirs)), "exploration": Metric(theirs)})


def _check(beta: float, form: str) -> None:
    if not beta > 0:
        raise ValueError(f"beta must be above 0, got {beta}")
    if form not in ("sigmoid", "ipo"):
        raise ValueError(f"form must be 'sigmoid' or 'ipo', got {form!r}")
