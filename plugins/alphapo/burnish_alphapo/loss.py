"""Alpha preference optimisation: the loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from burnish.model.signals import Signal, logp
from burnish.objective import PAIR_METRICS, Pairs, Terms, View, check_smoothing, logistic, pair_metrics


@dataclass(frozen=True, kw_only=True)
class AlphaPO:
    """Alpha preference optimisation: the shape of the reward decides how far likelihoods move once a pair is told apart.

        p = exp(mean lp)                               lp: over target tokens, nats
        r = (1 - p^-alpha) / alpha                     mean lp where alpha = 0
        h = beta * (r_w - r_l) - gamma
        L = -(1 - e) log sigmoid(h) - e log sigmoid(-h)

    Source: Gupta et al. 2025, arXiv:2501.03884, eq. 5. Deviations: label smoothing e, 0 in the paper.
    Shapes: p, r, h, L are [pairs]. Reduction: pair_mean.
    Degenerate: answers of equal mean log-probability give log(1 + e^gamma), with e = 0; alpha = 0 is SimPO.
        >>> L(equal) == log(1 + exp(gamma))
        >>> L(uniform) == log(1 + exp(gamma))
    """

    beta: float = 0.1
    """Slope of the loss in the reward; above 0."""
    gamma: float = 0.5
    """Margin by which the chosen answer must lead; at least 0."""
    alpha: float = 0.25
    """Shape of the reward: above 0 it is steeper where answers are unlikely, below 0 where they are likely; any number."""
    label_smoothing: float = 0.0
    """Probability e that a preference is the wrong way round; 0 <= e < .5."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        if not self.gamma >= 0:
            raise ValueError(f"gamma must be at least 0, got {self.gamma}")
        if not math.isfinite(self.alpha):
            raise ValueError(f"alpha must be a finite number, got {self.alpha}")
        check_smoothing(self.label_smoothing)

    def signals(self) -> frozenset[Signal]:
        """The policy's log-probabilities, and what the metrics of pairs read."""
        return PAIR_METRICS | {logp()}

    def __call__(self, batch: Pairs) -> Terms:
        """One term per pair."""
        r_w, r_l = self._reward(batch.chosen), self._reward(batch.rejected)
        h = self.beta * (r_w - r_l) - self.gamma
        return Terms(pair=logistic(h, self.label_smoothing), metrics=pair_metrics(batch, self.beta * r_w, self.beta * r_l))

    def _reward(self, view: View) -> Tensor:
        mean = view.logp.mean()
        return -torch.expm1(-self.alpha * mean) / self.alpha if self.alpha else mean
