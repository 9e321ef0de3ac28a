"""Keys and values with room for the tokens to come, so that a token does not copy all those before it.

In: the cache of a prefill. Out: the same cache, whose layers grow in place. Shapes: [rows, heads, columns, width].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

ROOM = 64  # columns


class GrowingLayer(DynamicLayer):
    """As transformers' layer that concatenates, but new columns are written where there is room for them.

    `keys` and `values` are the columns that are filled. Whoever sets them to other rows or columns makes the next token find
    new room.
    """

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.keys, self.values = layer.keys, layer.values
        self._room = self.keys.new_empty(0), self.values.new_empty(0)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """All keys and values, the new ones last."""
        rooms = tuple(map(_grown, (self.keys, self.values), (key_states, value_states), self._room))
        self._room = rooms[0], rooms[1]
        width = self.keys.shape[-2] + key_states.shape[-2]
        self.keys, self.values = rooms[0][..., :width, :], rooms[1][..., :width, :]
        return self.keys, self.values


CONCATENATED = (DynamicLayer, GrowingLayer)
"""Layers that keep every column."""


def _grown(filled: Tensor, new: Tensor, room: Tensor) -> Tensor:
    """Room that begins with what is filled and then has the new columns: the same as before where they fit."""
    start, end = filled.shape[-2], filled.shape[-2] + new.shape[-2]
    if filled.data_ptr() != room.data_ptr() or filled.shape[0] != room.shape[0] or end > room.shape[-2]:
        rows, heads, _, width = filled.shape
        room = torch.empty(rows, heads, end + ROOM, width, dtype=filled.dtype, device=filled.device)
        room[..., :start, :] = filled
    room[..., start:end, :] = new
    return room


def make_room(cache: Any) -> None:
    """Let the layers that concatenate grow in place instead; windows and states stay."""
    layers = getattr(cache, "layers", ())
    for place, layer in enumerate(layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            cache.layers[place] = GrowingLayer(layer)
