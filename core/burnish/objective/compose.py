"""Several losses as one objective: every part on its own members, their weighted sum, one forward for all.

In: units, and readings of the signals at their targets. Out: for each micro-batch a sum that adds up, over micro-batches and
ranks, to the objective of the global batch; parts and metrics likewise. Knows no layout, device or optimiser.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as List
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from burnish.batch.layout import sent
from burnish.data.units import Mask, Sequence, Unit
from burnish.errors import ObjectiveError
from burnish.model.signals import Role, Signal
from burnish.objective.contract import Loss, Weight, blamed, derived_signals
from burnish.objective.entries import Entry, parse_objective
from burnish.objective.ragged import Ragged
from burnish.objective.readings import Live, Readings
from burnish.objective.reduce import Tally
from burnish.objective.terms import Level, Metric, Terms
from burnish.objective.views import Batch, Frame, Member, Sequences, Statistic, batch_of
from burnish.registry import Registry

LEVELS: dict[str, tuple[Level, ...]] = {"preference": ("pair",), "triple": ("pair",), "ranked": ("list",)}


@dataclass(frozen=True, eq=False)
class Objective:
    """A weighted sum of losses. `Objective.parse([{"dpo": {"beta": 0.1}}], registry)` makes one."""

    entries: tuple[Entry, ...]

    @classmethod
    def parse(cls, given: Any, registry: Registry) -> Objective:
        """From what a config's `objective` holds."""
        return cls(parse_objective(given, registry))

    def sampled_at(self, temperatures: Mapping[str, float]) -> Objective:
        """The same, its parts reading the sources named here at the temperature at which those were sampled."""
        return Objective(
            tuple(replace(entry, temperature=temperatures.get(entry.source, entry.temperature)) for entry in self.entries)
        )

    def signals(self, role: Role) -> tuple[Signal, ...]:
        """What any part reads of one role, in a fixed order; of the policy also what stands in for an unrecorded `old`."""
        every = frozenset[Signal]().union(*(entry.signals() | entry.derived_signals() for entry in self.entries))
        if role == "policy":
            every |= {replace(signal, role="policy") for signal in every if signal.role == "old"}
        return tuple(sorted((signal for signal in every if signal.role == role), key=repr))

    @property
    def roles(self) -> frozenset[Role]:
        """Whose signals are read, or compared with."""
        every = frozenset[Signal]().union(*(entry.signals() | entry.derived_signals() for entry in self.entries))
        return frozenset(role for signal in every for role in (signal.role, signal.beside) if role is not None)


@dataclass(frozen=True, eq=False)
class Outcome:
    """A part on some of its members. shares: what each adds to the part's value [members]. metrics: by their bare names."""

    part: str
    units: tuple[Unit, ...]
    shares: Tensor
    metrics: Mapping[str, Tally]

    def detached(self) -> Outcome:
        """The same numbers, without gradient."""
        return replace(self, shares=self.shares.detach())


