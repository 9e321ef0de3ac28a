"""Ragged values against the same numbers as plain lists."""

from __future__ import annotations

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


def test_gradients_are_those_of_finite_differences() -> None:
    lengths = torch.tensor([2, 0, 3, 1])

    def function(values: torch.Tensor, per_sequence: torch.Tensor) -> torch.Tensor:
        a = Ragged(values, lengths)
        mixed = a.exp() * a.per_token(per_sequence) + a.cumsum() ** 2
        return torch.stack([mixed.sum(), mixed.mean(), mixed.last()])

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
