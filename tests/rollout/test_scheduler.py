"""The scheduler: which groups make a batch, how many are in flight, and that no token is older than allowed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played import trajectory
from test_supply import Rows

from burnish.errors import RunError
from burnish.rollout.scheduler import Collected, Pace, Scheduler
from burnish.rollout.supply import Draw, Place, Supply
from burnish.rollout.trajectory import Trajectory


@dataclass
class World:
    """Time by ticks: a group takes as many as `length` says and is drawn, token by token, by whatever the version then is.

    rewards: of the two members of a group, by its number.
    """

    length: Callable[[int], int]
    rewards: Callable[[int], tuple[float, float]] = lambda number: (0.0, 1.0)
    version: int = 0
    flying: int = 0
    most: int = 0
    begun: list[int] = field(default_factory=list)

    async def play(self, draw: Draw) -> list[Trajectory]:
        self.begun.append(draw.number)
        self.flying += 1
        self.most = max(self.most, self.flying)
        versions = []
        try:
            for _ in range(self.length(draw.number)):
                versions.append(self.version)
                await tick()
        finally:
            self.flying -= 1
        members = [trajectory(draw.number, member, [5] * len(versions)) for member in (0, 1)]
        return [
            replace(one, versions=one.versions * 0 + [-1, -1, *versions], rewards={"a": reward}, reward=reward)
            for one, reward in zip(members, self.rewards(draw.number), strict=True)
        ]


async def tick() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def groups(collected: Collected, outcome: str = "ok") -> list[int]:
    return [one.origin.group for one in collected.trajectories if one.origin.member == 0 and one.outcome == outcome]


def run(world: World, pace: Pace, batches: int, training: int = 0, supply: Supply | None = None) -> list[Collected]:
    """So many rollout batches, with `training` ticks on each."""

    async def session() -> list[Collected]:
        scheduler, found = Scheduler(pace, supply or Supply(Rows(), Place()), world.play), []
        for number in range(batches):
            world.version = number * pace.steps
            found.append(await scheduler.collect(world.version))
            for _ in range(training):
                await tick()
        await scheduler.stop()
        return found

    return asyncio.run(session())


def test_strictly_on_policy_nothing_flies_while_training() -> None:
    world = World(length=lambda number: 1 + number % 3)
    found = run(world, Pace(size=3), batches=3, training=5)
    assert [groups(one) for one in found] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert world.most == 3
    assert all(set(one.versions[2:]) == {batch} for batch, each in enumerate(found) for one in each.trajectories)


def test_of_more_prompts_the_first_that_finish_and_the_others_come_first_next_time() -> None:
    """Four are begun for two. 0 and 2 take nine ticks, the others one, so 1 and 3 make the first batch. Then 0 and 2 are begun
    again with 4 and 5, who finish first; and so on until only long ones are left: 0 and 2 with 6 and 7."""
    world = World(length=lambda number: 9 if number in (0, 2) else 1)
    supply = Supply(Rows(), Place())
    found = run(world, Pace(size=2, extra=2), batches=2, training=3, supply=supply)
    assert [groups(one) for one in found] == [[1, 3], [4, 5]]
    assert [(one.cut, one.stale) for one in found] == [(2, 0), (2, 0)]
    assert world.begun == [0, 1, 2, 3, 0, 2, 4, 5]
    assert [draw.number for draw in supply.take(3)] == [0, 2, 6]
    assert world.flying == 0


def test_ahead_the_backend_works_while_training_and_is_bounded() -> None:
    world = World(length=lambda number: 2)
    found = run(world, Pace(size=2, max_staleness=1), batches=4, training=20)
    assert [groups(one) for one in found] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [one.queued for one in found] == [0, 2, 2, 2]
    assert world.most == 4  # back-pressure: those that are waited for, and one batch beside
    assert len(world.begun) == 10
    # the first batch is drawn by 0, as is the second; from then on each by the version before its own
    assert [one.trajectories[0].versions[-1] for one in found] == [0, 0, 1, 2]


def test_the_slow_one_is_waited_for_rather_than_grown_too_old() -> None:
    """Group 0 takes 12 ticks, others 1. With k = 1 it may be trained on in batch 0 or 1 and is waited for in batch 1."""
    world = World(length=lambda number: 12 if number == 0 else 1)
    found = run(world, Pace(size=2, max_staleness=1), batches=3)
    assert groups(found[0]) == [1, 2]
    assert 0 in groups(found[1])
    assert sum(one.stale + one.cut for one in found) == 0


def test_where_late_ones_are_cut_they_are_not_waited_for() -> None:
    world = World(length=lambda number: 12 if number == 0 else 1)
    found = run(world, Pace(size=2, max_staleness=1, extra=1), batches=2)
    assert 0 not in groups(found[0]) + groups(found[1])
    assert found[1].cut == 1


def test_versions_across_an_update_are_those_of_the_tokens() -> None:
    world = World(length=lambda number: 6 if number == 0 else 1)
    found = run(world, Pace(size=1, max_staleness=2), batches=3, training=2)
    [slow] = [one for each in found for one in each.trajectories if one.origin == replace(one.origin, group=0, member=0)]
    assert len(set(slow.versions[2:])) > 1
    assert list(slow.versions[2:]) == sorted(slow.versions[2:])


@pytest.mark.parametrize(("allowed", "older"), [(2, 5), (0, 1)])
def test_a_token_that_is_older_than_it_should_be_is_not_trained_on(allowed: int, older: int) -> None:
    """A backend that says of a completion in group 2 that weights from before drew it: dropped, counted and played again."""
    world, lies = World(length=lambda number: 1), iter([True])

    async def play(draw: Draw) -> list[Trajectory]:
        made = await World.play(world, draw)
        if draw.number == 2 and next(lies, False):
            made[1] = replace(made[1], versions=made[1].versions - older * (made[1].versions >= 0))
        return made

    scheduler = Scheduler(Pace(size=1, max_staleness=allowed), Supply(Rows(), Place()), play)

    async def session() -> list[Collected]:
        found = []
        for number in (6, 7, 8, 9):
            world.version = number
            found.append(await scheduler.collect(number))
            await tick()
        await scheduler.stop()
        return found

    found = asyncio.run(session())
    assert sum(one.stale + one.cut for one in found) == 1
    assert world.begun.count(2) == 2
    for number, each in zip((6, 7, 8, 9), found, strict=True):
        assert all(one.versions[2:].min() >= number - allowed for one in each.trajectories)


def test_what_found_no_place_and_would_be_too_old_is_cut() -> None:
    """Four groups for batches of one, all of them drawn by 0: one is trained on by 0, one by 1, and then two are of no use."""
    world = World(length=lambda number: 1)
    found = run(world, Pace(size=1, max_staleness=1, extra=2), batches=2, training=3)
    assert [one.cut for one in found] == [0, 2]
    assert sum(one.stale for one in found) == 0
    assert [world.begun.count(number) for number in range(4)] == [1, 1, 2, 2]  # and played again


def test_after_more_steps_than_foreseen_nothing_old_is_used_or_waited_for() -> None:
    """From 0 on to 9, two versions allowed: group 1 is ready, 2 would be played forever, 0 was trained on."""
    endless = iter([True])
    world = World(length=lambda number: 10**6 if number == 2 and next(endless, False) else 1)
    scheduler = Scheduler(Pace(size=1, max_staleness=2), Supply(Rows(), Place()), world.play)

    async def session() -> Collected:
        await scheduler.collect(0)
        await tick()
        await tick()
        world.version = 9
        found = await asyncio.wait_for(scheduler.collect(9), 5)
        await scheduler.stop()
        return found

    found = asyncio.run(session())
    assert groups(found) == [1]
    assert set(found.trajectories[0].versions[2:]) == {9}
    assert (found.stale, world.begun[:5]) == (2, [0, 1, 2, 1, 2])


def test_groups_without_signal_are_replaced_and_handed_out_too() -> None:
    world = World(length=lambda number: 1, rewards=lambda number: (0.0, float(number not in (0, 1))))
    [found] = run(world, Pace(size=2, filter=True, max_refills=3), batches=1)
    assert groups(found, "filtered") == [0, 1]
    assert groups(found) == [2, 3]
    assert found.missing == 0


@pytest.mark.parametrize(("refills", "begun"), [(0, 3), (2, 9)])
def test_the_cap_of_refills(refills: int, begun: int) -> None:
    """Nothing has a signal: after 3 and 3 x refills groups the batch is given up, empty."""
    world = World(length=lambda number: 1 + number % 3, rewards=lambda number: (1.0, 1.0))
    [found] = run(world, Pace(size=3, filter=True, max_refills=refills), batches=1)
    assert (len(world.begun), found.missing, groups(found)) == (begun, 3, [])


def test_members_are_in_order_whoever_finished_first() -> None:
    [found] = run(World(length=lambda number: 3 - number), Pace(size=3), batches=1)
    assert [(one.origin.group, one.origin.member) for one in found.trajectories] == [(g, m) for g in range(3) for m in range(2)]


def test_a_group_without_signal_is_replaced_while_training() -> None:
    """0 is trained on, 1 was drawn ahead and has no signal: 2 is begun before the next batch is asked for."""
    world = World(length=lambda number: 3 if number == 1 else 1, rewards=lambda number: (0.0, float(number != 1)))
    pace = Pace(size=1, max_staleness=1, filter=True, max_refills=5)

    async def session() -> None:
        scheduler = Scheduler(pace, Supply(Rows(), Place()), world.play)
        await scheduler.collect(0)
        assert world.begun == [0, 1]
        for _ in range(4):
            await tick()
        assert world.begun == [0, 1, 2]
        await scheduler.stop()

    asyncio.run(session())


def test_enough_that_must_be_used_now_are_not_kept_waiting_for_more() -> None:
    """Two versions allowed, groups 1 and 2 drawn by 0. At 2 both are due, and there is a place for one: 1, which has ended."""
    ends = {1: asyncio.Event(), 2: asyncio.Event()}
    world = World(length=lambda number: 1)

    async def play(draw: Draw) -> list[Trajectory]:
        made = await world.play(draw)
        if draw.number in ends:
            await ends[draw.number].wait()
        return made

    async def session() -> list[Collected]:
        scheduler, found = Scheduler(Pace(size=1, max_staleness=2), Supply(Rows(), Place()), play), []
        for number in range(3):
            world.version = number
            found.append(await asyncio.wait_for(scheduler.collect(number), 5))
            await tick()
            if number == 1:
                ends[1].set()
        await scheduler.stop()
        return found

    found = asyncio.run(session())
    assert [groups(one) for one in found] == [[0], [3], [1]]
    assert [one.cut for one in found] == [0, 0, 1]


@pytest.mark.parametrize(
    ("extra", "batches", "found"), [(1, (0, 1, 2, 3), [1, 2, 3, 4]), (0, (0, 9, 10), [0, 1, 2])], ids=["late", "too old"]
)
def test_what_is_cut_has_ended_before_it_is_played_again(extra: int, batches: tuple[int, ...], found: list[int]) -> None:
    """Group 0 would take forever the first time, or, where nothing is cut for being late, group 1."""
    flying: set[int] = set()
    endless = {0 if extra else 1}
    scheduler: Scheduler

    async def play(draw: Draw) -> list[Trajectory]:
        assert draw.number not in flying
        flying.add(draw.number)
        try:
            await (asyncio.sleep(3600) if draw.number in endless else tick())
        finally:
            await tick()  # a backend is told, and answers
            endless.intersection_update({0})
            flying.remove(draw.number)
        made = trajectory(draw.number, 0, [5])
        return [replace(made, versions=made.versions * 0 + scheduler.version)]

    async def session() -> list[int]:
        nonlocal scheduler
        scheduler = Scheduler(Pace(size=1, max_staleness=1, extra=extra), Supply(Rows(), Place()), play)
        taken = [one for number in batches for one in groups(await scheduler.collect(number))]
        await scheduler.stop()
        return taken

    assert asyncio.run(session()) == found


def test_a_backend_that_always_draws_from_old_weights_is_given_up() -> None:
    """After 32 batches' worth of groups, and not sooner."""
    world = World(length=lambda number: 1, version=5)
    scheduler = Scheduler(Pace(size=2), Supply(Rows(), Place()), world.play)

    async def session() -> None:
        try:
            await asyncio.wait_for(scheduler.collect(6), 20)
        finally:
            await scheduler.stop()

    with pytest.raises(RunError, match="65 groups in a row have tokens of weights before 6"):
        asyncio.run(session())
    assert {*world.begun} == {0, 1}


