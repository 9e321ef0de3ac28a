"""The formats that are told by their column names alone, as TRL names them: one declaration each.

In: raw rows. Out: canonical examples. What is recognised by the text inside a column is a plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from burnish.data import examples as kinds
from burnish.data.examples import Example, Row, RowError, Side
from burnish.data.formats.columns import (
    FLAG,
    IDS,
    MESSAGES,
    NUMBER,
    SAID,
    SHARE,
    TEXT,
    Check,
    brief,
    is_number,
    list_of,
    message,
    said,
    shared_prompt,
    side,
)
from burnish.data.units import LIKELIEST_IDS, LIKELIEST_LOGPS

Build = Callable[[Row, Side], Example]
NUMBERS = {
    "advantages": "advantages",
    "returns": "returns",
    "old_logps": "old",
    "old_values": "old_value",
    "behaviour_logps": "behaviour",
    "ref_logps": "reference",
}
"""Columns of a trajectory with a number per completion id, and what sequences call them."""
LIKELIEST = {LIKELIEST_IDS: -1.0, LIKELIEST_LOGPS: 0.0}
"""Columns with K numbers per completion id, of the sampler's K likeliest tokens, and what stands where there is none."""


@dataclass(frozen=True)
class Columns:
    """A format told by its columns: name -> check of the value; `build` makes the example once all checks have passed.

    beside: columns that a row of it does not have, whatever they hold: an answer that is not text makes no row without one.
    """

    name: str
    kind: str
    columns: Mapping[str, Check]
    build: Build
    beside: tuple[str, ...] = ()

    def sniff(self, row: Row) -> float:
        """The number of its columns, or 0 when one is missing or holds something else."""
        fits = all(check.holds(row.get(name)) for name, check in self.columns.items())
        return float(len(self.columns)) if fits and all(row.get(name) is None for name in self.beside) else 0.0

    def convert(self, row: Row) -> Example:
        """The example; RowError says which column is not what was expected."""
        for name, check in self.columns.items():
            if not check.holds(row.get(name)):
                raise RowError(f"expected {check.words} in '{name}'; found {brief(row.get(name))}")
        return self.build(row, side(row, tuple(self.columns)))


def _columns(kind: str, beside: tuple[str, ...] = (), **columns: Check) -> Callable[[Build], Columns]:
    """Makes a format of the function under it: its name, the columns that it reads, the example that it builds."""
    return lambda build: Columns(build.__name__, kind, columns, build, beside)


@_columns("text", text=TEXT)
def text(row: Row, extra: Side) -> Example:
    return kinds.Text(row["text"], side=extra)


@_columns("chat", messages=MESSAGES)
def chat(row: Row, extra: Side) -> Example:
    return kinds.Chat(tuple(map(message, row["messages"])), side=extra)


@_columns("prompt", beside=("completion", "completions", "chosen", "rejected"), prompt=SAID)
def prompt(row: Row, extra: Side) -> Example:
    return kinds.Prompt(said(row, "prompt"), side=extra)


@_columns("prompt_completion", prompt=SAID, completion=SAID)
def prompt_completion(row: Row, extra: Side) -> Example:
    return kinds.PromptCompletion(said(row, "prompt"), said(row, "completion"), side=extra)


@_columns("preference", prompt=SAID, chosen=SAID, rejected=SAID)
def preference(row: Row, extra: Side) -> Example:
    return kinds.Preference(said(row, "prompt"), said(row, "chosen"), said(row, "rejected"), side=extra)


@_columns("preference", chosen=SAID, rejected=SAID)
def preference_implicit(row: Row, extra: Side) -> Example:
    asked, (chosen, rejected) = shared_prompt([said(row, "chosen"), said(row, "rejected")])
    return kinds.Preference(asked, chosen, rejected, side=extra)


@_columns("triple", prompt=SAID, chosen=SAID, rejected=SAID, reference=SAID)
def triple(row: Row, extra: Side) -> Example:
    return kinds.Triple(*(said(row, name) for name in ("prompt", "chosen", "rejected", "reference")), side=extra)


@_columns("triple", chosen=SAID, rejected=SAID, reference=SAID)
def triple_implicit(row: Row, extra: Side) -> Example:
    asked, answers = shared_prompt([said(row, name) for name in ("chosen", "rejected", "reference")])
    return kinds.Triple(asked, *answers, side=extra)


@_columns("ranked", prompt=SAID, completions=list_of(SAID))
def ranked(row: Row, extra: Side) -> Example:
    completions = tuple(said({"completions": item}, "completions") for item in row["completions"])
    if len(completions) < 2:
        raise RowError("expected at least two completions, best first; found one")
    return kinds.Ranked(said(row, "prompt"), completions, side=extra)


