"""Reward models: the losses. Each reads one number R per sequence, the score head's output at its last token."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.errors import ObjectiveError
from burnish.model.signals import Signal, score
from burnish.objective import Metric, Pairs, Sequences, Terms

SCORE = frozenset({score()})


@dataclass(frozen=True, kw_only=True)
class BradleyTerry:
    """Bradley-Terry model of preferences: the odds that w beats l are e^(R_w - R_l).

        L = -log sigmoid(R_w - R_l - m) + center (R_w + R_l)^2           m: the row's `margin`, 0 without one

    Source: Ouyang et al. 2022, arXiv:2203.02155, eq. 1; the margin: Touvron et al. 2023, arXiv:2307.09288, eq. 2; centring:
    Eisenstein et al. 2023, arXiv:2312.09244. Deviations: every pair counts alike, however many a prompt has.
    Shapes: R, m, L are [pairs]; R has no unit, a difference is log-odds in nats. Reduction: pair_mean.
    Degenerate: R_w == R_l and no margin gives log 2 + 4 center R_w^2.
        >>> L(equal) == log(2)
        >>> L(certain, center=0.1) == log(2)
    """

    center: float = 0.0
    """Pulls the two scores of a pair towards opposite signs, which pins down their arbitrary offset; at least 0."""

    def __post_init__(self) -> None:
        if not 0 <= self.center < math.inf:
            raise ValueError(f"center must be a number of at least 0, got {self.center}")

    def signals(self) -> frozenset[Signal]:
        """The score."""
        return SCORE

    def __call__(self, batch: Pairs) -> Terms:
        """One term per pair."""
        r_w, r_l = (view.signal(score()).last() for view in (batch.chosen, batch.rejected))
        loss = -logsigmoid(r_w - r_l - batch.scalar("margin", 0.0)) + self.center * (r_w + r_l) ** 2
        metrics = {"accuracy": Metric((r_w > r_l).to(r_w)), "margin": Metric(r_w - r_l)}
        return Terms(pair=loss, metrics=metrics | reward_metrics(torch.cat([r_w, r_l])))


@dataclass(frozen=True, kw_only=True)
class Regression:
    """The score predicts the rating.

        L = (R - y)^2                                                     y: the row's `rating`

    Source: least squares; for reward models of ratings Wang et al. 2024, arXiv:2406.08673. Deviations: none.
    Shapes: R, y, L are [sequences]; R has the unit of y. Reduction: sequence_mean.
    Degenerate: R == y gives 0; a constant R is best at the mean rating, where L is the ratings' variance.
        >>> L(certain) == y**2
    """

    def signals(self) -> frozenset[Signal]:
        """The score."""
        return SCORE

    def __call__(self, batch: Sequences) -> Terms:
        """One term per sequence."""
        r, y = batch.signal(score()).last(), batch.scalar("rating")
        return Terms(sequence=(r - y) ** 2, metrics={"mae": Metric((r - y).abs())} | reward_metrics(r))


@dataclass(frozen=True, kw_only=True)
class Ordinal:
    """Cumulative logit (proportional odds) model: ratings are ordered, but the steps between them need not be equal.

        P(y <= level k) = sigmoid(t_k - R)                                t: thresholds between levels, ascending
        L = -log P(y) = -log sigmoid(t_k - R) - log sigmoid(R - t_(k-1)) - log(1 - e^(t_(k-1) - t_k))

    with t_0 = -inf and t_K = inf, whose terms vanish. The second line is the first in a form that cannot cancel.
    Source: McCullagh 1980, "Regression models for ordinal data", J. R. Statist. Soc. B 42(2). Deviations: thresholds are given,
    not learnt: the model's head is then one score, as every reward model's. Their default are the maximum-likelihood ones of
    a constant score where all levels are equally frequent; otherwise give logit(share of ratings at or below each level).
    Shapes: R, y, L are [sequences]; R and t are log-odds in nats. Reduction: sequence_mean.
    Degenerate: R == 0 and the default thresholds give log K for every rating.
        >>> L(certain) == log(len(levels))
    """

    levels: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 5.0)
    """All ratings there are, ascending; at least two."""
    thresholds: tuple[float, ...] = ()
    """One between each two levels, ascending; none for logit(k / K), k = 1 .. K - 1."""

    def __post_init__(self) -> None:
        if len(self.levels) < 2 or not _ascend(self.levels):
            raise ValueError(f"levels must be at least two finite ratings that ascend, got {self.levels}")
        if self.thresholds and (len(self.thresholds) != len(self.levels) - 1 or not _ascend(self.thresholds)):
            raise ValueError(
                f"thresholds must be {len(self.levels) - 1} finite numbers that ascend, one between each two levels, got "
                f"{self.thresholds}"
            )

    def signals(self) -> frozenset[Signal]:
        """The score."""
        return SCORE

    def __call__(self, batch: Sequences) -> Terms:
        """One term per sequence."""
        r = batch.signal(score()).last()
        k = self._places(batch.scalar("rating"))
        t = r.new_tensor([-math.inf, *self._thresholds(), math.inf])
        below, above = t[k], t[k + 1]
        loss = -logsigmoid(above - r) - logsigmoid(r - below) - torch.log(-torch.expm1(below - above))
        found = torch.searchsorted(t[1:-1], r.detach())  # the level in whose interval the score lies, the median one
        return Terms(sequence=loss, metrics={"accuracy": Metric((found == k).to(r))} | reward_metrics(r))

    def _thresholds(self) -> tuple[float, ...]:
        count = len(self.levels)
        return self.thresholds or tuple(math.log(k / (count - k)) for k in range(1, count))

    def _places(self, ratings: Tensor) -> Tensor:
        """Index of each rating among the levels."""
        at = ratings[:, None] == ratings.new_tensor(self.levels)
        if not bool(at.any(-1).all()):
            odd = float(ratings[~at.any(-1)][0])
            raise ObjectiveError(f"a rating is {odd:g}, which is none of the levels {list(self.levels)}; set `levels`")
        return at.to(torch.int64).argmax(-1)


def reward_metrics(scores: Tensor) -> dict[str, Metric]:
    """The scores of a global batch, under the names that dashboards know."""
    return {"min_reward": Metric(scores, how="min"), "mean_reward": Metric(scores), "max_reward": Metric(scores, how="max")}


def _ascend(numbers: tuple[float, ...]) -> bool:
    return all(map(math.isfinite, numbers)) and all(low < high for low, high in pairwise(numbers))
