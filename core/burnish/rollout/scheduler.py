"""What is played when: groups in flight, groups that wait to be trained on, and which of them make the next rollout batch.

In: prompts from a supply, a coroutine that plays and judges a group, the version of the weights at every collection. Out:
rollout batches none of whose tokens is older than allowed. Knows no model and no thread: all of it happens in one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from burnish.errors import RunError
from burnish.rollout.filtering import has_signal, keep_groups
from burnish.rollout.supply import Draw, Supply
from burnish.rollout.trajectory import Trajectory

Group = list[Trajectory]
STALE = 32  # rollout batches' worth of groups too old to be used, after which the backend is not believed any more


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How far playing runs ahead of training.

    size: groups of a rollout batch. steps: optimiser steps on one, so many versions apart are two of them. max_staleness:
    versions that a token may be behind when its batch is begun. extra: groups in flight beside those that are needed; who is
    late is cut. filter: groups without signal do not count, and up to max_refills x size more are played in their place.
    """

    size: int
    steps: int = 1
    max_staleness: int = 0
    extra: int = 0
    filter: bool = False
    max_refills: int = 0

    @property
    def ahead(self) -> int:
        """Rollout batches that may be played while one is trained on."""
        return self.max_staleness // self.steps


@dataclass(frozen=True)
class Collected:
    """A rollout batch. stale: groups dropped since the last one because a token was too old; cut: because they were late for
    this one and would be too old for the next; both are played again. queued: groups that were ready when it was asked for.
    missing: groups that it should have had beside."""

    trajectories: list[Trajectory]
    stale: int
    cut: int
    queued: int
    missing: int


@dataclass
class _Flight:
    """A group being played. version: of the weights when it began, so that no token of it is older."""

    task: asyncio.Task[None]
    version: int


@dataclass
class Scheduler:
    """play: makes and judges the group of a draw."""

    pace: Pace
    supply: Supply
    play: Callable[[Draw], Awaitable[Group]]
    version: int = 0
    _flying: dict[int, _Flight] = field(default_factory=dict)
    _ready: dict[int, Group] = field(default_factory=dict)  # in the order in which they finished
    _filtered: list[Group] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _errors: list[Exception] = field(default_factory=list)
    _stale: int = 0

    async def collect(self, version: int) -> Collected:
        """The next rollout batch, to be trained on with the weights `version`; what raises in a group is raised here."""
        self.version, queued = version, len(self._ready)
        await self._drop_stale()
        self._admit(waiting=True)
        while not self._is_enough():
            self._raise()
            await self._changed.wait()
            self._changed.clear()
            self._admit(waiting=True)
        self._raise()
        chosen = [self._ready.pop(number) for number in self._in_order()[: self._wanted]]
        missing = self.pace.size - len(chosen)
        cut = [*await self._cut(self._late()), *self._leave_behind()]
        filtered, self._filtered = self._filtered, []
        stale, self._stale = self._stale, 0
        self._admit(waiting=False)
        every = sorted(_flat([*chosen, *filtered]), key=lambda one: (one.origin.group, one.origin.member))
        kept = {group[0].origin.group for group in chosen}
        return Collected(keep_groups(every, kept), stale, len(cut), queued, missing)

    async def stop(self) -> None:
        """End what is being played; its prompts may be taken again."""
        await self._cut(list(self._flying))

    @property
    def _short(self) -> int:
        """Groups that this rollout batch will not get, because no more may be asked for."""
        return max(0, len(self._filtered) - self.pace.max_refills * self.pace.size)

    @property
    def _wanted(self) -> int:
        return max(0, self.pace.size - self._short)

    def _admit(self, waiting: bool) -> None:
        """Begin groups while there is room: what is in flight and what is ready are bounded together."""
        pace = self.pace
        room = pace.size * (pace.ahead + waiting) + (pace.extra if pace.ahead or waiting else 0) - self._short
        room -= len(self._flying) + len(self._ready)
        for draw in self.supply.take(max(0, room)):
            task = asyncio.get_running_loop().create_task(self._fly(draw))
            self._flying[draw.number] = _Flight(task, self.version)

    async def _fly(self, draw: Draw) -> None:
        try:
            group = await self.play(draw)
        except Exception as error:  # belongs to whoever waits for the batch
            self._errors.append(error)
        else:
            del self._flying[draw.number]
            self._land(draw.number, group)
        self._changed.set()

    def _land(self, number: int, group: Group) -> None:
        if oldest(group, self.version) < self._limit:
            self._stale += 1
            if self._stale > STALE * self.pace.size:
                self._errors.append(RunError(f"{self._stale} groups in a row have tokens of weights before {self._limit}"))
            self.supply.put_back([number])
        elif self.pace.filter and not has_signal(group):
            self._filtered.append(group)
            self._admit(waiting=False)
        else:
            self._ready[number] = group

    @property
    def _limit(self) -> int:
        """The oldest version that may be trained on."""
        return self.version - self.pace.max_staleness

    def _is_enough(self) -> bool:
        """Whether a batch can be made, and nothing in flight would be too old for the next one; where late ones are cut, they
        are not waited for."""
        if len(self._ready) < self._wanted:
            return False
        due = sum(self._is_due(oldest(group, self.version)) for group in self._ready.values())
        waits = not self.pace.extra and due < self._wanted and any(self._is_due(one.version) for one in self._flying.values())
        return not waits

    def _is_due(self, version: int) -> bool:
        """Whether what these weights drew must be trained on now or never."""
        return self.version + self.pace.steps - version > self.pace.max_staleness

    def _in_order(self) -> list[int]:
        """Ready groups, those with the oldest token first, then as they finished."""
        return sorted(self._ready, key=lambda number: oldest(self._ready[number], self.version))

    def _late(self) -> list[int]:
        """What is in flight and would be too old for the next batch."""
        return [number for number, flight in self._flying.items() if self._is_due(flight.version)]

    def _leave_behind(self) -> list[int]:
        """Ready groups that found no place and would be too old for the next batch."""
        numbers = [number for number, group in self._ready.items() if self._is_due(oldest(group, self.version))]
        for number in numbers:
            del self._ready[number]
        self.supply.put_back(numbers)
        return numbers

    async def _drop_stale(self) -> None:
        """Let what has become too old be played again: checked on the versions of the tokens themselves."""
        old = [number for number, group in self._ready.items() if oldest(group, self.version) < self._limit]
        for number in old:
            del self._ready[number]
        self.supply.put_back(old)
        flights = await self._cut([number for number, flight in self._flying.items() if flight.version < self._limit])
        self._stale += len(old) + len(flights)

    async def _cut(self, numbers: Sequence[int]) -> Sequence[int]:
        tasks = [self._flying.pop(number).task for number in numbers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.supply.put_back(numbers)
        return numbers

    def _raise(self) -> None:
        if self._errors:
            raise self._errors[0]


def oldest(group: Iterable[Trajectory], otherwise: int) -> int:
    """The version of a group's oldest token."""
    return min((int(one.versions[one.own].min()) for one in group if one.own.any()), default=otherwise)


def _flat(groups: Iterable[Group]) -> list[Trajectory]:
    return [one for group in groups for one in group]
