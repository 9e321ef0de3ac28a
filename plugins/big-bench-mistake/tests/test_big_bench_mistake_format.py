"""The first mistake, and nothing after it."""

from __future__ import annotations

from typing import Any

import pytest
from burnish_big_bench_mistake.format import EXAMPLES, BigBenchMistake

from burnish import registry as plugins
from burnish.data.detect import detect_format
from burnish.data.examples import RowError


@pytest.mark.parametrize(
    ("at", "steps", "labels"),
    [
        (None, ("a", "b", "c"), (1.0, 1.0, 1.0)),
        (0, ("a",), (0.0,)),
        (1, ("a", "b"), (1.0, 0.0)),
        (2, ("a", "b", "c"), (1.0, 1.0, 0.0)),
    ],
)
def test_labels(at: int | None, steps: tuple[str, ...], labels: tuple[float, ...]) -> None:
    example = BigBenchMistake().convert({"input": "p", "steps": ["a", "b", "c"], "mistake_index": at, "task": "t"})
    assert (example.prompt, example.steps, example.labels) == ("p", steps, labels)
    assert example.columns == {"task": "t"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"input": "p", "steps": ["a"], "mistake_index": 1}, "null or one of 1 steps from 0; found int 1"),
        ({"input": "p", "steps": ["a"], "mistake_index": "0"}, "found str '0'"),
        ({"input": "p", "steps": [], "mistake_index": 0}, "expected a text in 'input'"),
        ({"input": "p", "steps": ["a"]}, "expected a text in 'input'"),
    ],
)
def test_bad_rows(row: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=message):
        BigBenchMistake().convert(row)


def test_its_rows_are_told_from_trls() -> None:
    assert detect_format(EXAMPLES, plugins.load()).name == "big-bench-mistake"
