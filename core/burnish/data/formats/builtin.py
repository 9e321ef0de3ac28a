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
    brief,
    is_flag,
    is_messages,
    is_number,
    is_said,
    list_of,
    message,
    said,
    same_form,
    shared_prompt,
    side,
)

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


@dataclass(frozen=True)
class Columns:
    """A format told by its columns: name -> check of the value; `build` makes the example once all checks have passed."""

    name: str
    kind: str
    expects: str
    columns: Mapping[str, Check]
    build: Callable[[Row, Side], Example]

    def sniff(self, row: Row) -> float:
        """The number of its columns, or 0 when one is missing or holds something else."""
        return float(len(self.columns)) if all(check(row.get(name)) for name, check in self.columns.items()) else 0.0

    def convert(self, row: Row) -> Example:
        """The example; RowError says which column is not what was expected."""
        for name, check in self.columns.items():
            if not check(row.get(name)):
                raise RowError(f"expected {self.expects}; found {brief(row.get(name))} in '{name}'")
        return self.build(row, side(row, tuple(self.columns)))


def _prompt_completion(row: Row, extra: Side) -> Example:
    prompt, completion = said(row, "prompt"), said(row, "completion")
    same_form(prompt, completion)
    return kinds.PromptCompletion(prompt, completion, side=extra)


def _preference(row: Row, extra: Side) -> Example:
    prompt, chosen, rejected = said(row, "prompt"), said(row, "chosen"), said(row, "rejected")
    same_form(prompt, chosen, rejected)
    return kinds.Preference(prompt, chosen, rejected, side=extra)


def _preference_implicit(row: Row, extra: Side) -> Example:
    prompt, (chosen, rejected) = shared_prompt([said(row, "chosen"), said(row, "rejected")])
    return kinds.Preference(prompt, chosen, rejected, side=extra)


def _triple(row: Row, extra: Side) -> Example:
    prompt, chosen, rejected, gold = (said(row, name) for name in ("prompt", "chosen", "rejected", "reference"))
    same_form(prompt, chosen, rejected, gold)
    return kinds.Triple(prompt, chosen, rejected, gold, side=extra)


def _triple_implicit(row: Row, extra: Side) -> Example:
    prompt, (chosen, rejected, gold) = shared_prompt([said(row, name) for name in ("chosen", "rejected", "reference")])
    return kinds.Triple(prompt, chosen, rejected, gold, side=extra)


def _ranked(row: Row, extra: Side) -> Example:
    prompt = said(row, "prompt")
    completions = tuple(said({"completions": item}, "completions") for item in row["completions"])
    same_form(prompt, *completions)
    if len(completions) < 2:
        raise RowError("expected at least two completions, best first; found one")
    return kinds.Ranked(prompt, completions, side=extra)


def _rated(row: Row, extra: Side) -> Example:
    prompt, completion = said(row, "prompt"), said(row, "completion")
    same_form(prompt, completion)
    return kinds.Rated(prompt, completion, float(row["rating"]), side=extra)


def _unpaired(row: Row, extra: Side) -> Example:
    prompt, completion = said(row, "prompt"), said(row, "completion")
    same_form(prompt, completion)
    return kinds.Unpaired(prompt, completion, bool(row["label"]), side=extra)


def _unpaired_chat(row: Row, extra: Side) -> Example:
    *prompt, last = (message(item) for item in row["messages"])
    if not prompt or last["role"] != "assistant":
        raise RowError(f"expected a conversation that ends with an assistant turn; found {brief(row['messages'])}")
    return kinds.Unpaired(tuple(prompt), (last,), bool(row["label"]), side=extra)


def _stepwise(row: Row, extra: Side) -> Example:
    steps, labels = tuple(row["completions"]), tuple(float(label) for label in row["labels"])
    if len(steps) != len(labels):
        raise RowError(f"expected one label per step; found {len(steps)} steps and {len(labels)} labels")
    return kinds.Stepwise(said(row, "prompt"), steps, labels, side=extra)


_IDS = list_of(lambda value: isinstance(value, int) and not isinstance(value, bool))
_NUMBERS = {"advantages": "advantages", "old_logps": "old", "behaviour_logps": "behaviour", "ref_logps": "reference"}


