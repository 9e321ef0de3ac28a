"""Numbers in the place of models: every signal of every token is drawn, so that a formula is computed without a network.

In: units and a case. Out: a part with its members, its statistics and its readings, ready to be called. As with a model, what
is read of a token depends on the tokens up to it and on nothing else, so sequences that begin alike share their numbers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from collections.abc import Sequence as List
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from burnish.data.units import Mask, Sequence, Unit
from burnish.model.signals import Role, Signal
from burnish.model.tile import WITHOUT_GRADIENT
from burnish.objective.compose import Objective, Outcome, live_masks
from burnish.objective.contract import Loss, Weight
from burnish.objective.entries import Entry
from burnish.objective.prepass import State, close_parts, needs, open_parts
from burnish.objective.ragged import Ragged
from burnish.objective.readings import RECORDED, Array, Detached, Live, Readings, Scores, column
from burnish.objective.terms import Terms

Case = Literal["drawn", "far", "unmoved", "certain", "uniform"]
"""drawn: plausible numbers, of each role its own. far: log-probabilities down to -60 nats a token. unmoved: all roles agree.
certain: every target has probability 1, other signals are 0. uniform: every one of `NUM_OUTCOMES` tokens is as likely, and so
is either label of a step; other signals are 0."""

NUM_OUTCOMES = 8
ROLES: tuple[Role, ...] = ("policy", "reference", "teacher")
RANGES = {
    "logp": (-4.0, -0.05),
    "entropy": (0.1, 4.0),
    "top1": (0.0, 1.0),
    "mean_logit": (-1.0, 1.0),
    "sum_p2": (0.05, 0.95),
    "sampler_divergence": (0.0, 0.5),
    "value": (-2.0, 2.0),
    "score": (-2.0, 2.0),
    "label_logp": (-4.0, -0.05),
}
KNOWN: dict[Case, dict[str, float]] = {
    "certain": {"top1": 1.0, "sum_p2": 1.0},
    "uniform": {
        "logp": -math.log(NUM_OUTCOMES),
        "entropy": math.log(NUM_OUTCOMES),
        "top1": 1.0,
        "sum_p2": 1 / NUM_OUTCOMES,
        "label_logp": -math.log(2),
    },
}


@dataclass(frozen=True)
class Numbers:
    """What every signal is at every token.

    names: an id -> the id that it stands for, to write the same sequences in other ids. perturbed: ids whose tokens read other
    numbers than they would.
    """

    case: Case = "drawn"
    seed: int = 0
    names: Mapping[int, int] = field(default_factory=dict)
    perturbed: frozenset[int] = frozenset()

    def of(self, signal: Signal, sequence: Sequence) -> Array:
        """One number per token, [T]."""
        names = tuple(sorted(self.names.items()))
        return _numbers(self.case, self.seed, names, self.perturbed, signal, tuple(sequence.ids.tolist())).copy()

    def recorded(self, unit: Unit, signals: frozenset[Signal]) -> Unit:
        """The unit with the numbers of roles that come with the data, unless it has them."""
        wanted = [signal for signal in signals if signal.role in RECORDED]

        def known(sequence: Sequence) -> Sequence:
            numbers = {column(signal): self.of(signal, sequence) for signal in wanted}
            return replace(sequence, tokens={**numbers, **sequence.tokens})

        return replace(unit, sequences=tuple(map(known, unit.sequences))) if wanted else unit

@lru_cache(maxsize=8192)
def _numbers(
    case: Case, seed: int, names: tuple[tuple[int, int], ...], perturbed: frozenset[int], signal: Signal, ids: tuple[int, ...]
) -> Array:
    """As of `Numbers.of`; kept, since many checks read the same tokens."""
    known = KNOWN.get(case)
    if known is not None or (case == "unmoved" and signal.beside is not None):
        return np.full(len(ids), 0.0 if known is None else known.get(signal.name, 0.0))
    stands_for, role = dict(names), "" if case == "unmoved" else signal.role
    read = [stands_for.get(token, token) for token in ids]
    drawn = np.empty(len(ids))
    for place, token in enumerate(ids):
        other, before = token in perturbed, read[: place + 1]
        text = f"{seed}|{role}|{signal.name}|{signal.temperature}|{signal.parameters}|{other}|{before}"
        drawn[place] = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64
    if case == "far" and signal.name == "logp":
        return -60 * drawn
    low, high = RANGES.get(signal.name, (0.1, 2.1))
    numbers: Array = low + (high - low) * drawn
    return (numbers > 0.5).astype(np.float64) if signal.name == "top1" else numbers


@dataclass
class Spy:
    """Readings that remember what was read, and whether it could carry a gradient."""

    inner: Readings
    signals: set[Signal] = field(default_factory=set)
    read_without_gradient: list[Tensor] = field(default_factory=list)

    @property
    def dtype(self) -> torch.dtype:
        """As of the inner readings."""
        return self.inner.dtype

    @property
    def device(self) -> torch.device:
        """As of the inner readings."""
        return self.inner.device

    def read(self, signal: Signal, sequences: List[Sequence], masks: List[Mask]) -> Tensor:
        """As of the inner readings."""
        self.signals.add(signal)
        values = self.inner.read(signal, sequences, masks)
        if signal.role != "policy":
            self.read_without_gradient.append(values)
        return values


@dataclass
class Scene:
    """One part of an objective on one batch, its numbers given: what the core has at hand when it calls a loss.

    owner: the loss's name, or the weight's, whichever is looked at. state: of the statistics, before and after.
    """

    entry: Entry
    owner: str
    units: list[Unit]
    numbers: Numbers = Numbers()
    dtype: torch.dtype = torch.float64
    before: State = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.units = [self.numbers.recorded(unit, self.entry.signals()) for unit in self.units]
        objective = Objective((self.entry,))
        parts = open_parts(objective, self.units)
        [self.part] = parts
        scores = Scores()
        for role in ROLES:
            signals = [signal for signal in objective.signals(role) if signal.beside is None]
            for need in needs(parts, self.units, role):
                for signal in signals:
                    scores.put(signal, need.sequence, need.mask, self.numbers.of(signal, need.sequence)[need.mask])
        self.detached = Spy(Detached(scores, self.dtype, torch.device("cpu")))
        self.after = close_parts(parts, cast("Detached", self.detached), self.before)

    @property
    def plugin(self) -> Loss | Weight:
        """The loss or weight that is looked at."""
        return dict(self.part.entry.owners)[self.owner]

    @property
    def is_weight(self) -> bool:
        """Whether it is a weight."""
        return self.owner != self.part.entry.name

    @cached_property
    def leaves(self) -> dict[Signal, Tensor]:
        """The policy's signals at every target of the batch, end to end; those that carry a gradient are leaves."""
        return {
            signal: torch.from_numpy(np.concatenate([self.numbers.of(signal, one)[mask] for one, mask in self._read]))
            .to(self.dtype)
            .requires_grad_(signal.name not in WITHOUT_GRADIENT)
            for signal in Objective((self.entry,)).signals("policy")
            if self._read
        }

    @cached_property
    def spans(self) -> dict[int, slice]:
        """Where the targets of each sequence (by identity) lie in the leaves."""
        ends = np.cumsum([int(mask.sum()) for _, mask in self._read])
        starts = [0, *ends[:-1]]
        return {id(one): slice(int(start), int(end)) for (one, _), start, end in zip(self._read, starts, ends, strict=True)}

    @cached_property
    def _read(self) -> list[tuple[Sequence, Mask]]:
        return live_masks([self.part], self.units)

    def readings(self, leaves: Mapping[Signal, Tensor] | None = None) -> Spy:
        """What the formula reads: `leaves`, and numbers without gradient for everything else."""
        sequences, masks = [one for one, _ in self._read], [mask for _, mask in self._read]
        rows = [np.arange(self.spans[id(one)].start, self.spans[id(one)].stop) for one in sequences]
        detached = cast("Detached", self.detached)
        return Spy(Live.of(self.leaves if leaves is None else leaves, sequences, masks, rows, detached))

    @property
    def places(self) -> list[int]:
        """Of all members that count."""
        return list(range(len(self.part.members)))

    def call(self, places: List[int] | None = None, leaves: Mapping[Signal, Tensor] | None = None) -> Terms:
        """The loss's or weight's own terms for the members at `places`, in that order."""
        return self.spied(self.readings(leaves), places)

    def spied(self, readings: Spy, places: List[int] | None = None) -> Terms:
        """`call` on these readings."""
        chosen = self.places if places is None else list(places)
        plugin: Any = self.plugin
        terms: Terms = plugin(self.part.batch_for(self.owner, chosen, readings))
        return terms

    def compute(self, places: List[int] | None = None) -> Outcome:
        """The whole part on the members at `places`: terms weighed and reduced."""
        return self.part.compute(self.places if places is None else list(places), self.readings())

    def gradient(self, value: Tensor) -> Tensor:
        """Of one number by every leaf, end to end; 0 where it does not depend on one."""
        leaves = [leaf for leaf in self.leaves.values() if leaf.requires_grad]
        if not value.requires_grad:
            return torch.zeros(sum(map(len, leaves)), dtype=self.dtype)
        found = torch.autograd.grad(value, leaves, allow_unused=True, retain_graph=True)
        return torch.cat([torch.zeros_like(leaf) if one is None else one for leaf, one in zip(leaves, found, strict=True)])


def values_of(terms: Terms) -> Tensor:
    """One number per member, token terms added up per sequence: what equal batches must have equal."""
    return terms.values.sum() if isinstance(terms.values, Ragged) else terms.values
