"""An importance ratio: what an online loss reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from burnish.model.signals import Signal, logp
from burnish.objective import Sequences, Terms


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """exp(sum of lp - lo) per sequence."""

    reduction: ClassVar[str] = "sequence_mean"

    def signals(self) -> frozenset[Signal]:
        return frozenset({logp(), logp("old")})

    def __call__(self, batch: Sequences) -> Terms:
        return Terms(sequence=(batch.logp - batch.signal(logp("old"))).sum().exp())
