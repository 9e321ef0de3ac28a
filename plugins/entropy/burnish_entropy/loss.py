"""Entropy bonus, fixed or adaptive: the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch

from burnish.model.signals import Signal, entropy
from burnish.objective import Metric, Sequences, Terms

State = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Entropy:
    """Entropy bonus: the policy is paid for keeping its distributions wide.

        L = -c H                                           H: entropy of the next-token distribution, nats
        with a target: c = c_k where the mean H of the global batch is at most the target, else 0; then
        c_k+1 = min(c_k + step, highest) in the first case, max(c_k - step, lowest) in the second

    Source: adaptive form: He et al. 2025 (Skywork-OR1), arXiv:2505.22312, section 4. Deviations: H is of the policy that
    is being trained, on this batch; c starts at `coefficient`.
    Shapes: H, L are [tokens]; c is one number. Reduction: token_mean.
    Degenerate: a policy that is certain gives 0.
        >>> L(uniform) == -coefficient * log(num_outcomes)
    """

    coefficient: float = 1e-3
    """c, or c_0 where there is a target; any number."""
    target: float | None = None
    """Mean entropy up to which the bonus is paid, nats; null for a fixed coefficient. Costs a forward pass without gradient."""
    step: float = 0.005
    """How much an adaptive coefficient moves after each global batch; at least 0."""
    lowest: float = 0.0
    """Least adaptive coefficient; any number."""
    highest: float = 1.0
    """Largest adaptive coefficient; any number."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.coefficient):
            raise ValueError(f"coefficient must be a finite number, got {self.coefficient}")
        if self.target is not None and not math.isfinite(self.target):
            raise ValueError(f"target must be a finite number, got {self.target}")
        if not self.step >= 0:
            raise ValueError(f"step must be at least 0, got {self.step}")
        if not self.lowest <= self.highest:
            raise ValueError(f"lowest must not be above highest, got {self.lowest} and {self.highest}")

    @property
    def statistic_on(self) -> tuple[str, ...]:
        """A fixed coefficient needs nothing scored beforehand."""
        return () if self.target is None else ("self",)

    def signals(self) -> frozenset[Signal]:
        """The policy's entropy."""
        return frozenset({entropy()})

    def statistic(self, batch: Sequences, state: State | None) -> tuple[Mapping[str, float], State | None]:
        """c of this batch; the state is that of the next one."""
        if self.target is None:
            return {"coefficient": self.coefficient}, None
        now = self.coefficient if state is None else cast("float", state["coefficient"])
        if float(batch.signal(entropy()).values.mean()) <= self.target:
            return {"coefficient": now}, {"coefficient": min(now + self.step, self.highest)}
        return {"coefficient": 0.0}, {"coefficient": max(now - self.step, self.lowest)}

    def __call__(self, batch: Sequences) -> Terms:
        """One term per token."""
        spread, coefficient = batch.signal(entropy()), cast("float", batch.statistic["coefficient"])
        metrics = {"entropy": Metric(spread), "entropy_coef": Metric(torch.full_like(spread.values, coefficient))}
        return Terms(token=-coefficient * spread, metrics=metrics)
