"""Weights that change while completions are drawn: who waits for whom, and which version an id gets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from played import Scripted

from burnish.config.sections import SamplingSection
from burnish.rollout import versioned
from burnish.rollout.contract import Capabilities
from burnish.rollout.sampler import Completion
from burnish.rollout.versioned import Versioned

SAMPLING = SamplingSection(max_new_tokens=4)


class Slow(Scripted):
    """Takes three turns of the loop for a completion; notes what happens."""

    def __init__(self, in_flight: bool = False) -> None:
        super().__init__(lambda ids, seed: [7, 8])
        self.capabilities = Capabilities(in_flight=in_flight)
        self.events: list[str] = []

    async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
        self.events.append(f"begin {seed}")
        for _ in range(3):
            await asyncio.sleep(0.001)
        self.events.append(f"end {seed}")
        return await super().generate(ids, sampling, seed)

    async def update(self, version: int, weights: Mapping[str, Any]) -> Any:
        self.events.append(f"update {version}")
        return await super().update(version, weights)


async def around_an_update(backend: Versioned) -> list[Completion]:
    await backend.update(1, {})
    first = asyncio.create_task(backend.generate([1], SAMPLING, 10))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    update = asyncio.create_task(backend.update(2, {}))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second = asyncio.create_task(backend.generate([1], SAMPLING, 11))
    await update
    return [await first, await second]


def test_a_backend_that_cannot_take_weights_in_flight_is_emptied_first() -> None:
    slow = Slow()
    first, second = asyncio.run(around_an_update(Versioned(slow)))
    assert slow.events == ["update 1", "begin 10", "end 10", "update 2", "begin 11", "end 11"]
    assert (first.versions, second.versions) == ([1, 1], [2, 2])


def test_one_that_can_is_not_and_counts_by_what_a_completion_began_with() -> None:
    slow = Slow(in_flight=True)
    first, second = asyncio.run(around_an_update(Versioned(slow)))
    assert slow.events.index("update 2") < slow.events.index("end 10")
    assert (first.versions, second.versions) == ([1, 1], [2, 2])


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize(("in_flight", "drew"), [(False, 2), (True, 1)])
def test_a_request_that_comes_during_an_update(in_flight: bool, drew: int, adapter: bool) -> None:
    """It waits until the weights are there, or counts as drawn by those before: which of its ids are new is not known."""

    begun, loaded = asyncio.Event(), asyncio.Event()

    class Loading(Slow):
        async def update(self, version: int, weights: Mapping[str, Any]) -> Any:
            begun.set()
            await loaded.wait()
            return await super().update(version, weights)

        async def load_adapter(self, version: int, weights: Mapping[str, Any], config: Any) -> Any:
            return await self.update(version, weights)

    async def session() -> Completion:
        backend = Versioned(Loading(in_flight))
        backend.version = 1
        update = asyncio.create_task(backend.load_adapter(2, {}, None) if adapter else backend.update(2, {}))
        await begun.wait()
        request = asyncio.create_task(backend.generate([1], SAMPLING, 0))
        await asyncio.sleep(0.001)
        loaded.set()
        await update
        return await asyncio.wait_for(request, 5)

    assert asyncio.run(session()).versions == [drew, drew]


def test_what_a_backend_says_itself_stands() -> None:
    class Says(Slow):
        async def generate(self, *arguments: Any, **options: Any) -> Completion:
            return Completion([7, 8], [-1.0, -1.0], True, [4, 5])

    assert asyncio.run(Versioned(Says()).generate([1], SAMPLING)).versions == [4, 5]


def test_a_cancelled_request_does_not_hold_an_update_up() -> None:
    async def session() -> int:
        backend = Versioned(Slow())
        task = asyncio.create_task(backend.generate([1], SAMPLING, 0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait_for(backend.update(3, {}), 5)
        return backend.num_running

    assert asyncio.run(session()) == 0


def test_idle_time_is_that_without_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request from 10 to 15, one from 12 to 20, one from 24 on: 10 + 4 seconds without any."""
    now = [0.0]
    monkeypatch.setattr(versioned, "time", SimpleNamespace(monotonic=lambda: now[0]))
    ends = [asyncio.Event() for _ in range(3)]

    class Held(Scripted):
        async def generate(self, ids: Sequence[int], sampling: SamplingSection, seed: int = 0) -> Completion:
            await ends[seed].wait()
            return await super().generate(ids, sampling, seed)

    async def session() -> list[float]:
        backend = Versioned(Held(lambda ids, seed: [7]))
        tasks, idle = list[asyncio.Task[Completion]](), list[float]()
        for seconds, ended in ((10, None), (12, None), (15, 0), (20, 1), (24, None), (25, 2)):
            now[0] = seconds
            if ended is None:
                tasks.append(asyncio.create_task(backend.generate([1], SAMPLING, len(tasks))))
                await asyncio.sleep(0.001)
            else:
                ends[ended].set()
                await tasks[ended]
            idle.append(backend.idle_s)
        return idle

    assert asyncio.run(session()) == [10, 10, 10, 10, 14, 14]


def test_it_closes_the_backend() -> None:
    backend = Scripted(lambda ids, seed: [7])
    backend.asked.append(((1,), 1.0, 0))
    asyncio.run(Versioned(backend).close())
    assert not backend.asked
