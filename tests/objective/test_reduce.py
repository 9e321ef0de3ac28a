"""Reductions and metrics on numbers written by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.errors import BurnishError, ConfigError, ObjectiveError
from burnish.objective.ragged import Ragged
from burnish.objective.reduce import Reduction, Tally
from burnish.objective.terms import How, Metric, Terms

TOKENS = Ragged(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([2, 0, 1]))  # two sequences with targets, one without
LENGTHS = (2, 0, 1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("token_mean", (1 + 3 + 5) / 3),
        ("sequence_mean", (4 + 5) / 2),
        ("sequence_token_mean", (2 + 5) / 2),
        ("constant(10)", (4 + 5) / (10 * 2)),
        ("pair_mean", (4 + 5) / 3),  # three units, whatever their sequences
    ],
)
def test_token_terms(name: str, expected: float) -> None:
    reduction = Reduction.parse(name)
    shares = reduction.shares(Terms(token=TOKENS), torch.ones(3), reduction.denominator(LENGTHS, num_units=3))
    assert shares.sum().item() == pytest.approx(expected)
    assert str(reduction) == name


def test_multipliers_leave_the_denominator_alone() -> None:
    reduction = Reduction.parse("token_mean")
    per_sequence = reduction.shares(Terms(token=TOKENS), torch.tensor([0.5, 1.0, 2.0]), 3)
    assert per_sequence.tolist() == pytest.approx([(1 + 3) * 0.5 / 3, 0, 5 * 2 / 3])
    per_token = reduction.shares(Terms(token=TOKENS), Ragged(torch.tensor([1.0, 0.0, 1.0]), TOKENS.lengths), 3)
    assert per_token.tolist() == pytest.approx([1 / 3, 0, 5 / 3])
    # a sequence's term under weights of its tokens: 4 * (1 + 0) / 2 and 5 * 1; the one without targets counts for nothing
    of_sequences = Terms(sequence=torch.tensor([4.0, 7.0, 5.0]))
    spread = Reduction.parse("sequence_mean").shares(of_sequences, Ragged(torch.tensor([1.0, 0.0, 1.0]), TOKENS.lengths), 2)
    assert spread.tolist() == pytest.approx([1, 0, 5 / 2])
    pairs = Reduction.parse("pair_mean").shares(Terms(pair=torch.tensor([2.0, 4.0])), torch.tensor([1.0, 0.25]), 4)
    assert pairs.tolist() == pytest.approx([0.5, 0.25])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ObjectiveError, match="token_mean cannot reduce terms per sequence; set `reduction` to sequence_mean"):
        Reduction.parse("token_mean").shares(Terms(sequence=torch.ones(2)), torch.ones(2), 2)
    with pytest.raises(ObjectiveError, match="weight per token cannot multiply terms per pair"):
        Reduction.parse("pair_mean").shares(Terms(pair=torch.ones(3)), TOKENS, 3)


@pytest.mark.parametrize(
    "given", ["tokenmean", "constant", "constant(x)", "constant(-1)", "constant(nan)", "token_mean(2)", 3, None]
)
def test_unknown_reductions_are_refused(given: object) -> None:
    with pytest.raises(ConfigError):
        Reduction.parse(given)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("mean", (1 * 1 + 2 * 4 + 3 * 2) / 6),
        ("sum", 15.0),
        ("min", 1.0),
        ("max", 4.0),
        # 1, 4, 4, 2, 2, 2 has mean 2.5; squared distances 2.25 + 2 * 2.25 + 3 * .25 = 7.5, over n - 1 = 5
        ("std", math.sqrt(7.5 / 5)),
    ],
)
def test_metrics(how: How, expected: float) -> None:
    values, weights = torch.tensor([1.0, 4.0, torch.nan, 2.0]), torch.tensor([1.0, 2.0, 0.0, 3.0])
    assert Tally.of(Metric(values, weights, how)).value() == pytest.approx(expected)
    assert Tally.of(Metric(values[:0], how=how)).value() is None


@given(
    st.lists(st.floats(-100, 100), min_size=1, max_size=12),
    st.integers(0, 12),
    st.sampled_from(["mean", "sum", "min", "max", "std"]),
)
@settings(deadline=None, max_examples=60)
def test_a_metric_does_not_know_where_it_was_cut(numbers: list[float], cut: int, how: How) -> None:
    whole = Tally.of(Metric(torch.tensor(numbers, dtype=torch.float64), how=how)).value()
    parts = [Tally.of(Metric(torch.tensor(part, dtype=torch.float64), how=how)) for part in (numbers[:cut], numbers[cut:])]
    assert parts[0].merge(parts[1]).value() == pytest.approx(whole, abs=1e-5)
    assert parts[1].merge(parts[0]).value() == pytest.approx(whole, abs=1e-5)


def test_a_ragged_metric_counts_tokens() -> None:
    assert Tally.of(Metric(TOKENS)).value() == 3.0
    assert Tally.of(Metric(TOKENS, TOKENS > 2)).value() == 4.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Metric(torch.tensor(1.0)), "unreduced"),
        (lambda: Metric(torch.ones(2), torch.ones(3)), "weights must be"),
        (lambda: Metric(torch.ones(2), how="median"), "not 'median'"),
        (lambda: Terms(), "exactly one"),
        (lambda: Terms(pair=torch.ones(1), list=torch.ones(1)), "exactly one"),
        (lambda: Tally.of(Metric(torch.ones(2))).merge(Tally.of(Metric(torch.ones(2), how="max"))), "as mean and as max"),
    ],
)
def test_what_cannot_be_a_metric_or_a_term(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BurnishError, match=message):
        make()
