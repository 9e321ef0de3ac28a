"""Batches are a function of (seed, cursor): shares, passes, epochs, and going on from anywhere."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.data.mixture import Cursor, Mixture, Share, SizedDraws
from burnish.data.units import Sequence, Unit


def units(name: str, count: int) -> list[Unit]:
    mask = {"completion": np.array([False, True])}
    return [Unit("text", (Sequence(np.array([0, row]), mask),), name, row=row) for row in range(count)]


def mixture(sizes: dict[str, int], weights: dict[str, float] | None = None, batch_size: int = 4, seed: int = 0) -> Mixture:
    return Mixture(
        [
            Share(name, (weights or {}).get(name, 1.0), size, partial(SizedDraws, units(name, size), name, seed))
            for name, size in sizes.items()
        ],
        batch_size,
    )


def drawn(batches: Any) -> list[list[tuple[str, int]]]:
    return [[(unit.source, unit.row) for unit in batch] for batch, _ in batches]


def test_an_epoch_gives_every_unit_once_and_its_last_batch_is_shorter() -> None:
    batches = list(islice(mixture({"main": 10}).batches(Cursor()), 6))
    assert [len(batch) for batch, _ in batches] == [4, 4, 2, 4, 4, 2]
    assert [cursor.epoch for _, cursor in batches] == [0, 0, 1, 1, 1, 2]
    first, second = ([unit.row for batch, _ in batches[start : start + 3] for unit in batch] for start in (0, 3))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second, "each pass is shuffled anew"


def test_seed_and_source_name_decide_the_order() -> None:
    orders = {
        tuple(map(tuple, drawn(islice(mixture({name: 50}, seed=seed).batches(Cursor()), 5))))
        for seed, name in ((0, "main"), (1, "main"), (0, "other"))
    }
    assert len({tuple(row for batch in order for _, row in batch) for order in orders}) == 3
    again = [drawn(islice(mixture({"main": 50}).batches(Cursor()), 5)) for _ in range(2)]
    assert again[0] == again[1]


def test_every_batch_holds_the_shares() -> None:
    """Weights 3 and 1: of every 4 draws, 3 are a's and 1 is b's, whatever the sizes."""
    batches = mixture({"a": 1000, "b": 1000}, {"a": 3.0, "b": 1.0}).batches(Cursor())
    assert all(Counter(unit.source for unit in batch) == {"a": 3, "b": 1} for batch, _ in islice(batches, 50))


def test_draws_happen_in_the_order_of_their_times() -> None:
    """a draws at (k + 1/2) / 3: 1/6, 3/6, 5/6, 7/6; b at 1/2 and 3/2; of equal times the first source's comes first."""
    batches = mixture({"a": 50, "b": 50}, {"a": 3.0, "b": 1.0}, batch_size=1).batches(Cursor())
    assert "".join(batch[0].source for batch, _ in islice(batches, 8)) == "aabaaaba"


def test_the_smaller_source_is_repeated_until_the_larger_is_through() -> None:
    batches = []
    for batch, cursor in mixture({"large": 9, "small": 2}).batches(Cursor()):
        batches.append(batch)
        if cursor.epoch == 1:
            break
    counts = Counter((unit.source, unit.row) for batch in batches for unit in batch)
    assert all(counts["large", row] == 1 for row in range(9))
    assert min(counts["small", row] for row in range(2)) >= 4


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(1, 9), st.floats(0.1, 5.0)), min_size=1, max_size=3),
    st.integers(1, 5),
    st.integers(0, 8),
    st.integers(0, 3),
)
def test_going_on_from_any_cursor_is_going_on(
    sources: dict[str, tuple[int, float]], batch_size: int, stop: int, seed: int
) -> None:
    made = mixture(
        {name: size for name, (size, _) in sources.items()},
        {name: weight for name, (_, weight) in sources.items()},
        batch_size,
        seed,
    )
    whole = list(islice(made.batches(Cursor()), stop + 5))
    at = Cursor.from_json(whole[stop - 1][1].to_json()) if stop else Cursor()
    rest = list(islice(made.batches(at), 5))
    assert drawn(rest) == drawn(whole[stop:])
    assert [cursor for _, cursor in rest] == [cursor for _, cursor in whole[stop:]]


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(1, 30), st.floats(0.1, 5.0)), min_size=1, max_size=3),
    st.integers(1, 7),
    st.integers(1, 3),
)
def test_steps_say_how_many_batches_come(sources: dict[str, tuple[int, float]], batch_size: int, epochs: int) -> None:
    made = mixture(
        {name: size for name, (size, _) in sources.items()}, {name: weight for name, (_, weight) in sources.items()}, batch_size
    )
    steps = next(cursor.step for _, cursor in made.batches(Cursor()) if cursor.epoch == epochs)
    assert made.steps(epochs) == steps


def test_steps_of_parts_of_epochs_and_of_streams() -> None:
    made = mixture({"main": 10})
    assert [made.steps(epochs) for epochs in (0.1, 0.5, 1, 1.5, 2)] == [1, 2, 3, 5, 6]
    assert Mixture([Share("main", 1.0, None, partial(SizedDraws, units("main", 2), "main", 0))], 4).steps(1) is None
