"""Playing: what becomes of every episode, whoever fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from played import Scripted, prompt

from burnish.config.sections import SamplingSection
from burnish.errors import ConfigError, InfrastructureError
from burnish.rollout.contract import Episode, Generate, Span, Task
from burnish.rollout.play import GREEDY, Player
from burnish.rollout.single_turn import SingleTurn
from burnish.rollout.waiting import Gate

SAMPLING = SamplingSection(max_new_tokens=4, temperature=1.0)


def echo(ids: Sequence[int], seed: int) -> list[int]:
    return [ids[-1], seed % 97]


def player(environment: Any = None, backend: Any = None, **options: Any) -> Player:
    return Player({"main": environment or SingleTurn()}, backend or Scripted(echo), None, SAMPLING, seed=3, **options)


class TwoTurns:
    """The policy speaks, is told 50, 51, and speaks again."""

    async def __call__(self, task: Task, generate: Generate) -> Episode:
        first = await generate(task.ids)
        told = (*task.ids, *first.ids, 50, 51)
        second = await generate(told)
        spans = (
            Span(ids=task.ids),
            Span(ids=tuple(first.ids), sampled=first),
            Span(ids=(50, 51)),
            Span(ids=tuple(second.ids), sampled=second),
        )
        return Episode(spans=spans, reward=float(task.columns["worth"]))


class Faulty:
    """Raises for the column `fault`, waits for ever for `wait`."""

    async def __call__(self, task: Task, generate: Generate) -> Episode:
        if task.columns.get("fault"):
            raise LookupError("no such level")
        if task.columns.get("wait"):
            await asyncio.sleep(3600)
        return await SingleTurn()(task, generate)


def test_one_turn() -> None:
    [one] = player().play([prompt(0, (4, 9))], [0], version=12)
    assert one.ids.tolist()[:3] == [4, 9, 9]
    assert one.own.tolist() == [False, False, True, True]
    assert one.versions.tolist() == [-1, -1, 12, 12]
    assert one.tokens["behaviour"].tolist() == [0, 0, -1, -1]
    assert (one.outcome, one.origin.row, one.length) == ("ok", 10, 2)


def test_several_turns_are_exactly_what_was_sampled_and_told() -> None:
    backend = Scripted(echo)
    [one] = player(TwoTurns(), backend).play([prompt(0, (4, 9), worth=0.5)], [0], version=0)
    first, second = ([9, seed % 97] if at == 0 else [51, seed % 97] for at, (_, _, seed) in enumerate(backend.asked))
    assert one.ids.tolist() == [4, 9, *first, 50, 51, *second]
    assert one.own.tolist() == [False] * 2 + [True] * 2 + [False] * 2 + [True] * 2
    assert one.rewards == {"environment": 0.5}
    unit = one.unit()
    assert unit.sequences[0].masks["completion"].tolist() == one.own.tolist()


def test_a_request_draws_from_a_stream_of_its_own() -> None:
    backend = Scripted(echo)
    team = player(TwoTurns(), backend)
    team.play([prompt(0, worth=0), prompt(1, worth=0)], [0, 1], version=0)
    team.play([prompt(2, worth=0)], [0], version=0)
    seeds = [seed for _, _, seed in backend.asked]
    assert len(set(seeds)) == len(seeds) == 2 * 4 + 2


def test_members_get_the_same_whatever_else_is_played() -> None:
    alone = player().play([prompt(1)], [2], version=0)
    among = player().play([prompt(0), prompt(1), prompt(2)], [0, 1, 2], version=0)
    [found] = [one for one in among if (one.origin.group, one.origin.member) == (1, 2)]
    assert found.ids.tolist() == alone[0].ids.tolist()


def test_the_most_likely_completion_is_asked_for_at_temperature_0() -> None:
    backend = Scripted(echo)
    player(backend=backend).play([prompt(0)], [0, GREEDY], version=0)
    assert sorted(temperature for _, temperature, _ in backend.asked) == [0.0, 1.0]


def test_an_environment_that_raises_or_hangs_ends_its_own_episode() -> None:
    told: list[str] = []
    team = player(Faulty(), time_limit=0.2, tells=told.append)
    prompts = [prompt(0), prompt(1, fault=True), prompt(2, fault=True), prompt(3, wait=True)]
    played = team.play(prompts, [0], version=0)
    assert [one.outcome for one in played] == ["ok", "environment_error", "environment_error", "timeout"]
    assert [one.is_trainable for one in played] == [True, False, False, False]
    assert len(told) == 2  # each kind of failure once
    assert "raised LookupError: no such level" in told[0]
    assert "row 11 of main" in told[0]
    assert "longer than 0.2 s" in told[1]


def test_it_plays_where_an_event_loop_is_running_too() -> None:
    async def notebook() -> list[str]:
        return [one.outcome for one in player().play([prompt(0)], [0, 1], version=0)]

    assert asyncio.run(notebook()) == ["ok", "ok"]


def test_a_backend_that_fails_ends_the_run() -> None:
    def dead(ids: Sequence[int], seed: int) -> list[int]:
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError, match="refused"):
        player(backend=Scripted(dead)).play([prompt(0)], [0], version=0)


FAULTS = {"reach": InfrastructureError, "refuse": ConnectionRefusedError, "wait": TimeoutError, "err": LookupError}


class Unlucky:
    """Fails so many times on a row as its column says, in the way that it says."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}

    async def __call__(self, task: Task, generate: Generate) -> Episode:
        name, times = task.columns["fails"]
        answer = await SingleTurn()(task, generate)
        self.calls[name] = self.calls.get(name, 0) + 1
        if self.calls[name] <= times:
            raise FAULTS[name]("no")
        return answer


