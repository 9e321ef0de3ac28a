"""The planner: a function of the set, within the budget, balanced, and equally long on every rank."""

from __future__ import annotations

import random
from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.batch.layout import Kind, lay_out
from burnish.batch.plan import plan
from burnish.batch.trie import common_prefix
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


def test_a_prefix_as_long_as_the_budget_is_still_shared() -> None:
    # Eight answers of 5 tokens after 20: 20 + 8 * 5 = 60. With a budget of 20 nothing would fit beside the prompt; up to twice
    # the prompt, 40, four answers do. With one of 30 (the prompt is more than half of it) the same.
    group = [unit([7] * 20 + [100 + index] * 5) for index in range(8)]
    for budget in (20, 30):
        [micro] = plan(group, budget, "tree")
        assert [(len(batch.units), batch.num_tokens) for batch in micro] == [(4, 40), (4, 40)]
    # Half of a budget of 40 leaves room for four as well, and half of 60 for all.
    assert [batch.num_tokens for batch in plan(group, 40, "tree")[0]] == [40, 40]
    assert [batch.num_tokens for batch in plan(group, 60, "tree")[0]] == [60]


def test_a_heavy_prefix_is_cut_evenly_and_for_all_ranks() -> None:
    # Five answers of 6 after 20: 20 + 3 * 6 = 38 fits 40, so two pieces, of 3 and 2.
    group = [unit([7] * 20 + [100 + index] * 6) for index in range(5)]
    assert [batch.num_tokens for batch in plan(group, 20, "tree")[0]] == [38, 32]
    # Three answers fit one piece; two ranks make two of it. Beside a unit that is too long itself there are two already.
    few = group[:3]
    assert [[batch.num_tokens for batch in rank] for rank in plan(few, 20, "tree", num_ranks=2)] == [[32], [26]]
    other = unit([8] * 39)
    assert [[batch.num_tokens for batch in rank] for rank in plan([*few, other], 20, "tree", num_ranks=2)] == [[39], [38]]


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
    firsts = [one.sequences[0] for one in units]
    prefix = max((common_prefix(*both) for both in combinations(firsts, 2)), default=0)
    assert sorted(one.id for batch in every for one in batch.units) == sorted(one.id for one in units)
    for batch in every:
        assert batch.num_tokens <= budget or len(batch.units) == 1 or budget < 2 * prefix >= batch.num_tokens
        layout = lay_out([one for u in batch.units for one in u.sequences], kind)
        assert layout.num_tokens <= batch.num_tokens
    shuffled = shuffle.sample(units, len(units))
    again = plan(shuffled, budget, kind, num_ranks)
    assert [[[u.id for u in b.units] for b in rank] for rank in again] == [[[u.id for u in b.units] for b in r] for r in ranks]
