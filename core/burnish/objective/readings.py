"""Where a view's numbers come from: the forward that just ran, or what was scored before it.

In: signals at scored tokens. Out: flat tensors for any sequences and masks. Knows nothing of losses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as List
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from burnish.batch.layout import sent
from burnish.data.units import Ids, Mask, Sequence
from burnish.errors import ObjectiveError
from burnish.model.signals import Role, Signal
from burnish.objective.ragged import gather

Array = NDArray[Any]
RECORDED: tuple[Role, ...] = ("old", "behaviour")  # roles whose numbers come with the data, never from a forward


def describe(signal: Signal) -> str:
    """A signal in words, for messages."""
    return f"'{signal.name}' of the {signal.role}" + (
        f" at temperature {signal.temperature:g}" if signal.temperature != 1 else ""
    )


class Readings(Protocol):
    """Numbers of signals at tokens."""

    @property
    def dtype(self) -> torch.dtype:
        """Precision of every number read."""
        ...

    @property
    def device(self) -> torch.device:
        """Where every number read is."""
        ...

    def read(self, signal: Signal, sequences: List[Sequence], masks: List[Mask]) -> Tensor:
        """The signal at every token that the masks mark, sequence after sequence: [tokens]."""
        ...


@dataclass
class Scores:
    """Numbers without gradient, dense per sequence (NaN where unknown), by signal and by what entered the forward."""

    arrays: dict[tuple[Signal, str], Array] = field(default_factory=dict)

    def put(self, signal: Signal, sequence: Sequence, mask: Mask, values: Array) -> None:
        """Remember `values`, one for every token that `mask` marks."""
        array = self.arrays.setdefault((signal, sequence.key), np.full(len(sequence), np.nan, values.dtype))
        array[mask] = values

    def merge(self, other: Scores) -> None:
        """Add what another rank has scored; what is known already stays."""
        for key, theirs in other.arrays.items():
            mine = self.arrays.setdefault(key, theirs)
            self.arrays[key] = np.where(np.isnan(mine), theirs, mine)

    def recorded(self, signals: Iterable[Signal], sequence: Sequence) -> bool:
        """Whether all `signals` came with the data."""
        return all(signal.role != "policy" and column(signal) in sequence.tokens for signal in signals)

    def take(self, signal: Signal, sequence: Sequence, mask: Mask) -> Array | None:
        """The numbers at the tokens of `mask`; None when the sequence was never scored."""
        recorded = sequence.tokens.get(column(signal)) if signal.role != "policy" else None
        array = recorded if recorded is not None else self.arrays.get((signal, sequence.key))
        return None if array is None else array[mask]


@dataclass(frozen=True)
class Detached:
    """Readings of `scores`: what statistics see, and frozen roles everywhere."""

    scores: Scores
    dtype: torch.dtype
    device: torch.device

    def read(self, signal: Signal, sequences: List[Sequence], masks: List[Mask]) -> Tensor:
        """As `Readings.read`; `old` that nobody recorded is the policy itself, which has not moved since."""
        found = [self._take(signal, sequence, mask) for sequence, mask in zip(sequences, masks, strict=True)]
        return sent(torch.from_numpy(np.concatenate([np.empty(0), *found])).to(self.dtype), self.device)

    def zero(self) -> Tensor:
        """A number to add to."""
        return torch.zeros((), dtype=self.dtype, device=self.device)

    def _take(self, signal: Signal, sequence: Sequence, mask: Mask) -> Array:
        array = self.scores.take(signal, sequence, mask)
        if array is None and signal.role == "old":
            array = self.scores.take(replace(signal, role="policy"), sequence, mask)
        if array is None:
            raise ObjectiveError(f"{describe(signal)} is not known for a sequence of role '{sequence.role}'")
        return array


@dataclass(frozen=True)
class Live:
    """Readings of a forward of the policy, with gradient; other roles, and sequences that were not in it, from `detached`.

    outputs: signal -> [M]. rows: for each sequence in the forward, by identity, the row among the M of every token, or -1.
    """

    outputs: Mapping[Signal, Tensor]
    rows: Mapping[int, Ids]
    detached: Detached

    @classmethod
    def of(
        cls,
        outputs: Mapping[Signal, Tensor],
        sequences: Iterable[Sequence],
        masks: Iterable[Mask],
        rows: Iterable[Ids],
        detached: Detached,
    ) -> Live:
        """From the rows of the tokens that each sequence's mask marks."""
        dense: dict[int, Ids] = {}
        for sequence, mask, own in zip(sequences, masks, rows, strict=True):
            dense[id(sequence)] = np.full(len(sequence), -1, np.int64)
            dense[id(sequence)][mask] = own
        return cls(outputs, dense, detached)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of every number read."""
        return self.detached.dtype

    @property
    def device(self) -> torch.device:
        """Where every number read is."""
        return self.detached.device

    def read(self, signal: Signal, sequences: List[Sequence], masks: List[Mask]) -> Tensor:
        """As `Readings.read`; `old` that nobody recorded is the policy of this very forward, detached."""
        if signal.role == "old":
            return self._old(signal, sequences, masks)
        if signal.role != "policy" or any(id(sequence) not in self.rows for sequence in sequences):
            return self.detached.read(signal, sequences, masks)
        return gather(self.outputs[signal], self.index(sequences, masks))

    def _old(self, signal: Signal, sequences: List[Sequence], masks: List[Mask]) -> Tensor:
        """What was recorded with some sequences, and the policy of this forward at the others."""
        recorded = [sequence.tokens.get(column(signal)) for sequence in sequences]
        if all(numbers is not None for numbers in recorded):
            return self.detached.read(signal, sequences, masks)
        now = self.read(replace(signal, role="policy"), sequences, masks).detach()
        pieces = torch.split(now, [int(np.count_nonzero(mask)) for mask in masks])
        known = [None if numbers is None else numbers[mask] for numbers, mask in zip(recorded, masks, strict=True)]
        return torch.cat(
            [
                piece if one is None else sent(torch.from_numpy(one).to(piece.dtype), piece.device)
                for piece, one in zip(pieces, known, strict=True)
            ]
        )

    def index(self, sequences: List[Sequence], masks: List[Mask]) -> Tensor:
        """Row among the M of every token that the masks mark: [tokens]."""
        found = [self.rows[id(sequence)][mask] for sequence, mask in zip(sequences, masks, strict=True)]
        return sent(torch.from_numpy(np.concatenate([np.empty(0, np.int64), *found])), self.device)


def column(signal: Signal) -> str:
    """Name under which a trajectory's per-token numbers hold this signal: `old`, `reference`; `old_entropy` and the like."""
    return signal.role if signal.name == "logp" else f"{signal.role}_{signal.name}"
