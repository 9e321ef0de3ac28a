"""Examples of one kind made into those of another: answers to one prompt become pairs, and pairs single answers.

In: the examples of one source, in order. Out: others, with the place of what each was made of. Knows no format or file.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, groupby
from typing import TypeAlias

from burnish.data.examples import Example, NoExample, Preference, Ranked, Rated, RowError, Side, Unpaired
from burnish.data.sources import Place
from burnish.errors import DataError

Read: TypeAlias = tuple[Place, Example | RowError]

ACROSS_ROWS = ("rated", "unpaired")
"""Kinds of which a pair is made of two rows, wherever they stand."""


def check_streaming(pairing: str | None, kind: str) -> None:
    """DataError when a stream of rows of `kind` cannot be paired."""
    if pairing is not None and pairing != "undo" and kind in ACROSS_ROWS:
        raise DataError(
            f"pairing: an answer in {kind} rows is paired with another to the same prompt, which may stand anywhere: all "
            "rows must be read before, so drop `streaming: true`, or give ranked rows, which hold all answers to a prompt"
        )


def paired(rows: Iterator[Read], pairing: str | None, kind: str) -> Iterator[Read]:
    """The examples that `pairing` makes of `rows` of `kind`. What is wrong with a row passes through.

    `all`: each answer with every worse one; `best_worst`: the best with the worst, of equal ones the first; `undo`: the chosen
    answer marked good, the rejected one bad. Equal ratings make no pair; what makes none at all is a `NoExample`.
    """
    if pairing is None:
        return rows
    if pairing == "undo":
        return _numbered(_undone(rows))
    return _across_rows(rows, pairing) if kind in ACROSS_ROWS else _numbered(_of_lists(rows, pairing))


def _undone(rows: Iterator[Read]) -> Iterator[Read]:
    for place, example in rows:
        if not isinstance(example, Preference):
            yield place, example
            continue
        side = replace(example.side, margin=None)
        yield place, Unpaired(example.prompt, example.chosen, True, side=side)
        yield place, Unpaired(example.prompt, example.rejected, False, side=side)


def _of_lists(rows: Iterator[Read], pairing: str) -> Iterator[Read]:
    for place, example in rows:
        if not isinstance(example, Ranked):
            yield place, example
            continue
        items = example.completions
        for chosen, rejected in [(items[0], items[-1])] if pairing == "best_worst" else combinations(items, 2):
            yield place, Preference(example.prompt, chosen, rejected, side=example.side)


def _across_rows(rows: Iterator[Read], pairing: str) -> Iterator[Read]:
    """Pairs of answers in different rows, prompts in the order in which they appear first."""
    groups: dict[str, list[tuple[Place, Rated | Unpaired]]] = {}
    for place, example in rows:
        if isinstance(example, Rated | Unpaired):
            groups.setdefault(_asked(example), []).append((place, example))
        else:
            yield place, example
    parts = Counter[int]()
    for group in groups.values():
        best_first = sorted(group, key=lambda one: -_worth(one[1]))
        pairs = [(best_first[0], next(one for one in best_first if _worth(one[1]) == _worth(best_first[-1][1])))]
        if pairing == "all":
            pairs = list(combinations(best_first, 2))
        pairs = [pair for pair in pairs if _worth(pair[0][1]) > _worth(pair[1][1])]
        for (place, chosen), (_, rejected) in pairs:
            pair = Preference(chosen.prompt, chosen.completion, rejected.completion, side=_both(chosen, rejected))
            yield replace(place, part=parts[place.index]), pair
            parts[place.index] += 1
        if not pairs:
            place, example = group[0]
            why = "it is the only answer to its prompt" if len(group) == 1 else "all answers to its prompt are equally good"
            yield place, NoExample(f"{place}: {why}", "no_pair")


def _worth(example: Rated | Unpaired) -> float:
    return example.rating if isinstance(example, Rated) else float(example.label)


def _asked(example: Rated | Unpaired) -> str:
    """What is asked, with what the chat template is told besides."""
    side = example.side
    return json.dumps([example.prompt, side.tools, dict(side.chat_template_kwargs)], sort_keys=True, default=repr)


def _both(chosen: Rated | Unpaired, rejected: Rated | Unpaired) -> Side:
    """The side columns of a pair: the product of the weights, and the columns that both rows have alike."""
    weights = [example.side.weight for example in (chosen, rejected) if example.side.weight is not None]
    others = rejected.columns
    columns = {name: value for name, value in chosen.columns.items() if name in others and others[name] == value}
    return replace(chosen.side, weight=math.prod(weights) if weights else None, margin=None, columns=columns)


def _numbered(rows: Iterator[Read]) -> Iterator[Read]:
    """Places that tell the examples of one row, which come together, apart."""
    for _, of_row in groupby(rows, key=lambda row: row[0].index):
        for part, (place, example) in enumerate(of_row):
            yield replace(place, part=part), example
