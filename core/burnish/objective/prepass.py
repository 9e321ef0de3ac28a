"""What happens once per global batch, before the first backward: members are counted, extra sequences derived, statistics
taken, selections made, denominators fixed, coupled losses differentiated.

In: all units of the batch; later, numbers scored without gradient. Out: parts that are ready for their micro-batches. Says
which sequences must be scored before, and scores none itself. Equal on every rank: it sees the whole batch in canonical order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Sequence as List
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from burnish.data.units import LIKELIEST_IDS, LIKELIEST_LOGPS, Mask, Sequence, Unit
from burnish.errors import ObjectiveError
from burnish.model.signals import Role, Signal, num_likeliest
from burnish.objective.compose import Objective, Part
from burnish.objective.contract import blamed, derive, scored_for_statistic, statistic
from burnish.objective.entries import Entry
from burnish.objective.readings import Detached, Live, Scores
from burnish.objective.views import Member

State = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Need:
    """A sequence to be scored without gradient, at the targets of `mask`; `unit` says whose it is."""

    unit: Unit
    sequence: Sequence
    mask: Mask


def open_parts(objective: Objective, units: List[Unit], pairing: List[int] | None = None) -> list[Part]:
    """Parts with the members that count and their derived sequences. units: the global batch in canonical order.

    pairing: a permutation of `units` for losses that mismatch them; by default each is paired with the one before it.
    """
    return [_open(entry, units, pairing) for entry in objective.entries]


def check_reported(parts: Iterable[Part]) -> None:
    """ObjectiveError where a part compares with more of the sampler's likeliest tokens than came with a sequence."""
    for part in parts:
        count = num_likeliest(part.entry.signals())
        for member in part.members if count else ():
            for sequence in member.sequences:
                known = sequence.tokens.get(LIKELIEST_IDS)
                found = 0 if known is None else known.size // len(sequence)
                if found < count or "behaviour" not in sequence.tokens:
                    raise ObjectiveError(
                        f"{part.entry.name} compares with the {count} likeliest tokens of the sampler, of which row "
                        f"{member.unit.row} of {member.unit.source} has {found}: a rollout reports them, and rows have them in "
                        f"the columns behaviour_logps, {LIKELIEST_IDS} and {LIKELIEST_LOGPS}"
                    )


def needs(parts: Iterable[Part], units: List[Unit], role: Role) -> list[Need]:
    """What must be scored of `role` for `units` before the micro-batches run."""
    return [need for part in parts for place in part.places(units) for need in _needs(part.entry, part.members[place], role)]


def close_parts(parts: List[Part], scored: Detached, state: State) -> State:
    """Statistics, selections, denominators and coupled gradients of the whole batch; gives the new states by owner."""
    after: State = {}
    for part in parts:
        with torch.no_grad():
            after.update(_take_statistics(part, scored, state))
        lengths = [np.count_nonzero(part.entry.mask(sequence)) for member in part.members for sequence in member.sequences]
        num_units = len({id(member.unit) for member in part.members})
        part.denominator = part.entry.reduction.denominator(map(int, lengths), num_units)
        if part.entry.is_coupled and part.members:
            _differentiate(part, scored)
    return after


def has_prepass(entries: Iterable[Entry]) -> bool:
    """Whether a part looks at the policy's signals before the micro-batches run."""
    members = ("statistic", "derive")
    return any(
        entry.is_coupled or any(hasattr(owner, name) for name in members for _, owner in entry.owners) for entry in entries
    )


def _open(entry: Entry, units: List[Unit], pairing: List[int] | None) -> Part:
    part = Part(entry, [member for unit in units for member in entry.members(unit)])
    unscored = Detached(Scores(), torch.float64, torch.device("cpu"))
    for name, owner in entry.owners:
        if part.members and (keeps := getattr(owner, "keeps", None)):
            with blamed(name):
                kept = keeps(part.batch_for(name, range(len(part.members)), unscored))
            _keep(part, name, kept)
    counted = {id(member.unit) for member in part.members}
    extra = _derived(entry, units, [place for place, unit in enumerate(units) if id(unit) in counted], pairing)
    part.members = [replace(member, derived=extra[id(member.unit)]) for member in part.members]
    return part


