"""Prefix tries of token sequences: which tokens are shared, and where each token lies once all are laid out depth first.

In: sequences of ids. Out: flat numpy arrays. Two sequences share a token when everything before it, the token itself and the
salt (hash of every other input of the forward) are equal. Knows no tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as List
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from burnish.data.units import Ids, Sequence


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Runs of tokens without a fork, in flat order, depth first: a parent comes before its children.

    starts: flat index of the first token. lengths: tokens. depths: position of the first token. parents: index of the segment
    that it continues, -1 for a root. ends: flat index after the last token of all that hangs below it. Holds no tensor, so that
    it travels through a model's keyword arguments untouched.
    """

    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    depths: tuple[int, ...]
    parents: tuple[int, ...]
    ends: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.lengths)

    def path(self, segment: int) -> Iterator[int]:
        """The segment itself, then its ancestors up to the root."""
        while segment >= 0:
            yield segment
            segment = self.parents[segment]


@dataclass(frozen=True, slots=True, eq=False)
class Trie:
    """Sequences merged at their common prefixes.

    ids, depths: [N], token and position of every node in flat order. places: for each sequence, the flat index of each of its
    tokens. segments: the runs between forks.
    """

    ids: Ids
    depths: Ids
    places: tuple[Ids, ...]
    segments: Segments


def canonical_order(sequences: List[Sequence]) -> list[int]:
    """Indices that sort by (salt, ids): common prefixes make neighbours, a prefix stands before its extensions."""
    keys = [(sequence.salt, sequence.ids.astype(">i8").tobytes()) for sequence in sequences]
    return sorted(range(len(sequences)), key=keys.__getitem__)


def common_prefix(first: Sequence, second: Sequence) -> int:
    """Number of leading tokens that both sequences share."""
    if first.salt != second.salt:
        return 0
    shorter = min(len(first), len(second))
    differs = first.ids[:shorter] != second.ids[:shorter]
    return int(differs.argmax()) if differs.any() else shorter


def num_unique_tokens(sequences: List[Sequence]) -> int:
    """Tokens that a tree of `sequences` forwards."""
    ordered = [sequences[index] for index in canonical_order(sequences)]
    shared = sum(common_prefix(first, second) for first, second in pairwise(ordered))
    return sum(map(len, ordered)) - shared


def build_trie(sequences: List[Sequence], share: bool = True) -> Trie:
    """Merge `sequences` at their common prefixes; with share=False every sequence is a tree of its own."""
    places: dict[int, Ids] = {}
    runs: list[Ids] = []
    forks: set[int] = set()  # flat indices at which a segment must begin
    parent_of: dict[int, int] = {}  # first flat index of a run -> flat index of the token before it
    path = np.empty(0, np.int64)  # flat indices of the sequence laid out last
    size, previous = 0, None
    for index in canonical_order(sequences):
        sequence = sequences[index]
        shared = common_prefix(previous, sequence) if share and previous is not None else 0
        fresh = np.arange(size, size + len(sequence) - shared)
        if len(fresh) and (shared == 0 or shared < len(path)):  # else the last run simply goes on
            parent_of[size] = int(path[shared - 1]) if shared else -1
            forks.update((size, parent_of[size] + 1) if shared else (size,))
        path = np.concatenate([path[:shared], fresh])
        places[index], previous, size = path, sequence, size + len(fresh)
        runs.append(sequence.ids[shared:])
    ids = np.concatenate([*runs, np.empty(0, np.int64)])
    depths = np.empty(size, np.int64)
    for place in places.values():
        depths[place] = np.arange(len(place))
    return Trie(ids, depths, tuple(places[index] for index in range(len(sequences))), _segments(size, depths, forks, parent_of))


def _segments(size: int, depths: Ids, forks: set[int], parent_of: dict[int, int]) -> Segments:
    starts = np.array(sorted(forks), np.int64)
    # A segment that begins no run continues the token before it: its run was cut there because another one forks off.
    before = np.array([parent_of.get(start, start - 1) for start in starts.tolist()], np.int64)
    parents = np.where(before < 0, -1, np.searchsorted(starts, before, side="right") - 1)
    lengths = np.diff(np.append(starts, size))
    ends = starts + lengths
    for segment in range(len(starts) - 1, -1, -1):  # children come after their parents
        if (parent := parents[segment]) >= 0:
            ends[parent] = max(ends[parent], ends[segment])
    return Segments(*(tuple(numbers.tolist()) for numbers in (starts, lengths, depths[starts], parents, ends)))
