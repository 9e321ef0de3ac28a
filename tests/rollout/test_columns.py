"""A layer that grows in place holds what a layer that concatenates holds, whatever is done to its rows."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from burnish.rollout.columns import ROOM, GrowingLayer, make_room


def states(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, 2, columns, 3)


def two(rows: int = 3, columns: int = 4) -> tuple[DynamicCache, DynamicCache]:
    """The same cache twice, once with room."""
    first, caches = (states(rows, columns), states(rows, columns)), (DynamicCache(), DynamicCache())
    for cache in caches:
        cache.update(*first, 0)
    make_room(caches[1])
    return caches


def same(plain: DynamicCache, growing: DynamicCache) -> None:
    assert type(growing.layers[0]) is GrowingLayer
    for name in ("keys", "values"):
        assert torch.equal(getattr(plain.layers[0], name), getattr(growing.layers[0], name))
    assert plain.get_seq_length() == growing.get_seq_length()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.integers(1, ROOM + 3), st.lists(st.integers(0, 1), min_size=2, max_size=4)), max_size=6))
def test_it_holds_what_concatenation_holds(steps: list[int | list[int]]) -> None:
    plain, growing = two()
    for step in steps:
        if isinstance(step, int):
            new = states(len(plain.layers[0].keys), step), states(len(plain.layers[0].keys), step)
            for given_back, expected in zip(growing.update(*new, 0), plain.update(*new, 0), strict=True):
                assert torch.equal(given_back, expected)
        else:
            plain.reorder_cache(torch.tensor(step))
            growing.reorder_cache(torch.tensor(step))
        same(plain, growing)


def test_a_token_copies_nothing_while_there_is_room() -> None:
    _, growing = two()
    layer = growing.layers[0]
    growing.update(states(3, 1), states(3, 1), 0)
    where = layer.keys.data_ptr()
    for _ in range(ROOM):
        growing.update(states(3, 1), states(3, 1), 0)
    assert layer.keys.data_ptr() == where
    growing.update(states(3, 1), states(3, 1), 0)
    assert layer.keys.data_ptr() != where


def test_a_window_stays_what_it_is() -> None:
    class Window(DynamicLayer):
        pass

    cache = DynamicCache()
    cache.update(states(1, 2), states(1, 2), 0)
    cache.layers = [Window()]
    make_room(cache)
    assert type(cache.layers[0]) is Window
