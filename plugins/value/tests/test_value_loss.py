"""The clipped value loss on numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from burnish_value.loss import ClippedValue

from burnish.errors import ConfigError
from burnish.model.signals import value
from burnish.objective import Sequences
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import values_of
from burnish.testing.batches import sequences


def batch(now: list[float], before: list[float], returns: list[float]) -> Sequences:
    return sequences([[-1.0] * len(now)], signals={value(): [now], value("old"): [before]}, fields={"returns": [returns]})


def test_the_larger_of_two_errors() -> None:
    # v 1.5, vo 1, R 2: clip gives 1.2, errors .25 and .64: the clipped one, no gradient.
    # v 1.5, vo 1, R 0: errors 2.25 and 1.44: the plain one, d/dv = v - R = 1.5. v .9, vo 1, R 2: not clipped, 1.21
    given = batch([1.5, 1.5, 0.9], [1.0, 1.0, 1.0], [2.0, 0.0, 2.0])
    terms = ClippedValue()(given)
    per_token = values_of(terms, "token")
    assert per_token.values.tolist() == pytest.approx([0.32, 1.125, 0.605])
    [found] = torch.autograd.grad(per_token.values.sum(), [given.signal(value()).values])
    assert found.tolist() == pytest.approx([0.0, 1.5, -1.1])
    assert terms.metrics["clip_ratio/value"].values.values.tolist() == [1, 0, 0]  # type: ignore[union-attr]


def test_without_a_bound() -> None:
    terms = values_of(ClippedValue(clip=None)(batch([1.5], [1.0], [2.0])), "token")
    assert terms.values.tolist() == pytest.approx([0.125])
    assert ClippedValue(clip=None).signals() == {value()}


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="clip"):
        Objective.parse([{"value": {"clip": 0}}], load())


def test_a_move_is_bounded_on_either_side() -> None:
    # vo 1 and a bound of .25; v .25 is held at .75, where the error to 2 is 1.5625 against 3.0625 of v itself;
    # v .9 is not held, also where vo is -1 and it is held at -.75: errors to -2 of 8.41 and 1.5625
    terms = ClippedValue(clip=0.25)(batch([0.25, 0.9, 0.9], [1.0, 1.0, -1.0], [2.0, 2.0, -2.0]))
    per_token = values_of(terms, "token")
    assert per_token.values.tolist() == pytest.approx([3.0625 / 2, 1.21 / 2, 8.41 / 2])
    # vo 1, v .25, R 0: held at .75, error .5625 against .0625
    terms = ClippedValue(clip=0.25)(batch([0.25], [1.0], [0.0]))
    per_token = values_of(terms, "token")
    assert per_token.values.tolist() == pytest.approx([0.5625 / 2])
