"""Overlong filtering: the weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from burnish.model.signals import Signal
from burnish.objective import Sequences, Terms


@dataclass(frozen=True, kw_only=True)
class OverlongFilter:
    """Overlong filtering: completions that were cut off say nothing about how good they would have been.

        w = 1 where truncated = 0; the others leave the loss, and its denominator too

    `truncated` is a number of each sequence or of its unit, 1 where the completion met its limit, which rollouts write down;
    rows of trajectories may have it as a column.
    Source: Yu et al. 2025 (DAPO), arXiv:2503.14476, section 3.4. Deviations: none.
    Shapes: w is [sequences].
    Degenerate: where nothing was cut off, nothing changes.
        >>> w(unmoved) == 1
    """

    def signals(self) -> frozenset[Signal]:
        """None."""
        return frozenset()

    def keeps(self, batch: Sequences) -> Tensor:
        """Sequences that were not cut off: bool [S]."""
        return batch.scalar("truncated") == 0

    def __call__(self, batch: Sequences) -> Terms:
        """1 for every sequence that is left."""
        return Terms(sequence=torch.ones_like(batch.scalar("truncated")))
