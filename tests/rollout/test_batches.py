"""Step batches of rollouts: every trajectory once a pass, from any cursor on, journaled before it is seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from played import trajectory

from burnish.data.dataset import Cursor
from burnish.data.units import Unit
from burnish.errors import RunError
from burnish.rollout.batches import EMPTY, OnlineBatches, RolloutCursor
from burnish.rollout.journal import Journal
from burnish.rollout.supply import Supply
from burnish.rollout.trajectory import Trajectory

GROUP = 4


class Counted:
    """Batches of one unit (or several), numbered by the cursor."""

    steps_per_epoch = 10

    def __init__(self, size: int = 1) -> None:
        self.size = size

    def units(self, start: Cursor) -> Iterator[tuple[list[Unit], Cursor]]:
        at = start
        while True:
            at = Cursor((at.step + 1) // self.steps_per_epoch, at.step + 1)
            unit = trajectory(0, 0, [at.step]).unit()
            yield [replace(unit, source="others", row=at.step)] * self.size, at


class Maker:
    """Makes two groups of four, each answer its rollout, group and member; remembers what it made. cuts: in every batch, it
    leaves the lowest of four groups that it has begun to be drawn again, and one more."""

    def __init__(self, fails: Sequence[int] = (), cuts: bool = False) -> None:
        self.fails, self.cuts, self.made = fails, cuts, list[int]()

    def __call__(self, supply: Supply, number: int) -> tuple[list[Trajectory], dict[str, float]]:
        self.made.append(number)
        outcome: Any = "timeout" if number in self.fails else "ok"
        draws = supply.take(4 if self.cuts else 2)
        if self.cuts:
            supply.put_back([draws[0].number, draws[2].number])
            draws = [draws[1], draws[3]]
        made = [
            replace(trajectory(one.number, member, [number, one.number, member]), outcome=outcome, rewards={"a": 1}, reward=1)
            for one in draws
            for member in range(GROUP)
        ]
        return made, {"sampling/queue": 2.0}


def source(folder: Path, make: Maker, passes: int = 2, steps: int = 3, others: Any = None) -> OnlineBatches:
    return OnlineBatches(
        prompts=Counted(),
        make=make,
        journal=Journal(folder),
        passes=passes,
        steps_a_pass=steps,
        seed=0,
        others=others,
        exchange=lambda action: action(),
        tells=lambda *_: None,
        rollouts_per_epoch=5,
    )


def answers(units: Sequence[Unit]) -> list[tuple[int, ...]]:
    return [tuple(unit.sequences[0].ids[2:].tolist()) for unit in units if unit.source == "main"]


def test_every_pass_sees_every_trajectory_once_shuffled_anew(tmp_path: Path) -> None:
    batches = list(islice(source(tmp_path, Maker()).batches(RolloutCursor()), 12))
    assert [len(batch.units) for batch in batches] == [3, 3, 2] * 4
    first, second, third = ([one for batch in batches[at : at + 3] for one in answers(batch.units)] for at in (0, 3, 6))
    everything = [(0, group, member) for group in range(2) for member in range(GROUP)]
    assert sorted(first) == sorted(second) == everything
    assert first != second != everything
    assert {rollout for rollout, _, _ in third} == {1}
    assert [bool(batch.metrics) for batch in batches] == [True, *[False] * 5] * 2


@pytest.mark.parametrize("cuts", [False, True])
def test_from_any_cursor_on_it_goes_on_as_it_would_have(tmp_path: Path, cuts: bool) -> None:
    whole = list(islice(source(tmp_path / "whole", Maker(cuts=cuts), others=Counted(1)).batches(RolloutCursor()), 14))
    for stop in range(1, 13):
        folder = tmp_path / str(stop)
        begun = list(islice(source(folder, Maker(cuts=cuts), others=Counted(1)).batches(RolloutCursor()), stop))
        cursor = RolloutCursor.from_json(begun[-1].cursor.to_json())
        again = Maker(cuts=cuts)
        rest = list(islice(source(folder, again, others=Counted(1)).batches(cursor), 14 - stop))
        assert [[unit.id for unit in one.units] for one in rest] == [[unit.id for unit in one.units] for one in whole[stop:]]
        assert [batch.cursor for batch in rest] == [batch.cursor for batch in whole[stop:]]
        assert 0 not in again.made  # what is in the journal is not made again


def test_a_batch_is_in_the_journal_before_anybody_sees_it(tmp_path: Path) -> None:
    batch = next(source(tmp_path, Maker()).batches(RolloutCursor()))
    assert Journal(tmp_path).numbers() == [0]
    known = {one.unit().id for one in Journal(tmp_path).read(0) or ()}
    assert {unit.id for unit in batch.units} <= known


def test_what_the_journal_holds_is_trained_on_not_what_would_be_made(tmp_path: Path) -> None:
    Journal(tmp_path).append(0, [trajectory(0, 0, [70, 71])])
    maker = Maker()
    [batch] = islice(source(tmp_path, maker, passes=1).batches(RolloutCursor()), 1)
    assert answers(batch.units) == [(70, 71)]
    assert maker.made == []


def test_other_sources_join_every_step_batch(tmp_path: Path) -> None:
    batches = list(islice(source(tmp_path, Maker(), others=Counted(2)).batches(RolloutCursor()), 3))
    assert [[unit.row for unit in batch.units if unit.source == "others"] for batch in batches] == [[1, 1], [2, 2], [3, 3]]


def test_a_batch_of_failures_is_passed_over_and_many_of_them_end_the_run(tmp_path: Path) -> None:
    batches = source(tmp_path / "one", Maker(fails=[0, 2])).batches(RolloutCursor())
    assert {answer[0] for batch in islice(batches, 12) for answer in answers(batch.units)} == {1, 3}
    with pytest.raises(RunError, match="its episodes ended as timeout; so did"):
        next(source(tmp_path / "all", Maker(fails=range(EMPTY))).batches(RolloutCursor()))


def test_steps_of_an_epoch(tmp_path: Path) -> None:
    assert source(tmp_path, Maker()).steps_per_epoch == 5 * 2 * 3
