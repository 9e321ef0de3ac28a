"""Ratios of probabilities under the policy and under an earlier one, and the clipped surrogate that many policy losses share.

In: logarithms of ratios, and advantages, per token. Out: terms and metrics, unreduced. Knows no signal.
"""

from __future__ import annotations

import math

from torch import Tensor

from burnish.objective.ragged import Ragged
from burnish.objective.rewards import MAX_EXPONENT
from burnish.objective.terms import Metric


def ratio_of(log_ratio: Ragged) -> Ragged:
    """e to the power of each number, at most e^80."""
    return log_ratio.clamp(max=MAX_EXPONENT).exp()


def clipped(ratio: Ragged, advantages: Ragged, low: float, high: float, delta: float | None = None) -> Ragged:
    """-min(min(rho, delta) A, clip(rho, 1 - low, 1 + high) A) of each token (PPO, arXiv:1707.06347, eq. 7, for a minimiser).

    delta: a bound where A is negative too (dual clipping, arXiv:1912.09729); None for none.
    """
    bounded = ratio if delta is None else ratio.clamp(max=delta)
    return -(bounded * advantages).minimum(ratio.clamp(1 - low, 1 + high) * advantages)


def clip_metrics(ratio: Ragged, advantages: Ragged, low: float, high: float, per_sequence: bool = False) -> dict[str, Metric]:
    """How often clipping cuts the gradient, as dashboards know it: `clip_ratio/...`.

    The means are over tokens, or over sequences where those have one ratio each; `low_min` and `high_max` are over sequences.
    """

    def below(rho: Tensor, advantage: Tensor) -> Tensor:
        return ((rho < 1 - low) & (advantage < 0)).to(rho)

    def above(rho: Tensor, advantage: Tensor) -> Tensor:
        return ((rho > 1 + high) & (advantage > 0)).to(rho)

    with_low, with_high = ratio.map(below, advantages), ratio.map(above, advantages)
    both = with_low + with_high
    return {
        "clip_ratio/low_mean": Metric(with_low.mean() if per_sequence else with_low),
        "clip_ratio/low_min": Metric(with_low.mean(), how="min"),
        "clip_ratio/high_mean": Metric(with_high.mean() if per_sequence else with_high),
        "clip_ratio/high_max": Metric(with_high.mean(), how="max"),
        "clip_ratio/region_mean": Metric(both.mean() if per_sequence else both),
    }


def check_clip(epsilon: float, epsilon_high: float | None, delta: float | None = None) -> None:
    """ValueError unless the bounds 1 - epsilon, 1 + epsilon_high (or epsilon) and delta are in order."""
    if not 0 <= epsilon < 1:
        raise ValueError(f"epsilon must lie in [0, 1), got {epsilon}")
    if epsilon_high is not None and not 0 <= epsilon_high < math.inf:
        raise ValueError(f"epsilon_high must be at least 0, got {epsilon_high}")
    highest = 1 + (epsilon if epsilon_high is None else epsilon_high)
    if delta is not None and not highest < delta < math.inf:
        raise ValueError(f"delta must be above {highest:g}, where clipping begins, got {delta}")
