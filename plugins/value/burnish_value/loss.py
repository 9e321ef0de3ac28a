"""Clipped value loss: the loss."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.model.signals import Signal, value
from burnish.objective import Metric, Sequences, Terms


@dataclass(frozen=True, kw_only=True)
class ClippedValue:
    """Clipped value loss: the value head learns the returns, not too fast.

        L = max((v - R)^2, (v_clip - R)^2) / 2             v_clip = vo + clip(v - vo, -clip, clip)

    v: value before the token, vo: the same when the batch was rolled out, R: its return (field `returns`).
    Source: Schulman et al. 2017 (PPO), arXiv:1707.06347, as its published code clips values. Deviations: none.
    Shapes: v, vo, R, L are [tokens]. Reduction: token_mean.
    Degenerate: values that have not moved give the plain squared error.
        >>> L(certain) == R**2 / 2
    """

    clip: float | None = 0.2
    """How far a value may usefully move from what it was at the rollout; above 0; null for as far as it likes."""

    def __post_init__(self) -> None:
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be above 0, got {self.clip}")

    def signals(self) -> frozenset[Signal]:
        """Values now, and at the rollout to clip around."""
        return frozenset({value()}) | (frozenset() if self.clip is None else frozenset({value("old")}))

    def __call__(self, batch: Sequences) -> Terms:
        """One term per token."""
        now, returns = batch.signal(value()), batch.field("returns")
        error = (now - returns) ** 2
        if self.clip is None:
            return Terms(token=error / 2, metrics={"value": Metric(now)})
        before = batch.signal(value("old"))
        held = (before + (now - before).clamp(-self.clip, self.clip) - returns) ** 2
        cut = held.map(lambda other, plain: (other > plain).to(plain), error)
        return Terms(token=error.maximum(held) / 2, metrics={"value": Metric(now), "clip_ratio/value": Metric(cut)})
