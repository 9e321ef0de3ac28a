"""The supply of prompts: each used once, in whatever order, from any place on."""

from __future__ import annotations

import random
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from played import trajectory

from burnish.data.dataset import Cursor
from burnish.data.examples import Prompt
from burnish.data.stream import Streamed
from burnish.data.units import Unit
from burnish.rollout.supply import Draw, Place, Supply

EPOCH = 5


class Rows:
    """Rows 0, 1, 2, ... of an endless source, five to an epoch."""

    steps_per_epoch = EPOCH

    def units(self, start: Cursor) -> Iterator[tuple[list[Unit], Cursor]]:
        for step in range(start.step, 10_000):
            unit = trajectory(0, 0, [1]).unit()
            yield [Unit(unit.kind, unit.sequences, row=step)], Cursor((step + 1) // EPOCH, step + 1)


def test_draws_are_numbered_in_order() -> None:
    supply = Supply(Rows(), Place())
    assert [(draw.number, draw.row) for draw in supply.take(3)] == [(0, 0), (1, 1), (2, 2)]
    assert [draw.number for draw in supply.take(2)] == [3, 4]


def test_a_batch_may_end_with_the_epoch() -> None:
    supply = Supply(Rows(), Place())
    assert [len(supply.take(3, within_epoch=True)) for _ in range(4)] == [3, 2, 3, 2]


def test_what_was_not_used_waits_and_comes_first() -> None:
    supply = Supply(Rows(), Place())
    supply.take(4)
    supply.put_back([0, 2])
    place = supply.use([1, 3])
    assert (place.drawn, place.prompts.step) == (4, 4)
    assert [draw.number for draw in place.waiting] == [0, 2]
    assert [draw.number for draw in supply.take(3)] == [0, 2, 4]
    later = Supply(Rows(), Place.from_json(place.to_json()))
    assert [(draw.number, draw.row) for draw in later.take(3)] == [(0, 0), (2, 2), (4, 4)]


def test_what_is_still_being_played_waits_for_whoever_goes_on_from_there() -> None:
    supply = Supply(Rows(), Place())
    supply.take(6)
    place = supply.use([4, 1])  # 0, 2, 3 and 5 are under way
    assert place.drawn == 5
    assert [draw.number for draw in place.waiting] == [0, 2, 3]
    assert [draw.number for draw in supply.take(1)] == [6]
    assert [draw.number for draw in Supply(Rows(), place).take(4)] == [0, 2, 3, 5]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(0, 6))
def test_every_prompt_is_used_exactly_once_whatever_dies(seed: int, batch: int, ahead: int) -> None:
    """Batches of `batch` of `batch + ahead` draws under way, some put back; now and then the process dies and goes on."""
    chance = random.Random(seed)
    place, supply, used, flying = Place(), Supply(Rows(), Place()), list[int](), list[int]()
    for _ in range(12):
        if chance.random() < 0.3:
            supply, flying = Supply(Rows(), place), []
        flying += [draw.row for draw in supply.take(batch + ahead - len(flying))]
        chosen = chance.sample(flying, batch)
        back = [one for one in flying if one not in chosen and chance.random() < 0.5]
        supply.put_back(back)
        flying = [one for one in flying if one not in chosen and one not in back]
        used += chosen
        journaled = place
        place = supply.use(chosen)
        assert Supply(Rows(), journaled).use(chosen) == place  # the journal alone leads there too
    assert len(used) == len(set(used))
    assert sorted(used + [draw.row for draw in place.waiting]) == list(range(place.drawn))


def test_a_prompt_that_must_wait_is_played_as_soon_as_it_may() -> None:
    """Odd rows only after four were used: 0 2 | 4 6 | then 1 3 5 come first."""

    def may(draw: Draw, used: int) -> bool:
        return draw.row % 2 == 0 or used >= 4

    supply, place, played = Supply(Rows(), Place(), may), Place(), []
    for _ in range(4):
        numbers = [draw.number for draw in supply.take(2)]
        assert [draw.number for draw in Supply(Rows(), place, may).take(2)] == numbers  # also for who goes on from here
        played.append(numbers)
        place = supply.use(numbers)
    assert played == [[0, 2], [4, 6], [1, 3], [5, 7]]


def test_a_draw_from_a_stream_brings_its_row_but_not_into_a_checkpoint() -> None:
    class Stream(Rows):
        def units(self, start: Cursor) -> Iterator[tuple[list[Unit], Cursor]]:
            for [unit], after in super().units(start):
                yield [Streamed(unit.kind, unit.sequences, row=unit.row, example=Prompt(f"p{unit.row}"))], after

    supply = Supply(Stream(), Place())
    assert [draw.example for draw in supply.take(2)] == [Prompt("p0"), Prompt("p1")]
    place = supply.use([1])
    assert place.to_json()["waiting"] == [[0, "main", 0, 0]]
    assert Place.from_json(place.to_json()).waiting == (Draw(0, "main", 0, 0),)


def test_where_no_prompt_may_be_played_the_first_is() -> None:
    supply = Supply(Rows(), Place(), lambda draw, used: draw.row > 5000)
    assert [draw.number for draw in supply.take(2)] == [0, 1]
    place = supply.use([0, 1])
    assert [draw.number for draw in Supply(Rows(), place, lambda draw, used: draw.row == 1025).take(1)] == [1025]
