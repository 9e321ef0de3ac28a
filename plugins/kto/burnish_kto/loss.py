"""Kahneman-Tversky optimisation: the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from burnish.data.units import Sequence, Unit
from burnish.model.signals import Signal, logp
from burnish.objective import Metric, SequenceReward, Sequences, Terms, unpaired_metrics

MISMATCHED = "mismatched"


@dataclass(frozen=True, kw_only=True)
class KTO:
    """Kahneman-Tversky optimisation: single answers marked good or bad are gains and losses against a reference point.

        z = sg(max(0, mean over the global batch of R(x_i, y_p(i))))     R = sum(lp - lr) over target tokens, nats; p shifts the
                                                                         batch, in the order of content hashes, by one
        L = w_good (1 - sigmoid(beta (r - z)))   of a good answer        r = R(x_i, y_i), or its f-divergence score
        L = w_bad (1 - sigmoid(beta (z - r)))    of a bad one

    Source: Ethayarajh et al. 2024, arXiv:2402.01306, eq. 7. Deviations: z is of the global batch, so micro-batches, ranks and
    order do not matter. The label is the column `label`.
    Shapes: r, L are [sequences]; z is one number. Reduction: sequence_mean.
    Degenerate: policy == reference gives half of its weight for every answer. In a batch of one, the mismatched answer
    is its own.
        >>> L(unmoved) == 1 / 2
    """

    statistic_on: ClassVar[tuple[str, ...]] = (MISMATCHED,)

    beta: float = 0.1
    """How fast the value saturates in the reward; above 0."""
    desirable_weight: float = 1.0
    """w_good; at least 0. Weights times counts of good and bad answers should stand between 1:1 and 4:3."""
    undesirable_weight: float = 1.0
    """w_bad; at least 0."""
    reward: SequenceReward = SequenceReward()
    """How r is read off the log-probabilities."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        if not (self.desirable_weight >= 0 and self.undesirable_weight >= 0):
            raise ValueError(f"weights must be at least 0, got {self.desirable_weight} and {self.undesirable_weight}")
        if self.reward.reference_free:
            raise ValueError("reward.reference_free leaves no divergence to estimate; kto needs its reference")

    def signals(self) -> frozenset[Signal]:
        """The policy's and the reference's log-probabilities, and what the metrics read."""
        return self.reward.signals()

    def derived_signals(self) -> frozenset[Signal]:
        """What z is made of."""
        return frozenset({logp(), logp("reference")})

    def derive(self, units: tuple[Unit, ...], pairing: tuple[int, ...]) -> list[tuple[Sequence, ...]]:
        """Each unit's prompt with another one's answer."""
        return [(mismatched(unit.sequences[0], units[other].sequences[0]),) for unit, other in zip(units, pairing, strict=True)]

    def statistic(self, batch: Sequences, state: None) -> tuple[Mapping[str, Tensor], None]:
        """z: how far the policy has moved from the reference, on answers to other prompts."""
        return {"z": batch.derived(MISMATCHED).log_ratio.sum().mean().clamp(min=0)}, None

    def __call__(self, batch: Sequences) -> Terms:
        """One term per sequence."""
        good = batch.scalar("label")
        r = self.reward.of(batch)
        z = cast("Tensor", batch.statistic["z"]).expand_as(r)
        h = self.beta * (r - z)
        loss = torch.where(good > 0, self.desirable_weight * (-h).sigmoid(), self.undesirable_weight * h.sigmoid())
        return Terms(sequence=loss, metrics={"kl": Metric(z)} | unpaired_metrics(batch, self.beta * r, good))


def mismatched(prompt: Sequence, answer: Sequence) -> Sequence:
    """What comes before the first target of `prompt`, then `answer` from its first target on, with the masks that both have."""
    head, tail = (int(np.argmax(sequence.masks["completion"])) for sequence in (prompt, answer))
    names = prompt.masks.keys() & answer.masks.keys()
    masks = {name: np.concatenate([prompt.masks[name][:head], answer.masks[name][tail:]]) for name in names}
    ids = np.concatenate([prompt.ids[:head], answer.ids[tail:]])
    return replace(prompt, ids=ids, masks=masks, role=MISMATCHED, tokens={}, scalars={})
