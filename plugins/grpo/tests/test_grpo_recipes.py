"""The recipes of grpo are whole configs of online runs, but for model, data and rewards."""

from __future__ import annotations

from typing import Any

import pytest
from burnish_grpo.loss import GRPO

from burnish.config import load_config
from burnish.objective.compose import Objective
from burnish.registry import load


def expanded(recipe: Any) -> tuple[Any, list[Any]]:
    """The section `rollout`, and the parts of the objective."""
    registry = load()
    config = load_config({"recipe": recipe}, registry=registry)
    return config.rollout, list(Objective.parse(config.objective, registry).entries)


def test_grpo() -> None:
    rollout, [part] = expanded("grpo")
    assert rollout.advantage == {"group": {}}
    assert (part.loss, str(part.reduction)) == (GRPO(), "sequence_token_mean")


def test_grpo_with_a_reference() -> None:
    _, [part, kl] = expanded({"grpo": {"beta": 0.04}})
    assert (part.name, kl.name, kl.weight) == ("grpo", "kl", 0.04)


@pytest.mark.parametrize("length", [64, 256])
def test_dr_grpo(length: int) -> None:
    rollout, [part] = expanded({"dr_grpo": {"max_new_tokens": length}})
    assert rollout.advantage == {"group": {"scale": "none"}}
    assert rollout.sampling.max_new_tokens == length
    assert str(part.reduction) == f"constant({length})"
