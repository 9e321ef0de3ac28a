"""Streams: shuffled through a buffer, resumed by reading again, ended when all is given."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.data.dataset import TrainData
from burnish.data.mixture import Cursor
from burnish.data.stream import Streamed, shuffled
from burnish.errors import DataError

Build = Callable[..., TrainData]


def rows(count: int, word: str = "r") -> list[dict[str, str]]:
    # Every third row is too long for max_length 20 and is dropped.
    return [{"prompt": f"{word}{number}", "completion": "x" * (30 if number % 3 == 2 else 3)} for number in range(count)]


def drawn(data: TrainData, start: Cursor, count: int) -> list[tuple[list[tuple[str, int]], Cursor]]:
    batches = islice(data.units(start), count)
    return [([(unit.source, unit.row) for unit in batch], cursor) for batch, cursor in batches]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 3))
def test_shuffling_gives_everything_once_and_alike_for_a_seed(count: int, buffer_size: int, seed: int) -> None:
    orders = [list(shuffled(range(count), buffer_size, np.random.default_rng(seed))) for _ in range(2)]
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == list(range(count))


def test_an_item_waits_for_no_more_than_the_buffer() -> None:
    """The k-th item given was at hand: it is no later than the k-th plus the buffer."""
    order = list(shuffled(range(100), 8, np.random.default_rng(0)))
    assert all(item < place + 8 for place, item in enumerate(order))
    assert order != sorted(order)


def test_a_stream_gives_what_the_whole_source_gives(build: Build) -> None:
    data = build(
        main={"streaming": True, "shuffle_buffer": 5},
        rows={"main": rows(30)},
        render={"max_length": 20},
        train={"batch_size": 7},
    )
    batches = drawn(data, Cursor(), 6)
    # 30 rows, of which 10 are too long: 20 units, in batches of 7, 7 and 6 each epoch.
    assert [len(batch) for batch, _ in batches] == [7, 7, 6, 7, 7, 6]
    assert [cursor.epoch for _, cursor in batches] == [0, 0, 1, 1, 1, 2]
    for epoch in (batches[:3], batches[3:]):
        assert sorted(row for batch, _ in epoch for _, row in batch) == [row for row in range(30) if row % 3 != 2]
    assert data.steps_per_epoch is None
    assert data.report.sources["main"].dropped["over_length"] >= 20
    assert data.report.sources["main"].kept == 40


@pytest.mark.parametrize("stop", [0, 1, 2, 3, 5, 8])
def test_a_mixture_of_streams_and_files_goes_on_from_any_cursor(build: Build, stop: int) -> None:
    def make() -> TrainData:
        return build(
            main={"streaming": True, "shuffle_buffer": 4, "weight": 2.0},
            other={"holdout": 0.2},
            third={"streaming": True},
            rows={"main": rows(25), "other": rows(13, "o"), "third": rows(7, "t")},
            render={"max_length": 20},
            train={"batch_size": 5},
        )

    whole = drawn(make(), Cursor(), 12)
    start = Cursor.from_json(whole[stop - 1][1].to_json()) if stop else Cursor()
    assert drawn(make(), start, 12 - stop) == whole[stop:]


def test_held_out_rows_of_a_stream_are_not_trained_on(build: Build) -> None:
    live = [{"prompt": f"p{number // 2}", "completion": str(number)} for number in range(60)]
    data = build(main={"streaming": True, "holdout": 0.3}, rows={"main": live}, train={"batch_size": 8})
    held = {unit.row for unit in data.holdout["main"]}
    trained = {row for batch, cursor in drawn(data, Cursor(), 7) if cursor.epoch == 0 for _, row in batch}
    assert held
    assert not held & trained
    assert not {row // 2 for row in held} & {row // 2 for row in trained}, "no prompt is on both sides"
    assert [example.columns for example in data.holdout_rows["main"]] == [{}] * len(held)


def test_a_bad_row_in_a_stream_stops_it_with_its_place(build: Build, write_rows: Callable[..., Path]) -> None:
    path = write_rows([*rows(1200), {"prompt": 3, "completion": "x"}])
    data = build(main={"source": str(path), "streaming": True}, train={"batch_size": 100})
    with pytest.raises(DataError, match=rf"{path}:1201 .*expected text or messages in 'prompt'; found int 3"):
        drawn(data, Cursor(), 20)
    dropped = build(main={"source": str(path), "streaming": True, "bad_rows": "drop"}, train={"batch_size": 400})
    assert sum(len(batch) for batch, _ in drawn(dropped, Cursor(), 3)) == 1200
    assert dropped.report.sources["main"].dropped["bad_row"] == 1


def test_a_stream_without_a_usable_row_is_refused(build: Build) -> None:
    live = [{"prompt": "p", "completion": "x" * 50}] * 5
    data = build(main={"streaming": True}, rows={"main": live}, render={"max_length": 10})
    with pytest.raises(DataError, match=r"no row is left to train on.*\n.*5 rows"):
        next(data.units(Cursor()))


def test_a_stream_is_read_as_it_is_needed(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless source: only detection's rows, the buffer and a little ahead are read."""
    read: list[int] = []

    class Endless:
        def __iter__(self) -> Iterator[dict[str, Any]]:
            for number in itertools.count():
                read.append(number)
                yield {"text": f"row {number}"}

    data = build(main={"streaming": True, "shuffle_buffer": 50}, rows={"main": Endless()}, train={"batch_size": 4})
    read.clear()
    assert len(drawn(data, Cursor(), 3)) == 3
    assert max(read) < 50 + 2 * 32
    assert data.fingerprints == {"main": "the given rows"}


