"""Rows that the kit makes up, by kind of data: short, drawn from a seed, with shared prompts and answers of one token.

In: a kind, a seed. Out: raw rows, and their units. Prompts and answers are written in two alphabets, so that it can be told of
any token whether it belongs to a prompt: what a loss derives from a batch is judged by that.
"""

from __future__ import annotations

import json
import math
import random
import string
from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache
from typing import Any

from burnish.config.sections import RenderSection
from burnish.data.detect import convert, detect_format, row_number
from burnish.data.examples import Example
from burnish.data.render import Dropped, Renderer
from burnish.data.units import LIKELIEST_IDS, LIKELIEST_LOGPS, Unit
from burnish.errors import DataError
from burnish.registry import Registry
from burnish.testing.conformance.checking import Rows
from burnish.testing.tiny import tiny_tokenizer

ASKING, ANSWERING = "abcdefghijklm ", "nopqrstuvwxyz"
NUM_ROWS, NUM_ITEMS, MOST_STARS, NUM_LIKELIEST = 5, 3, 5, 20
WHOLE = 2**20  # tokens: nothing is dropped for its length
KNOWN_COLUMNS = {"advantages": 0.75, "returns": 1.5, "rating": 3.0}
"""What every row of a named case has in these columns, where it has them."""
Draw = random.Random
TRAJECTORY = {
    "advantages": (-2, 2),
    "returns": (-2, 2),
    "old_values": (-2, 2),
    "old_logps": (-4, -0.05),
    "behaviour_logps": (-4, -0.05),
}
"""What a rollout knows of each of its tokens: from, to."""


def _said(draw: Draw, alphabet: str, most: int) -> str:
    return "".join(draw.choice(alphabet) for _ in range(draw.randint(1, most)))


def _answers(draw: Draw, count: int) -> list[str]:
    """Different answers, some of which begin alike; now and then one that says nothing."""
    found: list[str] = []
    while len(found) < count:
        beginning = found[0][:2] if found and draw.random() < 0.4 else ""
        answer = "" if draw.random() < 0.1 else beginning + _said(draw, ANSWERING, 6)
        found += [answer] if answer not in found else []
    return found


def _trajectory(draw: Draw, asked: str) -> dict[str, Any]:
    prompt, answer = ids_of(asked), ids_of(_said(draw, ANSWERING, 6))
    numbers = {name: [round(draw.uniform(*ends), 3) for _ in answer] for name, ends in TRAJECTORY.items()}
    row = {"prompt_ids": prompt, "completion_ids": answer, **numbers, "truncated": draw.random() < 0.3}
    return {**row, **_likeliest(answer, numbers["behaviour_logps"])}


def _likeliest(answer: list[int], logps: list[float]) -> dict[str, Any]:
    """What a sampler may have reported beside each token that it drew: that token among others, each of which has half of the
    probability that is left."""
    others = ids_of(string.ascii_uppercase)[:NUM_LIKELIEST]
    ranked = []
    for token, logp in zip(answer, logps, strict=True):
        left = 1 - math.exp(logp)
        every = [(round(math.log(left / 2**place), 6), one) for place, one in enumerate(others, 1)]
        ranked.append(sorted([(logp, token), *every], reverse=True)[:NUM_LIKELIEST])
    return {
        LIKELIEST_IDS: [[token for _, token in one] for one in ranked],
        LIKELIEST_LOGPS: [[logp for logp, _ in one] for one in ranked],
    }


def _stepwise(draw: Draw, asked: str) -> dict[str, Any]:
    steps = _answers(draw, draw.randint(1, 3))
    return {"prompt": asked, "completions": [step or "n" for step in steps], "labels": [draw.random() < 0.5 for _ in steps]}


def _pair(draw: Draw, asked: str) -> dict[str, Any]:
    return dict(zip(("prompt", "chosen", "rejected"), (asked, *_answers(draw, 2)), strict=True))


def _triple(draw: Draw, asked: str) -> dict[str, Any]:
    return dict(zip(("prompt", "chosen", "rejected", "reference"), (asked, *_answers(draw, 3)), strict=True))


