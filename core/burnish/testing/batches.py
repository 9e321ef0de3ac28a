"""Batches with given numbers: formulas of losses and advantages on numbers written by hand, without a model.

In: numbers per target token, or rewards, as nested lists. Out: the views that a loss is called with, the groups that an
advantage is called with, and what a loss made of them. The policy's numbers carry a gradient: `torch.autograd.grad(
values_of(loss(batch), "pair").sum(), batch.chosen.logp.values)` is the formula's, per token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as List
from dataclasses import dataclass, replace
from typing import Literal, overload

import numpy as np
import torch
from torch import Tensor

from burnish.data.units import Mask, Sequence, Unit
from burnish.model.signals import Role, Signal, logp
from burnish.objective.ragged import Ragged
from burnish.objective.rewards import PAIR_METRICS
from burnish.objective.terms import Level, Terms
from burnish.objective.views import Frame, Lists, Member, Pairs, Sequences, Statistic, Triples
from burnish.rollout.contract import Groups

Numbers = List[List[float]]
Scalars = Mapping[str, List[float]]
CPU = torch.device("cpu")


@overload
def values_of(terms: Terms, level: Literal["token"]) -> Ragged: ...
@overload
def values_of(terms: Terms, level: Literal["sequence", "pair", "list"]) -> Tensor: ...
def values_of(terms: Terms, level: Level) -> Ragged | Tensor:
    """The terms that a loss gives for each `level`; AssertionError where it gives them for something else."""
    if terms.level != level:
        raise AssertionError(f"the loss gives a term for each {terms.level}, not for each {level}")
    return terms.values


@dataclass(frozen=True)
class Given:
    """Readings that sequences carry with them, in float64."""

    dtype: torch.dtype = torch.float64
    device: torch.device = CPU

    def read(self, signal: Signal, sequences: List[Sequence], masks: List[Mask]) -> Tensor:
        """As `Readings.read`; what was not given is 0."""
        silent = np.zeros(max((len(sequence) for sequence in sequences), default=0))
        columns = [sequence.tokens.get(column(signal), silent[: len(sequence)]) for sequence in sequences]
        found = [values[mask] for values, mask in zip(columns, masks, strict=True)]
        return torch.from_numpy(np.concatenate([np.empty(0), *found])).requires_grad_(signal.role == "policy")


def column(signal: Signal) -> str:
    """Under which name a sequence carries a signal: `policy_logp`, `policy_label_logp_1`."""
    parameters = (f"{value:g}" if isinstance(value, float) else value for _, value in signal.parameters)
    return "_".join([signal.role, signal.name, *parameters])


def pairs(
    chosen: Numbers,
    rejected: Numbers,
    *,
    reference: tuple[Numbers, Numbers] | None = None,
    signals: Mapping[Signal, tuple[Numbers, Numbers]] | None = None,
    scalars: Scalars | None = None,
    statistic: Statistic | None = None,
) -> Pairs:
    """Pairs of completions with these log-probabilities: for each pair, its numbers per target token.

    reference: the reference's, of both sides; without it the batch has no reference. signals: further ones. scalars: columns,
    one number per pair. statistic: what the loss's own would have found.
    """
    sides = _sides(("chosen", "rejected"), (chosen, rejected), reference, signals)
    return Pairs(_frame(reference, signals, statistic), _members("preference", sides, scalars))


def triples(chosen: Numbers, rejected: Numbers, gold: Numbers, *, scalars: Scalars | None = None) -> Triples:
    """Pairs with a gold answer each."""
    sides = _sides(("chosen", "rejected", "gold"), (chosen, rejected, gold), None, None)
    return Triples(_frame(None, None, None), _members("triple", sides, scalars))


def sequences(
    logps: Numbers,
    *,
    reference: Numbers | None = None,
    signals: Mapping[Signal, Numbers] | None = None,
    scalars: Scalars | None = None,
    fields: Mapping[str, Numbers] | None = None,
    derived: Mapping[str, tuple[Numbers, Numbers]] | None = None,
    statistic: Statistic | None = None,
) -> Sequences:
    """Sequences with these log-probabilities. fields: numbers per target token that came with the data. derived: by role, the
    policy's and the reference's numbers of derived sequences.

    The other arguments as for `pairs`.
    """
    given = {signal: (numbers,) for signal, numbers in (signals or {}).items()}
    own = _sides(("main",), (logps,), None if reference is None else (reference,), given)
    for name, numbers in (fields or {}).items():
        columns = [{**one.tokens, name: np.array([np.nan, *values])} for one, values in zip(own[0], numbers, strict=True)]
        own = [[replace(one, tokens=tokens) for one, tokens in zip(own[0], columns, strict=True)]]
    extra = {role: _sides((role,), numbers[:1], numbers[1:], None)[0] for role, numbers in (derived or {}).items()}
    members = [
        replace(member, derived={role: extra[role][place] for role in extra})
        for place, member in enumerate(_members("unpaired", own, scalars))
    ]
    return Sequences(_frame(reference, given, statistic), members)


def lists(items: List[Numbers], *, reference: List[Numbers] | None = None) -> Lists:
    """Lists of completions, best first: for each list its items, for each item its numbers per target token."""
    members = []
    for place, own in enumerate(items):
        roles = [f"item{index}" for index in range(len(own))]
        theirs = None if reference is None else [[item] for item in reference[place]]
        sides = _sides(roles, [[item] for item in own], theirs, None)
        members += _members("ranked", sides, None)
    return Lists(_frame(reference, None, None), members)


def groups(
    rewards: Numbers,
    lengths: Numbers | None = None,
    *,
    parts: Mapping[str, Numbers] | None = None,
    weights: Mapping[str, float] | None = None,
    values: Numbers | None = None,
    token_rewards: Numbers | None = None,
    steps: List[List[int]] | None = None,
    greedy: List[float] | None = None,
    opponents: Numbers | None = None,
) -> Groups:
    """Groups of completions with these rewards, as an advantage is called with: for each group, one number per completion.

    lengths: tokens of each completion, by default 1. parts: of several rewards, by default one called `reward`. values,
    token_rewards, steps: for each completion, one number per token. greedy: one number per group. opponents: for each group,
    one number per opponent.
    """
    return Groups(
        rewards=_ragged(rewards),
        parts={name: _ragged(numbers) for name, numbers in (parts or {"reward": rewards}).items()},
        weights=weights or {},
        lengths=_ragged(lengths if lengths is not None else [[1.0] * len(group) for group in rewards]),
        values=None if values is None else _ragged(values),
        token_rewards=None if token_rewards is None else _ragged(token_rewards),
        steps=None if steps is None else _ragged(steps, torch.int64),
        greedy=None if greedy is None else torch.tensor(greedy, dtype=torch.float64),
        opponents=None if opponents is None else _ragged(opponents),
    )


def _ragged(numbers: Numbers | List[List[int]], dtype: torch.dtype = torch.float64) -> Ragged:
    flat = [number for one in numbers for number in one]
    return Ragged(torch.tensor(flat, dtype=dtype), torch.tensor([len(one) for one in numbers], dtype=torch.int64))


def _frame(reference: object, signals: Mapping[Signal, object] | None, statistic: Statistic | None) -> Frame:
    declared = PAIR_METRICS | {logp()} | set(signals or ()) | ({logp("reference")} if reference is not None else set())
    return Frame("this loss", "completion", frozenset(declared), frozenset(declared), Given(), statistic or {})


def _sides(
    roles: List[str], logps: List[Numbers], reference: List[Numbers] | None, signals: Mapping[Signal, List[Numbers]] | None
) -> list[list[Sequence]]:
    """For each role, its sequences."""
    given = {logp(): logps, **({logp("reference"): reference} if reference is not None else {}), **(signals or {})}
    return [
        [_sequence(role, {signal: sides[side][row] for signal, sides in given.items()}) for row in range(len(logps[side]))]
        for side, role in enumerate(roles)
    ]


def _sequence(role: Role | str, numbers: Mapping[Signal, List[float]]) -> Sequence:
    """A token that nothing predicts, then one target per number."""
    length = len(numbers[logp()]) + 1
    tokens = {column(signal): np.array([np.nan, *values]) for signal, values in numbers.items()}
    return Sequence(np.arange(length), {"completion": np.arange(length) > 0}, role=role, tokens=tokens)


def _members(kind: str, sides: List[List[Sequence]], scalars: Scalars | None) -> list[Member]:
    columns: Iterable[tuple[str, List[float]]] = (scalars or {}).items()
    rows = [{name: values[row] for name, values in columns} for row in range(len(sides[0]))]
    return [
        Member(Unit(kind, tuple(sequences), scalars=row), tuple(sequences))
        for sequences, row in zip(zip(*sides, strict=True), rows, strict=True)
    ]
