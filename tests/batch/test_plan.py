"""The planner: a function of the set, within the budget, balanced, and equally long on every rank."""

from __future__ import annotations

import random
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.batch.layout import Kind, lay_out
from burnish.batch.plan import plan
from burnish.data.units import Sequence, Unit


def unit(*sequences: list[int]) -> Unit:
    return Unit("ranked", tuple(Sequence(np.array(ids, np.int64), {}, role=f"item{i}") for i, ids in enumerate(sequences)))


def pair(prompt: int, prompt_length: int, *lengths: int) -> Unit:
    """Sequences after one prompt of a repeated token, told apart by their first own token."""
    return unit(*([prompt] * prompt_length + [100 + i] * length for i, length in enumerate(lengths)))


def test_shared_tokens_are_counted_once() -> None:
    # 10 + 3 + 4 = 17 as a tree, 13 + 14 = 27 packed, 2 rows of 14 padded.
    [[tree]], [[packed]], [[padded]] = (plan([pair(1, 10, 3, 4)], 100, kind) for kind in ("tree", "packed", "padded"))
    assert (tree.num_tokens, packed.num_tokens, padded.num_tokens) == (17, 27, 28)


def test_units_of_one_prompt_stay_together() -> None:
    units = [unit([prompt] * 20 + [100 + index] * 5) for prompt in range(4) for index in range(3)]
    [micro] = plan(units, 40, "tree")  # a prompt's three cost 20 + 3 * 5 = 35
    assert [{one.sequences[0].ids[0] for one in batch.units} for batch in micro] == [{0}, {1}, {2}, {3}] or len(micro) == 4
    assert all(len({one.sequences[0].ids[0] for one in batch.units}) == 1 for batch in micro)
    assert all(batch.num_tokens == 35 for batch in micro)


def test_a_group_beyond_the_budget_is_cut() -> None:
    [micro] = plan([unit([7] * 20 + [100 + index] * 5) for index in range(6)], 40, "tree")
    assert sorted(len(batch.units) for batch in micro) == [3, 3]


def test_a_unit_beyond_the_budget_stands_alone_and_first() -> None:
    [micro] = plan([unit([1] * 5), unit([2] * 50), unit([3] * 4)], 10, "tree")
    assert [batch.num_tokens for batch in micro] == [50, 9]


def test_nothing_is_shared_with_an_oversized_unit() -> None:
    # 1 2 2 2 2 2 stands alone; 1 2 3 then costs its own 3 tokens, though its neighbour has two of them.
    [micro] = plan([unit([1, 2, 2, 2, 2, 2]), unit([1, 2, 3])], 3, "tree")
    assert [batch.num_tokens for batch in micro] == [6, 3]


def test_ranks_without_work_get_empty_micro_batches() -> None:
    ranks = plan([unit([1, 2])], 10, "tree", num_ranks=3)
    assert sorted(len(batch.units) for [batch] in ranks) == [0, 0, 1]
    assert [len(rank) for rank in plan([], 10, "padded", num_ranks=2)] == [1, 1]


def test_micro_batches_are_balanced() -> None:
    draw = random.Random(0)
    units = [pair(index, draw.randint(50, 400), draw.randint(20, 300), draw.randint(20, 300)) for index in range(64)]
    [micro] = plan(units, 4096, "tree")
    costs = [batch.num_tokens for batch in micro]
    assert max(costs) <= 1.05 * sum(costs) / len(costs)
    assert len(costs) <= 1 + sum(costs) // 4096


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        plan([], 0, "tree")


IDS = st.lists(st.integers(0, 3), min_size=1, max_size=9)
UNITS = st.lists(st.lists(IDS, min_size=1, max_size=3).map(lambda ids: unit(*ids)), max_size=9)


@settings(max_examples=80, deadline=None)
@given(UNITS, st.integers(1, 40), st.sampled_from(["tree", "packed", "padded"]), st.integers(1, 3), st.randoms())
def test_invariants(units: list[Unit], budget: int, kind: Kind, num_ranks: int, shuffle: random.Random) -> None:
    ranks = plan(units, budget, kind, num_ranks)
    assert len(ranks) == num_ranks
    assert len({len(rank) for rank in ranks}) == 1
    every = list(chain.from_iterable(ranks))
    assert sorted(one.id for batch in every for one in batch.units) == sorted(one.id for one in units)
    for batch in every:
        assert batch.num_tokens <= budget or len(batch.units) == 1
        layout = lay_out([one for u in batch.units for one in u.sequences], kind)
        assert layout.num_tokens <= batch.num_tokens
    shuffled = shuffle.sample(units, len(units))
    again = plan(shuffled, budget, kind, num_ranks)
    assert [[[u.id for u in b.units] for b in rank] for rank in again] == [[[u.id for u in b.units] for b in r] for r in ranks]
