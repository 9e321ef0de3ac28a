"""One forward pass laid out: the tensors a model is given, and where every token of every sequence lies in them.

In: sequences and a kind. Out: a `Layout`. `tree` shares common prefixes, `packed` puts whole sequences end to end, `padded` is
the rectangle that any model understands. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence as List
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from burnish.batch.trie import Segments, build_trie
from burnish.data.units import Ids, Sequence
from burnish.errors import ModelError

Kind = Literal["tree", "packed", "padded"]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What one forward is given.

    input_ids, position_ids: [B, N], B = 1 unless padded. attention_mask: [B, N], padded only. segments: tree and packed only.
    positions: for each sequence, the index of each of its tokens in the flattened [B * N]. num_tokens: tokens forwarded, pads
    excluded. Without sequences it holds one token, so that a rank without work still makes its forward; num_tokens is then 0.
    """

    kind: Kind
    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor | None
    segments: Segments | None
    sequences: tuple[Sequence, ...]
    positions: tuple[Ids, ...]
    num_tokens: int

    def to(self, device: torch.device | str) -> Layout:
        """The same layout with its tensors on `device`."""
        mask = self.attention_mask
        return replace(
            self,
            input_ids=sent(self.input_ids, device),
            position_ids=sent(self.position_ids, device),
            attention_mask=None if mask is None else sent(mask, device),
        )


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on `device`; to a GPU from pinned memory, so that the host does not wait for it."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu" and not isinstance(tensor, FakeTensor):
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def lay_out(sequences: List[Sequence], kind: Kind) -> Layout:
    """Lay `sequences` out for one forward; an empty sequence is an error."""
    if any(len(sequence) == 0 for sequence in sequences):
        raise ValueError("a sequence without tokens cannot be laid out")
    if any(sequence.inputs for sequence in sequences):
        raise ModelError("these sequences carry images or other inputs; burnish lays out token ids only so far")
    return _padded(sequences) if kind == "padded" else _flat(sequences, kind)


def _flat(sequences: List[Sequence], kind: Kind) -> Layout:
    if not sequences:
        one = torch.zeros(1, 1, dtype=torch.long)
        return Layout(kind, one, one, None, Segments((0,), (1,), (0,), (-1,), (1,)), (), (), 0)
    trie = build_trie(sequences, share=kind == "tree")
    ids, depths = torch.from_numpy(trie.ids)[None], torch.from_numpy(trie.depths)[None]
    return Layout(kind, ids, depths, None, trie.segments, tuple(sequences), trie.places, len(trie.ids))


def _padded(sequences: List[Sequence]) -> Layout:
    lengths = [len(sequence) for sequence in sequences]
    rows, width = max(len(lengths), 1), max(lengths, default=1)
    ids, mask = np.zeros((rows, width), np.int64), np.zeros((rows, width), np.int64)
    mask[0, 0] = 1
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)], mask[row, : len(sequence)] = sequence.ids, 1
    places = tuple(np.arange(row * width, row * width + length) for row, length in enumerate(lengths))
    positions = torch.arange(width).expand(rows, width)
    return Layout(
        "padded", torch.from_numpy(ids), positions, torch.from_numpy(mask), None, tuple(sequences), places, sum(lengths)
    )
