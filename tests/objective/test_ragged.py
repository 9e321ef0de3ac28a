"""Ragged values against the same numbers as plain lists."""

from __future__ import annotations

import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.objective.ragged import Ragged, gather

LISTS = st.lists(st.lists(st.floats(-5, 5), max_size=4), min_size=1, max_size=6)


def ragged(lists: list[list[float]]) -> Ragged:
    values = torch.tensor([value for one in lists for value in one], dtype=torch.float64)
    return Ragged(values, torch.tensor([len(one) for one in lists]))


@given(LISTS)
@settings(deadline=None, max_examples=40)
def test_sums_means_last_and_running_sums_are_those_of_the_lists(lists: list[list[float]]) -> None:
    values = ragged(lists)
    assert values.sum().tolist() == pytest.approx([sum(one) for one in lists])
    assert values.mean().tolist() == pytest.approx([sum(one) / len(one) if one else 0.0 for one in lists])
    assert values.last().tolist() == [one[-1] if one else 0.0 for one in lists]
    running = [sum(one[: place + 1]) for one in lists for place in range(len(one))]
    assert values.cumsum().values.tolist() == pytest.approx(running)
    assert values.offset.values.tolist() == [place for one in lists for place in range(len(one))]
    assert values.index.tolist() == [index for index, one in enumerate(lists) for _ in one]


def test_arithmetic_is_per_token() -> None:
    a, b = ragged([[1.0, 2.0], [], [3.0]]), ragged([[4.0, -5.0], [], [6.0]])
    assert (1 - a * b / 2 + 0.5).values.tolist() == [-0.5, 6.5, -7.5]
    assert (2 / a).values.tolist() == [2.0, 1.0, 2 / 3]
    assert (a**2).values.tolist() == [1.0, 4.0, 9.0]
    assert a.minimum(b).values.tolist() == [1.0, -5.0, 3.0]
    assert b.abs().clamp(max=5.5).values.tolist() == [4.0, 5.0, 5.5]
    assert (a > 1).sum().tolist() == [1.0, 0.0, 1.0]
    assert a.map(torch.maximum, b).values.tolist() == b.maximum(a).values.tolist() == [4.0, 2.0, 6.0]


def test_spreading_a_number_per_sequence_is_explicit() -> None:
    a = ragged([[1.0, 2.0], [], [3.0]])
    assert (a * a.per_token(torch.tensor([10.0, 20.0, 30.0]))).values.tolist() == [10.0, 20.0, 90.0]
    with pytest.raises(TypeError, match="per_token"):
        a * torch.ones(3)  # type: ignore[operator]
    with pytest.raises(ValueError, match="one number per sequence"):
        a.per_token(torch.ones(2))
    with pytest.raises(ValueError, match="lengths differ"):
        a + ragged([[1.0], [2.0, 3.0]])
    with pytest.raises(ValueError, match="per token"):
        a.map(lambda values: values.sum())


@given(LISTS)
@settings(deadline=None, max_examples=40)
def test_spreads_ranks_and_sums_to_the_end_are_those_of_the_lists(lists: list[list[float]]) -> None:
    values = ragged(lists)
    assert values.first().tolist() == [one[0] if one else 0.0 for one in lists]
    spreads = [statistics.variance(one) if len(one) > 1 else 0.0 for one in lists]
    assert values.var().tolist() == pytest.approx(spreads, abs=1e-9)
    assert values.std().tolist() == pytest.approx([spread**0.5 for spread in spreads], abs=1e-6)
    centred = [value - statistics.fmean(one) for one in lists for value in one]
    assert values.centred().values.tolist() == pytest.approx(centred, abs=1e-9)
    assert values.rank().values.tolist() == [sum(other > value for other in one) for one in lists for value in one]
    assert values.next().values.tolist() == [value for one in lists if one for value in [*one[1:], 0.0]]
    sums = [sum(0.5**n * value for n, value in enumerate(one[place:])) for one in lists for place in range(len(one))]
    assert values.discounted_sum(0.5).values.tolist() == pytest.approx(sums)
    scaled = [value / (spread**0.5 + 0.1) for value, spread in zip(centred, values.per_token(values.var()).values, strict=True)]
    assert values.standardised(0.1).values.tolist() == pytest.approx([float(value) for value in scaled], abs=1e-9)
    positive = values.select(values.values > 0)
    assert positive.values.tolist() == [value for one in lists for value in one if value > 0]
    assert positive.lengths.tolist() == [sum(value > 0 for value in one) for one in lists]
    assert values.joined().lengths.tolist() == [len(values.values)]


def test_equal_numbers_have_no_spread_whatever_their_mean_rounds_to() -> None:
    values = Ragged(torch.full((10,), 0.1), torch.tensor([7, 3]))  # float32: seven tenths, summed, are not 7 * .1
    assert values.centred().values.tolist() == [0.0] * 10
    assert values.std().tolist() == [0.0, 0.0]


def test_a_number_at_the_end_of_its_sequence() -> None:
    assert ragged([[1.0, 2.0], [], [3.0]]).at_last(torch.tensor([7.0, 8.0, 9.0])).values.tolist() == [0.0, 7.0, 9.0]


def test_sums_to_the_end_without_discount_and_with_nothing_but_themselves() -> None:
    values = ragged([[1.0, 2.0, 3.0, 4.0, 5.0], [], [6.0]])
    assert values.discounted_sum(1.0).values.tolist() == [15.0, 14.0, 12.0, 9.0, 5.0, 6.0]
    assert values.discounted_sum(0.0).values.tolist() == values.values.tolist()


def test_gradients_are_those_of_finite_differences() -> None:
    lengths = torch.tensor([2, 0, 3, 1])

    def function(values: torch.Tensor, per_sequence: torch.Tensor) -> torch.Tensor:
        a = Ragged(values, lengths)
        mixed = a.exp() * a.per_token(per_sequence) + a.cumsum() ** 2 + a.next() * a.discounted_sum(0.9)
        return torch.stack([mixed.sum(), mixed.mean(), mixed.last(), mixed.first(), mixed.var()])

    values, per_sequence = (torch.randn(count, dtype=torch.float64, requires_grad=True) for count in (6, 4))
    assert torch.autograd.gradcheck(function, (values, per_sequence))


def test_a_row_read_many_times_collects_every_gradient() -> None:
    values = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (gather(values, torch.tensor([2, 0, 2, 2])) * torch.tensor([1.0, 10.0, 100.0, 1000.0])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [10.0, 0.0, 1101.0]


def test_nothing_at_all_keeps_its_graph() -> None:
    values = torch.zeros(0, requires_grad=True)
    Ragged(values, torch.zeros(0, dtype=torch.int64)).sum().sum().backward()
    assert values.grad is not None
    assert len(ragged([[]]).mean()) == 1
