"""What a loss sees: the members of a batch (sequences, pairs, lists) under its own targets, every number ragged.

In: members and where their numbers are read. Out: ragged values per token, tensors per sequence or member. A signal that the
loss did not declare cannot be read, so no forward is missing one and no loss depends on another's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as List
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from burnish.batch.layout import sent
from burnish.data.units import Mask, Sequence, Unit
from burnish.errors import ObjectiveError
from burnish.model.signals import Role, Signal, tempered
from burnish.objective.ragged import Ragged
from burnish.objective.readings import Readings, describe

Statistic = Mapping[str, "float | Tensor | Ragged"]


@dataclass(frozen=True, eq=False)
class Member:
    """What one term of a loss is about: a sequence, a pair, a list; and the sequences that the loss derived for its unit."""

    unit: Unit
    sequences: tuple[Sequence, ...]
    derived: Mapping[str, Sequence] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Frame:
    """What the views of one batch share. owner: the part's name, for messages. targets: name of the mask. signals,
    derived_signals: what it may read of its own and of derived sequences. temperature: at which it reads them."""

    owner: str
    targets: str
    signals: frozenset[Signal]
    derived_signals: frozenset[Signal]
    readings: Readings
    statistic: Statistic = field(default_factory=dict)
    temperature: float = 1.0

    def numbers(self, values: List[float]) -> Tensor:
        """A tensor in the batch's precision, on its device."""
        return sent(torch.tensor(values, dtype=self.readings.dtype), self.readings.device)

    def mask(self, sequence: Sequence) -> Mask:
        """The targets of `sequence` under this part's mask."""
        try:
            return sequence.masks[self.targets]
        except KeyError:
            raise ObjectiveError(
                f"{self.owner}: no targets named '{self.targets}' here; there are {sorted(sequence.masks)}"
            ) from None


class View:
    """Sequences of one role, token by token. Shapes: S sequences; ragged values have one number per target token."""

    def __init__(self, frame: Frame, sequences: List[Sequence], units: List[Unit], derived: bool = False) -> None:
        self._frame, self._sequences, self._units = frame, sequences, units
        self._declared = frame.derived_signals if derived else frame.signals
        self._is_derived = derived  # without gradient, even where derive() gives a unit's own sequence back
        self._read: dict[Signal, Ragged] = {}

    @cached_property
    def _masks(self) -> list[Mask]:
        return [self._frame.mask(sequence) for sequence in self._sequences]

    @cached_property
    def lengths(self) -> Tensor:
        """Target tokens of each sequence: int64 [S]."""
        counts = np.array([np.count_nonzero(mask) for mask in self._masks], np.int64)
        return sent(torch.from_numpy(counts), self._frame.readings.device)

    def as_long_as(self, other: View) -> Self:
        """This view, with the lengths of another one of the same sequences: no device is asked whether they are equal."""
        self.__dict__["lengths"] = other.lengths
        return self

    def signal(self, signal: Signal) -> Ragged:
        """A declared signal at every target token."""
        if signal not in self._declared:
            known = ", ".join(sorted(describe(declared) for declared in self._declared)) or "nothing"
            raise ObjectiveError(f"{self._frame.owner} reads {describe(signal)}, but its signals() declares {known}")
        if signal not in self._read:
            wanted = tempered(signal, self._frame.temperature)
            values = self._frame.readings.read(wanted, self._sequences, self._masks)
            self._read[signal] = self._ragged(values.detach() if self._is_derived else values)
        return self._read[signal]

    @property
    def logp(self) -> Ragged:
        """Log-probability of each target under the policy, nats."""
        return self.signal(self._logp("policy"))

    @property
    def log_ratio(self) -> Ragged:
        """Policy's minus the reference's log-probability of each target, nats."""
        return self.logp - self.signal(self._logp("reference"))

    def field(self, name: str) -> Ragged:
        """A number per token that came with the data (`advantages`), at every target token."""
        missing = [unit.row for sequence, unit in zip(self._sequences, self._units, strict=True) if name not in sequence.tokens]
        if missing:
            raise ObjectiveError(f"{self._frame.owner} needs '{name}' for every token, which row {missing[0]} does not have")
        found = [sequence.tokens[name][mask] for sequence, mask in zip(self._sequences, self._masks, strict=True)]
        values = torch.from_numpy(np.concatenate([np.empty(0), *found])).to(self._frame.readings.dtype)
        return self._ragged(sent(values, self._frame.readings.device))

    def scalar(self, name: str, default: float | None = None) -> Tensor:
        """A number per sequence that came with it or with its unit (`label`, `rating`): [S]."""
        rows = zip(self._sequences, self._units, strict=True)
        return self._frame.numbers(
            [_scalar(self._frame.owner, name, default, unit, sequence.scalars, unit.scalars) for sequence, unit in rows]
        )

    def _logp(self, role: Role) -> Signal:
        """The one declared `logp` of `role`."""
        found = [signal for signal in self._declared if (signal.name, signal.role) == ("logp", role)]
        if len(found) != 1:
            declares = f"of which its signals() declares {len(found) or 'none'}"
            raise ObjectiveError(
                f"{self._frame.owner} reads the {role}'s log-probability, {declares}: "
                + (f'add logp(role="{role}")' if not found else "say which one with .signal(...)")
            )
        return found[0]

    def _ragged(self, values: Tensor) -> Ragged:
        return Ragged(values, self.lengths)