MAKERS: dict[str, Callable[[Draw, str], dict[str, Any]]] = {
    "preference": _pair,
    "triple": _triple,
    "ranked": lambda draw, asked: {"prompt": asked, "completions": _answers(draw, NUM_ITEMS)},
    "unpaired": lambda draw, asked: {"prompt": asked, "completion": _answers(draw, 1)[0], "label": draw.random() < 0.5},
    "rated": lambda draw, asked: {"prompt": asked, "completion": _answers(draw, 1)[0], "rating": draw.randint(1, MOST_STARS)},
    "prompt_completion": lambda draw, asked: {"prompt": asked, "completion": _answers(draw, 1)[0]},
    "stepwise": _stepwise,
    "trajectory": _trajectory,
    "text": lambda draw, asked: {"text": asked + _said(draw, ANSWERING, 6)},
}
MAKERS["sequence"] = MAKERS["prompt_completion"]


def rows_of(data: str, seed: int, count: int = NUM_ROWS) -> Rows:
    """Rows for a loss on `data`; the second shares the prompt of the first, both marks are there."""
    if data not in MAKERS:
        raise DataError(f"the kit makes no rows of kind '{data}'; give some with `data=`")
    draw = Draw(f"{data} {seed}")
    rows: list[dict[str, Any]] = []
    for place in range(count):
        asked = rows[0].get("prompt", "a") if place == 1 else _said(draw, ASKING, 8).strip() + "a "
        rows.append(MAKERS[data](draw, asked))
    if data == "unpaired":
        rows[0]["label"], rows[-1]["label"] = True, count == 1
    return rows


def units_of(rows: Rows, registry: Registry) -> list[Unit]:
    """The units of raw rows of any known format, in their order."""
    return list(_units_of(json.dumps(list(rows)), registry))


@lru_cache(maxsize=128)
def _units_of(text: str, registry: Registry) -> tuple[Unit, ...]:
    """Of rows as JSON; kept, since many checks look at the same ones."""
    rows = json.loads(text)
    known = detect_format(rows, registry)
    return tuple(units_from(one for at, row in enumerate(rows) for one in convert(known, row, row_number(at))))


def units_from(examples: Iterable[Example], chat: bool = False) -> list[Unit]:
    """The units of examples, in their order; DataError when one has no target. chat: with a template for conversations."""
    examples = list(examples)
    rendered = [one.result for one in _renderer(chat).render_many(examples, "main", range(len(examples)))]
    for result in rendered:
        if not isinstance(result, Unit):
            raise DataError(result.detail) if isinstance(result, Dropped) else result
    return [result for result in rendered if isinstance(result, Unit)]


def ids_of(text: str) -> list[int]:
    """The tokens of a text, without an end."""
    ids: list[int] = _renderer().tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def end_id() -> int:
    """The token that ends an answer."""
    end: int = _renderer().tokenizer.eos_token_id
    return end


@cache
def _renderer(chat: bool = False) -> Renderer:
    return Renderer(tiny_tokenizer(chat), RenderSection(max_length=WHOLE, cache=False))


TURNED: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "preference": lambda row: {**row, "chosen": row["rejected"], "rejected": row["chosen"]},
    "ranked": lambda row: {**row, "completions": row["completions"][::-1]},
    "unpaired": lambda row: {**row, "label": not row["label"]},
    "rated": lambda row: {**row, "rating": MOST_STARS + 1 - row["rating"]},
    "stepwise": lambda row: {**row, "labels": [not label for label in row["labels"]]},
}
"""By kind of data, the row with what was better as what was worse."""
TURNED["triple"] = TURNED["preference"]


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as the named cases have it: what the rollout knew of it is one number, and of models nothing is recorded."""
    kept = {name: value for name, value in row.items() if name not in ("old_logps", "old_values", "behaviour_logps")}
    return {name: KNOWN_COLUMNS.get(name, value) for name, value in kept.items()}


def alike(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with equal answers: what was chosen is what was rejected, all items are the first."""
    first = row.get("chosen", row["completions"][0] if "completions" in row else None)
    same = {name: first for name in ("chosen", "rejected", "reference") if name in row}
    items = {"completions": [first for _ in row["completions"]]} if "completions" in row and "labels" not in row else {}
    return {**row, **same, **items}