def _derived(entry: Entry, units: List[Unit], counted: List[int], pairing: List[int] | None) -> dict[int, dict[str, Sequence]]:
    """Derived sequences by role, for each unit (identity) at the places `counted`."""
    owners = [(name, owner) for name, owner in entry.owners if hasattr(owner, "derive")]
    if owners and pairing is not None and len(counted) < len(units):
        raise ObjectiveError(
            f"{entry.name}: a pairing of {len(units)} units was given, but only {len(counted)} of them count here"
        )
    permutation = tuple((place - 1) % len(counted) for place in range(len(counted))) if pairing is None else tuple(pairing)
    extra: dict[int, dict[str, Sequence]] = {id(units[place]): {} for place in counted}
    for name, owner in owners:
        derived = derive(owner, name, tuple(units[place] for place in counted), permutation)
        for place, sequences in zip(counted, derived, strict=True):
            extra[id(units[place])].update({sequence.role: sequence for sequence in sequences})
    return extra


def _needs(entry: Entry, member: Member, role: Role) -> Iterator[Need]:
    own = any(signal.role == role for signal in entry.signals())
    extra = any(signal.role == role for signal in entry.derived_signals())
    wanted: list[Sequence] = []
    if own and (role != "policy" or entry.is_coupled):
        wanted += member.sequences
    if extra:
        wanted += member.derived.values()
    if own and role == "policy":
        wanted += [sequence for _, owner in entry.owners for sequence in scored_for_statistic(owner, member)]
    yield from (Need(member.unit, sequence, entry.mask(sequence)) for sequence in wanted)


def _take_statistics(part: Part, scored: Detached, state: State) -> State:
    """The statistics of a part's owners, into the part; members that one of them does not keep leave it. Gives the states."""
    owners = [(name, owner) for name, owner in part.entry.owners if hasattr(owner, "statistic")]
    if not part.members:  # nothing of this source in the batch: the states stay
        return {name: state[name] for name, _ in owners if name in state}
    after: State = {}
    keep: list[tuple[str, Tensor]] = []
    for name, owner in owners:
        found, moved = statistic(owner, name, part.batch_for(name, range(len(part.members)), scored), state.get(name))
        after.update({} if moved is None else {name: moved})
        part.statistics[name] = {key: value for key, value in found.items() if key != "keep"}
        keep += [(name, value) for key, value in found.items() if key == "keep" and isinstance(value, Tensor)]
    for name, kept in keep:
        _keep(part, name, kept)
    return after


def _keep(part: Part, owner: str, kept: Tensor) -> None:
    """Take members out of `part`; of several sequences, a member stays when all do."""
    sizes = [len(member.sequences) if owner != part.entry.name else 1 for member in part.members]
    if kept.dtype != torch.bool or kept.shape != (sum(sizes),):
        raise ObjectiveError(f"{owner}: what is kept must be bool [{sum(sizes)}], got {kept.dtype} {list(kept.shape)}")
    stays = [bool(one.all()) for one in torch.split(kept.cpu(), sizes)]
    places = [place for place, stay in enumerate(stays) if stay]
    part.statistics = {name: part.statistic_at(name, places) for name in part.statistics}
    part.members = [part.members[place] for place in places]


def _differentiate(part: Part, scored: Detached) -> None:
    """Settle a coupled part: its value on the whole batch, and the gradient of it by every policy signal at every target."""
    sequences = list({id(sequence): sequence for member in part.members for sequence in member.sequences}.values())
    masks = [part.entry.mask(sequence) for sequence in sequences]
    lengths = [int(np.count_nonzero(mask)) for mask in masks]
    rows = np.split(np.arange(sum(lengths)), np.cumsum(lengths)[:-1])
    leaves: dict[Signal, Tensor] = {
        signal: scored.read(signal, sequences, masks).requires_grad_()
        for signal in sorted(part.entry.signals(), key=repr)
        if signal.role == "policy"
    }
    places = range(len(part.members))
    part.settled = part.compute(places, Live.of(leaves, sequences, masks, rows, scored))
    with torch.enable_grad():
        gradients = torch.autograd.grad(part.settled.shares.sum(), list(leaves.values()), allow_unused=True)
    for signal, gradient in zip(leaves, gradients, strict=True):
        if gradient is not None:
            part.injected[signal] = dict(zip(map(id, sequences), torch.split(gradient, lengths), strict=True))
    part.settled = part.settled.detached()
