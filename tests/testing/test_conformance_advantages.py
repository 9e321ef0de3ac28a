"""check_advantage finds what is planted: one mistake an advantage, and the check that must say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch

from burnish.objective.ragged import Ragged
from burnish.rollout.contract import Groups
from burnish.testing import check_advantage

Formula = Callable[[Groups], Any]


def failing(formula: Formula, asks: frozenset[str] = frozenset()) -> set[str]:
    """Names of the checks that an advantage with this formula does not pass."""

    class Planted:
        """Made up."""

        needs: ClassVar[frozenset[str]] = asks

        def __call__(self, groups: Groups) -> Any:
            return formula(groups)

    return {result.name for result in check_advantage(Planted()).failures}


def by_neighbour(groups: Groups) -> Ragged:
    return groups.rewards - groups.rewards.map(lambda values: values.roll(1))


def in_place(groups: Groups) -> Ragged:
    groups.rewards.values.mul_(0.5)
    return groups.rewards.centred()


def drawn(groups: Groups) -> Ragged:
    return groups.rewards.map(torch.rand_like)


def by_nothing(groups: Groups) -> Ragged:
    return groups.rewards.centred() / groups.rewards.per_token(groups.rewards.std())


@pytest.mark.parametrize(
    ("formula", "check"),
    [
        (by_neighbour, "order"),
        (in_place, "pure"),
        (drawn, "pure"),
        (by_nothing, "shapes"),
        (lambda groups: groups.rewards.values, "shapes"),
        (lambda groups: groups.rewards.joined(), "shapes"),
        (lambda groups: groups.need("values"), "shapes"),
    ],
)
def test_a_planted_mistake_is_found(formula: Formula, check: str) -> None:
    assert check in failing(formula)


def test_a_misspelt_need_is_found() -> None:
    assert "needs" in failing(lambda groups: groups.rewards, frozenset({"value"}))


def test_a_right_one_passes() -> None:
    assert failing(lambda groups: groups.rewards.centred()) == set()
    assert failing(lambda groups: groups.need("values"), frozenset({"values"})) == set()
