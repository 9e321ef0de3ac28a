"""Prompts one after another, each with a number of its own; none skipped, none twice, whatever becomes of its rollout.

In: the units of the sources that are played, from a cursor on. Out: numbered draws, and the place after those that were used. A
place is a function of the place before and of the numbers used since, so that a journal alone can bring a run there again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple, Protocol

from burnish.data.dataset import Cursor
from burnish.data.examples import Example
from burnish.data.stream import Streamed
from burnish.data.units import Unit


class Draw(NamedTuple):
    """A prompt that was drawn. number: how many were drawn before it; source, row, part: where it came from; example: the row
    itself, where it comes from a stream and cannot be looked up."""

    number: int
    source: str
    row: int
    part: int
    example: Example | None = None


@dataclass(frozen=True)
class Place:
    """Which prompts were used. prompts: the cursor after the first `drawn` draws; waiting: those of them that were not used."""

    prompts: Cursor = field(default_factory=Cursor)
    drawn: int = 0
    waiting: tuple[Draw, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        waiting = [[draw.number, draw.source, draw.row, draw.part] for draw in self.waiting]
        return {"prompts": self.prompts.to_json(), "drawn": self.drawn, "waiting": waiting}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Place:
        """The place that `to_json` wrote."""
        waiting = tuple(Draw(*draw) for draw in values["waiting"])
        return cls(Cursor.from_json(values["prompts"]), values["drawn"], waiting)


class Units(Protocol):
    """Batches of a mixture of sources: `TrainData`."""

    def units(self, start: Cursor) -> Iterator[tuple[list[Unit], Cursor]]: ...

    @property
    def steps_per_epoch(self) -> int | None: ...


LOOK = 1024  # prompts beyond the last that was used, among which one is sought that may be played


class Supply:
    """Gives out draws, those that wait first, and notes which were used. May be called from several threads.

    units: gives batches of one unit. may: whether a draw may be played after so many were used; where none may, the first is.
    """

    def __init__(self, units: Units, place: Place, may: Callable[[Draw, int], bool] | None = None) -> None:
        self._may = may
        self._place = place
        self._source = units.units(place.prompts)
        self._drawn = {draw.number: (draw, place.prompts) for draw in place.waiting}  # and not used; with the cursor after it
        self._free = [draw.number for draw in place.waiting]  # a heap
        self._next = place.drawn
        self._epoch = place.prompts.epoch
        self._lock = Lock()

    def take(self, count: int, within_epoch: bool = False) -> list[Draw]:
        """So many draws; with `within_epoch` fewer where the epoch ends, but at least one."""
        with self._lock:
            taken: list[Draw] = []
            epoch = self._epoch
            while len(taken) < count and not (within_epoch and taken and self._epoch != epoch and not self._free):
                number = self._choose()
                taken.append(self._drawn[number][0])
            return taken

    def _choose(self) -> int:
        """The first that may be played, among those that wait and then among new ones; it waits no longer."""
        if self._may is None:
            return heapq.heappop(self._free) if self._free else self._draw()
        used = self._place.drawn - len(self._place.waiting)
        for number in sorted(self._free):
            if self._may(self._drawn[number][0], used):
                self._free.remove(number)
                heapq.heapify(self._free)
                return number
        while self._next < self._place.drawn + LOOK:
            number = self._draw()
            if self._may(self._drawn[number][0], used):
                return number
            heapq.heappush(self._free, number)
        return heapq.heappop(self._free)

    def put_back(self, numbers: Iterable[int]) -> None:
        """Let draws be taken again."""
        with self._lock:
            for number in numbers:
                heapq.heappush(self._free, number)

    def use(self, numbers: Iterable[int]) -> Place:
        """Note that these draws were used, whoever took them; the place after."""
        with self._lock:
            used = set(numbers)
            drawn = max((number + 1 for number in used), default=0)
            while self._next < drawn:  # used by another process, or in an earlier life of this one
                heapq.heappush(self._free, self._draw())
            drawn = max(drawn, self._place.drawn)
            prompts = self._drawn[drawn - 1][1] if drawn > self._place.drawn else self._place.prompts
            self._free = [number for number in self._free if number not in used]
            heapq.heapify(self._free)
            for number in used:
                self._drawn.pop(number, None)
            waiting = tuple(draw for number, (draw, _) in sorted(self._drawn.items()) if number < drawn)
            self._place = Place(prompts, drawn, waiting)
            return self._place

    def _draw(self) -> int:
        [unit], after = next(self._source)
        number, self._next, self._epoch = self._next, self._next + 1, after.epoch
        example = unit.example if isinstance(unit, Streamed) else None
        self._drawn[number] = (Draw(number, unit.source, unit.row, unit.part, example), after)
        return number
