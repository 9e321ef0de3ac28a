"""Ragged values: the per-token numbers of many sequences end to end, with no padding to forget.

In: a flat tensor and the sequences' lengths. Out: the same, or one number per sequence. Sums are segment sums, in a fixed order
on every device, forward and backward. Knows nothing of models or batches.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


class _Gather(torch.autograd.Function):
    """`values[index]` along axis 0, whose gradient is a sorted segment sum: no atomics, so equal inputs give equal bits."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.size = len(values)
        return values[index]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        order = torch.argsort(index, stable=True)
        counts = index.new_zeros(ctx.size).scatter_add_(0, index, torch.ones_like(index))
        return segment_sum(grads[0][order], counts), None


def gather(values: Tensor, index: Tensor) -> Tensor:
    """`values[index]` for 1-d `values`; an index may come up any number of times."""
    return _Gather.apply(values, index)  # type: ignore[no-any-return, no-untyped-call]


def segment_sum(values: Tensor, lengths: Tensor) -> Tensor:
    """Sums of consecutive segments of `values` [tokens]: [len(lengths)], 0 for an empty segment."""
    if not len(lengths):
        return values.new_zeros(0) + values.sum()  # keeps the graph
    return torch.segment_reduce(values, "sum", lengths=lengths, unsafe=True, initial=0)


