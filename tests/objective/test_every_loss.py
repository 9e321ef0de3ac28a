"""Every registered offline loss sees a set: equal value, metrics and gradient in any layout, cut and order, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from burnish.registry import load
from burnish.registry.records import LossRecord
from burnish.testing import Evaluation

PAIRS = [
    {"prompt": "two and two? ", "chosen": "four", "rejected": "fi"},
    {"prompt": "two and two? ", "chosen": "it is four", "rejected": "five"},
    {"prompt": "the sky? ", "chosen": "blue", "rejected": "a green one"},
    {"prompt": "go: ", "chosen": "b", "rejected": "c"},
    {"prompt": "two and ", "chosen": "three", "rejected": "two"},
]
ROWS: dict[str, list[dict[str, Any]]] = {
    "preference": PAIRS,
    "triple": [{**row, "reference": "gold"} for row in PAIRS],
    "ranked": [{"prompt": row["prompt"], "completions": [row["chosen"], row["rejected"], "nothing"]} for row in PAIRS],
    "unpaired": [{"prompt": row["prompt"], "completion": row["rejected"], "label": len(row["chosen"]) > 4} for row in PAIRS],
    "sequence": [{"prompt": row["prompt"], "completion": row["chosen"]} for row in PAIRS],
}
LOSSES = {record.name: ROWS[record.data] for record in load().records(LossRecord) if record.data in ROWS}
STATE = 2  # global batches in a row, so that what a statistic remembers counts too


@pytest.mark.parametrize("name", LOSSES)
def test_the_batch_is_a_set(
    name: str, run: Callable[..., Evaluation], distance: Callable[..., float]
) -> None:
    rows = LOSSES[name]
    results = []
    for layout, cuts, order in (("tree", 1, rows), ("padded", 3, rows[::-1]), ("packed", 5, rows[2:] + rows[:2])):
        state = None
        for _ in range(STATE):
            one = run([name], order, layout=layout, micro_batches=cuts, state=state)
            state = one.state
        results.append(one)
    first, *others = results
    assert any(gradient.any() for gradient in first.grads.values())
    for other in others:
        assert other.loss == pytest.approx(first.loss, rel=1e-10)
        assert other.metrics == pytest.approx(first.metrics, rel=1e-9, abs=1e-12)
        assert distance(other.grads, first.grads) < 1e-9