class _Members:
    """What every batch has."""

    def __init__(self, frame: Frame, members: List[Member]) -> None:
        self._frame, self._members = frame, members

    def __len__(self) -> int:
        """Number of members: pairs, lists or sequences."""
        return len(self._members)

    @property
    def statistic(self) -> Statistic:
        """What the loss's own `statistic` found in the global batch: numbers, or one per member (or token) of this batch."""
        return self._frame.statistic

    def derived(self, role: str) -> View:
        """The derived sequences of one role, one for each member; without gradient."""
        try:
            sequences = [member.derived[role] for member in self._members]
        except KeyError:
            raise ObjectiveError(
                f"{self._frame.owner} reads derived sequences '{role}', which its derive() did not make"
            ) from None
        return View(self._frame, sequences, [member.unit for member in self._members], derived=True)


class _Coupled(_Members):
    """What batches of several sequences per member have."""

    def scalar(self, name: str, default: float | None = None) -> Tensor:
        """A number per pair or list that came with it (`margin`): [members]."""
        owner = self._frame.owner
        return self._frame.numbers(
            [_scalar(owner, name, default, member.unit, member.unit.scalars) for member in self._members]
        )

    def _side(self, index: int) -> View:
        return View(self._frame, [m.sequences[index] for m in self._members], [m.unit for m in self._members])


class Pairs(_Coupled):
    """Pairs of completions, the first preferred."""

    @cached_property
    def chosen(self) -> View:
        """The preferred completions."""
        return self._side(0)

    @cached_property
    def rejected(self) -> View:
        """The others."""
        return self._side(1)


class Triples(Pairs):
    """Pairs, each with a gold answer."""

    @cached_property
    def gold(self) -> View:
        """The gold answers."""
        return self._side(2)


class Lists(_Coupled):
    """Lists of completions, best first."""

    @cached_property
    def items(self) -> View:
        """All completions, list after list."""
        pairs = [(sequence, member.unit) for member in self._members for sequence in member.sequences]
        return View(self._frame, [sequence for sequence, _ in pairs], [unit for _, unit in pairs])

    def per_list(self, values: Tensor) -> Ragged:
        """One number per item, [items], as ragged values whose 'sequences' are the lists and whose 'tokens' the items."""
        sizes = torch.tensor([len(member.sequences) for member in self._members], dtype=torch.int64)
        return Ragged(values, sent(sizes, values.device))


class Sequences(_Members, View):
    """Sequences, each a member of its own."""

    def __init__(self, frame: Frame, members: List[Member]) -> None:
        _Members.__init__(self, frame, members)
        View.__init__(self, frame, [member.sequences[0] for member in members], [member.unit for member in members])


Batch = Pairs | Lists | Sequences
BATCHES: dict[str, Callable[[Frame, List[Member]], Batch]] = {"preference": Pairs, "triple": Triples, "ranked": Lists}


def batch_of(data: str, frame: Frame, members: List[Member]) -> Batch:
    """The batch that a loss on `data` is given."""
    return BATCHES.get(data, Sequences)(frame, members)


def _scalar(owner: str, name: str, default: float | None, unit: Unit, *places: Mapping[str, float]) -> float:
    for place in places:
        if name in place:
            return place[name]
    if default is None:
        known = sorted({known for place in places for known in place})
        raise ObjectiveError(f"{owner} needs a column '{name}', which row {unit.row} does not have; it has {known or 'none'}")
    return default
