"""Overlong filtering: who stays, what the denominator counts, and what happens when nobody wrote it down."""

from __future__ import annotations

from typing import Any

import pytest
from burnish_overlong_filter.loss import OverlongFilter

from burnish.errors import ObjectiveError
from burnish.testing import evaluate, tiny_model, tiny_tokenizer
from burnish.testing.batches import sequences

FILTERED: list[Any] = [{"reinforce": {"weights": ["overlong_filter"]}}]
ROWS: list[dict[str, Any]] = [
    {"prompt_ids": [5, 6], "completion_ids": [7, 8, 9], "advantages": 1.0, "truncated": False},
    {"prompt_ids": [5, 6], "completion_ids": [7, 3], "advantages": -1.0, "truncated": True},
    {"prompt_ids": [5], "completion_ids": [4], "advantages": 2.0, "truncated": 0},
]


def test_who_stays() -> None:
    batch = sequences([[-1.0], [-1.0]], scalars={"truncated": [0.0, 1.0]})
    assert OverlongFilter().keeps(batch).tolist() == [True, False]
    assert OverlongFilter()(batch).sequence.tolist() == [1.0, 1.0]  # type: ignore[union-attr]


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_the_batch_is_what_is_left(micro_batches: int) -> None:
    model, tokenizer = tiny_model("gpt2"), tiny_tokenizer(chat=False)
    filtered = evaluate(FILTERED, ROWS, model, tokenizer, micro_batches=micro_batches)
    left = evaluate(["reinforce"], [ROWS[0], ROWS[2]], model, tokenizer, micro_batches=micro_batches)
    assert filtered.loss == pytest.approx(left.loss, rel=1e-5)
    assert filtered.forwarded_tokens == left.forwarded_tokens


def test_a_row_that_does_not_say_is_an_error() -> None:
    rows = [{name: value for name, value in row.items() if name != "truncated"} for row in ROWS]
    with pytest.raises(ObjectiveError, match="needs a column 'truncated'"):
        evaluate(FILTERED, rows, tiny_model("gpt2"), tiny_tokenizer(chat=False))
