"""Direct preference optimisation with dynamic beta: the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from burnish.model.signals import Signal
from burnish.objective import ImplicitReward, Metric, Pairs, Terms, pair_metrics

LEAST_BETA = 1e-3
State = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class BetaDPO:
    """DPO whose beta follows the reward gap: pairs far apart pull less, pairs close together more.

        g = r_w - r_l                                  r = sum(lp - lr) over target tokens, nats
        M, S <- momentum (M, S) + (1 - momentum) (mean g, std g)         of the global batch, before they are used; detached
        b = max(.001, beta (1 + alpha (g - M)))        detached; level `batch`: with the mean of g over the pairs that are kept
        L = -log sigmoid(b g - margin)

    The share `keep` of the pairs is kept, drawn without replacement with weights exp(-(g - M)^2 / (2 S^2)).
    Source: Wu et al. 2024, arXiv:2407.08639, and its published code. Deviations: M and S start at the first batch's
    own values instead of 0; b per pair is the default; the row's `margin` column is subtracted (0 where there is none).
    Shapes: g, b, L are [pairs]. Reduction: pair_mean, over the pairs that are kept.
    Degenerate: policy == reference gives log 2 for every pair without a margin; alpha = 0 and keep = 1 is DPO.
        >>> L(unmoved) == log(2)
    """

    beta: float = 0.1
    """Beta of a pair whose gap is the running mean; above 0."""
    alpha: float = 0.6
    """How far beta follows the gap; at least 0."""
    level: Literal["pair", "batch"] = "pair"
    """Whether each pair has its own b, or the batch one."""
    momentum: float = 0.9
    """Memory of the running mean and deviation; in [0, 1)."""
    keep: float = 1.0
    """Share of the pairs that are learnt from; in (0, 1]. The paper kept .8."""
    reward: ImplicitReward = ImplicitReward()
    """How r is read off the log-probabilities."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        if not self.alpha >= 0:
            raise ValueError(f"alpha must be at least 0, got {self.alpha}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {self.momentum}")
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep must lie in (0, 1], got {self.keep}")

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities, and what the metrics of pairs read."""
        return self.reward.signals()

    def statistic(self, batch: Pairs, state: State | None) -> tuple[Mapping[str, Tensor], State]:
        """Each pair's b, and whether it is kept; the state is M, S and the number of batches, which seeds the draw."""
        r_w, r_l = self.reward.pair(batch)
        gap = r_w - r_l
        mean, std, batches = self._moved(gap, state)
        keep = drawn(gap, mean, std, max(1, int(self.keep * len(gap))), seed=batches)
        followed = gap if self.level == "pair" else gap[keep].mean().expand_as(gap)
        b = (self.beta * (1 + self.alpha * (followed - mean))).clamp(min=LEAST_BETA)
        return {"b": b, "keep": keep}, {"mean": mean, "std": std, "batches": batches + 1}

    def __call__(self, batch: Pairs) -> Terms:
        """One term per pair."""
        r_w, r_l = self.reward.pair(batch)
        b = cast("Tensor", batch.statistic["b"])
        h = b * (r_w - r_l) - batch.scalar("margin", default=0.0)
        return Terms(pair=-logsigmoid(h), metrics={"beta": Metric(b)} | pair_metrics(batch, b * r_w, b * r_l))

    def _moved(self, gap: Tensor, state: State | None) -> tuple[float, float, int]:
        """M, S and the number of batches before this one."""
        mean, std = float(gap.mean()), float(gap.std(correction=0))
        if state is None:
            return mean, std, 0
        rest = 1 - self.momentum
        return self.momentum * state["mean"] + rest * mean, self.momentum * state["std"] + rest * std, state["batches"]


def drawn(gap: Tensor, mean: float, std: float, count: int, seed: int) -> Tensor:
    """`count` of the pairs, drawn without replacement by their Gaussian weights (the largest of log-weight + Gumbel noise)."""
    uniform = torch.rand(len(gap), generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(gap.device)
    scores = -0.5 * ((gap.double() - mean) / max(std, 1e-12)) ** 2 - torch.log(-torch.log(uniform))
    return torch.zeros_like(gap, dtype=torch.bool).index_fill(0, scores.topk(count).indices, True)
