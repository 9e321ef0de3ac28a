"""Odds ratio preference optimisation: the loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.model.signals import Signal, logp
from burnish.objective import PAIR_METRICS, Metric, Pairs, Terms, pair_metrics

CERTAIN = -1e-6
"""Mean log-probability above which the odds, which have no upper end, are held."""


@dataclass(frozen=True, kw_only=True)
class ORPO:
    """Odds ratio preference optimisation: a penalty to run beside `sft` on the chosen answers, which does the pulling.

        p = exp(mean lp)                               lp: over target tokens, nats
        h = log(p_w / (1 - p_w)) - log(p_l / (1 - p_l))
        L = -log sigmoid(h)

    Source: Hong et al. 2024, arXiv:2403.07691, eq. 7. Deviations: the likelihood of the chosen conversation is a part of its
    own, `sft`, and the paper's lambda is this part's `weight`; the recipe `orpo` has both. mean lp is held at -1e-6 from above.
    Shapes: p, h, L are [pairs]. Reduction: pair_mean.
    Degenerate: answers of equal mean log-probability give log 2.
        >>> L(equal) == log(2)
        >>> L(uniform) == log(2)
    """

    def signals(self) -> frozenset[Signal]:
        """The policy's log-probabilities, and what the metrics of pairs read."""
        return PAIR_METRICS | {logp()}

    def __call__(self, batch: Pairs) -> Terms:
        """One term per pair."""
        mean_w, mean_l = batch.chosen.logp.mean(), batch.rejected.logp.mean()
        h = log_odds(mean_w) - log_odds(mean_l)
        metrics = {"log_odds_chosen": Metric(h), "log_odds_ratio": Metric(logsigmoid(h))}
        return Terms(pair=-logsigmoid(h), metrics=metrics | pair_metrics(batch, mean_w, mean_l))


def log_odds(mean: Tensor) -> Tensor:
    """log(p / (1 - p)) of p = exp(mean): [pairs], nats."""
    mean = mean.clamp(max=CERTAIN)
    return mean - torch.log(-torch.expm1(mean))