@dataclass
class Part:
    """One entry on one global batch.

    members: those that count, in canonical order. statistics: by owner. denominator: of the whole global batch. settled,
    injected: of a coupled loss, its outcome on the global batch, and the gradient of its value for each policy signal at every
    target, by the identity of the sequence.
    """

    entry: Entry
    members: list[Member]
    statistics: dict[str, Statistic] = field(default_factory=dict)
    denominator: float = 0.0
    settled: Outcome | None = None
    injected: dict[Signal, dict[int, Tensor]] = field(default_factory=dict)

    def places(self, units: Iterable[Unit]) -> list[int]:
        """Indices of the members that belong to `units`."""
        wanted = {id(unit) for unit in units}
        return [place for place, member in enumerate(self.members) if id(member.unit) in wanted]

    def batch(self, places: List[int], readings: Readings) -> Batch:
        """What the loss is given for its members at `places`."""
        frame = self._frame(self.entry.name, self.entry.loss, readings, places)
        return batch_of(self.entry.data, frame, [self.members[place] for place in places])

    def sequences(self, owner: str, weight: Weight, places: List[int], readings: Readings) -> Sequences:
        """What a weight is given for the members at `places`: each sequence of theirs a member of its own."""
        chosen = [self.members[place] for place in places]
        flat = [Member(member.unit, (sequence,), member.derived) for member in chosen for sequence in member.sequences]
        return Sequences(self._frame(owner, weight, readings, places), flat)

    def batch_for(self, owner: str, places: List[int], readings: Readings) -> Batch:
        """`batch` or `sequences`, whichever `owner` is given."""
        part = dict(self.entry.owners)[owner]
        return self.batch(places, readings) if owner == self.entry.name else self.sequences(owner, part, places, readings)

    def compute(self, places: List[int], readings: Readings) -> Outcome:
        """The loss on the members at `places`."""
        batch = self.batch(places, readings)
        with blamed(self.entry.name):
            terms = self.entry.loss(batch)
        _check(self.entry.name, terms, batch, LEVELS.get(self.entry.data, ("token", "sequence")))
        metrics = dict(terms.metrics)
        multipliers = self._multipliers(batch, places, readings, metrics)
        shares = self.entry.reduction.shares(terms, multipliers, self.denominator)
        units = tuple(self.members[place].unit for place in places)
        return Outcome(self.entry.name, units, shares, {name: Tally.of(metric) for name, metric in metrics.items()})

    def surrogate(self, places: List[int], live: Live) -> Tensor:
        """A number whose gradient is the injected one, on the members at `places`."""
        sequences = [sequence for place in places for sequence in self.members[place].sequences]
        masks = [self.entry.mask(sequence) for sequence in sequences]
        total = live.detached.zero()
        for signal, gradients in self.injected.items() if sequences else ():
            total = total + live.read(signal, sequences, masks) @ torch.cat([gradients[id(sequence)] for sequence in sequences])
        return total

    def statistic_at(self, owner: str, places: List[int]) -> Statistic:
        """What `owner`'s statistic found, cut to the members at `places` (for a weight: to their sequences)."""
        sizes = [1 if owner == self.entry.name else len(member.sequences) for member in self.members]
        starts = [0, *accumulate(sizes)]
        flat = [index for place in places for index in range(starts[place], starts[place + 1])]
        return {name: _at(name, value, flat, starts[-1]) for name, value in self.statistics.get(owner, {}).items()}

    def _frame(self, owner: str, part: Loss | Weight, readings: Readings, places: List[int]) -> Frame:
        statistic = self.statistic_at(owner, places)
        allowed = part.signals(), derived_signals(part)
        return Frame(owner, self.entry.targets, *allowed, readings, statistic, self.entry.temperature)

    def _multipliers(self, given: Batch, places: List[int], readings: Readings, metrics: dict[str, Any]) -> Ragged | Tensor:
        """Rows' own weights times those of the entry's weight plugins: per member, or per token. Adds the plugins' metrics.

        given: what the loss was given.
        """
        first = given if isinstance(given, Sequences) else None
        units = [self.members[place].unit for place in places]
        rows = [unit.scalars.get("weight", 1.0) for unit in units]
        product: Ragged | Tensor = sent(torch.tensor(rows, dtype=readings.dtype), readings.device)
        sizes = sent(torch.tensor([len(self.members[place].sequences) for place in places], dtype=torch.int64), readings.device)
        for owner, weight in self.entry.owners[1:]:
            batch = self.sequences(owner, weight, places, readings)
            first = batch.as_long_as(first or batch)
            with torch.no_grad(), blamed(owner):
                terms = weight(batch)
            _check(owner, terms, batch, ("sequence",) if self.entry.couples else ("token", "sequence"))
            metrics.update({(f"{owner}/{key}" if key in metrics else key): metric for key, metric in terms.metrics.items()})
            values = terms.values
            if not isinstance(values, Ragged) and self.entry.couples:
                values = torch.segment_reduce(values, "prod", lengths=sizes, unsafe=True)
            product = _times(product, values)
        return product


