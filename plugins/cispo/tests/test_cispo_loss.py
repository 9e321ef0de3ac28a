"""CISPO on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from burnish_cispo.loss import CISPO

from burnish.errors import ConfigError
from burnish.model.signals import logp
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import values_of
from burnish.testing.batches import sequences


def test_capped_weights_and_whole_gradients() -> None:
    # rho = e^(lp - lo): 1, 2 held at 1.5, .5, 2 held at 1.5; L = -w A lp, d/dlp = -w A, even where the cap holds
    lp = [[-1.0, -1.0], [-2.0, -3.0]]
    lo = [[-1.0, -1.0 - math.log(2)], [-2.0 + math.log(2), -3.0 - math.log(2)]]
    given = sequences(lp, signals={logp("old"): lo}, fields={"advantages": [[1.0, 2.0], [-1.0, -1.0]]})
    terms = CISPO(cap=1.5)(given)
    per_token = values_of(terms, "token")
    assert per_token.values.tolist() == pytest.approx([1.0, 1.5 * 2, -0.5 * 2, -1.5 * 3])
    [found] = torch.autograd.grad(per_token.values.sum(), [given.logp.values])
    assert found.tolist() == pytest.approx([-1.0, -3.0, 0.5, 1.5])
    capped = terms.metrics["cispo_clip_ratio"].values
    assert capped.values.tolist() == [0, 1, 0, 0]  # type: ignore[union-attr]


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="cap"):
        Objective.parse([{"cispo": {"cap": 0}}], load())


def test_what_is_capped_is_counted_for_any_positive_advantage() -> None:
    given = sequences([[math.log(0.5)] * 2], signals={logp("old"): [[math.log(0.2)] * 2]}, fields={"advantages": [[0.5, -0.5]]})
    capped = CISPO(cap=2.0)(given).metrics["cispo_clip_ratio"].values
    assert not isinstance(capped, torch.Tensor)
    assert capped.values.tolist() == [1, 0]
