"""Batches drawn from weighted sources: a pure function of (seed, cursor). In: sources of units. Out: global batches.

A source of weight w makes its k-th draw at time (k + 1/2) / w; draws happen in the order of their times, so that every stretch
of draws holds each source's share to within a unit or so. A source that has given all its units begins its next pass, shuffled
anew. An epoch ends when every source has been given whole once more; the batch is cut there.
May not know: rows, text, ranks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from burnish.data.units import Unit


@dataclass(frozen=True)
class SourceCursor:
    """How far a source has been read. passes: whole readings; position: in the pass since; drawn: units given in all."""

    passes: int = 0
    position: int = 0
    drawn: int = 0


@dataclass(frozen=True)
class Cursor:
    """Where a run stands in its data: epochs completed, batches drawn, and how far each source has been read."""

    epoch: int = 0
    step: int = 0
    sources: Mapping[str, SourceCursor] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        places = {name: [place.passes, place.position, place.drawn] for name, place in self.sources.items()}
        return {"epoch": self.epoch, "step": self.step, "sources": places}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Cursor:
        """The cursor that `to_json` wrote."""
        return cls(values["epoch"], values["step"], {name: SourceCursor(*at) for name, at in values["sources"].items()})


class Draws(Protocol):
    """One source being read."""

    cursor: SourceCursor

    def draw(self) -> Unit: ...


@dataclass(frozen=True)
class Share:
    """A source of a mixture. weight: its share of the draws, relative to the others'. size: units of one pass, when known."""

    name: str
    weight: float
    size: int | None
    start: Callable[[SourceCursor], Draws]


def generator(seed: int, name: str, passes: int) -> np.random.Generator:
    """The random numbers of one pass over one source."""
    digest = hashlib.blake2b(f"{seed}|{name}|{passes}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest)))


class SizedDraws:
    """Draws from units that can be indexed: a permutation each pass."""

    def __init__(self, units: Sequence[Unit], name: str, seed: int, start: SourceCursor) -> None:
        self._units, self._name, self._seed = units, name, seed
        self.cursor = start
        self._order = self._shuffled()

    def draw(self) -> Unit:
        """The next unit."""
        at = self.cursor
        unit = self._units[int(self._order[at.position])]
        if at.position + 1 < len(self._units):
            self.cursor = SourceCursor(at.passes, at.position + 1, at.drawn + 1)
        else:
            self.cursor = SourceCursor(at.passes + 1, 0, at.drawn + 1)
            self._order = self._shuffled()
        return unit

    def _shuffled(self) -> Any:
        return generator(self._seed, self._name, self.cursor.passes).permutation(len(self._units))


class Mixture:
    """Several sources as one stream of batches."""

    def __init__(self, shares: Sequence[Share], batch_size: int) -> None:
        self._shares, self._batch_size = shares, batch_size

    def batches(self, start: Cursor) -> Iterator[tuple[list[Unit], Cursor]]:
        """Batches from `start` on, without end, each with the cursor after it."""
        draws = [share.start(start.sources.get(share.name, SourceCursor())) for share in self._shares]
        epoch, step = min(source.cursor.passes for source in draws), start.step
        while True:
            units: list[Unit] = []
            while len(units) < self._batch_size and min(source.cursor.passes for source in draws) == epoch:
                next_up = min(range(len(draws)), key=lambda index: self._time(index, draws[index].cursor.drawn))
                units.append(draws[next_up].draw())
            epoch, step = min(source.cursor.passes for source in draws), step + 1
            places = {share.name: source.cursor for share, source in zip(self._shares, draws, strict=True)}
            yield units, Cursor(epoch, step, places)

    def steps(self, epochs: float) -> int | None:
        """How many batches `epochs` epochs are; None when a source's size is not known."""
        sizes = [share.size for share in self._shares if share.size is not None]
        if len(sizes) < len(self._shares):
            return None
        whole, rest = int(epochs), epochs - int(epochs)
        ends = [self._draws_until(epoch, sizes) for epoch in range(whole + 2)]
        lengths = [math.ceil((after - before) / self._batch_size) for before, after in pairwise(ends)]
        return sum(lengths[:whole]) + math.ceil(rest * lengths[whole])

    def _time(self, index: int, drawn: int) -> float:
        return (drawn + 0.5) / self._shares[index].weight

    def _draws_until(self, epoch: int, sizes: Sequence[int]) -> int:
        """Draws before the end of `epoch` epochs: up to the last of those that complete a source's `epoch`-th pass."""
        if epoch == 0:
            return 0
        last = max((self._time(index, epoch * size - 1), index) for index, size in enumerate(sizes))
        return sum(self._draws_by(index, last) for index in range(len(sizes)))

    def _draws_by(self, index: int, last: tuple[float, int]) -> int:
        """How many of a source's draws happen no later than `last`, a (time, source)."""
        drawn = max(0, int(last[0] * self._shares[index].weight) - 1)
        while (self._time(index, drawn), index) <= last:
            drawn += 1
        return drawn