def test_an_iterator_without_end_is_read_as_it_is_needed(build: Build) -> None:
    """Also again from its beginning, which an iterator itself cannot do."""
    given = ({"text": f"row {number}"} for number in range(10**6))
    data = build(main={"streaming": True, "shuffle_buffer": 50}, rows={"main": given}, train={"batch_size": 4})
    assert drawn(data, Cursor(), 3) == drawn(data, Cursor(), 3)
    assert next(given)["text"] == "row 1000"  # what the format was found out from


class Numbered:
    """Prompts as good as without end; the answer is the row's number. read: how far."""

    read = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for self.read in range(20_000):
            yield {"prompt": f"p{self.read}", "answer": self.read}
        raise AssertionError("read further than anybody needs")


def test_a_unit_of_a_stream_brings_its_row(build: Build) -> None:
    data = build(main={"streaming": True, "shuffle_buffer": 8}, rows={"main": Numbered()}, train={"batch_size": 50})
    units, _ = next(data.units(Cursor()))
    assert [unit.example.columns["answer"] for unit in units if isinstance(unit, Streamed) and unit.example] == [
        unit.row for unit in units
    ]


def test_rows_of_a_stream_are_found_again_without_reading_to_its_end(build: Build) -> None:
    rows = Numbered()
    data = build(main={"streaming": True}, other={}, rows={"main": rows, "other": [{"prompt": "o"}] * 9})
    places = [("main", 3, 0), ("other", 4, 0), ("main", 1500, 0)]
    found = data.streamed(places)
    assert {place: example.columns["answer"] for place, example in found.items()} == {places[0]: 3, places[2]: 1500}
    assert rows.read == 1501
    assert data.examples().keys() == {("other", row, 0) for row in range(9)}


def test_rows_that_a_stream_gives_no_more(build: Build) -> None:
    live = [{"prompt": f"p{number}"} for number in range(5)]
    data = build(main={"streaming": True}, rows={"main": live})
    assert not data.streamed([])
    with pytest.raises(DataError, match=r"data\.main: row 7 was drawn before, and reading the stream again does not bring it"):
        data.streamed([("main", 2, 0), ("main", 7, 0)])


def test_held_out_rows_of_a_stream_without_end(build: Build) -> None:
    rows = Numbered()
    data = build(main={"streaming": True, "holdout": 0.001}, rows={"main": rows})
    held = data.holdout["main"]
    assert [example.columns["answer"] for example in data.holdout_rows["main"]] == [unit.row for unit in held]
    assert rows.read == held[-1].row
