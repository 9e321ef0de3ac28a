"""Rows that are decoded together: requests, the logits that each draws from next, and what the model remembers of them.

In: rows of a forward. Out: fewer rows, or more. All end at the same column of the cache, shorter ones begin later.
Shapes: R rows, W columns, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from burnish.rollout.columns import CONCATENATED


@dataclass(slots=True)
class Request:
    """A completion in the making. index: as which it was asked for; uniforms: one number per token that it may draw."""

    index: int
    uniforms: np.ndarray[Any, np.dtype[np.float32]]
    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    likeliest_ids: list[list[int]] = field(default_factory=list)
    likeliest_logps: list[list[float]] = field(default_factory=list)
    finished: bool = False


@dataclass
class Rows:
    """requests: one per row; logits: [R, V]; mask: [R, W], 0 where a row has not begun; cache: keys and values, or states;
    seen: bool [R, V], tokens that a row has, where that matters."""

    requests: list[Request]
    logits: Tensor
    mask: Tensor
    cache: Any
    seen: Tensor | None = None

    @property
    def can_grow(self) -> bool:
        """Whether others may join: windows and recurrent states keep too little of a row to line it up with another."""
        layers = getattr(self.cache, "layers", ())
        return bool(layers) and all(type(layer) in CONCATENATED for layer in layers)

    def spread(self, requests: list[Request], rows: Sequence[int]) -> None:
        """Give every request a row like the one that it names."""
        self.requests = requests
        if [*rows] != [*range(len(self.mask))]:
            index = torch.tensor(rows, device=self.mask.device)
            self.logits, self.mask = self.logits[index], self.mask[index]
            self.seen = None if self.seen is None else self.seen[index]
            self.cache.reorder_cache(index)

    def keep(self, rows: Sequence[int]) -> None:
        """Let the others go."""
        self.spread([self.requests[row] for row in rows], rows)

    def join(self, others: Rows) -> None:
        """Take the rows of others too; columns that no row needs any more are given up."""
        width = max(rows.mask.shape[1] - int(rows.mask.any(0).int().argmax()) for rows in (self, others))
        for layer, other in zip(self.cache.layers, others.cache.layers, strict=True):
            if layer.is_initialized:
                layer.keys = torch.cat([_last(layer.keys, width, -2), _last(other.keys, width, -2)])
                layer.values = torch.cat([_last(layer.values, width, -2), _last(other.values, width, -2)])
        self.mask = torch.cat([_last(self.mask, width, -1), _last(others.mask, width, -1)])
        self.logits = torch.cat([self.logits, others.logits])
        if self.seen is not None and others.seen is not None:
            self.seen = torch.cat([self.seen, others.seen])
        self.requests = [*self.requests, *others.requests]


def _last(tensor: Tensor, width: int, dim: int) -> Tensor:
    """The last columns, after zeros where there are fewer."""
    missing = width - tensor.shape[dim]
    if missing <= 0:
        return tensor.narrow(dim, -missing, width)
    shape = list(tensor.shape)
    shape[dim] = missing
    return torch.cat([tensor.new_zeros(shape), tensor], dim)
