"""Scored places of a layout: which position predicts which token, each (position, target) pair once.

In: a layout and one target mask per sequence. Out: `Sites`, the index tensors that a `Scorer` gathers by, and for every
sequence the rows of the result that are its own. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence as List
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from burnish.batch.layout import Layout, sent
from burnish.data.units import Ids, Mask


@dataclass(frozen=True, slots=True, eq=False)
class Sites:
    """M scored tokens of a layout, in flat order, each once however many sequences share it.

    at: [M], index of the token itself in [B * N]. predict: [M], index of the token before it. targets: [M], its id.
    rows: for each sequence, where its targets (in the order of its mask) lie among the M.
    """

    at: Tensor
    predict: Tensor
    targets: Tensor
    rows: tuple[Ids, ...]

    def __len__(self) -> int:
        return len(self.at)

    def to(self, device: torch.device | str) -> Sites:
        """The same sites with their tensors on `device`."""
        at, predict, targets = (sent(index, device) for index in (self.at, self.predict, self.targets))
        return replace(self, at=at, predict=predict, targets=targets)


def sites_for(layout: Layout, masks: List[Mask]) -> Sites:
    """Sites of the tokens that `masks` (bool [T] per sequence of the layout, never marking token 0) select."""
    where = [np.flatnonzero(mask) for mask in masks]
    if any(len(index) and index[0] == 0 for index in where):
        raise ValueError("token 0 is never a target: nothing predicts it")
    none = np.empty(0, np.int64)
    pairs = list(zip(layout.sequences, layout.positions, where, strict=True))
    every = np.concatenate([none, *(positions[index] for _, positions, index in pairs)])
    before = np.concatenate([none, *(positions[index - 1] for _, positions, index in pairs)])
    ids = np.concatenate([none, *(sequence.ids[index] for sequence, _, index in pairs)])
    at, first, row_of = np.unique(every, return_index=True, return_inverse=True)
    rows = np.split(row_of, np.cumsum([len(index) for index in where])[:-1]) if where else []
    return Sites(torch.from_numpy(at), torch.from_numpy(before[first]), torch.from_numpy(ids[first]), tuple(rows))