def _trajectory(row: Row, extra: Side) -> Example:
    prompt, completion = tuple(row["prompt_ids"]), tuple(row["completion_ids"])
    own = row.get("completion_mask")
    own = [1] * len(completion) if own is None else list(own)
    tokens = {name: _aligned(row[column], column, len(prompt), len(completion))
              for column, name in _NUMBERS.items() if row.get(column) is not None}
    if len(own) != len(completion):
        raise RowError(f"expected one entry per completion id ({len(completion)}) in 'completion_mask', found {len(own)}")
    columns = {key: value for key, value in extra.columns.items() if key not in (*_NUMBERS, "completion_mask")}
    return kinds.Trajectory(prompt + completion, _spans(own, len(prompt)), tokens,
                            side=Side(weight=extra.weight, margin=extra.margin, columns=columns))


def _aligned(value: Any, column: str, num_prompt: int, num_completion: int) -> tuple[float, ...]:
    """One number per id: a single number is everyone's, a list belongs to the completion; the prompt's are 0, never read."""
    numbers = [float(value)] * num_completion if is_number(value) else [float(item) for item in value]
    if len(numbers) != num_completion:
        raise RowError(f"expected a number or one per completion id ({num_completion}) in '{column}', found {len(numbers)}")
    return (0.0,) * num_prompt + tuple(numbers)


def _spans(own: list[Any], start: int) -> tuple[tuple[int, int], ...]:
    """[start, end) of every run of true entries."""
    spans: list[tuple[int, int]] = []
    for place, flag in enumerate(own, start):
        if flag and spans and spans[-1][1] == place:
            spans[-1] = (spans[-1][0], place + 1)
        elif flag:
            spans.append((place, place + 1))
    return tuple(spans)


TEXT = Columns("text", "text", "text in 'text'", {"text": _is_text}, lambda row, extra: kinds.Text(row["text"], side=extra))
CHAT = Columns("chat", "chat", "messages (role, content) in 'messages'", {"messages": is_messages},
               lambda row, extra: kinds.Chat(tuple(map(message, row["messages"])), side=extra))
PROMPT = Columns("prompt", "prompt", "text or messages in 'prompt'", {"prompt": is_said},
                 lambda row, extra: kinds.Prompt(said(row, "prompt"), side=extra))
PROMPT_COMPLETION = Columns("prompt_completion", "prompt_completion", "text or messages in 'prompt' and 'completion'",
                            {"prompt": is_said, "completion": is_said}, _prompt_completion)
PREFERENCE = Columns("preference", "preference", "text or messages in 'prompt', 'chosen' and 'rejected'",
                     {"prompt": is_said, "chosen": is_said, "rejected": is_said}, _preference)
PREFERENCE_IMPLICIT = Columns("preference_implicit", "preference", "whole texts or conversations in 'chosen' and 'rejected'",
                              {"chosen": is_said, "rejected": is_said}, _preference_implicit)
TRIPLE = Columns("triple", "triple", "text or messages in 'prompt', 'chosen', 'rejected' and 'reference'",
                 {"prompt": is_said, "chosen": is_said, "rejected": is_said, "reference": is_said}, _triple)
TRIPLE_IMPLICIT = Columns("triple_implicit", "triple", "whole texts or conversations in 'chosen', 'rejected' and 'reference'",
                          {"chosen": is_said, "rejected": is_said, "reference": is_said}, _triple_implicit)
RANKED = Columns("ranked", "ranked", "'prompt', and a list of completions in 'completions', best first",
                 {"prompt": is_said, "completions": list_of(is_said)}, _ranked)
RATED = Columns("rated", "rated", "'prompt', 'completion' and a number in 'rating'",
                {"prompt": is_said, "completion": is_said, "rating": is_number}, _rated)
UNPAIRED = Columns("unpaired", "unpaired", "'prompt', 'completion' and true or false in 'label'",
                   {"prompt": is_said, "completion": is_said, "label": is_flag}, _unpaired)
UNPAIRED_CHAT = Columns("unpaired_chat", "unpaired", "'messages' that end with an assistant turn, and true or false in 'label'",
                        {"messages": is_messages, "label": is_flag}, _unpaired_chat)
STEPWISE = Columns("stepwise", "stepwise", "'prompt', a list of steps in 'completions' and one 0 or 1 each in 'labels'",
                   {"prompt": is_said, "completions": list_of(_is_text), "labels": list_of(is_flag)}, _stepwise)
TRAJECTORY = Columns("trajectory", "trajectory", "lists of token ids in 'prompt_ids' and 'completion_ids'",
                     {"prompt_ids": _IDS, "completion_ids": _IDS}, _trajectory)

FORMATS = (TEXT, CHAT, PROMPT, PROMPT_COMPLETION, PREFERENCE, PREFERENCE_IMPLICIT, TRIPLE, TRIPLE_IMPLICIT, RANKED, RATED,
           UNPAIRED, UNPAIRED_CHAT, STEPWISE, TRAJECTORY)
