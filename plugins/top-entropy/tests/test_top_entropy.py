"""The most uncertain tokens: by hand, against torch's quantile, and in any cut of a batch."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from burnish_top_entropy.loss import TopEntropy
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.errors import ConfigError
from burnish.model.signals import entropy
from burnish.objective import Ragged
from burnish.objective.compose import Objective
from burnish.registry import load
from burnish.testing import values_of
from burnish.testing.batches import sequences


def kept(spread: list[list[float]], keep: float) -> list[float]:
    batch = sequences([[-1.0] * len(row) for row in spread], signals={entropy(): spread})
    found, state = TopEntropy(keep=keep).statistic(batch, None)
    assert state is None
    terms = values_of(TopEntropy(keep=keep)(sequences([[-1.0] * len(row) for row in spread], statistic=found)), "token")
    return cast("list[float]", terms.values.tolist())


def test_the_quantile_is_of_all_tokens() -> None:
    # of 6 tokens the .8 quantile lies at place 4 of 0..5, which is 5.0: it and the one above are kept
    assert kept([[1.0, 6.0, 2.0], [5.0], [3.0, 4.0]], 0.2) == [0, 1, 0, 1, 0, 0]
    assert kept([[1.0, 2.0]], 1.0) == [1, 1]
    assert kept([[2.0, 2.0], [2.0]], 0.2) == [1, 1, 1]
    # of 11 the .3 quantile lies at place 3, though (1 - .7) * 10 is a little more than 3 in floating point: 8 are kept
    assert kept([[float(place) for place in range(11)]], 0.7) == [0] * 3 + [1] * 8


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=12), st.sampled_from([0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0]))
def test_what_torch_s_quantile_keeps(numbers: list[int], keep: float) -> None:
    spread = torch.tensor(numbers, dtype=torch.float64)
    least = torch.quantile(spread, 1 - keep)
    assert kept([spread.tolist()], keep) == (spread >= least - 1e-9).double().tolist()


def test_entries_of_the_statistic_belong_to_tokens() -> None:
    batch = sequences([[-1.0, -1.0], [-1.0]], signals={entropy(): [[1.0, 2.0], [3.0]]})
    found, _ = TopEntropy(keep=0.5).statistic(batch, None)
    assert isinstance(found["kept"], Ragged)
    assert found["kept"].lengths.tolist() == [2, 1]


@pytest.mark.parametrize("keep", [0, 1.5])
def test_options_out_of_range_are_refused(keep: float) -> None:
    with pytest.raises(ConfigError, match="keep"):
        Objective.parse([{"grpo": {"weights": [{"top_entropy": {"keep": keep}}]}}], load())
