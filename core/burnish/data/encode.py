"""Text to token ids, many texts at a time. Knows the tokenizer; no example, no mask."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from burnish.data.units import Ids


@dataclass(frozen=True)
class Ask:
    """A text to be tokenised. special: let the tokenizer add its BOS and the like. ends: say where each token ends."""

    text: str
    special: bool
    ends: bool = False


@dataclass(frozen=True, eq=False)
class Encoded:
    """ids: [T]. ends: [T], the character of the text after each token; None when not asked for or not known."""

    ids: Ids
    ends: NDArray[np.int64] | None = None


class Encoder:
    """A tokenizer as a function of many texts."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @cached_property
    def eos(self) -> int | None:
        """The id that ends a text."""
        return None if self.tokenizer.eos_token_id is None else int(self.tokenizer.eos_token_id)

    @cached_property
    def specials(self) -> NDArray[np.int64]:
        """Ids of all special tokens."""
        added = [index for index, token in self.tokenizer.added_tokens_decoder.items() if token.special]
        return np.asarray(sorted({*added, *self.tokenizer.all_special_ids}), dtype=np.int64)

    def encode(self, asks: Sequence[Ask]) -> list[Encoded]:
        """Tokenises every text; equal requests are tokenised once."""
        groups: dict[tuple[bool, bool], list[Ask]] = defaultdict(list)
        for ask in dict.fromkeys(asks):
            groups[ask.special, ask.ends].append(ask)
        done: dict[Ask, Encoded] = {}
        for (special, ends), members in groups.items():
            with_ends = ends and self.tokenizer.is_fast
            batch = self.tokenizer(
                [ask.text for ask in members],
                add_special_tokens=special,
                return_offsets_mapping=with_ends,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )
            for place, ask in enumerate(members):
                stops = _ends(batch["offset_mapping"][place]) if with_ends else None
                done[ask] = Encoded(np.asarray(batch["input_ids"][place], dtype=np.int64), stops)
        return [done[ask] for ask in asks]


def _ends(offsets: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Where each token ends; never decreasing, whatever the tokenizer says of tokens without characters."""
    return np.maximum.accumulate(np.asarray([stop for _, stop in offsets], dtype=np.int64))