@_columns("rated", prompt=SAID, completion=SAID, rating=NUMBER)
def rated(row: Row, extra: Side) -> Example:
    return kinds.Rated(said(row, "prompt"), said(row, "completion"), float(row["rating"]), side=extra)


@_columns("unpaired", prompt=SAID, completion=SAID, label=FLAG)
def unpaired(row: Row, extra: Side) -> Example:
    return kinds.Unpaired(said(row, "prompt"), said(row, "completion"), bool(row["label"]), side=extra)


@_columns("unpaired", messages=MESSAGES, label=FLAG)
def unpaired_chat(row: Row, extra: Side) -> Example:
    *asked, last = (message(item) for item in row["messages"])
    if not asked or last["role"] != "assistant":
        raise RowError(f"expected a conversation that ends with an assistant turn; found {brief(row['messages'])}")
    return kinds.Unpaired(tuple(asked), (last,), bool(row["label"]), side=extra)


@_columns("stepwise", prompt=SAID, completions=list_of(TEXT), labels=list_of(SHARE))
def stepwise(row: Row, extra: Side) -> Example:
    steps, labels = tuple(row["completions"]), tuple(float(label) for label in row["labels"])
    return kinds.Stepwise(said(row, "prompt"), steps, labels, side=extra)


@_columns("trajectory", prompt_ids=IDS, completion_ids=IDS)
def trajectory(row: Row, extra: Side) -> Example:
    """Besides the ids: `completion_mask`, 1 where a completion id is the policy's own, the columns of `NUMBERS`, those of
    `LIKELIEST`, and numbers or truth values of the whole trajectory, such as `truncated`."""
    start, count = len(row["prompt_ids"]), len(row["completion_ids"])
    own = row.get("completion_mask")
    own = [1] * count if own is None else own
    if not list_of(FLAG).holds(own) or len(own) != count:
        raise RowError(f"expected one 0 or 1 per completion id ({count}) in 'completion_mask', found {brief(own)}")
    given = {column: row[column] for column in NUMBERS if row.get(column) is not None}
    tokens = {NUMBERS[column]: (0.0,) * start + _per_id(value, column, count) for column, value in given.items()}
    columns = {key: value for key, value in extra.columns.items() if key not in (*NUMBERS, *LIKELIEST, "completion_mask")}
    scalars = {key: float(value) for key, value in columns.items() if isinstance(value, bool) or is_number(value)}
    return kinds.Trajectory(
        (*row["prompt_ids"], *row["completion_ids"]),
        _spans(own, start),
        {**tokens, **_likeliest(row, start, count)},
        scalars,
        side=Side(weight=extra.weight, margin=extra.margin, columns=columns),
    )


FORMATS = (
    *(text, chat, prompt, prompt_completion, preference, preference_implicit, triple, triple_implicit),
    *(ranked, rated, unpaired, unpaired_chat, stepwise, trajectory),
)


def _per_id(value: Any, column: str, count: int) -> tuple[float, ...]:
    """One number per completion id; a single one is everyone's."""
    numbers = [value] * count if is_number(value) else value
    if not list_of(NUMBER).holds(numbers) or len(numbers) != count:
        raise RowError(f"expected a number or one per completion id ({count}) in '{column}', found {brief(value)}")
    return tuple(map(float, numbers))


def _likeliest(row: Row, start: int, count: int) -> dict[str, tuple[tuple[float, ...], ...]]:
    """The columns of `LIKELIEST`, where the row has them."""
    given = {column: row[column] for column in LIKELIEST if row.get(column) is not None}
    for column, value in given.items():
        if not list_of(list_of(NUMBER)).holds(value) or len(value) != count:
            raise RowError(f"expected a list of numbers per completion id ({count}) in '{column}', found {brief(value)}")
    widths = {len(numbers) for value in given.values() for numbers in value}
    if given and (len(given) < len(LIKELIEST) or len(widths) > 1):
        found = ", ".join(f"{sorted({*map(len, given.get(column, ()))}) or 'none'} in '{column}'" for column in LIKELIEST)
        raise RowError(f"expected equally many numbers for every completion id; found {found}")
    return {
        column: ((LIKELIEST[column],) * max(widths),) * start + tuple(tuple(map(float, numbers)) for numbers in value)
        for column, value in given.items()
    }


def _spans(own: list[Any], start: int) -> tuple[tuple[int, int], ...]:
    """[start, end) of every run of true entries."""
    spans: list[tuple[int, int]] = []
    for place, flag in enumerate(own, start):
        if flag and spans and spans[-1][1] == place:
            spans[-1] = (spans[-1][0], place + 1)
        elif flag:
            spans.append((place, place + 1))
    return tuple(spans)
