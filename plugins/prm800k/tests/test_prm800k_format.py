"""The path that a labeller took."""

from __future__ import annotations

from typing import Any

import pytest
from burnish_prm800k.format import EXAMPLES, PRM800K

from burnish.data.examples import RowError


def row(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"question": {"problem": "p"}, "label": {"steps": list(steps)}}


def step(*ratings: int | None, chosen: int | None = None, human: str | None = None) -> dict[str, Any]:
    completions = [{"text": f"{place}", "rating": rating} for place, rating in enumerate(ratings)]
    return {
        "completions": completions or None,
        "chosen_completion": chosen,
        "human_completion": None if human is None else {"text": human, "rating": None},
    }


@pytest.mark.parametrize(
    ("steps", "path"),
    [
        ([step(1, chosen=0), step(-1, 1, chosen=1)], [("0", 1.0), ("1", 1.0)]),
        ([step(0, chosen=0), step(-1)], [("0", 1.0), ("0", 0.0)]),  # neutral is right; the path ends at an error
        ([step(-1, -1, human="mine"), step(1, chosen=0)], [("mine", 1.0), ("0", 1.0)]),
        ([step(None, -1)], [("1", 0.0)]),  # what was not rated is passed over
        ([step(-1, 1, 1), step(1, chosen=0)], [("0", 0.0)]),  # nothing was chosen, so what follows is not of this path
        ([step(1, chosen=0), step()], [("0", 1.0)]),  # given up
    ],
)
def test_the_path(steps: list[dict[str, Any]], path: list[tuple[str, float]]) -> None:
    example = PRM800K().convert(row(*steps))
    assert list(zip(example.steps, example.labels, strict=True)) == path


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(step()), "expected a rated step; found none"),
        (row(step(1, chosen=3)), "step 0: expected 'chosen_completion' to name one of 1; found int 3"),
        (row(step(None, chosen=0)), "step 0: expected a rating of -1, 0 or 1; found nothing"),
        (row({"completions": [{"rating": 1}], "chosen_completion": 0}), "step 0: expected a completion with 'text'"),
        ({"question": "p", "label": {"steps": []}}, "expected question"),
    ],
)
def test_bad_rows(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=message):
        PRM800K().convert(bad)



def test_its_own_example() -> None:
    assert PRM800K().convert(EXAMPLES[0]).labels == (1.0, 0.0)
