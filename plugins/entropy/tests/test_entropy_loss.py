"""Entropy bonuses by hand: fixed, and following a target from batch to batch."""

from __future__ import annotations

import pytest
import torch
from burnish_entropy.loss import Entropy

from burnish.errors import ConfigError
from burnish.model.signals import entropy
from burnish.objective import Sequences
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import values_of
from burnish.testing.batches import sequences


def batch(spread: list[list[float]], **statistic: float) -> Sequences:
    return sequences([[-1.0] * len(row) for row in spread], signals={entropy(): spread}, statistic=statistic)


def test_a_fixed_coefficient() -> None:
    given = batch([[1.0, 2.0], [0.5]], coefficient=0.1)
    terms = values_of(Entropy(coefficient=0.1)(given), "token")
    assert terms.values.tolist() == pytest.approx([-0.1, -0.2, -0.05])
    [found] = torch.autograd.grad(terms.values.sum(), [given.signal(entropy()).values])
    assert found.tolist() == pytest.approx([-0.1] * 3)
    assert Entropy(coefficient=0.1).statistic(given, None) == ({"coefficient": 0.1}, None)
    assert Entropy().statistic_on == ()


def test_a_coefficient_that_follows_a_target() -> None:
    """Means 1, 1, 3, 1 against a target of 2: paid, paid, not paid, paid; it rises, rises, falls, rises."""
    loss, state, paid = Entropy(coefficient=0.01, target=2.0, step=0.004, highest=0.016), None, []
    assert loss.statistic_on == ("self",)
    for mean in (1.0, 1.0, 3.0, 1.0):
        found, state = loss.statistic(batch([[mean - 0.5, mean + 0.5], [mean]]), state)
        paid.append((found["coefficient"], state))
    assert [one for one, _ in paid] == pytest.approx([0.01, 0.014, 0.0, 0.012])
    assert [after and after["coefficient"] for _, after in paid] == pytest.approx([0.014, 0.016, 0.012, 0.016])


def test_it_falls_no_lower_than_said() -> None:
    _, state = Entropy(coefficient=0.002, target=0.1).statistic(batch([[1.0]]), None)
    assert state == {"coefficient": 0.0}


@pytest.mark.parametrize("options", [{"step": -1}, {"lowest": 2.0}])
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Objective.parse([{"entropy": options}], load())


def test_a_target_that_is_just_met_is_paid_for_and_bounds_may_be_one_number() -> None:
    found, _ = Entropy(coefficient=0.01, target=1.0, lowest=0.01, highest=0.01).statistic(batch([[1.0]]), None)
    assert found == {"coefficient": 0.01}
