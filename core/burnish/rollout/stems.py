"""Beginnings that several prompts share: what a prefill forwards in which order, so that it forwards them once.

In: prompts as token ids, no two alike. Out: levels; each row of one goes on from a row of the level before. The beginning that
all share (a system message) is one level, those of some (a conversation that a group goes on from) another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Prompt = tuple[int, ...]
WORTH = 64
"""Tokens that a further forward must save."""


@dataclass(frozen=True)
class Level:
    """Rows that are forwarded together. parents: for each row, the one of the level before that it goes on from; pieces: its
    tokens, none for a row that only waits. The rows of the last level are the prompts, in their order, and have tokens."""

    parents: tuple[int, ...]
    pieces: tuple[Prompt, ...]

    @property
    def width(self) -> int:
        """Columns of the forward."""
        return max(map(len, self.pieces))


def levels(prompts: Sequence[Prompt]) -> list[Level]:
    """The cheapest way to forward all prompts, counted in tokens with what pads them."""
    plain = [Level((0,) * len(prompts), tuple(prompts))]
    if len(prompts) == 1:
        return plain
    order = sorted(range(len(prompts)), key=lambda place: prompts[place])
    ordered = [prompts[place] for place in order]
    whole = min(_common(ordered))
    ways = (_split(prompts, order, ordered, shared, stems) for shared in (0, whole) for stems in (False, True))
    return min(plain, *ways, key=_cost)


def _cost(found: list[Level]) -> int:
    return sum(len(level.pieces) * level.width for level in found) + WORTH * len(found)


def _common(ordered: Sequence[Prompt]) -> list[int]:
    """Tokens that neighbours share; one less where that is a whole prompt, since every prompt needs a last token of its own."""
    found = []
    for one, other in pairwise(ordered):
        longest = min(len(one), len(other)) - 1
        found.append(next((place for place in range(longest) if one[place] != other[place]), longest))
    return found


def _split(prompts: Sequence[Prompt], order: Sequence[int], ordered: Sequence[Prompt], shared: int, stems: bool) -> list[Level]:
    """Levels for a beginning of `shared` tokens and, if asked for, one for each cluster."""
    found = [Level((0,), (ordered[0][:shared],))] if shared else []
    start, parent = [shared] * len(prompts), [0] * len(prompts)
    if stems:
        clusters = _clusters(_common(ordered), 0, len(ordered), shared)[1]
        widest = max(stem for _, _, stem in clusters)
        pieces = []
        for number, (first, last, stem) in enumerate(clusters):
            # A prompt by itself takes of its own what the level is wide anyway.
            end = stem if last - first > 1 else min(len(ordered[first]) - 1, widest)
            pieces.append(ordered[first][shared:end])
            for place in order[first:last]:
                start[place], parent[place] = max(end, shared), number
        if any(pieces):
            found.append(Level((0,) * len(pieces), tuple(pieces)))
        else:
            parent = [0] * len(prompts)
    found.append(Level(tuple(parent), tuple(prompt[at:] for prompt, at in zip(prompts, start, strict=True))))
    return found


def _clusters(common: Sequence[int], first: int, last: int, shared: int) -> tuple[int, list[tuple[int, int, int]]]:
    """The tokens that stems save between two places of the order, and the clusters: first, one after the last, stem."""
    if last - first == 1:
        return 0, [(first, last, shared)]
    stem, cut = min((common[place], place) for place in range(first, last - 1))
    together = (last - first - 1) * (stem - shared)
    left, right = _clusters(common, first, cut + 1, shared), _clusters(common, cut + 1, last, shared)
    apart = left[0] + right[0]
    return (together, [(first, last, stem)]) if together > apart else (apart, left[1] + right[1])
