"""Real rows of the three raw forms of marked steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.data.detect import detect_format
from burnish.data.examples import Stepwise
from burnish.registry import Registry


def read(path: Path, registry: Registry, name: str) -> tuple[list[dict[str, Any]], list[Stepwise]]:
    """The rows, and the example of each; the format is found by itself."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    known = detect_format(rows, registry)
    assert known.name == name
    examples = [known.convert(row) for row in rows]
    return rows, [example for example in examples if isinstance(example, Stepwise)]


def test_prm800k(shared_data: Path, registry: Registry) -> None:
    _, examples = read(shared_data / "stepwise_formats/prm800k.jsonl", registry, "prm800k")
    assert [len(example.steps) for example in examples] == [6, 7, 5, 7, 8, 12]
    assert [example.labels.index(0.0) if 0.0 in example.labels else None for example in examples] == [None, 6, *[None] * 4]
    assert examples[0].steps[1] == "We have $3p+e=1.24$ and $5p+e=1.82$."  # a person's own
    assert str(examples[0].prompt).startswith("Three pencils and a jumbo eraser cost")


def test_math_shepherd(shared_data: Path, registry: Registry) -> None:
    rows, examples = read(shared_data / "stepwise_formats/math-shepherd.jsonl", registry, "math-shepherd")
    assert [len(example.steps) for example in examples] == [5, 3, 2, 5, 5, 2, 3]
    assert examples[0].labels == (1.0, 1.0, 1.0, 1.0, 0.0)
    for row, example in zip(rows, examples, strict=True):  # nothing is lost but marks and white space
        joined = "".join([str(example.prompt), *example.steps])
        assert "".join(joined.split()) == "".join(row["input"].replace("ки", "").split())


@pytest.mark.parametrize(("split", "count", "right"), [("train", 921, 116), ("test", 160, 23)])
def test_big_bench_mistake(shared_data: Path, registry: Registry, split: str, count: int, right: int) -> None:
    _, examples = read(shared_data / f"stepwise_mistakes/{split}.jsonl", registry, "big-bench-mistake")
    assert (len(examples), sum(0.0 not in example.labels for example in examples)) == (count, right)
