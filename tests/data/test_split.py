"""Held-out rows: always the same ones, all rows of a prompt on one side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.data import split
from burnish.data.examples import Chat, Example, Preference, PromptCompletion, Side, Text


def test_rows_of_one_prompt_draw_alike_and_side_columns_do_not_matter() -> None:
    draws = {
        split.draw(PromptCompletion("p", "a")),
        split.draw(PromptCompletion("p", "b", side=Side(weight=2.0))),
        split.draw(Preference("p", "a", "b")),
    }
    assert len(draws) == 1
    assert split.draw(PromptCompletion("q", "a")) not in draws


def test_without_a_prompt_everything_said_counts() -> None:
    asked = {"role": "user", "content": "Who are you?"}
    chats: list[Example] = [Chat((asked, {"role": "assistant", "content": text})) for text in "ab"]
    pairs: list[Example] = [PromptCompletion("", "a"), PromptCompletion("", "b"), Text("a"), Text("b")]
    assert len({split.draw(example) for example in (*chats, *pairs)}) == 6


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_the_fraction_is_kept_over_many_rows(fraction: float) -> None:
    """2000 independent draws: the share is within 4 standard deviations, 4 * sqrt(.25 / 2000) = .045, of the fraction."""
    draws = np.array([split.draw(Text(f"row {number}")) for number in range(2000)])
    assert abs(split.held_out(draws, fraction).mean() - fraction) < 0.045


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 0.999), min_size=1, max_size=20), st.floats(0.001, 1), st.floats(0.001, 1))
def test_more_rows_or_a_larger_fraction_never_bring_a_held_out_row_back(draws: list[float], one: float, other: float) -> None:
    less, more = sorted((one, other))
    held = split.held_out(np.array(draws), less)
    assert held.any(), "at least one row is held out"
    assert not (held & ~split.held_out(np.array(draws), more)).any()
