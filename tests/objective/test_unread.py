"""Columns of the rows that no part of an objective reads are said aloud, and those that one reads are not."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.errors import ObjectiveError
from burnish.objective.compose import Objective
from burnish.objective.unread import unread
from burnish.registry import load
from burnish.testing.conformance.rows import units_of

PAIR = {"prompt": "two and two? ", "chosen": "four", "rejected": "five"}
ANSWER = {"prompt": "two and two? ", "completion": "four"}
WEIGHED = {**PAIR, "weight": 2.0}
WITH_MARGIN = {**PAIR, "margin": 0.5}


def said(objective: list[Any], *rows: dict[str, Any]) -> list[str]:
    registry = load(run_code=True)
    return list(unread(Objective.parse(objective, registry), units_of(list(rows), registry)))


IGNORED = ["rows of main have a margin, which no part of the objective reads"]


@pytest.mark.parametrize("name", ["nca_pair", "sppo_hard", "bco_pair", "apo_zero", "apo_down", "aot", "simpo", "orpo"])
def test_losses_without_a_gap_to_set(name: str) -> None:
    assert said([name], PAIR, WITH_MARGIN) == IGNORED


@pytest.mark.parametrize("name", ["dpo", "ipo", "hinge", "exo_pair", "robust", "beta_dpo", "bradley_terry", "dpo_norm"])
def test_losses_that_read_it(name: str) -> None:
    assert said([name], PAIR, WITH_MARGIN) == []


def test_one_part_is_enough() -> None:
    assert said(["apo_zero", "dpo"], WITH_MARGIN, PAIR) == []


def test_nothing_came_with_the_rows() -> None:
    assert said(["apo_zero"], PAIR, WEIGHED) == []


@pytest.mark.parametrize(("loss", "sentences"), [("kto", 0), ("apo_zero_unpaired", 0), ("bco", 0), ("sft", 1)])
def test_labels(loss: str, sentences: int) -> None:
    """To train on bad answers as on good ones is rarely meant."""
    rows = [{**ANSWER, "label": True}, {"prompt": "go: ", "completion": "no", "label": False}]
    assert said([loss], *rows) == ["rows of main have a label, which no part of the objective reads"][:sentences]


def test_ratings() -> None:
    assert said(["regression"], {**ANSWER, "rating": 3.0}) == []
    assert said(["sft"], {**ANSWER, "rating": 3.0}) == ["rows of main have a rating, which no part of the objective reads"]


def test_trajectories_carry_what_they_like() -> None:
    rows = [{"prompt_ids": [1, 2], "completion_ids": [3], "difficulty": 2.0}]
    assert said(["sft"], *rows) == []


def test_a_formula_that_cannot_run_on_made_up_numbers_accuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise ObjectiveError("apo_zero failed")

    monkeypatch.setattr("burnish.objective.unread.close_parts", fails)
    assert said(["apo_zero"], WITH_MARGIN) == []
