"""`divergence` against dense float64 arithmetic: values, gradients, top-k with and without its tail, unequal vocabularies."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from burnish.model.divergence import divergence_of
from burnish.model.signals import divergence


def logits(seed: int, rows: int = 3, size: int = 7, spread: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, size, dtype=torch.float64, generator=generator) * spread


def dense(p: Tensor, q: Tensor, beta: float) -> Tensor:
    """Straight from the definition, on probabilities."""

    def kl(a: Tensor, b: Tensor) -> Tensor:
        return (a * (a / b).log()).sum(-1)

    if beta == 0:
        return kl(q, p)
    if beta == 1:
        return kl(p, q)
    m = beta * q + (1 - beta) * p
    return beta * kl(q, m) + (1 - beta) * kl(p, m)


def bucketed(p: Tensor, q: Tensor, top_k: int, tail: bool) -> tuple[Tensor, Tensor]:
    """p and q on the k likeliest tokens of q."""
    likely = q.argsort(-1, descending=True)[:, :top_k]
    kept = [each.gather(-1, likely) for each in (p, q)]
    if tail:
        return tuple(torch.cat([each, 1 - each.sum(-1, keepdim=True)], -1) for each in kept)  # type: ignore[return-value]
    return tuple(each / each.sum(-1, keepdim=True) for each in kept)  # type: ignore[return-value]


def test_two_tokens_by_hand() -> None:
    # p = (1/2, 1/2), q = (3/4, 1/4). KL(q||p) = .75 log 1.5 + .25 log .5; KL(p||q) = .5 log(2/3) + .5 log 2
    student, teacher = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64)
    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    reverse = 0.5 * math.log(2 / 3) + 0.5 * math.log(2.0)
    assert divergence_of(student, teacher, divergence(0.0)).item() == pytest.approx(forward, rel=1e-12)
    assert divergence_of(student, teacher, divergence(1.0)).item() == pytest.approx(reverse, rel=1e-12)
    # beta = .5: m = (5/8, 3/8)
    middle = 0.5 * (0.75 * math.log(1.2) + 0.25 * math.log(2 / 3)) + 0.5 * (0.5 * math.log(0.8) + 0.5 * math.log(4 / 3))
    assert divergence_of(student, teacher, divergence(0.5)).item() == pytest.approx(middle, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    beta=st.sampled_from([0.0, 1.0, 0.1, 0.5, 0.93]),
    top_k=st.sampled_from([0, 1, 3, 6, 7, 20]),
    tail=st.booleans(),
)
def test_value_and_gradient_are_those_of_the_definition(seed: int, beta: float, top_k: int, tail: bool) -> None:
    student, teacher = logits(seed).requires_grad_(), logits(seed + 1)
    p, q = student.softmax(-1), teacher.softmax(-1)
    if 0 < top_k < student.shape[-1]:
        p, q = bucketed(p, q, top_k, tail)
    expected = dense(p, q, beta)
    weights = torch.arange(1.0, 4.0, dtype=torch.float64)
    [wanted] = torch.autograd.grad(expected @ weights, student)
    found = divergence_of(student, teacher, divergence(beta, top_k=top_k, tail=tail))
    [gradient] = torch.autograd.grad(found @ weights, student)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_equal_models_are_at_no_distance_and_feel_no_force(beta: float) -> None:
    student = logits(0).requires_grad_()
    value = divergence_of(student, logits(0), divergence(beta))
    [gradient] = torch.autograd.grad(value.sum(), student)
    assert value.abs().max() < 1e-14
    assert gradient.abs().max() < 1e-14


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_forbidden_tokens_leave_no_nan(beta: float) -> None:
    student, teacher = logits(0), logits(1)
    student[:, 2] = teacher[:, 2] = -torch.inf
    student.requires_grad_()
    value = divergence_of(student, teacher, divergence(beta))
    [gradient] = torch.autograd.grad(value.sum(), student)
    assert value.isfinite().all()
    assert gradient.isfinite().all()
    left = [0, 1, 3, 4, 5, 6]
    torch.testing.assert_close(value, divergence_of(student[:, left], teacher[:, left], divergence(beta)))


def test_a_larger_vocabulary_is_cut_to_the_smaller_one() -> None:
    student, teacher = logits(0, size=9), logits(1, size=7)
    expected = divergence_of(student[:, :7], teacher, divergence(0.5))
    torch.testing.assert_close(divergence_of(student, teacher, divergence(0.5)), expected)


def test_parameters_out_of_range_are_refused() -> None:
    for beta in (-0.1, 1.1):
        with pytest.raises(ValueError, match="beta"):
            divergence(beta)
    with pytest.raises(ValueError, match="top_k"):
        divergence(top_k=-1)


def test_a_tail_without_top_k_is_no_other_signal() -> None:
    assert divergence(0.5, tail=True) == divergence(0.5, tail=False)
