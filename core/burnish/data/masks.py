"""Target masks, made from places in the ids alone. Knows no tokenizer: what an id means is never asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from burnish.data.chat import Span
from burnish.data.examples import RowError, Said
from burnish.data.units import Ids, Mask
from burnish.data.units import Sequence as TokenSequence

LOST_TURN = (
    "the chat template rewrites the conversation so that an assistant turn cannot be found in its text; mark the answers in "
    "the template with {% generation %}"
)


def mask_names(kind: str) -> tuple[str, ...]:
    """The masks that sequences of a kind of rows have; a chat template that loses turns may leave some out."""
    if kind in ("text", "prompt"):
        return ("completion", "all", "end")
    own = ("steps", "last_step") if kind == "stepwise" else ("assistant", "last")
    return ("completion", "all", "end", *own)


def completion_masks(ids: Ids, split: int, turns: list[Span | None], completion: Said) -> dict[str, Mask]:
    """The masks of a sequence whose completion starts at `split`; `assistant` is left out when a turn of the prompt is lost."""
    answer = from_place(ids, max(split, 1))
    masks = {"completion": answer, "assistant": answer, "last": answer, "all": from_place(ids, 1)}
    if isinstance(completion, str):
        return masks
    if len(completion) > 1:
        if None in turns[-sum(message["role"] == "assistant" for message in completion) :]:
            raise RowError(LOST_TURN)
        masks["completion"], masks["last"] = answer & marked(ids, turns), answer & marked(ids, turns[-1:])
    if None in turns:
        del masks["assistant"]
    else:
        masks["assistant"] = masks["completion"] | marked(ids, turns)
    return masks


def marked(ids: Ids, spans: Sequence[Span | None]) -> Mask:
    """A mask of the spans, without token 0."""
    mask = np.zeros(len(ids), dtype=np.bool_)
    for span in spans:
        if span is not None:
            mask[span[0] : span[1]] = True
    mask[:1] = False
    return mask


def from_place(ids: Ids, start: int) -> Mask:
    """A mask of everything from `start` on."""
    return np.arange(len(ids)) >= start


def with_end(sequence: TokenSequence) -> TokenSequence:
    """The sequence with the mask `end`: its last token, where a classifier reads what it thinks of the whole."""
    return replace(sequence, masks={**sequence.masks, "end": from_place(sequence.ids, max(len(sequence) - 1, 1))})


def cut(sequence: TokenSequence, limit: int) -> TokenSequence:
    """The first `limit` tokens of a sequence."""
    return TokenSequence(
        sequence.ids[:limit],
        {name: mask[:limit] for name, mask in sequence.masks.items()},
        sequence.role,
        {name: numbers[:limit] for name, numbers in sequence.tokens.items()},
        sequence.scalars,
        sequence.inputs,
        sequence.salt,
    )