def test_episodes_are_begun_again_by_how_they_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("burnish.rollout.play.PAUSE_S", 0.0)
    backend, retries = Scripted(echo), {"infrastructure_error": 2, "environment_error": 1}
    team = player(Unlucky(), backend, retries=retries, tells=lambda said: None)
    fails = [("reach", 2), ("refuse", 3), ("wait", 1), ("err", 1)]
    played = team.play([prompt(place, fails=what) for place, what in enumerate(fails)], [0], version=0)
    assert [one.outcome for one in played] == ["ok", "infrastructure_error", "timeout", "ok"]
    assert [one.notes.get("retries") for one in played] == [2, 2, None, 1]
    assert "ConnectionRefusedError: no" in played[1].error
    assert [one.rewards for one in played] == [{}] * 4
    seeds = [seed for _, _, seed in backend.asked]
    assert len(set(seeds)) == len(seeds) == 3 + 3 + 1 + 2  # what is begun again is drawn anew


def test_a_backend_that_cannot_be_reached_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(ids: Sequence[int], seed: int) -> list[int]:
        raise InfrastructureError("the server is restarting")

    [one] = player(backend=Scripted(gone), tells=lambda said: None).play([prompt(0)], [0], version=0)
    assert (one.outcome, one.is_trainable) == ("infrastructure_error", False)


def test_what_no_episode_can_do_ends_the_run() -> None:
    class Misconfigured:
        async def __call__(self, task: Task, generate: Generate) -> Episode:
            raise ConfigError("no such game")

    with pytest.raises(ConfigError, match="no such game"):
        player(Misconfigured(), retries={"environment_error": 3}).play([prompt(0)], [0], version=0)


def test_so_many_episodes_play_at_once() -> None:
    inside: list[int] = []
    most = 0

    class Counts:
        async def __call__(self, task: Task, generate: Generate) -> Episode:
            nonlocal most
            inside.append(1)
            most = max(most, len(inside))
            await asyncio.sleep(0.01)
            inside.pop()
            return await SingleTurn()(task, generate)

    team = player(Counts(), gate=Gate(2))
    for _ in range(2):  # each in an event loop of its own
        team.play([prompt(0), prompt(1), prompt(2)], [0, 1], version=0)
    assert most == 2


def test_an_environment_knows_the_row_and_its_room() -> None:
    seen: list[Task] = []

    class Looks:
        async def __call__(self, task: Task, generate: Generate) -> Episode:
            seen.append(task)
            return await SingleTurn()(task, generate)

    player(Looks(), room=40).play([prompt(0, (4, 9), level=3)], [0], version=0)
    [task] = seen
    assert (task.ids, task.prompt, task.room) == ((4, 9), "what?", 40)
    assert task.columns == task.side.columns == {"level": 3}


def test_episodes_are_counted_however_they_end() -> None:
    counted: list[tuple[int, int]] = []
    plays = player(Faulty(), time_limit=0.05, tells=lambda _: None, shows=lambda done, of: counted.append((done, of)))
    for _ in range(2):  # the second time from the beginning
        plays.play([prompt(0, (4,)), prompt(1, (5,), fault=1), prompt(2, (6,), wait=1)], [0, 1], version=0)
    assert [done for done, _ in counted] == [1, 2, 3, 4, 5, 6] * 2
    assert {of for _, of in counted} == {6}
