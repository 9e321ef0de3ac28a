"""Scored places of a layout: which position predicts which token, each (position, target) pair once.

In: a layout and one target mask per sequence. Out: `Sites`, the index tensors that a `Scorer` gathers by, and for every
sequence the rows of the result that are its own; what the sampler said of the targets, where that is compared with. Knows no
model.
"""

from __future__ import annotations

from collections.abc import Sequence as List
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from burnish.batch.layout import Layout, sent
from burnish.data.units import LIKELIEST_IDS, LIKELIEST_LOGPS, Ids, Mask, Sequence
from burnish.model.divergence import Sampled


@dataclass(frozen=True, slots=True, eq=False)
class Sites:
    """M scored tokens of a layout, in flat order, each once however many sequences share it, unless these were told other
    things of it by their samplers.

    at: [M], index of the token itself in [B * N]. predict: [M], index of the token before it. targets: [M], its id.
    rows: for each sequence, where its targets (in the order of its mask) lie among the M. sampled: what the sampler said of the
    M, where it was asked for.
    """

    at: Tensor
    predict: Tensor
    targets: Tensor
    rows: tuple[Ids, ...]
    sampled: Sampled | None = None

    def __len__(self) -> int:
        return len(self.at)

    def to(self, device: torch.device | str) -> Sites:
        """The same sites with their tensors on `device`."""
        at, predict, targets = (sent(index, device) for index in (self.at, self.predict, self.targets))
        sampled = self.sampled and Sampled(sent(self.sampled.ids, device), sent(self.sampled.logps, device))
        return replace(self, at=at, predict=predict, targets=targets, sampled=sampled)


def sites_for(layout: Layout, masks: List[Mask], likeliest: int = 0) -> Sites:
    """Sites of the tokens that `masks` (bool [T] per sequence of the layout, never marking token 0) select. likeliest: how many
    of the sampler's likeliest tokens are compared with; of a token without them, none is known."""
    where = [np.flatnonzero(mask) for mask in masks]
    if any(len(index) and index[0] == 0 for index in where):
        raise ValueError("token 0 is never a target: nothing predicts it")
    none = np.empty(0, np.int64)
    pairs = list(zip(layout.sequences, layout.positions, where, strict=True))
    every = np.concatenate([none, *(positions[index] for _, positions, index in pairs)])
    before = np.concatenate([none, *(positions[index - 1] for _, positions, index in pairs)])
    ids = np.concatenate([none, *(sequence.ids[index] for sequence, _, index in pairs)])
    at, first, row_of = np.unique(every, return_index=True, return_inverse=True)
    sampled = None
    if likeliest:
        said = np.concatenate([np.empty((0, 2, 1 + likeliest)), *(_said(one, index, likeliest) for one, _, index in pairs)])
        if (said != said[first[row_of]]).any():
            apart = np.column_stack([every, said.reshape(len(said), -1)])
            _, first, row_of = np.unique(apart, axis=0, return_index=True, return_inverse=True)
            at, row_of = every[first], row_of.reshape(-1)
        asked, logps = said[first, 0].astype(np.int64), said[first, 1].astype(np.float32)
        sampled = Sampled(torch.from_numpy(asked), torch.from_numpy(logps))
    rows = np.split(row_of, np.cumsum([len(index) for index in where])[:-1]) if where else []
    return Sites(torch.from_numpy(at), torch.from_numpy(before[first]), torch.from_numpy(ids[first]), tuple(rows), sampled)


def _said(sequence: Sequence, index: Ids, likeliest: int) -> NDArray[np.float64]:
    """Ids and log-probabilities of the tokens at `index`, as `Sampled` has them: [n, 2, 1 + K]. A token that is among the
    likeliest stands there no second time."""
    said = np.zeros((len(index), 2, 1 + likeliest))
    said[:, 0, 0], said[:, 0, 1:] = sequence.ids[index], -1
    if (own := sequence.tokens.get("behaviour")) is not None:
        said[:, 1, 0] = own[index]
    if LIKELIEST_IDS in sequence.tokens:
        ids, logps = (sequence.tokens[name].reshape(len(sequence), -1)[index] for name in (LIKELIEST_IDS, LIKELIEST_LOGPS))
        known = slice(1, 1 + min(likeliest, ids.shape[1]))
        said[:, 0, known] = np.where(ids == said[:, 0, :1], -1, ids)[:, :likeliest]
        said[:, 1, known] = logps[:, :likeliest]
    return said
