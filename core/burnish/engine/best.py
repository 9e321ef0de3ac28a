"""Which evaluation is the best so far. In: metrics by name. Out: a value to compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from burnish.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Best:
    """The best evaluation so far."""

    step: int
    value: float
    metrics: Mapping[str, float]

    @classmethod
    def of(cls, metrics: Mapping[str, float], step: int, name: str) -> Best:
        """The evaluation of `step`, judged by the metric `name`."""
        if name not in metrics:
            raise ConfigError(f"evaluate.metric: no evaluation gives '{name}'. {did_you_mean(name, metrics)}")
        return cls(step, metrics[name], metrics)

    def beats(self, other: Best, greater_is_better: bool) -> bool:
        """Whether this one is better; a number that is not finite never is."""
        return self.value > other.value if greater_is_better else self.value < other.value
