"""Trainer and sampler compared at the tokens that are trained on: measured always, corrected and refused where a config asks.

In: log-probabilities of both at the rollout. Out: a multiplier of a policy loss's terms, and metrics. An ordinary weight, which
the core puts on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from burnish.errors import RunError
from burnish.model.signals import Signal, logp
from burnish.objective.compose import Objective
from burnish.objective.terms import Metric, Terms
from burnish.objective.views import Sequences

if TYPE_CHECKING:
    from burnish.config.sections import RolloutSection

NAME = "sampling/sampling_logp_difference"
CAP = 3.0  # largest ratio that a correction gives


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """What trainer and sampler disagree by.

        d = lo - ls                                        lo: policy at the rollout, ls: what the sampler reported, nats
        w = min(e^d, 3) where |d| is at least `correct`, else 1

    Shapes: d, w are [tokens]. Degenerate: a sampler that agrees gives 1. measures: whether it logs |d|, mean and largest.
    """

    correct: float | None = None
    measures: bool = True

    def signals(self) -> frozenset[Signal]:
        """Log-probabilities at the rollout, the trainer's and the sampler's."""
        return frozenset({logp("old"), logp("behaviour")})

    def __call__(self, batch: Sequences) -> Terms:
        """One weight per token."""
        apart = batch.signal(logp("old")) - batch.signal(logp("behaviour"))
        least = math.inf if self.correct is None else self.correct
        weights = apart.map(lambda d: torch.where(d.abs() >= least, d.exp().clamp(max=CAP), torch.ones_like(d)))
        size = apart.abs()
        measured = {f"{NAME}/mean": Metric(size), f"{NAME}/max": Metric(size, how="max")} if self.measures else {}
        return Terms(token=weights, metrics=measured)


def watched(objective: Objective, section: RolloutSection) -> Objective:
    """The same with the comparison on every policy loss on rollouts; the first of them logs it."""
    entries, measures = [], True
    for entry in objective.entries:
        if entry.source in section.sources and entry.data == "trajectory" and logp() in entry.loss.signals():
            weight = Mismatch(correct=section.mismatch.correct, measures=measures)
            entry, measures = replace(entry, weights=(*entry.weights, ("mismatch", weight))), False
        entries.append(entry)
    return Objective(tuple(entries))


def check(section: RolloutSection | None, metrics: Mapping[str, float], step: int) -> None:
    """RunError where the difference of a step batch reaches `rollout.mismatch.stop`; before the update is made."""
    limit = None if section is None else section.mismatch.stop
    found = metrics.get(f"{NAME}/mean")
    if limit is not None and found is not None and found >= limit:
        raise RunError(
            f"step {step}: trainer and sampler differ by {found:.3g} nats a token on average, and rollout.mismatch.stop is "
            f"{limit:g}. The sampler may hold other weights, or compute in a lower precision"
        )