def live_masks(parts: Iterable[Part], units: List[Unit]) -> list[tuple[Sequence, Mask]]:
    """Sequences of `units` that some part reads, each with the union of the parts' targets."""
    found: dict[int, Mask] = {}
    for part in parts:
        for place in part.places(units):
            for sequence in part.members[place].sequences:
                mask = part.entry.mask(sequence)
                found[id(sequence)] = found[id(sequence)] | mask if id(sequence) in found else mask
    return [(sequence, found[id(sequence)]) for unit in units for sequence in unit.sequences if id(sequence) in found]


def named(metrics: Iterable[tuple[str, Mapping[str, Tally]]]) -> dict[str, Tally]:
    """Metrics of all parts as they are logged: the first part to emit a name keeps it bare, later ones get PART/NAME."""
    logged: dict[str, Tally] = {}
    for part, own in metrics:
        logged.update({(f"{part}/{name}" if name in logged else name): tally for name, tally in own.items()})
    return logged


def _times(left: Ragged | Tensor, right: Ragged | Tensor) -> Ragged | Tensor:
    if isinstance(left, Ragged):
        return left * (right if isinstance(right, Ragged) else left.per_token(right))
    return right * right.per_token(left) if isinstance(right, Ragged) else left * right


def _check(owner: str, terms: Terms, batch: Batch, levels: tuple[Level, ...]) -> None:
    """ObjectiveError unless the terms are unreduced, of a level that fits, one per member or token."""
    if not isinstance(terms, Terms):
        raise ObjectiveError(
            f"{owner} returned {type(terms).__name__}; it returns unreduced Terms({levels[0]}=...) (burnish.objective)"
        )
    if terms.level not in levels:
        raise ObjectiveError(f"{owner} returned terms per {terms.level}; here it returns them per {' or '.join(levels)}")
    values = terms.values
    if not isinstance(values, Ragged if terms.level == "token" else Tensor):
        takes = "ragged values" if terms.level == "token" else "a tensor"
        example = "-batch.logp" if terms.level == "token" else "-batch.logp.sum()"
        found = f"{type(values).__name__}{f' {[*values.shape]}' if isinstance(values, Tensor) else ''}"
        raise ObjectiveError(
            f"{owner} returned a {found} as `{terms.level}`, which takes {takes}, unreduced, such as {example}; "
            "burnish averages them"
        )
    if wrong := [name for name, metric in terms.metrics.items() if not isinstance(metric, Metric)]:
        raise ObjectiveError(f"{owner}: the metric '{wrong[0]}' is {terms.metrics[wrong[0]]!r}; write Metric(values)")
    if isinstance(values, Ragged):
        if isinstance(batch, Sequences) and torch.equal(values.lengths, batch.lengths):
            return
        raise ObjectiveError(f"{owner}: terms per token must belong to the batch's own target tokens; these have other lengths")
    if values.dim() == 0:
        raise ObjectiveError(
            f"{owner} returned an already reduced value; return one term per {terms.level}, burnish averages them"
        )
    if values.shape != (len(batch),):
        raise ObjectiveError(f"{owner} returned terms of shape {list(values.shape)}; one per {terms.level} is [{len(batch)}]")


def _at(name: str, value: float | Tensor | Ragged, places: List[int], total: int) -> float | Tensor | Ragged:
    """A statistic for some of a global batch's members: a number as it is, one entry per member cut to `places`."""
    if isinstance(value, float | int) or (isinstance(value, Tensor) and not value.dim()):
        return value
    if len(value) != total:
        raise ObjectiveError(
            f"statistic '{name}' has {len(value)} entries; it is a number, or one entry for each of {total} members"
        )
    device = value.lengths.device if isinstance(value, Ragged) else value.device
    index = sent(torch.tensor(places, dtype=torch.int64), device)
    if isinstance(value, Tensor):
        return value[index]
    pieces = torch.split(value.values, value.lengths.tolist())
    return Ragged(torch.cat([value.values[:0], *(pieces[place] for place in places)]), value.lengths[index])
