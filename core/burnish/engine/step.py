"""One global batch: scored, reduced, differentiated. Gradients are left in `.grad`; nothing is clipped or stepped here.

In: the units of a global batch, equal on all ranks. Out: the objective's value and what it is made of, equal on all ranks.
Used by the loop, by evaluation on held-out rows and by `burnish.testing.evaluate`, so that all three mean the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence as List
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from burnish.batch.layout import Kind, lay_out
from burnish.batch.plan import MicroBatch, plan
from burnish.batch.spans import span
from burnish.data.units import Mask, Sequence, Unit
from burnish.engine.distributed import accumulating
from burnish.errors import ObjectiveError
from burnish.model.roles import Roles
from burnish.model.signals import Role, num_likeliest
from burnish.model.sites import sites_for
from burnish.objective.compose import Objective, Outcome, Part, live_masks, named
from burnish.objective.prepass import State, check_reported, close_parts, has_prepass, needs, open_parts
from burnish.objective.readings import Detached, Live, Scores
from burnish.objective.reduce import Tally

FROZEN: tuple[Role, ...] = ("reference", "teacher")


@dataclass(frozen=True)
class Fault:
    """Members of a part whose terms are not finite, by source and row; what was wrong with a skipped update."""

    part: str
    rows: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return f"'{self.part}' is not finite on " + ", ".join(f"row {row} of {source}" for source, row in self.rows)


@dataclass(frozen=True)
class StepResult:
    """The objective on one global batch.

    loss: the weighted sum of `parts`, which are not weighted. metrics: by the names they are logged by. num_tokens: of all
    sequences read, shared ones counted every time. forwarded_tokens, forwards: what each role really ran, on all ranks. state:
    of the statistics. faults: empty when every term is finite.
    """

    loss: float
    parts: dict[str, float]
    metrics: dict[str, float]
    num_tokens: int
    forwarded_tokens: dict[str, int]
    forwards: dict[str, int]
    state: State
    faults: tuple[Fault, ...]


@dataclass
class _Sums:
    """What one rank has added up, by part; and what it forwarded, by role."""

    values: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, dict[str, Tally]] = field(default_factory=dict)
    faults: dict[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    forwarded_tokens: Counter[str] = field(default_factory=Counter)
    forwards: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """One part on the members of one micro-batch."""
        name, shares = outcome.part, outcome.shares
        self.values[name] = self.values.get(name, 0.0) + float(shares.sum())
        self.merge(name, outcome.metrics)
        if bad := [outcome.units[index] for index in (~shares.isfinite()).nonzero()[:, 0].tolist()]:
            self.faults[name] = self.faults.get(name, ()) + tuple((unit.source, unit.row) for unit in bad)

    def merge(self, part: str, metrics: Mapping[str, Tally]) -> None:
        """Further metrics of `part`, which must be the same ones every time."""
        known = self.metrics.get(part)
        if known is None:
            self.metrics[part] = dict(metrics)
        elif known.keys() == metrics.keys():
            self.metrics[part] = {name: known[name].merge(tally) for name, tally in metrics.items()}
        else:
            odd = min(known.keys() ^ metrics.keys())
            raise ObjectiveError(
                f"{part} gave the metric '{odd}' for some micro-batches only; it is given always, if need be empty"
            )


class StepRunner:
    """Runs global batches through an objective.

    roles: the policy, which may be wrapped by Accelerate, and its frozen companions. budget: forwarded tokens per micro-batch.
    accelerator: does the backward passes where there is one. micro_batches: exactly so many instead of a budget, on one rank.
    """

    def __init__(
        self, roles: Roles, objective: Objective, budget: int, accelerator: Any = None, micro_batches: int | None = None
    ) -> None:
        self.roles, self.objective, self.budget = roles, objective, budget
        self._accelerator, self._micro_batches = accelerator, micro_batches
        distributed = dist.is_available() and dist.is_initialized()
        self._rank, self._num_ranks = (dist.get_rank(), dist.get_world_size()) if distributed else (0, 1)

    def run(
        self, units: List[Unit], state: State | None = None, train: bool = True, pairing: List[int] | None = None
    ) -> StepResult:
        """The objective on `units`; with `train`, its gradient is added to `.grad`, and the statistics move on.

        pairing: for losses that mismatch units, unit i goes with unit pairing[i]; a permutation of `units`.
        """
        before = Counter(self.roles.forwarded_tokens), Counter(self.roles.forwards)
        with span("layout"):
            units, pairing = canonical(units, pairing)
            parts = open_parts(self.objective, units, pairing)
            check_reported(parts)
            own = self._share(units, live_masks(parts, units))
        scored = self._score_before(parts, [unit for micro in own for unit in micro])
        after = close_parts(parts, scored, state or {})
        outcomes: list[Outcome] = []  # read after the last backward, so that no device is waited for in between
        for turn, micro in enumerate(own):
            with self._without_sync(train and turn + 1 < len(own)), torch.set_grad_enabled(train):
                loss = self._forward(parts, micro, scored, outcomes)
                if train:
                    self._backward(loss * self._num_ranks)
        if self._rank == 0:  # all ranks have settled the same
            outcomes += [part.settled for part in parts if part.settled]
        sums = _Sums()
        for outcome in _fetched(outcomes):
            sums.add(outcome)
        sums.forwarded_tokens = self.roles.forwarded_tokens - before[0]
        sums.forwards = self.roles.forwards - before[1]
        num_tokens = sum(len(sequence) for sequence, _ in live_masks(parts, units))
        return self._result(parts, _gathered(sums), num_tokens, after if train else state or {})

    def _share(self, units: List[Unit], read: List[tuple[Sequence, Mask]]) -> list[list[Unit]]:
        """This rank's micro-batches, planned on the sequences that the objective reads of each unit."""
        if self._micro_batches is not None:
            every, cuts = [unit for _, unit in _pruned(units, read)], self._micro_batches
            return [every[len(every) * cut // cuts : len(every) * (cut + 1) // cuts] for cut in range(cuts)]
        micros = micro_batches(units, read, self.budget, self.roles.kind, self._num_ranks)[self._rank]
        return [list(micro.units) for micro in micros]

    def _score_before(self, parts: List[Part], own: List[Unit]) -> Detached:
        """Numbers without gradient: of frozen roles for this rank's units, and what statistics read, exchanged among ranks."""
        scores = Scores()
        for role in (*FROZEN, "policy"):
            wanted = [
                need for need in needs(parts, own, role) if not scores.recorded(self.objective.signals(role), need.sequence)
            ]
            signals = tuple(signal for signal in self.objective.signals(role) if signal.beside is None)
            if not signals or (role == "policy" and not has_prepass(self.objective.entries)):
                continue
            sequences, masks = [need.sequence for need in wanted], [need.mask for need in wanted]
            scorer: Role = "old" if role == "policy" else role  # the policy as it is, without gradient
            found = self.roles.score_frozen(scorer, sequences, masks, signals, self.budget)
            for sequence, mask, values in zip(sequences, masks, found, strict=True):
                for signal in signals:
                    scores.put(signal, sequence, mask, values[signal])
        if self._num_ranks > 1 and has_prepass(self.objective.entries):
            every = _all_gather(scores)
            scores = Scores()  # what two ranks know may differ in the last bit, so all take the first one's
            for each in every:
                scores.merge(each)
        parameter = next(self.roles.policy.parameters())
        dtype = torch.float64 if parameter.dtype == torch.float64 else torch.float32
        return Detached(scores, dtype, parameter.device)

    def _forward(self, parts: List[Part], micro: List[Unit], scored: Detached, outcomes: list[Outcome]) -> Tensor:
        """One forward of the policy for all parts: the micro-batch's share of the objective."""
        read = live_masks(parts, micro)
        sequences, masks = [sequence for sequence, _ in read], [mask for _, mask in read]
        with span("layout"):
            layout = lay_out(sequences, self.roles.kind)
            signals = self.objective.signals("policy")
            sites = sites_for(layout, masks, num_likeliest(signals))
        outputs = self.roles.score("policy", layout, sites, signals)
        live = Live.of(outputs, sequences, masks, sites.rows, scored)
        # All ranks make the same backward passes, so even a micro-batch without terms hangs on the model.
        total = 0.0 * torch.stack([values.sum() for values in outputs.values()]).sum() if not read else scored.zero()
        for part in parts:
            places = part.places(micro)
            if part.settled and places:
                total = total + part.entry.weight * part.surrogate(places, live)
            elif places:
                outcome = part.compute(places, live)
                outcomes.append(outcome.detached())
                total = total + part.entry.weight * outcome.shares.sum()
        return total

    def _result(self, parts: List[Part], sums: _Sums, num_tokens: int, state: State) -> StepResult:
        values = {part.entry.name: sums.values[part.entry.name] for part in parts if part.entry.name in sums.values}
        tallies = named((part.entry.name, sums.metrics.get(part.entry.name, {})) for part in parts)
        metrics = {name: value for name, tally in tallies.items() if (value := tally.value()) is not None}
        weights = {part.entry.name: part.entry.weight for part in parts}
        return StepResult(
            loss=sum(weights[name] * value for name, value in values.items()),
            parts=values,
            metrics=metrics,
            num_tokens=num_tokens,
            forwarded_tokens=self._by_role(sums.forwarded_tokens),
            forwards=self._by_role(sums.forwards),
            state=state,
            faults=tuple(Fault(part, rows) for part, rows in sums.faults.items()),
        )

    def _by_role(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Counts of the roles that the objective reads, 0 where the cache knew all; `old` was the policy looking ahead."""
        models = [role for role in ("policy", *FROZEN) if role in self.objective.roles]
        return {role: counts.get(role, 0) + (counts.get("old", 0) if role == "policy" else 0) for role in models}

    def _without_sync(self, more: bool) -> AbstractContextManager[Any]:
        """Gradients are averaged over ranks in the last backward only."""
        if self._accelerator is None or not more:
            return nullcontext()
        return accumulating(self._accelerator, self.roles.policy)

    def _backward(self, loss: Tensor) -> None:
        with span("backward"):
            if self._accelerator is None:
                loss.backward()  # type: ignore[no-untyped-call]
            else:
                self._accelerator.backward(loss)


def micro_batches(
    units: List[Unit], read: List[tuple[Sequence, Mask]], budget: int, kind: Kind, num_ranks: int = 1
) -> list[list[MicroBatch]]:
    """For every rank its micro-batches of whole units, planned on the sequences of them that are read."""
    pruned = _pruned(units, read)
    whole = {id(part): unit for part, unit in pruned}
    ranks = plan([part for part, _ in pruned], budget, kind, num_ranks)
    return [[replace(micro, units=tuple(whole[id(part)] for part in micro.units)) for micro in rank] for rank in ranks]


def _pruned(units: List[Unit], read: List[tuple[Sequence, Mask]]) -> list[tuple[Unit, Unit]]:
    """Units of which anything is read: with nothing but that, and whole."""
    wanted = {id(sequence) for sequence, _ in read}
    found: list[tuple[Unit, Unit]] = []
    for unit in units:
        if sequences := tuple(sequence for sequence in unit.sequences if id(sequence) in wanted):
            found.append((unit if len(sequences) == len(unit.sequences) else replace(unit, sequences=sequences), unit))
    return found


def canonical(units: List[Unit], pairing: List[int] | None = None) -> tuple[list[Unit], list[int] | None]:
    """Units by content hash, each with sequences of its own, and the pairing that says the same of them."""
    order = sorted(range(len(units)), key=lambda place: units[place].id)
    ordered: list[Unit] = []
    seen: set[int] = set()
    for place in order:
        shared = any(id(sequence) in seen for sequence in units[place].sequences)
        ordered.append(_twin(units[place]) if shared else units[place])
        seen.update(map(id, ordered[-1].sequences))
    if pairing is None:
        return ordered, None
    if sorted(pairing) != list(range(len(units))):
        raise ObjectiveError(f"a pairing is a permutation of the {len(units)} units, got {list(pairing)}")
    rank_of = {place: rank for rank, place in enumerate(order)}
    return ordered, [rank_of[pairing[place]] for place in order]


def _twin(unit: Unit) -> Unit:
    """Equal content, another identity: a row that a batch holds twice counts twice."""
    return replace(unit, sequences=tuple(replace(sequence) for sequence in unit.sequences))


def _fetched(outcomes: List[Outcome]) -> list[Outcome]:
    """The same with all their numbers on the CPU, float64: a device is waited for once, and other processes, whose devices are
    others, can add to them."""
    if not outcomes:
        return []
    tensors = [tensor for one in outcomes for tensor in (one.shares, *(tally.moments for tally in one.metrics.values()))]
    numbers = torch.cat([tensor.detach().double() for tensor in tensors]).cpu()
    found = iter(torch.split(numbers, [len(tensor) for tensor in tensors]))
    return [
        replace(one, shares=next(found), metrics={name: Tally(tally.how, next(found)) for name, tally in one.metrics.items()})
        for one in outcomes
    ]


def _all_gather(mine: Any) -> list[Any]:
    gathered = [None] * dist.get_world_size()
    with span("sync"):
        dist.all_gather_object(gathered, mine)
    return gathered


def _gathered(mine: _Sums) -> _Sums:
    """The sums of all ranks, in the order of ranks."""
    if not (dist.is_available() and dist.is_initialized()):
        return mine
    every = _Sums()
    for sums in _all_gather(mine):
        for part, value in sums.values.items():
            every.values[part] = every.values.get(part, 0.0) + value
        for part, metrics in sums.metrics.items():
            every.merge(part, metrics)
        for part, rows in sums.faults.items():
            every.faults[part] = every.faults.get(part, ()) + rows
        every.forwarded_tokens += sums.forwarded_tokens
        every.forwards += sums.forwards
    return every
