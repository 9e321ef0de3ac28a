"""Tensors that need not wait for the backward pass, because they are quickly made again from others that wait anyway.

In: an output, and how it follows from what its own operation keeps. Out: within `by_recipe`, whoever keeps that output keeps
the recipe. The operations that keep it need not know: a linear layer, with an adapter or quantised, is called as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

# Of a tensor; so a recipe lives as long as what it is for, and belongs to no other.
ATTRIBUTE = "burnish_recipe"


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """make: gives the numbers again, bit for bit. version: of the output when it had them."""

    make: Callable[[], Tensor]
    version: int


@dataclass(frozen=True, slots=True, eq=False)
class _Order:
    """A recipe in place of a tensor of this shape."""

    recipe: Recipe
    shape: torch.Size


def give_recipe(output: Tensor, make: Callable[[], Tensor]) -> Tensor:
    """`output`, which can be had again from `make`; that must hold tensors that wait for the backward pass in any case."""
    setattr(output, ATTRIBUTE, Recipe(make, output._version))
    return output


@contextmanager
def by_recipe() -> Iterator[None]:
    """Within it, what a forward pass keeps of tensors that have a recipe is the recipe."""
    with saved_tensors_hooks(_pack, _unpack):
        yield


def _pack(tensor: Tensor) -> Tensor | _Order:
    whole = tensor if tensor._base is None else tensor._base  # linear layers keep a view of their input
    recipe: Recipe | None = getattr(whole, ATTRIBUTE, None)
    if recipe is None or whole._version != recipe.version:
        return tensor.detach()  # not the tensor itself: it may be the output of the very operation that keeps it
    same_order = tensor.numel() == whole.numel() and tensor.is_contiguous() and whole.is_contiguous()
    return _Order(recipe, tensor.shape) if same_order else tensor.detach()


def _unpack(packed: Tensor | _Order) -> Tensor:
    if isinstance(packed, Tensor):
        return packed
    with torch.no_grad():
        return packed.recipe.make().view(packed.shape)