def test_what_a_group_raises_is_raised_to_who_collects() -> None:
    async def play(draw: Draw) -> Any:
        if draw.number == 1:
            raise OSError("gone")
        await asyncio.sleep(3600)

    async def session() -> None:
        scheduler = Scheduler(Pace(size=2), Supply(Rows(), Place()), play)
        try:
            await scheduler.collect(0)
        finally:
            await scheduler.stop()

    with pytest.raises(OSError, match="gone"):
        asyncio.run(session())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 2), st.integers(0, 3), st.integers(0, 2), st.booleans())
def test_no_token_too_old_no_prompt_twice_and_bounds_are_kept(
    seed: int, size: int, steps: int, ahead: int, extra: int, filters: bool
) -> None:
    chance = random.Random(seed)
    lengths = [chance.choice([1, 1, 2, 3, 9]) for _ in range(1000)]
    signals = [float(chance.random() < 0.7) for _ in range(1000)]
    world = World(length=lambda number: lengths[number], rewards=lambda number: (0.0, signals[number] if filters else 1.0))
    pace = Pace(size=size, steps=steps, max_staleness=steps * ahead, extra=extra, filter=filters, max_refills=50)
    found = run(world, pace, batches=8, training=chance.randrange(4))
    used = [number for one in found for number in groups(one) + groups(one, "filtered")]
    assert len(used) == len(set(used))
    assert all(len(groups(one)) == size for one in found)
    assert world.most <= size * (ahead + 1) + extra
    for batch, one in enumerate(found):
        oldest = min(int(each.versions[2:].min()) for each in one.trajectories if each.outcome == "ok")
        assert batch * steps - oldest <= pace.max_staleness
