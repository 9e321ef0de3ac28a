"""Rates by hand, and refusals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from burnish.engine.schedule import Schedule
from burnish.errors import ConfigError


def schedule(name: str, warmup: float = 0.0, num_steps: int = 10, **options: Any) -> Schedule:
    section: Any = SimpleNamespace(name=name, warmup=warmup, options=options)
    return Schedule(section, 1.0, num_steps)


def test_linear_by_hand() -> None:
    # Warm-up 0.2 of 10 steps = 2 steps: 0, 1/2, then (10 - step) / 8.
    rates = [schedule("linear", 0.2).rate(step) for step in (0, 1, 2, 6, 10)]
    assert rates == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0])


def test_warmup_in_steps_or_as_a_fraction() -> None:
    in_steps, as_fraction = schedule("linear", 2), schedule("linear", 0.2)
    assert [in_steps.rate(step) for step in range(10)] == [as_fraction.rate(step) for step in range(10)]


@pytest.mark.parametrize(
    ("name", "warmup", "is_short"),
    [("linear", 10, True), ("linear", 9, False), ("linear", 0.1, False), ("constant", 50, False)],
)
def test_a_run_that_ends_before_its_warmup_is_told_so(name: str, warmup: float, is_short: bool) -> None:
    made = schedule(name, warmup)
    reaches = max(made.rate(step) for step in range(10)) == 1
    assert reaches is not is_short
    assert (made.doubt is not None) is is_short


def test_cosine_by_hand() -> None:
    # 0.5 * (1 + cos(pi * step / 10)): 1, 0.5, 0 at steps 0, 5, 10.
    assert [schedule("cosine").rate(step) for step in (0, 5, 10)] == pytest.approx([1.0, 0.5, 0.0])


def test_options_reach_the_schedule() -> None:
    assert schedule("cosine_with_min_lr", min_lr=0.25).rate(10) == pytest.approx(0.25)


def test_apply_sets_every_group() -> None:
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)]}], lr=9.0)
    assert schedule("constant").apply(optimizer, 3) == 1.0
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cosin", {}, "Did you mean 'cosine'"),
        ("linear", {"knob": 1}, "schedule 'linear' with options"),
        ("reduce_lr_on_plateau", {}, "follows a metric"),
    ],
)
def test_refusals(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        schedule(name, **options)
