"""A recipe waits in place of numbers, and gives the same gradients."""

from __future__ import annotations

import gc
import weakref

import torch
from torch import Tensor
from torch.nn import functional as F

from burnish.model.recipes import by_recipe, give_recipe


def doubled(x: Tensor) -> Tensor:
    return give_recipe(x * 2, lambda: x.detach() * 2)


def test_numbers_are_freed_and_made_again() -> None:
    # loss = sum((2 x W') ^ 2): with X = 2 x and Y = X W', dW = 2 Y' X and dx = 2 * 2 Y W
    x, weight = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    made: list[int] = []

    def make() -> Tensor:
        made.append(1)
        return x.detach() * 2

    with by_recipe():
        middle = give_recipe(x * 2, make)
        # A linear layer of a batch keeps a view of its input in two dimensions.
        output = F.linear(middle[None], weight)
        storage = weakref.ref(middle.untyped_storage())
        del middle
        gc.collect()
        assert storage() is None
        loss = output.pow(2).sum()
    for _ in range(2):  # a recipe serves again
        x.grad = weight.grad = None
        torch.autograd.backward(loss, retain_graph=True)
        inputs = 2 * x.detach()
        outputs = inputs @ weight.detach().t()
        torch.testing.assert_close(weight.grad, 2 * outputs.t() @ inputs)
        torch.testing.assert_close(x.grad, 4 * outputs @ weight.detach())
    assert made == [1, 1]


def test_numbers_that_were_changed_since_are_kept_themselves() -> None:
    x, weight = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    with by_recipe():
        changed = doubled(x).add_(1)
        loss = (changed * weight).sum()
    torch.autograd.backward(loss)
    assert weight.grad is not None
    assert weight.grad.tolist() == [3.0, 3.0]


def test_a_part_of_the_numbers_is_kept_itself() -> None:
    x, weight = torch.arange(4.0, requires_grad=True), torch.ones(2, requires_grad=True)
    with by_recipe():
        loss = (doubled(x)[2:] * weight).sum()
    torch.autograd.backward(loss)
    assert weight.grad is not None
    assert weight.grad.tolist() == [4.0, 6.0]


def test_turned_numbers_are_kept_themselves() -> None:
    # As many elements as the whole, but in another order: d/dW sum((2 x)' * W) = (2 x)'
    x, weight = torch.arange(6.0).view(2, 3).requires_grad_(), torch.ones(3, 2, requires_grad=True)
    with by_recipe():
        loss = (doubled(x).t() * weight).sum()
    torch.autograd.backward(loss)
    torch.testing.assert_close(weight.grad, 2 * x.detach().t())


def test_what_keeps_its_own_output_is_freed_without_a_backward_pass() -> None:
    x = torch.ones(3, requires_grad=True)
    with by_recipe():
        output = x.exp()
    storage = weakref.ref(output.untyped_storage())
    del output
    gc.collect()
    assert storage() is None