class Ragged:
    """Numbers per token of S sequences, end to end. values: [tokens]; lengths: int64 [S]; a sequence may be empty.

    Arithmetic is per token, with numbers and with other ragged values of the same lengths; a tensor of one number per sequence
    must be spread first, by `per_token`.
    """

    __slots__ = ("__dict__", "lengths", "values")

    def __init__(self, values: Tensor, lengths: Tensor) -> None:
        if values.dim() != 1 or lengths.dim() != 1 or lengths.dtype != torch.int64:
            raise ValueError(f"Ragged takes values [tokens] and int64 lengths [S], got {list(values.shape)} and {lengths}")
        self.values = values
        self.lengths = lengths

    def __repr__(self) -> str:
        return f"Ragged({self.values!r}, lengths={self.lengths.tolist()})"

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.lengths)

    @cached_property
    def index(self) -> Tensor:
        """Sequence of each token: int64 [tokens]."""
        sequences = torch.arange(len(self.lengths), device=self.lengths.device)
        return sequences.repeat_interleave(self.lengths, output_size=len(self.values))

    @cached_property
    def offset(self) -> Ragged:
        """Place of each token among its sequence's targets, from 0."""
        starts = self.lengths.cumsum(0) - self.lengths
        return self._with(torch.arange(len(self.values), device=self.values.device) - starts[self.index])

    def sum(self) -> Tensor:
        """Per sequence: [S], 0 for an empty one."""
        values = self.values if self.values.is_floating_point() else self.values.to(torch.get_default_dtype())
        return segment_sum(values, self.lengths)

    def mean(self) -> Tensor:
        """Per sequence: [S], 0 for an empty one."""
        return self.sum() / self.lengths.clamp(min=1)

    def var(self) -> Tensor:
        """Variance of each sequence, n - 1 in the denominator: [S], 0 for fewer than two numbers, and for equal ones."""
        return (self.centred() ** 2).sum() / (self.lengths - 1).clamp(min=1)

    def std(self) -> Tensor:
        """Standard deviation of each sequence, the root of `var`: [S]."""
        return self.var().sqrt()

    def first(self) -> Tensor:
        """First number of each sequence: [S], 0 for an empty one."""
        return self._at(self.lengths.cumsum(0) - self.lengths)

    def last(self) -> Tensor:
        """Last number of each sequence: [S], 0 for an empty one."""
        return self._at(self.lengths.cumsum(0) - 1)

    def centred(self) -> Ragged:
        """Minus the mean of the sequence. Exactly 0 where all its numbers are equal, whatever the mean rounds to."""
        moved = self - self.per_token(self.first())
        return moved - moved.per_token(moved.mean())

    def standardised(self, epsilon: float) -> Ragged:
        """(x - mean) / (std + epsilon), mean and std those of the sequence. Exactly 0 where all its numbers are equal."""
        return self.centred() / (self.per_token(self.std()) + epsilon)

    def rank(self) -> Ragged:
        """How many numbers of the sequence are greater than this one: int64, 0 for the greatest; equal ones share a rank."""
        down = torch.argsort(self.values, descending=True, stable=True)
        order = down[torch.argsort(self.index[down], stable=True)]
        values, sequences = self.values[order], self.index[order]
        fresh = torch.ones_like(order, dtype=torch.bool)
        fresh[1:] = (values[1:] != values[:-1]) | (sequences[1:] != sequences[:-1])
        firsts = torch.where(fresh, torch.arange(len(order), device=order.device), 0).cummax(0).values
        starts = self.lengths.cumsum(0) - self.lengths
        return self._with(torch.empty_like(order).index_put((order,), firsts - starts[sequences]))

    def select(self, keep: Tensor) -> Ragged:
        """The numbers where `keep`, bool [tokens], holds; every sequence is still there, if empty."""
        return Ragged(self.values[keep], torch.bincount(self.index[keep], minlength=len(self)))

    def joined(self) -> Ragged:
        """All numbers as those of one sequence."""
        return Ragged(self.values, torch.tensor([len(self.values)], device=self.values.device))

    def cumsum(self) -> Ragged:
        """Running sum within each sequence, the token itself included."""
        shape = (len(self.lengths), int(self.lengths.max()) if len(self.lengths) else 0)
        places = (self.index, self.offset.values)
        return self._with(self.values.new_zeros(shape).index_put(places, self.values).cumsum(1)[places])

    def next(self) -> Ragged:
        """The number after each one in its sequence, 0 after the last."""
        return self._ahead(self.values, 1)

    def discounted_sum(self, discount: float) -> Ragged:
        """Each number and those after it in its sequence, a number n places further on times discount^n."""
        total, reach, factor = self.values, 1, discount
        while reach < (int(self.lengths.max()) if len(self) else 0):
            total = total + factor * self._ahead(total, reach).values  # now the sum over twice as many
            reach, factor = 2 * reach, factor**2
        return self._with(total)

    def per_token(self, values: Tensor) -> Ragged:
        """One number per sequence [S], repeated for each of its tokens."""
        if values.shape != self.lengths.shape:
            raise ValueError(f"per_token takes one number per sequence, [{len(self)}], got {list(values.shape)}")
        return self._with(gather(values, self.index))

    def at_last(self, values: Tensor) -> Ragged:
        """One number per sequence [S] at its last place, 0 at the others."""
        return self.per_token(values) * self._with(self.offset.values + 1 == self.lengths[self.index])

    def map(self, function: Callable[..., Tensor], *others: Ragged) -> Ragged:
        """`function` of the flat values of this and of `others`; it must work token by token."""
        result = function(self.values, *(self._operand(other) for other in others))
        if result.shape != self.values.shape:
            raise ValueError(f"map takes a function per token: {list(self.values.shape)} became {list(result.shape)}")
        return self._with(result)

    def detach(self) -> Ragged:
        """The same numbers, without gradient."""
        return self._with(self.values.detach())

    def exp(self) -> Ragged:
        """e to the power of each number."""
        return self._with(self.values.exp())

    def log(self) -> Ragged:
        """Natural logarithm."""
        return self._with(self.values.log())

    def abs(self) -> Ragged:
        """Absolute value."""
        return self._with(self.values.abs())

    def clamp(self, min: float | None = None, max: float | None = None) -> Ragged:
        """Limited from below and above."""
        return self._with(self.values.clamp(min=min, max=max))

    def minimum(self, other: Ragged) -> Ragged:
        """The smaller of two, token by token."""
        return self.map(torch.minimum, other)

    def maximum(self, other: Ragged) -> Ragged:
        """The larger of two, token by token."""
        return self.map(torch.maximum, other)

    def __neg__(self) -> Ragged:
        return self._with(-self.values)

    def __add__(self, other: Ragged | float) -> Ragged:
        return self._apply(operator.add, other)

    __radd__ = __add__

    def __sub__(self, other: Ragged | float) -> Ragged:
        return self._apply(operator.sub, other)

    def __rsub__(self, other: Ragged | float) -> Ragged:
        return -self + other

    def __mul__(self, other: Ragged | float) -> Ragged:
        return self._apply(operator.mul, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Ragged | float) -> Ragged:
        return self._apply(operator.truediv, other)

    def __rtruediv__(self, other: float) -> Ragged:
        return self._with(other / self.values)

    def __pow__(self, other: Ragged | float) -> Ragged:
        return self._apply(operator.pow, other)

    def __lt__(self, other: Ragged | float) -> Ragged:
        return self._apply(operator.lt, other)

    def __le__(self, other: Ragged | float) -> Ragged:
        return self._apply(operator.le, other)

    def __gt__(self, other: Ragged | float) -> Ragged:
        return self._apply(operator.gt, other)

    def __ge__(self, other: Ragged | float) -> Ragged:
        return self._apply(operator.ge, other)

    def _at(self, places: Tensor) -> Tensor:
        """One number of each sequence, 0 for an empty one. places: [S]."""
        padded = torch.cat([self.values, self.values.new_zeros(1)])
        return gather(padded, torch.where(self.lengths > 0, places, len(self.values)))

    def _ahead(self, values: Tensor, by: int) -> Ragged:
        """`values` [tokens] read `by` places further on, 0 where the sequence ends before."""
        moved = torch.cat([values[by:], values.new_zeros(min(by, len(values)))])
        return self._with(torch.where(self.offset.values + by < self.lengths[self.index], moved, 0))

    def _apply(self, operation: Callable[[Tensor, Any], Tensor], other: Ragged | float) -> Ragged:
        return self._with(operation(self.values, self._operand(other)))

    def _operand(self, other: Ragged | float | Tensor) -> Tensor | float:
        """What arithmetic with `other` reads: TypeError for a tensor that is not one number."""
        if isinstance(other, Ragged):
            if other.lengths is not self.lengths and not torch.equal(other.lengths, self.lengths):
                raise ValueError("these ragged values belong to different sequences: their lengths differ")
            return other.values
        if isinstance(other, Tensor) and other.dim():
            raise TypeError(f"a tensor {list(other.shape)} beside ragged values: spread it first with .per_token(x)")
        return other

    def _with(self, values: Tensor) -> Ragged:
        result = Ragged(values, self.lengths)
        for name in ("index", "offset"):
            if name in self.__dict__:
                result.__dict__[name] = self.__dict__[name]
        return result
