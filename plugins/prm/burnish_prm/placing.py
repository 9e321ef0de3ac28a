"""Where the steps of a solution end among its tokens. In: the text, its ids, what decodes them. Out: places. Knows no model."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any


def ends_of_steps(text: str, separator: str, ids: Sequence[int], tokenizer: Any) -> list[int]:
    """For each step that is not blank, the place of the token that brings its last character; the same as of a step before it
    where one token holds both."""

    def written(place: int) -> int:
        """Characters after so many tokens."""
        return len(tokenizer.decode(ids[: place + 1], skip_special_tokens=True))

    return [min(bisect_left(range(len(ids)), end, key=written), len(ids) - 1) for end in _ends(text, separator)]


def _ends(text: str, separator: str) -> Iterator[int]:
    """Characters up to the end of each step that is not blank, without its separator."""
    start = 0
    for piece in text.split(separator):
        if piece.strip():
            yield start + len(piece)
        start += len(piece) + len(separator)
