"""Numbers that came with the rows and that no part of the objective reads: a margin, a label, a rating.

In: an objective and a global batch. Out: sentences. Calls the formulas on made-up log-probabilities, with columns that remember
who looked at them; scores nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Sequence as List
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from burnish.data.units import Mask, Sequence, Unit
from burnish.errors import ObjectiveError
from burnish.model.signals import Signal
from burnish.objective.compose import Objective
from burnish.objective.prepass import close_parts, open_parts
from burnish.objective.readings import Detached, Scores

ALWAYS_READ = "weight"  # multiplies the terms of every loss


class _Columns(dict[str, float]):
    """Columns that remember which of them were looked up."""

    def __init__(self, columns: Iterable[tuple[str, float]], looked_up: set[str]) -> None:
        super().__init__(columns)
        self._looked_up = looked_up

    def __getitem__(self, name: str) -> float:
        self._looked_up.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict."""
        self._looked_up.add(name)
        return super().get(name, default)


@dataclass(frozen=True)
class _Blank(Detached):
    """The same number for every signal, everywhere."""

    scores: Scores = field(default_factory=Scores)
    dtype: torch.dtype = torch.float64
    device: torch.device = torch.device("cpu")

    def read(self, signal: Signal, sequences: List[Sequence], masks: List[Mask]) -> Tensor:
        """As `Readings.read`."""
        return torch.full((sum(map(np.count_nonzero, masks)),), -1.0, dtype=self.dtype)


def unread(objective: Objective, units: Iterable[Unit]) -> Iterator[str]:
    """One sentence for each source whose rows have numbers that no part reads.

    units: as they are trained on. A formula that fails on made-up numbers may read anything, so nothing is said of its source.
    Trajectories are left out: what they carry beside their tokens is for their owner's eyes too.
    """
    by_source: dict[str, list[Unit]] = {}
    for unit in units:
        if unit.kind != "trajectory":
            by_source.setdefault(unit.source, []).append(unit)
    for source, given in by_source.items():
        known = {name for unit in given for name in unit.scalars}
        known |= {name for unit in given for sequence in unit.sequences for name in sequence.scalars}
        looked_up = _looked_up(objective, given) if known - {ALWAYS_READ} else None
        if looked_up is not None and (ignored := sorted(known - looked_up - {ALWAYS_READ})):
            yield f"rows of {source} have a {' and a '.join(ignored)}, which no part of the objective reads"


def _looked_up(objective: Objective, units: Iterable[Unit]) -> set[str] | None:
    """Columns that some part looks up in `units`, all of one source; None when a formula fails."""
    looked_up: set[str] = set()
    blank = _Blank()
    try:
        parts = open_parts(objective, [_watched(unit, looked_up) for unit in units])
        close_parts(parts, blank, {})
        for part in parts:
            if part.members:
                part.compute(range(len(part.members)), blank)
    except ObjectiveError:
        return None
    return looked_up


def _watched(unit: Unit, looked_up: set[str]) -> Unit:
    """The unit, whose columns remember into `looked_up`."""
    sequences = [replace(one, scalars=_Columns(one.scalars.items(), looked_up)) for one in unit.sequences]
    watched = replace(unit, sequences=tuple(sequences), scalars=_Columns(unit.scalars.items(), looked_up))
    watched.__dict__["id"] = unit.id  # found from all columns, which is no use of them
    return watched
